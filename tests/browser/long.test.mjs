// A text as long as GPT-2 takes, through as many blocks as the largest has: every view draws, tables show a part and more on
// demand, grids zoom, a run says how far it is and can be stopped, and what one view asked for stays for the others.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, painted, until } from "./support/browser.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { fixture, tinyModel } from "./support/models.mjs";
import { serve } from "./support/site.mjs";
import { axeObjections, canvasOf, isQuiet, openSite, run, traced } from "./support/site-page.mjs";

const LAYERS = 48;
const POSITIONS = 1024;
const WORDS = "It was a bright cold day, and the clocks of the old town were striking as he walked on. ";

let browser, site, page, folder;
before(async () => {
  site = await serve({ mounts: { [SITE_PATH]: SITE } });
  browser = await launch();
  folder = await mkdtemp(join(tmpdir(), "residual-stream-"));
  const config = { vocab_size: 4096, n_positions: POSITIONS, n_embd: 32, n_head: 4, n_layer: LAYERS };
  const files = { ...tinyModel({ config }), "tokenizer.json": fixture("../../www/models/demo/tokenizer.json") };
  for (const [name, data] of Object.entries(files)) await writeFile(join(folder, name), data);
  page = await openSite(browser, site.origin);
  await page.click("input[value=files]");
  await page.setInputFiles("#files-input", Object.keys(files).map((name) => join(folder, name)));
  await until("the model", async () => /context 1024/.test(await page.locator("#model-detail").textContent()), 60_000);
  await traced(page);
  await run(page, WORDS);
  await traced(page);
  const each = Number(/(\d+) tokens/.exec(await page.locator("#run-status").textContent())[1]);
  // The space before the next sentence may join a token: a little below the limit.
  await run(page, WORDS.repeat(Math.floor((POSITIONS - 20) / each)));
  await traced(page);
});
after(async () => {
  await browser?.close();
  await site?.close();
  if (folder) await rm(folder, { recursive: true });
});

const finding = () => page.locator("#view .finding").textContent();
const idle = () => until("nothing to be under way", () => page.evaluate(() => !document.querySelector("#run-status[data-busy]")), 120_000);

async function choose(view) {
  await page.click(`#tab-${view}`);
  await until(`the view ${view}`, async () => await page.getAttribute(`#tab-${view}`, "aria-selected") === "true");
  await painted(page);
  await idle();
}

test("every view draws a long text, and its table shows a part, and more on demand", async () => {
  const tokens = Number(/([\d,]+) tokens/.exec(await page.locator("#run-status").textContent())[1].replace(",", ""));
  assert.ok(tokens > 900 && tokens <= POSITIONS, `a text of ${tokens} tokens is not as long as the model takes`);
  for (const view of ["heatmap", "growth", "relative", "direction", "heads", "pattern", "lens", "attribution", "next"]) {
    await choose(view);
    await until(`${view}: a finding`, async () => await finding() !== "", 60_000);
    assert.ok((await canvasOf(page, "view")).colours > 10, `${view}: blank`);
    await page.click("#view [data-tool=table]");
    const cells = await page.locator("#view td").count();
    assert.ok(cells > 20 && cells < 3000, `${view}: a table of ${cells} cells`);
    if (view === "pattern") {
      const rows = await page.locator("#view tbody tr").count();
      assert.match(await page.locator("#view caption").textContent(), new RegExp(`here ${rows} of ${tokens} rows, \\d+ of ${tokens + 3} columns`));
      await page.click("#view .more-rows");
      await until("more rows", async () => await page.locator("#view tbody tr").count() > rows);
      assert.deepEqual(await axeObjections(page, "#view"), [], "axe with a long table");
    }
    await page.click("#view [data-tool=table]");
  }
  await isQuiet(page);
});

test("what one view asked for stays for the others, and is in the saved run", async () => {
  for (const view of ["heads", "lens", "attribution"]) await choose(view);
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("#save-json")]);
  const [sequence] = JSON.parse(await readFile(await file.path(), "utf8")).sequences;
  const t = sequence.ids.length;
  assert.equal(sequence.head_norm?.length, LAYERS * 4 * t, "the heads are gone");
  assert.equal(sequence.lens?.ids.length, (LAYERS + 1) * t * 5, "the lens is gone");
  assert.equal(sequence.attribution?.attn.length, LAYERS, "the attribution is gone");
});

test("a run that takes its time says how far it is where the chart will be, and can be stopped there", async () => {
  await choose("growth");
  // Another text, so that nothing of it is remembered.
  await run(page, `Then ${WORDS.repeat(30)}`);
  await traced(page);
  const before = await page.locator("#evolution .finding").textContent();
  await page.evaluate(() => {
    window.said = [];
    new MutationObserver(() => window.said.push(document.querySelector("#view-busy-text").textContent))
      .observe(document.querySelector("#view-busy"), { subtree: true, childList: true, characterData: true });
  });
  await page.click("#tab-lens");
  await until("the share", () => page.evaluate(() => window.said.some((text) => /logit lens, \d+ %/.test(text))), 60_000);
  await page.click("#view-stop");
  await until("the chart to say what is missing", async () => /without the logit lens/.test(await page.locator("#view canvas").getAttribute("aria-label")));
  assert.equal(await page.isVisible("#view-busy"), false);
  assert.equal(await page.locator("#evolution .finding").textContent(), before, "stopping took the charts away");
  await choose("lens");
  await until("the lens after all", async () => /leads from/.test(await finding()), 120_000);
  await isQuiet(page);
});

test("patching says how far it is and can be stopped, and what it has done stays", async () => {
  await choose("growth");
  const text = WORDS.repeat(8);
  await run(page, `${text}\n${text.replace("bright cold", "cold bright")}`);
  await traced(page);
  await page.click("#tab-patching");
  await until("a layer to be done", async () => /Patching: layer \d+ is done/.test(await page.locator("#run-status").textContent()), 120_000);
  await page.click("#stop");
  await until("it to stop", async () => await page.locator("#run-status").textContent() === "Stopped.");
  assert.match(await page.locator("#view .notes").textContent(), /\d+ of 48 layers so far/);
  assert.ok(await page.isDisabled("#stop"), "Stop stays though nothing is under way");
  await choose("lens");
  await until("the lens, at once", async () => /leads from/.test(await finding()), 60_000);
  await isQuiet(page);
});
