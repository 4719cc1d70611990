// The page as a visitor meets it: demo model, text in, two charts out, at three widths and in two themes.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, afterEach, before, test } from "node:test";
import { launch, until } from "./support/browser.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { serve } from "./support/site.mjs";
import { axeObjections, canvasOf, CHARTS, isQuiet, openSite, run, tableOf, traced, WIDTHS } from "./support/site-page.mjs";

const SCREENSHOTS = fileURLToPath(new URL("../../target/screenshots/", import.meta.url));

let browser, site, page;
before(async () => {
  await mkdir(SCREENSHOTS, { recursive: true });
  site = await serve({ mounts: { [SITE_PATH]: SITE } });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.close();
});
afterEach(async () => {
  await page?.context().close();
  page = undefined;
});

for (const [name, width] of Object.entries(WIDTHS)) {
  for (const theme of ["light", "dark"]) {
    test(`${width} pixels wide, ${theme}: both charts, a clean console, no sideways scrolling`, async () => {
      page = await openSite(browser, site.origin, { width, theme, dpr: name === "phone" ? 3 : 1 });
      for (const chart of CHARTS) {
        const canvas = await canvasOf(page, chart);
        assert.ok(canvas.colours > 10, `#${chart}: the canvas holds ${canvas.colours} colours, as good as blank`);
      }
      const [scroll, client] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(scroll <= client, `the page is ${scroll} pixels wide in a window of ${client}: it scrolls sideways`);
      const tops = await page.evaluate((ids) => ids.map((id) => document.getElementById(id).getBoundingClientRect().top), CHARTS);
      if (width === WIDTHS.wide) assert.equal(tops[0], tops[1], "the charts are not side by side");
      if (width === WIDTHS.phone) assert.ok(tops[1] > tops[0], "the charts are not stacked");
      await page.screenshot({ path: join(SCREENSHOTS, `page-${width}-${theme}.png`), fullPage: true });
      await isQuiet(page);
    });
  }
}

test("axe finds nothing to object to, light and dark, wide and narrow", async () => {
  for (const [width, theme] of [[WIDTHS.wide, "light"], [WIDTHS.wide, "dark"], [WIDTHS.phone, "light"]]) {
    page = await openSite(browser, site.origin, { width, theme });
    assert.deepEqual(await axeObjections(page), [], `axe at ${width} pixels, ${theme}`);
    await page.context().close();
  }
  page = undefined;
});

test("canvases have the screen's resolution, and follow the window's size", async () => {
  page = await openSite(browser, site.origin, { width: WIDTHS.wide, dpr: 2 });
  const before = {};
  for (const chart of CHARTS) {
    before[chart] = await canvasOf(page, chart);
    const { width, height, cssWidth, cssHeight } = before[chart];
    assert.ok(Math.abs(width - 2 * cssWidth) <= 1 && Math.abs(height - 2 * cssHeight) <= 1,
      `#${chart}: ${width} x ${height} pixels behind ${cssWidth} x ${cssHeight} at dpr 2`);
  }
  await page.setViewportSize({ width: WIDTHS.laptop, height: 800 });
  for (const chart of CHARTS) {
    await until(`#${chart} to be drawn anew after a resize`, async () => {
      const now = await canvasOf(page, chart);
      return now.width !== before[chart].width && Math.abs(now.width - 2 * now.cssWidth) <= 1 && now.colours > 10;
    });
  }
});

test("the charts follow the system's theme", async () => {
  page = await openSite(browser, site.origin, { theme: "light" });
  const light = (await canvasOf(page, "evolution")).ink;
  await page.emulateMedia({ colorScheme: "dark" });
  await until("the chart to be drawn in the dark theme", async () => (await canvasOf(page, "evolution")).ink !== light);
});

test("a sentence typed by the reader changes tokens, charts and findings", async () => {
  page = await openSite(browser, site.origin);
  const before = await tableOf(page, "histogram");
  const finding = await page.locator("#evolution .finding").textContent();
  await run(page, "Alice was beginning to get very tired.\nThe whale!");
  await until("tokens of the new text", async () => (await page.locator("#tokens").innerText()).includes("Alice"));
  await traced(page);
  await until("another histogram", async () => await tableOf(page, "histogram") !== before);
  assert.match(await page.locator("#evolution .finding").textContent(), /\d/, `a finding without a number (before: ${finding})`);
  await isQuiet(page);
});

test("every sample set can be traced", async () => {
  page = await openSite(browser, site.origin);
  const samples = page.locator("#samples button");
  assert.ok((await samples.count()) >= 6, "fewer than six sample sets");
  for (const sample of await samples.all()) {
    await sample.click();
    await until(`sample ${await sample.textContent()} to be the chosen one`, async () => (await sample.getAttribute("aria-pressed")) === "true");
    await traced(page);
    assert.equal((await page.locator("#run-error").textContent()).trim(), "", `sample ${await sample.textContent()}`);
  }
  await isQuiet(page);
});

test("the pointer and the arrow keys bring a read-out, and leaving takes it away", async () => {
  page = await openSite(browser, site.origin);
  for (const chart of CHARTS) {
    const canvas = page.locator(`#${chart} canvas`);
    const readout = page.locator(`#${chart} .readout`);
    await canvas.scrollIntoViewIfNeeded();
    await canvas.hover();
    await readout.waitFor({ state: "visible" });
    assert.match(await readout.innerText(), /\d/, `#${chart}: the read-out has no number`);
    await page.mouse.move(1, 1);
    await readout.waitFor({ state: "hidden" });
    await canvas.focus();
    await page.keyboard.press("ArrowRight");
    await readout.waitFor({ state: "visible" });
    const first = await readout.innerText();
    await page.keyboard.press("ArrowRight");
    await until(`#${chart}: the next value`, async () => (await readout.innerText()) !== first);
  }
  await isQuiet(page);
});

test("position 0, the number of bins and the table do what they say", async () => {
  page = await openSite(browser, site.origin);
  const before = await tableOf(page, "histogram");
  const skip = page.getByRole("switch");
  assert.ok(await skip.isChecked(), "position 0 is not left out at first");
  await page.locator("label.switch").click();
  await until("a histogram with position 0", async () => await tableOf(page, "histogram") !== before);
  const withFirst = await tableOf(page, "histogram");
  await page.getByLabel("Bins").fill("7");
  await page.getByLabel("Bins").press("Enter");
  await until("a histogram of seven bins", async () => await tableOf(page, "histogram") !== withFirst);
  await page.locator("#histogram").getByRole("button", { name: "Table" }).click();
  await page.locator("#histogram table").waitFor();
  assert.equal(await page.locator("#histogram table tbody tr").count(), 7, "rows of the table of seven bins");
  await isQuiet(page);
});

test("an empty box says so and keeps the last good result", async () => {
  page = await openSite(browser, site.origin);
  const before = await tableOf(page, "evolution");
  await run(page, "   \n ");
  await until("a message about the empty text", async () => (await page.locator("#run-error").textContent()).trim() !== "");
  assert.equal(await tableOf(page, "evolution"), before, "the last good chart is gone");
  await run(page, "word ".repeat(1000));
  await until("a message about the long text", async () => /\d+ tokens/.test(await page.locator("#run-error").textContent()));
  await run(page, "A short one.");
  await until("the error to go", async () => (await page.locator("#run-error").textContent()).trim() === "");
  await traced(page);
  await isQuiet(page);
});
