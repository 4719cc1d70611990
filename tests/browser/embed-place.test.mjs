// An embed where pages really put it: dark and light pages, narrow columns, below a picture, on paper, beside strangers' markup.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { heard, openBlog, seen, visit } from "./support/blog.mjs";
import { painted, until } from "./support/browser.mjs";
import { openLab, SITE, SITE_PATH } from "./support/lab.mjs";
import { openSite } from "./support/site-page.mjs";

const TEXT = "Once upon a time there was a little girl.";
const PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

let lab, blog, evil, run;
before(async () => {
  lab = await openLab();
  run = await readFile(join(SITE, "lessons/girl.json"), "utf8");
  const script = `<script src="${lab.site.origin}${SITE_PATH}embed.js" async></script>`;
  const embed = (attributes, own = "") => `<residual-stream id="one" ${attributes}>${own}</residual-stream>`;
  evil = await openBlog({ policy: "default-src *", pages: {} });
  const named = (name) => `<img alt="" name="${name}" src="${evil.origin}/folder/${name}.js">`;
  blog = await openBlog({
    // As most pages have it: no policy that would stop a script of another host.
    policy: "default-src * 'unsafe-inline' 'wasm-unsafe-eval' data: blob:",
    files: { "/run.json": run },
    pages: {
      "/": embed('src="run.json" chart="heatmap"') + script,
      "/column.html": `<div id="column">${embed('src="run.json" chart="heatmap" pin="0.3" controls')}</div>${script}`,
      "/picture.html": embed('src="run.json"', `<img alt="" width="960" height="540" src="${PIXEL}">`) + `<div style="height:3000px"></div>${script}`,
      "/paper.html": `${embed('src="run.json" chart="evolution" controls')}<div style="height:6000px"></div>
        <residual-stream id="low" src="run.json" chart="growth"><p>own content of low</p></residual-stream>
        <residual-stream id="model" text="${TEXT}"><p>own content of model</p></residual-stream>${script}`,
      "/comments.html": `${["currentScript", "baseURI", "head", "body", "documentElement"].map(named).join("")}
        ${embed(`text="${TEXT}"`)}
        <residual-stream id="saved" src="run.json"></residual-stream>${script}`,
    },
  });
});
after(async () => {
  await blog?.close();
  await evil?.close();
  await lab?.close();
});

const open = (path, options) => visit(lab.browser, `${blog.origin}${path}`, { viewport: { width: 1000, height: 900 }, ...options });
const isDark = async (page) => (await seen(page, "one")).dark;

for (const system of ["light", "dark"]) {
  test(`with a ${system} system, theme="auto" is as the page is: by its color-scheme, by its ground, and when it changes`, async () => {
    const page = await open("/", { colorScheme: system });
    await heard(page, "one", "ready");
    assert.equal(await isDark(page), false, "a page that says nothing is white");
    // Light only, dark only, both, in the ways that pages say it.
    for (const [style, dark] of [
      ["background:#111;color:#eee", true], ["background:#fff", false], ["color-scheme:dark", true], ["color-scheme:light", false],
      ["color-scheme:only dark", true], ["color-scheme:light dark", system === "dark"], ["background:oklch(0.2 0.02 260)", true],
      ["background:color(display-p3 .95 .95 .9)", false], ["background-image:linear-gradient(#000,#222);color:#eee", true], ["", false],
      ["background:rgb(20 20 20 / 90%)", true], ["background:rgba(0,0,0,.1)", false],
    ]) {
      await page.evaluate((style) => { document.documentElement.style.cssText = style; }, style);
      await until(`a ${dark ? "dark" : "light"} chart for "${style}"`, async () => await isDark(page) === dark, 5000);
    }
    // A class on the body with a colour that fades, as themes have it; and a dark box on a light page.
    await page.evaluate(() => {
      document.head.insertAdjacentHTML("beforeend", "<style>body { background: #fff; transition: background-color .2s } body.night { background: #101010 }</style>");
      document.body.className = "night";
    });
    await until("a dark chart once the page has faded", () => isDark(page), 5000);
    await page.evaluate(() => { document.body.className = ""; });
    await until("a light one again", async () => !await isDark(page), 5000);
    await page.evaluate(() => {
      const box = document.body.appendChild(document.createElement("div"));
      box.style.background = "#123";
      box.append(document.getElementById("one"));
    });
    await until("a dark chart in a dark box", () => isDark(page), 5000);
    await page.evaluate(() => { document.getElementById("one").theme = "light"; });
    await until("theme=\"light\" to win", async () => !await isDark(page), 5000);
    await page.context().close();
  });
}

test("in narrow columns of a wide screen nothing lies over the title or leaves the card", async () => {
  const page = await open("/column.html", { viewport: { width: 1440, height: 1400 } });
  await heard(page, "one", "ready");
  for (const width of [720, 600, 480, 360, 320, 260, 180]) {
    await page.evaluate((width) => { document.getElementById("column").style.width = `${width}px`; }, width);
    await painted(page);
    const wrong = await page.evaluate(() => {
      const root = document.getElementById("one").shadowRoot;
      const box = (element) => element.getBoundingClientRect();
      const card = box(root.querySelector(".frame")), title = box(root.querySelector(".title"));
      const shown = [...root.querySelectorAll("button, select, input, canvas, .legend li, .finding, .title, .lead")].filter((element) => element.checkVisibility());
      const name = (element) => `${element.localName} "${element.textContent.slice(0, 20)}"`;
      const out = shown.filter((element) => box(element).left < card.left - 0.5 || box(element).right > card.right + 0.5).map((element) => `${name(element)} leaves the card`);
      const over = shown.filter((element) => element.matches("button")).filter((element) => {
        const { left, right, top, bottom } = box(element);
        return left < title.right && right > title.left && top < title.bottom && bottom > title.top;
      }).map((element) => `${name(element)} lies over the title`);
      return [...out, ...over, ...(title.width < 60 ? [`the title has ${title.width} pixels`] : []), ...(shown.length < 8 ? ["nothing to look at"] : [])];
    });
    assert.deepEqual(wrong, [], `at ${width} pixels`);
  }
  await page.context().close();
});

test("in a row of boxes an embed is as wide as its content, not gone", async () => {
  const page = await open("/column.html");
  await page.evaluate(() => { document.getElementById("column").style.display = "flex"; });
  await heard(page, "one", "ready");
  assert.ok((await page.locator("#one").boundingBox()).width > 300);
  await page.context().close();
});

for (const [width, height] of [[900, 500], [1200, 500]]) {
  test(`at ${width} by ${height} a chart below a picture of its own loads while the picture is in view`, async () => {
    const page = await open("/picture.html", { viewport: { width, height } });
    await heard(page, "one", "ready", 15_000);
    assert.equal(await page.evaluate(() => window.scrollY), 0);
    await page.context().close();
  });
}

test("before anything is loaded, the element is a block as high as the author's own content", async () => {
  const page = await open("/picture.html", { viewport: { width: 900, height: 500 } });
  const early = await page.evaluate(() => {
    const element = document.createElement("residual-stream");
    element.innerHTML = '<img alt="" width="960" height="540">';
    const below = document.body.appendChild(document.createElement("div"));
    below.style.cssText = "position:absolute;top:90000px;width:600px";
    below.append(element);
    const { width, height } = element.getBoundingClientRect();
    return { display: getComputedStyle(element).display, width, height };
  });
  assert.deepEqual(early, { display: "block", width: 600, height: 337.5 });
  await page.context().close();
});

test("on paper: no buttons, legend marks, no chart in two, dark on light; what is not loaded prints the author's own content", async () => {
  const page = await open("/paper.html");
  await heard(page, "one", "ready");
  await page.evaluate(() => { document.getElementById("one").theme = "dark"; });
  await until("a dark chart", () => isDark(page));
  await page.emulateMedia({ media: "print" });
  const printed = await page.evaluate(() => {
    // What a browser says before it lays out for paper; it waits for nothing that takes longer.
    window.dispatchEvent(new Event("beforeprint"));
    const root = document.getElementById("one").shadowRoot;
    const canvas = root.querySelector("canvas"), { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const inked = [];
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) inked.push((data[at] + data[at + 1] + data[at + 2]) / 3);
    const style = (selector) => getComputedStyle(root.querySelector(selector));
    return {
      buttons: [...root.querySelectorAll("button, select, textarea")].filter((element) => element.checkVisibility()).length,
      marks: style(".swatch").printColorAdjust, whole: style(".frame").breakInside, ink: style(".title").color,
      darkest: Math.min(...new Set(inked)), ratio: canvas.width / canvas.offsetWidth,
      own: ["low", "model"].map((id) => document.getElementById(id).firstElementChild.checkVisibility()),
    };
  });
  assert.equal(printed.buttons, 0);
  assert.equal(printed.marks, "exact");
  assert.equal(printed.whole, "avoid");
  assert.equal(printed.ink, "rgb(28, 27, 26)");
  assert.ok(printed.darkest < 120, `letters on paper are dark: ${printed.darkest}`);
  assert.ok(printed.ratio >= 2.9, `${printed.ratio} pixels for each of the chart's`);
  assert.deepEqual(printed.own, [true, true]);
  await page.evaluate(() => window.dispatchEvent(new Event("afterprint")));
  await page.emulateMedia({ media: "screen" });
  // The saved run was fetched, so that the next print has it; the model was not.
  await heard(page, "low", "ready");
  assert.ok((await seen(page, "low")).chart);
  assert.ok((await seen(page, "model")).own);
  assert.equal(page.workers().length, 0, "printing starts no model");
  assert.ok(await isDark(page), "the screen is dark again");
  await page.context().close();
});

test("the site on paper: no chart lies over another, no buttons, letters as they are", async () => {
  for (const theme of ["light", "dark"]) {
    const page = await openSite(lab.browser, lab.site.origin, { theme });
    await page.emulateMedia({ media: "print" });
    await page.setViewportSize({ width: 720, height: 1000 });
    const found = await page.evaluate(() => {
      window.dispatchEvent(new Event("beforeprint"));
      const box = (element) => element.getBoundingClientRect();
      const panels = [...document.querySelectorAll(".panel")].filter((element) => element.checkVisibility());
      const over = [];
      for (const [index, panel] of panels.entries()) {
        for (const other of panels.slice(index + 1)) {
          const [a, b] = [box(panel), box(other)];
          if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) over.push(`${panel.id || panel.className} and ${other.id || other.className}`);
        }
      }
      return { panels: panels.length, over, buttons: [...document.querySelectorAll(".charts button, .tabs button")].filter((button) => button.checkVisibility()).length };
    });
    assert.deepEqual({ over: found.over, buttons: found.buttons }, { over: [], buttons: 0 }, theme);
    assert.ok(found.panels >= 4, `${found.panels} panels`);
    await page.context().close();
  }
});

test("a reader's comment cannot lead the embed to another host's scripts, by any name", async () => {
  const page = await open("/comments.html");
  const scripts = [];
  page.on("request", (request) => { if (request.resourceType() === "script") scripts.push(request.url()); });
  assert.ok(await page.evaluate(() => !(document.currentScript instanceof HTMLScriptElement) && !!document.currentScript), "the names do shadow the document's own");
  await heard(page, "saved", "ready");
  await heard(page, "one", "ready");
  assert.deepEqual((await seen(page, "one")).error, "");
  assert.ok(scripts.every((url) => url.startsWith(`${lab.site.origin}${SITE_PATH}embed-`) || url.startsWith(`blob:${blog.origin}/`)), `scripts: ${scripts}`);
  assert.ok(scripts.length >= 3, `scripts: ${scripts}`);
  assert.ok(evil.requests.every((path) => /^\/folder\/\w+\.js$/.test(path)), `asked of the other host: ${evil.requests}`);
  await page.context().close();
});
