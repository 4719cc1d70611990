// "Embed in a page": what it writes shows, on a page of another origin, what the site showed.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { painted, until } from "./support/browser.mjs";
import { heard, openBlog, seen, strict, visit } from "./support/blog.mjs";
import { openLab } from "./support/lab.mjs";
import { axeObjections, isQuiet, openSite } from "./support/site-page.mjs";

let lab;
before(async () => { lab = await openLab(); });
after(() => lab?.close());

/** Clicks a button and returns the file that it saves: its name and text. */
async function saved(page, button) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator(button).click()]);
  return { name: download.suggestedFilename(), text: await readFile(await download.path(), "utf8") };
}

test("snippet, run and picture together show the same chart elsewhere; Esc and Close give the focus back", async () => {
  const page = await openSite(lab.browser, lab.site.origin);
  await page.getByRole("tab", { name: /Stream growth/ }).click();
  const opener = page.getByRole("button", { name: "Embed in a page" });
  await opener.click();
  const dialog = page.getByRole("dialog", { name: "Put this on your own page" });
  assert.ok(await dialog.isVisible());
  assert.deepEqual(await axeObjections(page, "#embed-dialog"), []);
  const snippet = () => page.locator("#embed-snippet").inputValue();
  const [, file] = (await snippet()).match(/<residual-stream src="(residual-stream-[a-z0-9-]+-[0-9a-f]{6}\.json)" chart="growth" style="display:block;min-height:540px">/);
  const run = await saved(page, "#embed-run");
  const picture = await saved(page, "#embed-svg");
  assert.equal(run.name, file);
  const said = await page.locator("#embed-files").textContent();
  const [, size] = said.match(/\.json \((\S+) kB\)/) ?? [];
  assert.ok(said.includes(file) && Math.abs(size * 1000 / Buffer.byteLength(run.text) - 1) < 0.02, `no size of ${run.text.length} bytes: ${said}`);
  assert.match(picture.text, /^<svg/);
  assert.ok((await snippet()).includes(`<img src="${picture.name}" width="960" height="540" style="max-width:100%;height:auto" alt="`), `the snippet does not name ${picture.name}: ${await snippet()}`);
  const png = await saved(page, "#embed-png");
  assert.match(png.name, /\.png$/);

  const blog = await openBlog({
    policy: strict(lab.site.origin).replace("img-src data:", "img-src 'self' data:").replace("style-src 'none'", "style-src 'unsafe-inline'"),
    files: { [`/${file}`]: run.text, [`/${picture.name}`]: picture.text },
    pages: { "/": (await snippet()).replace("<residual-stream", '<residual-stream id="one"') },
  });
  const there = await visit(lab.browser, `${blog.origin}/`);
  await heard(there, "one", "ready");
  assert.equal((await seen(there, "one")).title, "Stream growth");
  await there.context().close();

  await page.locator("#embed-live").check();
  assert.match(await snippet(), /<residual-stream text="[^"]+" chart="growth" style/);
  await page.locator("#embed-copy").click();
  const status = () => page.locator("#embed-status").textContent();
  await until("a word on the copy", async () => await status() !== "");
  await page.locator("#embed-chart").selectOption("distribution");
  assert.equal(await status(), "", "what was said of another snippet is gone");
  assert.match(await snippet(), /chart="distribution" style/);
  blog.pages["/live.html"] = (await snippet()).replace("<residual-stream", '<residual-stream id="one"');
  blog.files[`/${(await snippet()).match(/<img src="([^"]+)"/)[1]}`] = picture.text;
  const live = await visit(lab.browser, `${blog.origin}/live.html`);
  await heard(live, "one", "ready");
  const sentences = await live.evaluate(() => document.getElementById("one").trace.sequences.map(({ text }) => text));
  assert.deepEqual(sentences, JSON.parse(run.text).sequences.map(({ text }) => text));
  await live.context().close();
  await blog.close();

  await page.keyboard.press("Escape");
  assert.ok(!await dialog.isVisible());
  assert.ok(await opener.evaluate((button) => button === document.activeElement), "the focus goes back to the button");
  await opener.click();
  await page.getByRole("button", { name: "Close", exact: true }).click();
  assert.ok(!await dialog.isVisible());
  await isQuiet(page);
  await page.context().close();
});

test("in a column of 720 pixels the snippet overflows nothing and moves nothing, before and after the chart stands", async () => {
  const page = await openSite(lab.browser, lab.site.origin);
  for (const view of ["heatmap", "growth", "evolution"]) {
    await page.getByRole("button", { name: "Embed in a page" }).click();
    await page.locator("#embed-chart").selectOption(view);
    const snippet = await page.locator("#embed-snippet").inputValue();
    const run = await saved(page, "#embed-run"), picture = await saved(page, "#embed-svg");
    await page.keyboard.press("Escape");
    const blog = await openBlog({
      policy: `default-src 'none'; script-src ${lab.site.origin} 'wasm-unsafe-eval'; connect-src 'self'; style-src 'unsafe-inline'; img-src 'self' data:`,
      files: { [`/${run.name}`]: run.text, [`/${picture.name}`]: picture.text },
      pages: { "/": `<div id="column" style="width:720px;margin:0 auto">${snippet.replace("<residual-stream", '<residual-stream id="one"')}${"<p>And so the text goes on below the chart.</p>".repeat(12)}</div>` },
    });
    for (const javaScriptEnabled of [false, true]) {
      const there = await visit(lab.browser, "about:blank", { viewport: { width: 1000, height: 900 }, javaScriptEnabled });
      await there.addInitScript(() => {
        window.shift = 0;
        new PerformanceObserver((list) => { for (const entry of list.getEntries()) window.shift += entry.value; }).observe({ type: "layout-shift", buffered: true });
      });
      await there.goto(`${blog.origin}/`);
      if (javaScriptEnabled) {
        await heard(there, "one", "ready");
        await painted(there);
        const shift = await there.evaluate(() => window.shift);
        assert.ok(shift < 0.02, `the page shifts by ${shift}`);
        assert.ok(await there.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "wider than the page");
      } else {
        const [image, column] = [await there.locator("img").boundingBox(), await there.locator("#column").boundingBox()];
        assert.ok(image.width <= column.width && Math.abs(image.height / image.width - 540 / 960) < 0.01, `the picture is ${image.width} by ${image.height}`);
      }
      await there.context().close();
    }
    await blog.close();
  }
  await page.context().close();
});

test("at 390 pixels the dialog fits, and says so where nothing can be copied", async () => {
  const page = await openSite(lab.browser, lab.site.origin, { width: 390, height: 800 });
  await page.getByRole("button", { name: "Embed in a page" }).click();
  const box = await page.locator("#embed-dialog").boundingBox();
  assert.ok(box.x >= 0 && box.x + box.width <= 390, `the dialog spans ${box.x} to ${box.x + box.width}`);
  await page.locator("#embed-copy").click();
  await page.waitForFunction(() => /^(Copied|Not copied)/.test(document.querySelector("#embed-status").textContent));
  assert.deepEqual(await axeObjections(page, "#embed-dialog"), []);
  await isQuiet(page);
  await page.context().close();
});
