// "Embed in a page": what it writes shows, on a page of another origin, what the site showed.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
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
  assert.match(await snippet(), /<residual-stream src="residual-stream\.json" chart="growth">/);
  const run = await saved(page, "#embed-run");
  const picture = await saved(page, "#embed-svg");
  assert.equal(run.name, "residual-stream.json");
  assert.match(picture.text, /^<svg/);
  assert.ok((await snippet()).includes(`<img src="${picture.name}" alt="`), `the snippet does not name ${picture.name}: ${await snippet()}`);
  const png = await saved(page, "#embed-png");
  assert.match(png.name, /\.png$/);

  const blog = await openBlog({
    policy: strict(lab.site.origin).replace("img-src data:", "img-src 'self' data:"), files: { "/residual-stream.json": run.text, [`/${picture.name}`]: picture.text },
    pages: { "/": (await snippet()).replace("<residual-stream", '<residual-stream id="one"') },
  });
  const there = await visit(lab.browser, `${blog.origin}/`);
  await heard(there, "one", "ready");
  assert.equal((await seen(there, "one")).title, "Stream growth");
  await there.context().close();

  await page.locator("#embed-live").check();
  assert.match(await snippet(), /<residual-stream text="[^"]+" chart="growth">/);
  await page.locator("#embed-chart").selectOption("distribution");
  assert.match(await snippet(), /chart="distribution">/);
  blog.pages["/live.html"] = (await snippet()).replace("<residual-stream", '<residual-stream id="one"');
  blog.files["/residual-stream-distribution.svg"] = picture.text;
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
