// Every snippet of docs/embedding.md, as it stands there, on a page of another origin: it must show a chart.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { openBlog, strict, visit } from "./support/blog.mjs";
import { until } from "./support/browser.mjs";
import { openLab, SITE_PATH } from "./support/lab.mjs";

const HOST = "https://example.org/residual-stream/";
const document_ = await readFile(new URL("../../docs/embedding.md", import.meta.url), "utf8");
/** Snippets of a language, with the heading that they stand under. */
const snippets = [...document_.matchAll(/^```([\w-]+)\n([\s\S]*?)^```$/gm)].map(({ 1: language, 2: text, index }) => ({
  language, text, heading: document_.slice(0, index).match(/^## (.*)$/gm).at(-1).slice(3),
}));
const of = (language, heading) => snippets.filter((found) => found.language === language && (!heading || found.heading.startsWith(heading)));

let lab, run, here;
before(async () => {
  lab = await openLab();
  here = `${lab.site.origin}${SITE_PATH}`;
  const trace = await lab.run(async (rs) => {
    const model = await rs.loadModel("demo");
    const trace = window.plain(await model.trace(["Once upon a time there was a little girl."]));
    model.close();
    return trace;
  });
  run = JSON.stringify({ format: "residual-stream trace", version: 1, ...trace });
});
after(() => lab?.close());

/** Puts markup on somebody's page, waits for a chart, and returns what the page says of it. */
async function shows(markup, { policy = strict(lab.site.origin), files = {}, ask = false } = {}) {
  const blog = await openBlog({ policy, files: { "/run.json": run, "/chart.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>", ...files }, pages: { "/": markup.replaceAll(HOST, here) } });
  const page = await visit(lab.browser, `${blog.origin}/`);
  try {
    return await until("a chart, or the question before a download", () => page.evaluate((ask) => {
      const root = document.querySelector("residual-stream")?.shadowRoot;
      const part = (selector) => root?.querySelector(selector);
      if (ask) return part(".ask button")?.textContent;
      const said = part(".error")?.textContent;
      if (said) throw new Error(said);
      return part(".chart")?.checkVisibility() && part(".finding")?.textContent && { title: part(".title").textContent, chart: part(".chart").dataset.chart };
    }, ask), 60_000);
  } finally {
    await page.context().close();
    await blog.close();
  }
}

test("plain HTML", async () => {
  const found = of("html", "Plain HTML");
  assert.equal(found.length, 4);
  const [live, saved, inside, large] = found.map(({ text }) => text);
  assert.equal((await shows(live, { policy: strict(lab.site.origin).replace("img-src data:", "img-src 'self' data:") })).chart, "evolution");
  assert.equal((await shows(saved)).chart, "heatmap");
  assert.equal((await shows(inside.replace(/\{ "format".*\}/, run))).chart, "growth");
  assert.equal(await shows(large, { ask: true }), "Download GPT-2, 548 MB");
});

/** Texts that would be markup in a page. */
const ATTACKS = ["a</script><script>window.hit=1</script><img src=x onerror=window.hit=2>", "<!--<script> a", "</residual-stream><!-- b"];

test("a run in the page is data, whatever its texts are: as it is saved, and an older one by the notebook's line", async () => {
  const written = await lab.run(async (rs, texts) => {
    const model = await rs.loadModel("demo");
    const trace = await model.trace(texts);
    model.close();
    return new TextDecoder().decode(rs.writeTrace(trace));
  }, ATTACKS);
  const older = JSON.stringify(JSON.parse(written));
  assert.match(older, /<\/script>/, "an older file has its texts plain");
  const [, , inside] = of("html", "Plain HTML").map(({ text }) => text);
  const [{ text: cell }] = of("python");
  // The line of Python, done here: what is replaced, and by what.
  const [, from, to] = cell.match(/\.replace\("(.+?)", "(.+?)"\)/);
  assert.deepEqual([from, to], ["<", "\\\\u003c"]);
  const [, markup] = cell.match(/f'''([\s\S]*)'''/);
  const policy = strict(lab.site.origin).replace("script-src", "script-src 'unsafe-inline'");
  for (const page of [inside.replace(/\{ "format".*\}/, () => written), markup.replace("{run}", () => older.replaceAll(from, "\\u003c"))]) {
    const guarded = `${page}<p id="after"></p><script>if (window.hit || !document.getElementById("after")) document.querySelector("residual-stream").remove();</script>`;
    assert.ok((await shows(guarded, { policy })).title);
  }
});

test("Hugo's shortcode", async () => {
  const [{ text }] = of("go-html-template");
  const filled = text.replace('{{ .Get "src" }}', "run.json").replace('{{ .Get "chart" | default "evolution" }}', "heatmap");
  assert.ok(!filled.includes("{{"), filled);
  assert.equal((await shows(filled)).chart, "heatmap");
});

test("MDX and Observable: the JavaScript part", async () => {
  const [load] = of("js", "MDX"), [cell] = of("js", "Observable");
  const page = `${load.text}\n${cell.text}
const trace = await (await fetch("run.json")).json();
document.querySelector("main").append(await chart({ trace, chart: "growth", height: 200 }));`;
  const policy = strict(lab.site.origin).replace("script-src", "script-src 'self'");
  const found = await shows('<script type="module" src="cell.js"></script>', { policy, files: { "/cell.js": page.replaceAll(HOST, here) } });
  assert.equal(found.chart, "growth");
  assert.match(of("jsx")[0].text, /<residual-stream \{\.\.\.attributes\}>/);
});

test("Jupyter: what the cell writes", async () => {
  const [{ text }] = of("python");
  const [, markup] = text.match(/f'''([\s\S]*)'''/);
  assert.equal((await shows(markup.replace("{run}", run.replaceAll("<", "\\u003c")))).chart, "heatmap");
});

test("the iframe, with the lines that give it its height", async () => {
  const [{ text }] = of("html", "In an iframe");
  // Its few lines are the author's own script and style.
  const policy = `default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-src ${lab.site.origin}; img-src data:`;
  const blog = await openBlog({ policy, pages: { "/": text.replaceAll(HOST, here) } });
  const page = await visit(lab.browser, `${blog.origin}/`);
  await page.frameLocator("iframe").locator(".chart canvas").waitFor({ timeout: 60_000 });
  await until("the frame to have the content's height", () => page.evaluate(() => {
    const height = Number(document.querySelector("iframe").height);
    return height !== 420 && height > 300;
  }));
  await page.context().close();
  await blog.close();
});

test("every attribute and event that the page lists is there", async () => {
  const source = await readFile(new URL("../../crates/view/src/attributes.rs", import.meta.url), "utf8");
  const known = source.match(/ATTRIBUTES: \[&str; \d+\] = \[([^\]]*)\]/)[1].match(/"[\w-]+"/g).map((name) => name.slice(1, -1));
  const table = document_.slice(document_.indexOf("## Attributes"), document_.indexOf("## Events"));
  const listed = table.split("\n").filter((line) => line.startsWith("| `")).flatMap((line) => line.split("|")[1].match(/[\w-]+/g));
  assert.deepEqual(listed.sort(), known.sort(), "docs/embedding.md and settings.rs list the same attributes");
});
