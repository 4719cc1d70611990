// The site in Chromium and in Firefox, with and without relaxed SIMD, with and without cross-origin isolation: the same
// numbers everywhere, on one worker and on two, a storage that outlives the visit, and no violation of the policy.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assertSameRun, BROWSERS, savedRun, withoutRelaxed } from "./support/browsers.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { serve } from "./support/site.mjs";
import { until } from "./support/browser.mjs";
import { isQuiet, said, traced } from "./support/site-page.mjs";

// The same engine on the same machine: only the browser's compiler differs.
const SAME_ENGINE = 1e-5;
// Sums in another order, and fused against separate multiply-adds, through twelve blocks, as in workers.test.mjs.
const OTHER_SUMS = 1e-4;
const FIXTURES = fileURLToPath(new URL("../fixtures/", import.meta.url));
const TEXTS = ["The fox sat by the river and waited for the moon to rise over the hills.", "Once."];
const BLANK = "<!doctype html><html lang=en><meta charset=utf-8><title>blank</title><link rel=icon href=\"data:,\"></html>";

/** What a browser may lack, how the test takes it away, and where the page says what. */
const LACKS = [
  ["no WebAssembly", () => { delete window.WebAssembly; }, "run-error", /WebAssembly is missing.*Chrome or Edge 91/],
  ["WebAssembly refused by a policy", () => {
    const refuse = () => { throw new WebAssembly.CompileError("blocked by a policy"); };
    WebAssembly.Module = function () { refuse(); };
    for (const name of ["compile", "compileStreaming", "instantiate", "instantiateStreaming"]) WebAssembly[name] = async () => refuse();
  }, "run-error", /WebAssembly is refused.*policy/],
  ["no workers", () => { delete window.Worker; }, "run-error", /Web Workers are missing/],
  ["no SIMD", () => { WebAssembly.validate = () => false; }, "model-error", /WebAssembly SIMD is missing.*Saved runs can be opened/],
  ["no blob workers", () => { window.Worker = class { constructor() { throw new Error("refused"); } }; }, "model-error", /a worker cannot be started/],
];

const sites = {};
let expected;
before(async () => {
  for (const isolated of [false, true]) {
    sites[isolated] = await serve({
      mounts: { [SITE_PATH]: SITE, "/fixtures/": FIXTURES }, pages: { "/blank.html": BLANK }, isolated,
    });
  }
  const [chromium] = BROWSERS;
  const browser = await chromium.launch();
  try {
    const page = await chromium.open(browser);
    await page.goto(`${sites.false.origin}${SITE_PATH}`);
    expected = { page: await savedRun(page), package: await byPackage(page, sites.false.origin, { workers: 1 }) };
  } finally {
    await browser.close();
  }
});
after(() => Promise.all(Object.values(sites).map((site) => site.close())));

/** Traces TEXTS with the package on a blank page: { run, simd, workers, isolated }. A Firefox that is driven leaves about one
 *  in fifty workers that start a worker of their own inside `new Worker` for ever (one that is not: none of 8000), so there
 *  who is still loading is asked again, `tries` times in all. */
async function byPackage(page, origin, options, tries = 1) {
  await page.goto(`${origin}/blank.html`);
  await page.evaluate(({ address, texts, options }) => {
    const run = async (at) => {
      const { loadModel } = await import(address);
      at("loading the model");
      const model = await loadModel("demo", options);
      at("tracing");
      const trace = await model.trace(texts, { heads: true });
      const run = JSON.parse(JSON.stringify(trace, (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value)));
      const { simd, workers } = model;
      model.close();
      return { run, simd, workers, isolated: window.crossOriginIsolated };
    };
    window.work = { step: "importing the package" };
    run((step) => { window.work.step = step; })
      .then((found) => { window.work.found = found; }, (error) => { window.work.failed = `${error.code}: ${error.message}`; });
  }, { address: `${origin}${SITE_PATH}pkg/residual-stream.js`, texts: TEXTS, options });
  const late = await until("the package to answer", () => page.evaluate(() => Boolean(window.work.found ?? window.work.failed)))
    .then(() => undefined, (error) => error);
  const { found, failed, step } = await page.evaluate(() => window.work);
  if (late && step === "loading the model" && tries > 1) return byPackage(page, origin, options, tries - 1);
  if (late) throw new Error(`${late.message}; it was ${step}`);
  assert.equal(failed, undefined);
  return found;
}

test("what the markup loads is relative, named after its content, and has the hash that it says", () => {
  const html = readFileSync(join(SITE, "index.html"), "utf8");
  const loads = [...html.matchAll(/<(?:script|link)\b[^>]*?(?:src|href)="([^"]*)"[^>]*>/g)];
  assert.ok(loads.length >= 6, `${loads.length} elements that load something`);
  for (const [element, address] of loads) {
    assert.match(address, /^\.\/[\w-]+-[0-9a-f]{12,16}(_bg)?\.(js|css|wasm|svg)$/, element);
    // Chromium ignores a hash on a preload of fetched bytes, and says so at every visit.
    if (element.includes('as="fetch"')) {
      assert.doesNotMatch(element, /integrity/);
      continue;
    }
    const digest = createHash("sha384").update(readFileSync(join(SITE, address))).digest("base64");
    assert.ok(element.includes(`integrity="sha384-${digest}"`), `${element}: not the hash of the file, sha384-${digest}`);
  }
});

for (const { name, launch, open, closePage } of BROWSERS) {
  describe(name, () => {
    let browser, page;
    before(async () => { browser = await launch(); });
    after(() => browser?.close());
    afterEach(async () => {
      if (page) await closePage(page);
      page = undefined;
    });

    for (const relaxed of [true, false]) {
      for (const isolated of [false, true]) {
        const which = `${relaxed ? "with" : "without"} relaxed SIMD, ${isolated ? "isolated" : "not isolated"}`;
        const init = relaxed ? [] : [withoutRelaxed];

        test(`${which}: the page draws the demo model's numbers`, async () => {
          page = await open(browser, { init });
          await page.goto(`${sites[isolated].origin}${SITE_PATH}`);
          await traced(page);
          assert.equal(await page.evaluate(() => window.crossOriginIsolated), isolated);
          assert.match(await page.evaluate(() => document.getElementById("run-status").textContent), relaxed ? /relaxed/ : /simd128/);
          assertSameRun("the first text", await savedRun(page), expected.page, relaxed ? SAME_ENGINE : OTHER_SUMS);
          const colours = await page.evaluate(() => [...document.querySelectorAll(".chart canvas")].map((canvas) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size;
          }));
          assert.ok(colours.length >= 3 && colours.every((count) => count > 5), `colours of the canvases: ${colours}`);
          await isQuiet(page);
        });

        test(`${which}: the package on one worker and on two`, async () => {
          page = await open(browser, { init });
          for (const workers of [1, 2]) {
            const found = await byPackage(page, sites[isolated].origin, { workers }, name === "Firefox" ? 3 : 1);
            assert.deepEqual({ simd: found.simd, workers: found.workers, isolated: found.isolated },
              { simd: relaxed ? "relaxed" : "simd128", workers, isolated });
            assertSameRun(`${workers} workers`, found.run, expected.package.run, relaxed && workers === 1 ? SAME_ENGINE : OTHER_SUMS);
          }
          assert.deepEqual(page.problems, []);
        });
      }
    }

    for (const [what, init, place, words] of LACKS) {
      test(`${what}: the page says so in a sentence`, async () => {
        page = await open(browser, { init: [init] });
        await page.goto(`${sites.false.origin}${SITE_PATH}`);
        await until(`#${place} to match ${words}`, async () => words.test(await page.evaluate((id) => document.getElementById(id).textContent, place)))
          .catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });
        await until("a chip that says that it failed, and no line that says that something is under way", () => page.evaluate(() =>
          document.getElementById("model-chip").dataset.state === "failed"
          && !/Starting|Loading|Waiting/.test(document.getElementById("run-status").textContent)))
          .catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });
      });
    }

    test("a model that was fetched is kept, and read from the browser's storage on the next visit", async () => {
      const { origin } = sites.false;
      page = await open(browser);
      await page.goto(`${origin}/blank.html`);
      const load = () => page.evaluate(async (addresses) => {
        const { loadModel, cachedModels } = await import(addresses.code);
        const notices = [], progress = [];
        const model = await loadModel(addresses.model, {
          onNotice: (notice) => notices.push(notice), onProgress: (step) => progress.push(step),
        });
        await model.ready;
        const trace = await model.traceTokens([[1, 2, 3, 4]]);
        model.close();
        const kept = (await cachedModels()).map(({ source, complete }) => ({ source, complete }));
        return { notices, kept, last: progress.at(-1), norms: Array.from(trace.sequences[0].mlp_norm) };
      }, { code: `${origin}${SITE_PATH}pkg/residual-stream.js`, model: `${origin}/fixtures/tiny-gpt2/` });
      const first = await load();
      assert.deepEqual(first.kept, [{ source: `${origin}/fixtures/tiny-gpt2/`, complete: true }], JSON.stringify(first.notices));
      await page.goto(`${origin}/blank.html`);
      const second = await load();
      assert.equal(first.last.cached, 0, "bytes from the storage on the first visit");
      assert.equal(second.last.cached, second.last.total, "bytes from the storage on the second visit");
      assert.deepEqual(second.norms, first.norms);
    });
  });
}
