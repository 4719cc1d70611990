// <residual-stream> on a page of another origin that sends no CORS headers, under a strict policy of that page's own.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { heard, openBlog, seen, strict, visit, visitInFirefox } from "./support/blog.mjs";
import { until } from "./support/browser.mjs";
import { launchFirefox } from "./support/firefox.mjs";
import { openLab, SITE, SITE_PATH } from "./support/lab.mjs";
import { axeObjections, isQuiet } from "./support/site-page.mjs";

const TEXT = "Once upon a time there was a little girl.";
const OPTIONS = { heads: true, lens: 5, next: 20, patterns: [{ layer: 2, head: 1 }], attribution: {} };
/** Everything that a saved run's chart downloads, the run itself left out; gzipped. For a release build. */
const RECORDED_LIMIT = 200_000;
const isRelease = basename(SITE) === "dist";

let lab, blog, script, trace, embed;
before(async () => {
  lab = await openLab();
  const { origin } = lab.site;
  script = `<script src="${origin}${SITE_PATH}embed.js"></script>`;
  trace = await lab.run(async (rs, { text, options }) => {
    const model = await rs.loadModel("demo");
    const trace = window.plain(await model.trace([text, "The dog ran to the old house."], options));
    model.close();
    return trace;
  }, { text: TEXT, options: OPTIONS });
  const saved = { format: "residual-stream trace", version: 1, ...trace };
  const bare = structuredClone(saved);
  for (const sequence of bare.sequences) for (const name of ["head_norm", "attn_bias_norm", "lens"]) delete sequence[name];
  const hostile = structuredClone(saved);
  hostile.sequences[0].tokens = hostile.sequences[0].tokens.map(() => "<img src=x onerror=alert(1)>");
  hostile.sequences[0].text = "<script>alert(1)</script>";
  embed = (id, attributes) => `<residual-stream id="${id}" ${attributes}><p>own content of ${id}</p></residual-stream>`;
  const recorded = (attributes) => embed("one", `src="run.json" ${attributes}`) + script;
  blog = await openBlog({
    policy: strict(origin),
    files: {
      "/run.json": JSON.stringify(saved), "/hostile.json": JSON.stringify(hostile), "/torn.json": JSON.stringify(saved).slice(0, 500),
      "/bare.json": JSON.stringify(bare), "/later.json": JSON.stringify({ ...saved, version: 9 }), "/other.json": JSON.stringify({ hello: 1 }),
    },
    pages: {
      "/three.html": embed("a", `text="${TEXT}"`) + embed("b", `text="${TEXT}" chart="heatmap" height="260"`)
        + embed("c", `text="The dog ran to the old house." chart="lens" theme="dark" controls`) + script,
      "/below.html": `<img alt="" width="1" height="4000" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">${embed("low", `text="${TEXT}"`)}${script}`,
      "/recorded.html": recorded('chart="heatmap"'),
      "/hostile.html": embed("one", 'src="hostile.json" chart="heatmap" pin="0.1" controls') + script,
      "/plain.html": recorded(""),
      "/controls.html": recorded("controls"),
      "/large.html": embed("one", `text="${TEXT}" model="openai-community/gpt2"`) + script,
      "/frame.html": `<iframe id="frame" title="A chart" width="600" height="100" src="${origin}${SITE_PATH}embed.html?text=${encodeURIComponent(TEXT)}&amp;chart=growth&amp;height=240&amp;controls"></iframe>`,
    },
  });
});
after(async () => {
  await blog?.close();
  await lab?.close();
});

const open = (path, options) => visit(lab.browser, `${blog.origin}${path}`, { viewport: { width: 1000, height: 1600 }, ...options });
/** What the site was asked for since `from`, without its folder. */
const asked = (from = 0) => lab.site.requests.slice(from).filter((path) => path.startsWith(SITE_PATH)).map((path) => path.slice(SITE_PATH.length));

test("three embeds on another origin's page share one engine, say what they do, and show the package's numbers", async () => {
  const from = lab.site.requests.length;
  const page = await open("/three.html");
  for (const id of ["a", "b", "c"]) {
    await heard(page, id, "ready");
    await heard(page, id, "trace");
    const { chart, own, error, colours, finding } = await seen(page, id);
    assert.ok(chart && !own && colours > 3, `embed #${id}: chart ${chart}, its own content ${own}, ${colours} colours`);
    assert.equal(error, "", `embed #${id}`);
    assert.notEqual(finding, "", `embed #${id} has no finding`);
  }
  assert.equal(page.workers().length, 1, "embeds of one model share one worker");
  assert.equal((await seen(page, "b")).height, 260);
  assert.ok((await seen(page, "c")).dark && !(await seen(page, "a")).dark, "theme=\"dark\" is for #c alone");
  const found = await page.evaluate(() => {
    const [sequence] = document.getElementById("a").trace.sequences;
    return { ids: [...sequence.ids], mlp: [...sequence.mlp_norm], attn: [...sequence.attn_norm] };
  });
  const [expected] = trace.sequences;
  assert.deepEqual(found.ids, expected.ids);
  assert.deepEqual(found.mlp, expected.mlp_norm, "the embed's mlp_norm and the package's");
  assert.deepEqual(found.attn, expected.attn_norm, "the embed's attn_norm and the package's");
  const files = asked(from);
  assert.equal(files.length, new Set(files).size, `each file is asked for once: ${files}`);
  assert.ok(files.every((file) => /^embed(-\w+-[0-9a-f]{16})?\.js$/.test(file)), `only the embed's own scripts: ${files}`);
  await isQuiet(page);
  await page.context().close();
});

test("nothing loads before the embed is scrolled into view", async () => {
  const from = lab.site.requests.length;
  const page = await open("/below.html", { viewport: { width: 1000, height: 800 } });
  await page.waitForLoadState("networkidle");
  assert.deepEqual(asked(from), ["embed.js"]);
  assert.equal(page.workers().length, 0);
  await page.locator("#low").scrollIntoViewIfNeeded();
  await heard(page, "low", "ready");
  assert.ok(asked(from).length > 1);
  await page.context().close();
});

test("a saved run shows without a model, in few bytes", async () => {
  const from = lab.site.requests.length;
  const page = await open("/recorded.html");
  await heard(page, "one", "ready");
  assert.deepEqual(asked(from), ["embed.js"], "of the site, a saved run needs embed.js and nothing else");
  assert.equal(page.workers().length, 0, "a saved run starts no worker");
  const bytes = gzipSync(await readFile(join(SITE, "embed.js")), { level: 9 }).length;
  if (isRelease) assert.ok(bytes < RECORDED_LIMIT, `embed.js is ${bytes} bytes gzipped; the limit is ${RECORDED_LIMIT}`);
  await isQuiet(page);
  await page.context().close();
});

test("a saved run can be hovered, walked by keys, pinned, zoomed, and read as a table", async () => {
  const page = await open("/recorded.html");
  await heard(page, "one", "ready");
  const canvas = page.locator("#one canvas");
  const box = await canvas.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await until("a read-out under the pointer", async () => (await seen(page, "one")).readOut !== "");
  await page.mouse.move(0, 0);
  await until("the read-out to go with the pointer", async () => (await seen(page, "one")).readOut === "");
  await canvas.focus();
  await page.keyboard.press("ArrowRight");
  const first = await until("a read-out by keys", async () => (await seen(page, "one")).readOut);
  await page.keyboard.press("ArrowRight");
  await until("another one", async () => ![first, ""].includes((await seen(page, "one")).readOut));
  assert.notEqual(await page.locator("#one .plot [role=status]").textContent(), "", "keys' read-outs are spoken");
  await page.keyboard.press("Enter");
  await until("the token to be pinned", async () => (await seen(page, "one")).unpin.startsWith("Unpin"));
  assert.match(await page.locator("#one").getAttribute("pin"), /^0\.\d+$/);
  await page.locator("#one .chip").click();
  await until("the pin to be gone", async () => (await seen(page, "one")).unpin === "");

  const columns = () => page.locator("#one .readout b").textContent();
  await page.locator("#one").getByRole("button", { name: "Fewer tokens, larger" }).click();
  await canvas.focus();
  await page.keyboard.press("End");
  const last = await columns();
  await page.locator("#one").getByRole("button", { name: "More tokens" }).click();
  await canvas.focus();
  await page.keyboard.press("End");
  await until("more tokens after zooming out", async () => await columns() !== last);

  await page.locator("#one").getByRole("button", { name: "Table" }).click();
  const tokens = trace.sequences[0].ids.length;
  const rows = await page.locator("#one tbody tr").count();
  assert.ok(rows >= tokens, `the table has ${rows} rows for ${tokens} tokens`);
  await isQuiet(page);
  await page.context().close();
});

test("attributes and properties are live", async () => {
  const page = await open("/plain.html");
  await heard(page, "one", "ready");
  const title = () => page.locator("#one .title").textContent();
  for (const [chart, expected] of [["distribution", "Residual distribution"], ["growth", "Stream growth"], ["heads", "Heads"], ["lens", "Logit lens"], ["evolution", "Layer-wise evolution"]]) {
    await page.evaluate((chart) => document.getElementById("one").setAttribute("chart", chart), chart);
    await until(`chart="${chart}" to show`, async () => await title() === expected);
    assert.ok((await seen(page, "one")).colours > 3, `chart="${chart}" draws something`);
  }
  await page.evaluate(() => Object.assign(document.getElementById("one"), { height: 200, theme: "dark", chart: "heatmap", show: "attention" }));
  await until("height and theme by property", async () => {
    const { height, dark } = await seen(page, "one");
    return height === 200 && dark;
  });
  assert.equal(await page.locator("#one").getAttribute("show"), "attention");
  // A model in the saved run's place, and another text.
  await page.evaluate((text) => { window.heard = []; Object.assign(document.getElementById("one"), { src: null, text, show: null }); }, TEXT);
  await heard(page, "one", "trace");
  await page.evaluate(() => { window.heard = []; document.getElementById("one").text = "A cat."; });
  await heard(page, "one", "trace");
  assert.deepEqual(await page.evaluate(() => document.getElementById("one").trace.sequences.map(({ text }) => text)), ["A cat."]);
  // A trace from a script, as notebooks have it.
  await page.evaluate((trace) => { window.heard = []; document.getElementById("one").trace = trace; }, trace);
  await heard(page, "one", "trace");
  assert.equal(await page.evaluate(() => document.getElementById("one").trace.sequences.length), 2);
  await isQuiet(page);
  await page.context().close();
});

test("every chart shows, of a saved run or of a model", async () => {
  const page = await open("/plain.html");
  await heard(page, "one", "ready");
  const charts = ["distribution", "evolution", "heatmap", "growth", "relative", "direction", "heads", "lens", "true-token", "pattern",
    "attribution", "attribution-heads", "next", "compare", "change", "patching"];
  for (const chart of charts) {
    const live = ["change", "patching"].includes(chart);
    await page.evaluate(({ chart, live }) => {
      const text = "The cat sat on the mat.\nThe dog sat on the mat.";
      const options = { chart, head: "2.1", src: live ? null : "run.json", text: live ? text : null, off: chart === "change" ? "mlp.3" : null };
      Object.assign(document.getElementById("one"), options);
    }, { chart, live });
    await until(`chart="${chart}" to be drawn`, async () => {
      const { error, chart: shown, colours } = await seen(page, "one");
      assert.equal(error, "", `chart="${chart}"`);
      return shown && colours > 3 && await page.locator("#one .chart").getAttribute("data-chart") === chart;
    });
  }
  await isQuiet(page);
  await page.context().close();
});

test("what makes no sense is said in a sentence and by an event, and the author's own content stands", async () => {
  const page = await open("/plain.html");
  await heard(page, "one", "ready");
  for (const [attributes, code, words] of [
    [{ chart: "pie" }, "bad-argument", /chart="pie".*evolution/], [{ theme: "blue" }, "bad-argument", /theme="blue"/],
    [{ height: "tall" }, "bad-argument", /height="tall"/], [{ pin: "0.999" }, "bad-argument", /pin="0\.999"/],
    [{ src: "nowhere.json" }, "not-found", /nowhere\.json/], [{ src: "torn.json" }, "bad-argument", /breaks off/],
    [{ src: "later.json" }, "bad-argument", /version 9/], [{ src: "other.json" }, "bad-argument", /format/],
    [{ src: "bare.json", chart: "heads" }, "bad-argument", /does not hold what chart="heads" shows/],
    [{ src: "bare.json", chart: "lens" }, "bad-argument", /does not hold what chart="lens" shows/],
    [{ src: null, text: null }, "empty-input", /text/], [{ src: null, text: "x", model: "a/b/c" }, "bad-argument", /model="a\/b\/c"/],
    [{ src: null, text: "word ".repeat(600) }, "too-long", /256/], [{ chart: "change" }, "bad-argument", /off="mlp\.3"/],
  ]) {
    await page.evaluate((attributes) => {
      const one = document.getElementById("one");
      for (const name of one.getAttributeNames()) if (name !== "id") one.removeAttribute(name);
      Object.assign(one, { src: "run.json" });
      window.heard = [];
      Object.assign(one, attributes);
    }, attributes);
    const event = await heard(page, "one", "error");
    const what = JSON.stringify(attributes).slice(0, 80);
    assert.equal(event.code, code, `${what}: ${event.message}`);
    assert.ok(event.isError, `${what}: the detail is an Error`);
    assert.match(event.message, words, what);
    const { chart, own, error } = await seen(page, "one");
    assert.ok(!chart && own, `${what}: chart ${chart}, own content ${own}`);
    assert.match(error, words, what);
  }
  await page.evaluate(() => { window.heard = []; Object.assign(document.getElementById("one"), { src: "run.json", chart: "evolution" }); });
  await until("the chart to be back once the attributes make sense", async () => {
    const { chart, own, error } = await seen(page, "one");
    return chart && !own && error === "";
  });
  await page.context().close();
});

test("a saved run's texts are shown as text, never as markup", async () => {
  const page = await open("/hostile.html");
  page.on("dialog", (dialog) => assert.fail(`a dialog: ${dialog.message()}`));
  await heard(page, "one", "ready");
  await page.locator("#one canvas").focus();
  await page.keyboard.press("ArrowRight");
  await until("a read-out", async () => (await seen(page, "one")).readOut.includes("<img"));
  await page.locator("#one").getByRole("button", { name: "Table" }).click();
  const found = await page.evaluate(() => {
    const root = document.getElementById("one").shadowRoot;
    return { images: root.querySelectorAll("img, script").length, text: root.querySelector("table").textContent.includes("<img") };
  });
  assert.deepEqual(found, { images: 0, text: true });
  assert.match((await seen(page, "one")).unpin, /<img/);
  await isQuiet(page);
  await page.context().close();
});

test("a large model waits for a click that names its size", async () => {
  const page = await open("/large.html");
  const hub = [];
  page.on("request", (request) => { if (!request.url().includes("127.0.0.1")) hub.push(request.url()); });
  const { ask } = await until("the question", async () => {
    const found = await seen(page, "one");
    return found.ask && found;
  });
  assert.equal(ask, "Download GPT-2, 548 MB");
  assert.ok((await seen(page, "one")).own, "the author's own content stands until then");
  assert.equal(page.workers().length, 0);
  assert.deepEqual(hub.filter((url) => !url.startsWith("data:")), [], "nothing is downloaded without a click");
  await page.locator("#one .ask button").click();
  const event = await heard(page, "one", "error");
  assert.match(event.message, /connect-src/, "this page's policy lets nothing come from the hub, and the sentence says so");
  assert.ok((await seen(page, "one")).own);
  await page.context().close();
});

test("a model runs under a policy that requires trusted types; where the policy knows no such name, a sentence gives it", async () => {
  const required = `${strict(lab.site.origin)}; require-trusted-types-for 'script'`;
  for (const [policy, error] of [
    [required, undefined],
    [`${required}; trusted-types residual-stream-embed residual-stream`, undefined],
    [`${strict(lab.site.origin)}; trusted-types 'none'`, undefined],
    [`${required}; trusted-types 'none'`, /trusted-types needs residual-stream-embed residual-stream/],
    [`${required}; trusted-types residual-stream-embed`, /trusted-types needs residual-stream\b/],
  ]) {
    const other = await openBlog({ policy, pages: { "/": embed("one", `text="${TEXT}"`) + script } });
    const page = await visit(lab.browser, `${other.origin}/`);
    const event = await heard(page, "one", error ? "error" : "ready");
    if (error) {
      assert.equal(event.code, "unsupported-browser", policy);
      assert.match(event.message, error, policy);
    }
    await page.context().close();
    await other.close();
  }
});

test("without DecompressionStream, a sentence names the browsers that have it, and the author's own content stands", async () => {
  const page = await open("/plain.html", { init: [() => { delete window.DecompressionStream; }] });
  const { code, message } = await heard(page, "one", "error");
  assert.equal(code, "unsupported-browser");
  assert.match(message, /too old for this chart: Chrome or Edge 91, Firefox 113, Safari 16\.4/);
  const { error, own } = await seen(page, "one");
  assert.equal(error, message);
  assert.ok(own, "the author's own content is gone");
  await page.context().close();
});

for (const [missing, needs] of [["'wasm-unsafe-eval'", /script-src.*'wasm-unsafe-eval'/], ["worker-src blob:", /worker-src blob:/]]) {
  test(`without ${missing} in the page's policy, a sentence says so and the author's own content stands`, async () => {
    const policy = strict(lab.site.origin).replace(missing, "");
    const other = await openBlog({ policy, pages: { "/": embed("one", `text="${TEXT}"`) + script } });
    const page = await visit(lab.browser, `${other.origin}/`);
    const event = await heard(page, "one", "error");
    assert.equal(event.code, "unsupported-browser");
    assert.match(event.message, needs);
    const { own, error } = await seen(page, "one");
    assert.ok(own, "the author's own content is gone");
    assert.match(error, needs);
    await page.context().close();
    await other.close();
  });
}

for (const [width, theme] of [[1000, "light"], [1000, "dark"], [390, "light"], [390, "dark"]]) {
  test(`at ${width} pixels, ${theme}: nothing for axe to object to, nothing wider than the page`, async () => {
    const page = await open("/controls.html", { viewport: { width, height: 1200 }, colorScheme: theme });
    await heard(page, "one", "ready");
    // The chart is as the page says that it is, whatever the system prefers.
    await page.evaluate((theme) => { document.documentElement.style.colorScheme = theme; }, theme);
    await until(`a ${theme} chart`, async () => (await seen(page, "one")).dark === (theme === "dark"));
    for (const chart of ["evolution", "heatmap"]) {
      await page.evaluate((chart) => { document.getElementById("one").chart = chart; }, chart);
      await until(`chart="${chart}"`, async () => await page.locator("#one .chart").getAttribute("data-chart") === chart);
      assert.deepEqual(await axeObjections(page), []);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `chart="${chart}" is wider than the page`);
    }
    assert.equal((await seen(page, "one")).dark, theme === "dark");
    await page.locator("#one").getByRole("button", { name: "Table" }).click();
    assert.deepEqual(await axeObjections(page), [], "with the table shown");
    await page.context().close();
  });
}

test("with controls, a reader chooses the chart and writes another text, by keyboard", async () => {
  const page = await open("/three.html");
  await heard(page, "c", "ready");
  const text = page.locator("#c textarea");
  await text.fill("A dog and a cat.");
  await page.evaluate(() => { window.heard = []; });
  await text.press("Control+Enter");
  await heard(page, "c", "trace");
  assert.equal(await page.locator("#c").getAttribute("text"), "A dog and a cat.");
  const select = page.locator("#c select");
  const options = await select.locator("option").allTextContents();
  assert.equal(options.length, new Set(options).size, `two charts of one name: ${options}`);
  await select.selectOption("growth");
  await until("the chosen chart", async () => (await seen(page, "c")).title === "Stream growth");
  await isQuiet(page);
  await page.context().close();
});

test("an <iframe> shows the same, and tells its height", async () => {
  const page = await open("/frame.html");
  await page.evaluate(() => window.addEventListener("message", ({ data }) => {
    if (data?.type === "residual-stream:height") document.getElementById("frame").height = data.height;
  }));
  await page.frameLocator("#frame").locator("canvas").waitFor();
  const frame = page.frames().find((frame) => frame.url().includes("embed.html"));
  await until("the frame to be as high as its content", () => page.evaluate(() => Number(document.getElementById("frame").height) > 300), 60_000);
  assert.equal(await frame.locator(".title").textContent(), "Stream growth");
  assert.equal((await frame.locator("canvas").boundingBox()).height, 240);
  await until("no scrolling inside", () => frame.evaluate(() => document.documentElement.scrollHeight <= innerHeight));
  await isQuiet(page);
  await page.context().close();
});

test("without JavaScript, the author's own content stands", async () => {
  const page = await open("/plain.html", { javaScriptEnabled: false });
  assert.ok(await page.locator("#one p").isVisible());
  await page.context().close();
});

test("in Firefox, charts of a model and of a saved run show under the same strict policy", async () => {
  const firefox = await launchFirefox();
  try {
    for (const [path, ids] of [["/recorded.html", ["one"]], ["/three.html", ["a", "b", "c"]]]) {
      const page = await visitInFirefox(firefox, `${blog.origin}${path}`, { width: 1000, height: 1600 });
      for (const id of ids) {
        await heard(page, id, "ready");
        const { chart, own, error, colours, finding } = await seen(page, id);
        assert.ok(chart && !own && colours > 3, `embed #${id} of ${path}: chart ${chart}, its own content ${own}, ${colours} colours`);
        assert.equal(error, "", `embed #${id} of ${path}`);
        assert.match(finding, /\S/, `embed #${id} of ${path} has no finding`);
      }
      assert.deepEqual([...page.problems, ...await page.evaluate(() => window.violations)], [], `${path}: console or policy`);
    }
  } finally {
    await firefox.close();
  }
});
