// What the six main states of the page look like, beside pictures of them that were looked at. Compared cell by cell of
// SIDE pixels, by mean colour: another version of a font moves a few cells, a panel that is gone or black many.
// Renew with RENEW_PICTURES=1, then look at tests/browser/pictures/*.png.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import { launch, until } from "./support/browser.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { serve } from "./support/site.mjs";
import { openSite, run, traced, WIDTHS } from "./support/site-page.mjs";

const PICTURES = fileURLToPath(new URL("./pictures/", import.meta.url));
const FAILED = fileURLToPath(new URL("../../target/screenshots/", import.meta.url));
// Side of a cell in pixels; how far a cell's mean colour may be off, of 255; how many cells may be further off.
const SIDE = 12;
const OFF = 40;
const SHARE = 0.06;

const STATES = {
  "first-visit": { width: WIDTHS.wide },
  "first-visit-dark": { width: WIDTHS.wide, theme: "dark" },
  "first-visit-phone": { width: WIDTHS.phone },
  lens: { width: WIDTHS.wide, async act(page) {
    await page.click("#tab-lens");
    await until("the lens", async () => /leads from/.test(await page.locator("#view .finding").textContent()));
  }, part: "#view" },
  ablated: { width: WIDTHS.laptop, async act(page) {
    await page.click("#tab-change");
    await page.click("#off-add");
    await until("the change", async () => /widest change/.test(await page.locator("#view .finding").textContent()));
  } },
  refused: { width: WIDTHS.wide, async act(page) {
    await run(page, "");
    await until("the refusal", async () => (await page.locator("#run-error").textContent()) !== "");
  } },
};

let browser, site;
before(async () => {
  await mkdir(FAILED, { recursive: true });
  site = await serve({ mounts: { [SITE_PATH]: SITE } });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.close();
});

/** Mean colours of a picture's cells, found by the browser: it has the decoder. */
const cellsOf = (page, png) => page.evaluate(async ([base64, side]) => {
  const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type: "image/png" }));
  const [width, height] = [Math.floor(bitmap.width / side), Math.floor(bitmap.height / side)];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width * side, height * side, 0, 0, width, height);
  return { width, height, data: [...context.getImageData(0, 0, width, height).data] };
}, [png.toString("base64"), SIDE]);

for (const [name, { width, theme, act, part }] of Object.entries(STATES)) {
  test(`the page looks as it was looked at: ${name}`, async () => {
    const page = await openSite(browser, site.origin, { width, theme });
    try {
      await act?.(page);
      await traced(page);
      // The status line tells times, and the storage's size is the machine's.
      await page.evaluate(() => { for (const id of ["run-status", "kept-sum"]) document.getElementById(id).style.visibility = "hidden"; });
      const png = await (part ? page.locator(part).screenshot() : page.screenshot());
      const file = join(PICTURES, `${name}.png`);
      if (process.env.RENEW_PICTURES) return await writeFile(file, png);
      assert.ok(existsSync(file), `${file} is missing: RENEW_PICTURES=1 makes it; look at it`);
      const blank = await page.context().newPage();
      const [found, expected] = [await cellsOf(blank, png), await cellsOf(blank, await readFile(file))];
      await writeFile(join(FAILED, `picture-${name}.png`), png);
      assert.equal(found.width, expected.width, `${name}: another width`);
      const rows = Math.min(found.height, expected.height);
      assert.ok(Math.abs(found.height - expected.height) * SIDE <= 60, `${name} is ${found.height * SIDE} pixels high, was ${expected.height * SIDE}`);
      let off = 0;
      for (let cell = 0; cell < rows * found.width; cell += 1) {
        const at = [0, 1, 2].map((channel) => Math.abs(found.data[4 * cell + channel] - expected.data[4 * cell + channel]));
        if (Math.max(...at) > OFF) off += 1;
      }
      const share = off / (rows * found.width);
      assert.ok(share <= SHARE, `${name}: ${(100 * share).toFixed(1)} % of the picture differs; compare target/screenshots/picture-${name}.png with tests/browser/pictures/${name}.png`);
    } finally {
      await page.context().close();
    }
  });
}
