// Charts that a page scales, turns or zooms, as slides do: what the pointer finds is what is drawn under it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { heard, openBlog, seen, visit, visitInFirefox } from "./support/blog.mjs";
import { launch, painted, until } from "./support/browser.mjs";
import { launchFirefox } from "./support/firefox.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { serve } from "./support/site.mjs";
import { openSite } from "./support/site-page.mjs";

// In the middle of tokens: Firefox is driven to whole pixels.
const PLACES = [0.34, 0.51, 0.68, 0.77];
const WAYS = [
  "transform:scale(.5)", "transform:scale(.6)", "transform:scale(.8)", "transform:scale(1)", "transform:scale(1.4)",
  "transform:translate(60px,30px) scale(.8)", "transform:scale(1.3,.7)", "transform:rotate(8deg)", "transform:rotate(90deg) scale(.6)",
  "zoom:.5", "zoom:.8", "zoom:1.4", "zoom:.8;transform:scale(1.4)",
];

let site, blog, browser;
before(async () => {
  site = await serve({ mounts: { [SITE_PATH]: SITE } });
  browser = await launch();
  const script = `<script src="${site.origin}${SITE_PATH}embed.js"></script>`;
  const embed = '<residual-stream id="one" src="run.json" chart="heatmap"></residual-stream>';
  blog = await openBlog({
    policy: `default-src 'none'; script-src ${site.origin} 'wasm-unsafe-eval'; connect-src 'self'; style-src 'unsafe-inline'; img-src data:`,
    files: { "/run.json": await readFile(join(SITE, "lessons/girl.json"), "utf8") },
    pages: {
      "/": `<div id="box" style="position:absolute;left:60px;top:80px;width:700px">${embed}</div>${script}`,
      // As reveal.js lays out its slides: a stage in the middle, scaled to the window.
      "/slides.html": `<div style="position:fixed;inset:0;overflow:hidden"><div id="box" style="position:absolute;left:50%;top:50%;width:960px;height:700px;transform:translate(-50%,-50%) scale(.6)">
        <section style="position:absolute;width:100%;top:40px"><residual-stream id="one" src="run.json" chart="heatmap" controls></residual-stream></section></div></div>${script}`,
    },
  });
});
after(async () => {
  await browser?.close();
  await blog?.close();
  await site?.close();
});

/** Where a share of a canvas' width and height lies in the window, whatever is done to `#box`: by its transform's own matrix. */
const placeOf = (page, across, down) => page.evaluate(([across, down]) => {
  const box = document.getElementById("box"), canvas = document.getElementById("one").shadowRoot.querySelector("canvas");
  const style = box.style.cssText;
  box.style.transform = "none";
  const [outer, inner] = [box, canvas].map((element) => element.getBoundingClientRect());
  box.style.cssText = style;
  const middle = { x: outer.x + outer.width / 2, y: outer.y + outer.height / 2 };
  // A matrix counts in the pixels of the box, which `zoom` has made larger or smaller.
  const zoom = box.currentCSSZoom, { a, b, c, d, e, f } = new DOMMatrix(getComputedStyle(box).transform);
  const [x, y] = [inner.x + inner.width * across - middle.x, inner.y + inner.height * down - middle.y];
  return { x: middle.x + a * x + c * y + e * zoom, y: middle.y + b * x + d * y + f * zoom };
}, [across, down]);

/** What is found at places of the chart: the read-out's title, how far from the pointer it stands, the pin that a click sets. */
async function found(page) {
  const all = [];
  for (const across of PLACES) {
    const { x, y } = await placeOf(page, across, 0.4);
    await page.mouse.move(x, y);
    const title = await until(`a read-out at ${across} of the width`, () => page.evaluate(() => {
      const box = document.getElementById("one").shadowRoot.querySelector(".readout");
      return box.checkVisibility() && box.querySelector("b").textContent;
    }));
    // The box stands beside the pointer: within its own size and the gap, in the window's pixels.
    const away = await page.evaluate(async ({ x, y }) => {
      await new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
      const { left, right, top, bottom } = document.getElementById("one").shadowRoot.querySelector(".readout").getBoundingClientRect();
      return Math.hypot(Math.max(left - x, 0, x - right), Math.max(top - y, 0, y - bottom));
    }, { x, y });
    await page.mouse.down();
    await page.mouse.up();
    const pin = await until("a pin", () => page.evaluate(() => document.getElementById("one").getAttribute("pin")));
    await page.evaluate(() => document.getElementById("one").removeAttribute("pin"));
    await page.mouse.move(2, 2);
    await until("the read-out to go with the pointer", async () => (await seen(page, "one")).readOut === "");
    all.push({ across, title, pin, away });
  }
  return all;
}

async function agrees(page, name) {
  await heard(page, "one", "ready");
  const plain = await found(page);
  assert.ok(new Set(plain.map(({ pin }) => pin)).size === PLACES.length, `${PLACES.length} tokens: ${JSON.stringify(plain)}`);
  for (const way of WAYS) {
    await page.evaluate((way) => { document.getElementById("box").style.cssText = `position:absolute;left:60px;top:80px;width:700px;${way}`; }, way);
    const here = await found(page);
    for (const [index, { across, title, pin, away }] of here.entries()) {
      assert.deepEqual([title, pin], [plain[index].title, plain[index].pin], `${name}, ${way}, ${across} of the width`);
      assert.ok(away < 45, `${name}, ${way}: the read-out stands ${away} pixels from the pointer`);
    }
    // Hovered, the chart has as many pixels as it takes up: letters are sharp, and not wider than they are high.
    const [ratio, wanted, squeezed] = await page.evaluate(() => {
      const canvas = document.getElementById("one").shadowRoot.querySelector("canvas");
      const { width, height } = canvas.getBoundingClientRect();
      const side = Math.sqrt(width * height / (canvas.offsetWidth * canvas.offsetHeight)) * devicePixelRatio;
      return [canvas.width / canvas.offsetWidth, side, (canvas.width / canvas.offsetWidth) / (canvas.height / canvas.offsetHeight)];
    });
    // Where it does not lie on the screen's pixels, up to twice as many.
    assert.ok(ratio / wanted > 0.98 && ratio / wanted < 2.05, `${name}, ${way}: ${ratio} pixels for each of the chart's, ${wanted} on the screen`);
    assert.ok(Math.abs(squeezed - 1) < 0.02, `${name}, ${way}: letters are squeezed by ${squeezed}`);
  }
}

test("under every transform and zoom the pointer finds, pins and reads what is drawn there", async () => {
  const page = await visit(browser, `${blog.origin}/`, { viewport: { width: 1300, height: 1100 } });
  await agrees(page, "Chromium");
  await page.context().close();
});

test("in Firefox, too", async () => {
  const firefox = await launchFirefox();
  try {
    await agrees(await visitInFirefox(firefox, `${blog.origin}/`, { width: 1300, height: 1100 }), "Firefox");
  } finally {
    await firefox.close();
  }
});

test("wheel and drag move the columns under the pointer, scaled as they are plain", async () => {
  const page = await visit(browser, `${blog.origin}/`, { viewport: { width: 1300, height: 1100 } });
  await heard(page, "one", "ready");
  const table = () => page.evaluate(() => {
    const root = document.getElementById("one").shadowRoot;
    return root.querySelector(".readout b").textContent;
  });
  const ends = async () => {
    const both = [];
    await page.locator("#one canvas").focus();
    for (const key of ["Home", "End"]) {
      await page.keyboard.press(key);
      await painted(page);
      both.push(await table());
    }
    await page.evaluate(() => document.activeElement.blur());
    return both;
  };
  const walk = async () => {
    const { x, y } = await placeOf(page, 0.75, 0.4);
    await page.mouse.move(x, y);
    await page.keyboard.down("Control");
    await page.mouse.wheel(0, -100);
    await page.keyboard.up("Control");
    await painted(page);
    const zoomed = await ends();
    const from = await placeOf(page, 0.3, 0.4), to = await placeOf(page, 0.7, 0.4);
    await page.mouse.move(from.x, from.y);
    await page.mouse.down();
    await page.mouse.move(to.x, to.y, { steps: 8 });
    await page.mouse.up();
    await painted(page);
    return { zoomed, dragged: await ends() };
  };
  const plain = await walk();
  assert.notDeepEqual(plain.zoomed, plain.dragged);
  for (const way of ["transform:scale(.6)", "transform:scale(1.4)", "zoom:1.4"]) {
    await page.evaluate((way) => {
      document.getElementById("box").style.cssText = `position:absolute;left:60px;top:80px;width:700px;${way}`;
    }, way);
    // Back to all columns.
    for (let i = 0; i < 8; i += 1) await page.locator("#one").getByRole("button", { name: "More tokens" }).evaluate((button) => button.click());
    await painted(page);
    assert.deepEqual(await walk(), plain, way);
  }
  await page.context().close();
});

test("on slides, what is typed in a chart does not turn them, and a chart is sharp after the stage has grown", async () => {
  const page = await visit(browser, `${blog.origin}/slides.html`, { viewport: { width: 1100, height: 760 } });
  await heard(page, "one", "ready");
  await page.evaluate(() => {
    window.turned = [];
    document.addEventListener("keydown", ({ key }) => window.turned.push(key));
    const one = document.getElementById("one");
    Object.assign(one, { text: "A cat.", src: null });
    one.src = "run.json";
  });
  await page.locator("#one canvas").focus();
  await page.keyboard.press("ArrowRight");
  await until("a read-out by keys", async () => (await seen(page, "one")).readOut !== "");
  await page.locator("#one .choices select").focus();
  await page.keyboard.press("n");
  assert.deepEqual(await page.evaluate(() => window.turned), [], "keys that the deck heard");
  await page.locator("#one canvas").focus();
  await page.keyboard.press("PageDown");
  assert.deepEqual(await page.evaluate(() => window.turned), ["PageDown"], "keys that mean nothing to a chart are the deck's");

  const pixels = () => page.evaluate(() => document.getElementById("one").shadowRoot.querySelector("canvas").width);
  const small = await pixels();
  await page.setViewportSize({ width: 1600, height: 1200 });
  await page.evaluate(() => {
    document.getElementById("box").style.transform = "translate(-50%,-50%) scale(1.4)";
    window.dispatchEvent(new Event("resize"));
  });
  await until("more pixels for a larger slide", async () => Math.abs(await pixels() / small - 1.4 / 0.6) < 0.03);
  await page.evaluate(() => Object.assign(document.getElementById("box").style, { transition: "transform 50ms", transform: "translate(-50%,-50%) scale(.8)" }));
  await until("fewer after the overview's transition", async () => Math.abs(await pixels() / small - 0.8 / 0.6) < 0.03);
  await page.context().close();
});

test("the site's own charts, on a page that is zoomed or scaled by its reader's style", async () => {
  const page = await openSite(browser, site.origin);
  const titleAt = async () => {
    await page.mouse.move(2, 2);
    const box = await page.locator("#evolution canvas").boundingBox();
    await page.mouse.move(box.x + box.width * 0.6, box.y + box.height * 0.5);
    const readout = page.locator("#evolution .readout");
    await until("a read-out", () => readout.isVisible());
    return readout.locator("b").textContent();
  };
  await page.locator("#evolution canvas").scrollIntoViewIfNeeded();
  const plain = await titleAt();
  for (const way of ["zoom:.8", "zoom:1.2", "transform:scale(.8);transform-origin:0 0"]) {
    await page.evaluate((way) => { document.body.style.cssText = way; window.scrollTo(0, 0); }, way);
    await painted(page);
    await page.locator("#evolution canvas").scrollIntoViewIfNeeded();
    assert.equal(await titleAt(), plain, way);
  }
  await page.context().close();
});
