// The offline page: one file, opened from file:// in Chromium and in Firefox with no network at all. It must give the
// numbers that the site gives, and ask for nothing outside itself.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { until } from "./support/browser.mjs";
import { assertSameRun, BROWSERS, inUse, runText, savedRun, withoutRelaxed } from "./support/browsers.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { tinyModel, tinyModelWithGpt2Tokenizer } from "./support/models.mjs";
import { serve } from "./support/site.mjs";
import { isQuiet, traced } from "./support/site-page.mjs";

const FILE = join(SITE, "residual-stream-offline.html");
const SIZE_LIMIT = 16_000_000;
// The same engine on the same machine: only the browser's compiler differs.
const SAME_ENGINE = 1e-5;
// Fused against separate multiply-adds through twelve blocks, as in workers.test.mjs.
const OTHER_ENGINE = 1e-4;
const TEXT = "The fox sat by the river.\nA crow came, and went again.";

let folder, expected;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "residual-stream-offline-"));
  const site = await serve({ mounts: { [SITE_PATH]: SITE } });
  const [chromium] = BROWSERS;
  const browser = await chromium.launch();
  try {
    const page = await chromium.open(browser);
    await page.goto(`${site.origin}${SITE_PATH}`);
    const first = await savedRun(page);
    await runText(page, TEXT);
    expected = { first, second: await savedRun(page) };
  } finally {
    await browser.close();
    await site.close();
  }
});
after(() => rmSync(folder, { recursive: true }));

/** Writes a model's files and returns their paths. */
function onDisk(name, files) {
  return Object.entries(files).map(([file, bytes]) => {
    const path = join(folder, name, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    return path;
  });
}

/** Drops files on the model panel, as from a file manager. */
function drop(page, files) {
  const plain = Object.entries(files).map(([name, bytes]) => [name, bytes.toString("base64")]);
  return page.evaluate((files) => {
    const dataTransfer = new DataTransfer();
    for (const [name, base64] of files) {
      dataTransfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
    }
    document.getElementById("model").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  }, plain);
}

test("the file is small enough to hand on, and names no other file", () => {
  assert.ok(statSync(FILE).size < SIZE_LIMIT, `${statSync(FILE).size} bytes; the limit is ${SIZE_LIMIT}`);
  const markup = readFileSync(FILE, "utf8").replace(/<(script|style)[^>]*>[\s\S]*?<\/\1>/g, "");
  const addresses = [...markup.matchAll(/<(\w+)\b[^>]*?(?:src|href)="(?!#|data:)([^"]*)"/g)].map(([, element, address]) => `${element} ${address}`);
  assert.deepEqual(addresses.filter((found) => !/^a https:/.test(found)), [], "addresses in its markup, but for links to other sites");
  const policy = markup.match(/Content-Security-Policy" content="([^"]*)"/)?.[1] ?? "";
  assert.doesNotMatch(policy, /unsafe-inline|'unsafe-eval'|'self'|\*(?!\.(huggingface\.co|hf\.co))/, "its policy allows more than its own scripts");
});

for (const { name, launch: launchBrowser, open, pick, closePage } of BROWSERS) {
  describe(name, () => {
    let browser, page;
    before(async () => { browser = await launchBrowser({ network: false }); });
    after(() => browser?.close());
    afterEach(async () => {
      if (!page) return;
      const outside = page.requests.filter((address) => !/^(file|blob|data):/.test(address) || (address.startsWith("file:") && !address.endsWith(".html")));
      await isQuiet(page);
      await closePage(page);
      page = undefined;
      assert.deepEqual(outside, [], "requests for something outside the file");
    });
    const openOffline = async ({ hash = "", init = [] } = {}) => {
      page = await open(browser, { init });
      await page.goto(pathToFileURL(FILE).href + hash);
      await traced(page);
      return page;
    };

    test("the demo model gives the site's numbers for the first text and for one that is typed", async () => {
      await openOffline();
      assertSameRun("the first text", await savedRun(page), expected.first, SAME_ENGINE);
      await runText(page, TEXT);
      assertSameRun("a typed text", await savedRun(page), expected.second, SAME_ENGINE);
    });

    test("the engine without relaxed SIMD is in the file too", async () => {
      await openOffline({ init: [withoutRelaxed] });
      assert.match(await page.evaluate(() => document.getElementById("run-status").textContent), /simd128/);
      assertSameRun("the first text", await savedRun(page), expected.first, OTHER_ENGINE);
    });

    test("a browser that cannot unpack the file says so", async () => {
      page = await open(browser, { init: [() => { delete window.DecompressionStream; }] });
      await page.goto(pathToFileURL(FILE).href);
      const error = () => page.evaluate(() => document.getElementById("run-error").textContent);
      await until("a sentence about DecompressionStream", async () => /DecompressionStream is missing/.test(await error()));
      // What the page's script throws then is no news.
      page.problems.length = 0;
    });

    test("every view can be opened, and the address brings its text back", async () => {
      await openOffline({ hash: `#text=${encodeURIComponent(TEXT)}` });
      assertSameRun("the text of the address", await savedRun(page), expected.second, SAME_ENGINE);
      const views = await page.evaluate(() => [...document.querySelectorAll("[role=tab][data-view]")].map((tab) => tab.dataset.view));
      assert.ok(views.length >= 10, `${views.length} views`);
      for (const view of views) {
        await page.evaluate((view) => document.querySelector(`[role=tab][data-view="${view}"]`).click(), view);
        await traced(page);
        const [selected, error] = await page.evaluate((view) => [
          document.querySelector(`[role=tab][data-view="${view}"]`).getAttribute("aria-selected"),
          document.getElementById("view-error").textContent.trim(),
        ], view);
        assert.deepEqual([selected, error], ["true", ""], `view ${view}: whether it is selected, and its error`);
      }
    });

    test("a model's files that are dropped on the page run, and the demo model afterwards", async () => {
      await openOffline();
      await drop(page, tinyModelWithGpt2Tokenizer());
      await inUse(page, /safetensors/);
      await runText(page, TEXT);
      const run = await savedRun(page);
      assert.deepEqual([run.model.n_layer, run.model.vocab_size], [1, 50257]);
      await page.evaluate(() => document.querySelector('input[name="model"][value="demo"]').click());
      await inUse(page, /Demo/);
      await runText(page, TEXT);
      assertSameRun("the demo again", await savedRun(page), expected.second, SAME_ENGINE);
    });

    test("a model that is worth it runs on several cores, from blob URLs", async () => {
      await openOffline();
      // 22 million parameters in the blocks: from 20 million on, the engine shares them out (crates/engine/src/pool/web_workers.rs).
      const config = { vocab_size: 4096, n_positions: 64, n_embd: 512, n_head: 8, n_layer: 7 };
      await page.evaluate(() => document.querySelector('input[name="model"][value="files"]').click());
      const tokenizer = readFileSync(new URL("../../www/models/demo/tokenizer.json", import.meta.url));
      await pick(page, "#files-input", onDisk("large", { ...tinyModel({ config }), "tokenizer.json": tokenizer }));
      await inUse(page, /safetensors/);
      await runText(page, TEXT);
      const [status, cores] = await page.evaluate(() => [document.getElementById("run-status").textContent, navigator.hardwareConcurrency]);
      assert.match(status, cores === 1 ? /\b1 core\b/ : /\b[2-8] cores\b/, `on ${cores} cores`);
      assert.equal((await savedRun(page)).model.n_layer, 7);
    });
  });
}
