// "Kept in this browser": what the page lists, loads and deletes of the browser's storage, and what it says when
// keeping does not work. The stand-in plays huggingface.co, so that the page's own addresses are what is tested.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Hub } from "./hub.mjs";
import { launch, openPage, until } from "./support/browser.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { tinyModel, tinyModelWithGpt2Tokenizer } from "./support/models.mjs";
import { serve } from "./support/site.mjs";
import { axeObjections, isQuiet, openSite, run, said, traced, WIDTHS } from "./support/site-page.mjs";

const CDN = "cdn-lfs.hf.co";
const GPT2 = "https://huggingface.co/openai-community/gpt2/resolve/main/";
let browser, hub, page, site, folder;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "residual-stream-cache-"));
  const [key, cert] = ["key.pem", "cert.pem"].map((name) => join(folder, name));
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=huggingface.co",
    "-keyout", key, "-out", cert], { stdio: "ignore" });
  hub = await new Hub({ tls: { key: readFileSync(key), cert: readFileSync(cert) }, cdnName: `https://${CDN}` }).start();
  site = await serve({ mounts: { [SITE_PATH]: SITE } });
  browser = await launch([
    "--ignore-certificate-errors",
    `--host-resolver-rules=MAP huggingface.co:443 127.0.0.1:${hub.port}, MAP ${CDN}:443 127.0.0.1:${hub.cdnPort}`,
  ]);
  const tiny = tinyModelWithGpt2Tokenizer();
  await hub.add("openai-community/gpt2", tiny);
  await hub.add("someone/tiny", tiny);
  // Large enough to be read in pieces, and to be stopped in the middle.
  await hub.add("someone/slow", { ...tiny, ...tinyModel({ config: { vocab_size: 50257, n_positions: 64, n_embd: 64, n_head: 4, n_layer: 6 } }) });
});
after(async () => {
  await browser?.close();
  await hub?.close();
  await site?.close();
  rmSync(folder, { recursive: true });
});
// Every test has a profile of its own, and with it an empty storage.
beforeEach(async () => {
  hub.reset();
  page = await openSite(browser, site.origin);
});
afterEach(async () => {
  await page?.context().close();
  assert.deepEqual(hub.violations(), [], "requests to the hub that need a preflight, or that failed in the stand-in");
});

const kept = () => page.locator("#kept");
const rows = () => page.locator("#kept-list li");
const rowState = (key) => page.locator(`[data-row="${key}"]`).textContent();
const ready = (words) => async () => {
  const chip = page.locator("#model-chip");
  return (await chip.getAttribute("data-state")) === "ready" && words.test(await chip.innerText());
};
const waitFor = (what, look) => until(what, look)
  .catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });

/** Presses the load button as often as it offers something, until `done`. */
function load(done) {
  return waitFor("loading to end", async () => {
    const button = page.locator("#model-load");
    if (await done()) return true;
    if (await button.isVisible() && await button.isEnabled()) await button.click({ timeout: 1000 }).catch(() => {});
    return false;
  });
}

async function loadGpt2() {
  await page.locator('input[name="model"][value="gpt2"]').check();
  await load(ready(/^GPT-2/));
}

async function chooseRepo(id) {
  await page.locator('input[name="model"][value="repo"]').check();
  await page.getByLabel("Repo id").fill(id);
}

async function openList() {
  if (!(await kept().evaluate((details) => details.open))) await kept().locator("summary").click();
}

/** Starts someone/slow and stops it once some of it is here. */
async function stopHalfway() {
  hub.fault("someone/slow/model.safetensors", { at: "cdn", rate: 150_000 });
  await chooseRepo("someone/slow");
  await load(() => page.locator("#model-cancel").isVisible());
  await waitFor("a few blocks", async () => /Block [3-6] of 6/.test(await page.locator("#model-stage").textContent()));
  await page.locator("#model-cancel").click();
  hub.reset();
}

/** Writes folders into the storage as earlier visits, or earlier versions, would have left them: { folder: { file: text } }. */
function plant(folders) {
  return page.evaluate(async (folders) => {
    const top = await navigator.storage.getDirectory();
    const root = await top.getDirectoryHandle("residual-stream", { create: true });
    for (const [name, files] of Object.entries(folders)) {
      const folder = await root.getDirectoryHandle(name, { create: true });
      for (const [file, text] of Object.entries(files)) {
        const writable = await (await folder.getFileHandle(file, { create: true })).createWritable();
        await writable.write(text);
        await writable.close();
      }
    }
  }, folders);
}

const foldersLeft = () => page.evaluate(async () => {
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("residual-stream", { create: true });
  const names = [];
  for await (const name of root.keys()) names.push(name);
  return names;
});

test("with nothing kept, one line says so and how much room there is", async () => {
  await waitFor("the storage line", async () => /^nothing yet · .*B free$/.test(await page.locator("#kept-sum").textContent()));
  assert.equal(await kept().evaluate((details) => details.open), false, "an empty list is open");
  assert.equal(await rows().count(), 0);
  await openList();
  assert.match(await page.locator("#kept-foot").innerText(), /no download/);
  await isQuiet(page);
});

test("a loaded model is listed with its size, and is still there after the page is opened again", async () => {
  await loadGpt2();
  await waitFor("the list to name it", async () => /^1 model · /.test(await page.locator("#kept-sum").textContent()));
  await openList();
  assert.match(await rows().innerText(), /GPT-2\s+[\d.]+ MB · used today/);
  // A clean address: the one that the page wrote names GPT-2, and would bring it back by itself.
  await page.goto(page.url().replace(/#.*$/, ""));
  await traced(page);
  await waitFor("the list to open by itself", () => kept().evaluate((details) => details.open && !details.hidden));
  assert.equal(await rowState("gpt2"), "kept");
  assert.equal(await rowState("distilgpt2"), "353 MB");
  hub.reset();
  await page.locator('input[name="model"][value="gpt2"]').check();
  await waitFor("GPT-2 to be in use without a question", ready(/^GPT-2/));
  assert.deepEqual(hub.requests.filter((request) => request.where === "cdn").map((request) => request.url), [],
    "weights were fetched again");
  await run(page, "Kept for the next visit.");
  await waitFor("a trace", async () => (await page.locator("#tokens").innerText()).includes("visit"));
  await isQuiet(page, { except: [/404/] });
});

test("an address that names a kept model brings it back without a question", async () => {
  await loadGpt2();
  assert.match(page.url(), /#model=openai-community%2Fgpt2/);
  hub.reset();
  await page.reload();
  await waitFor("GPT-2 to be in use", ready(/^GPT-2/));
  await traced(page);
  assert.deepEqual(hub.requests.filter((request) => request.where === "cdn").map((request) => request.url), [], "weights were fetched again");
  assert.match(page.url(), /#model=openai-community%2Fgpt2/, "the address lost its model");
  await isQuiet(page, { except: [/404/] });
});

test("a model can be deleted, after a question that a second key press does not answer", async () => {
  await loadGpt2();
  await openList();
  const remove = page.getByRole("button", { name: "Delete GPT-2 from this browser" });
  await waitFor("the button", () => remove.isVisible());
  await remove.focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  assert.equal(await rows().count(), 1, "two quick key presses deleted the model");
  assert.ok(await remove.evaluate((button) => button === document.activeElement), "keeping does not give the focus back");
  await remove.click();
  assert.match(await rows().innerText(), /Delete GPT-2\? .* downloading [\d.]+ MB/);
  await page.keyboard.press("Escape");
  assert.ok(await remove.isVisible(), "Escape does not take the question back");
  await remove.click();
  await rows().getByRole("button", { name: "Delete", exact: true }).click();
  await waitFor("the list to be empty", async () => (await rows().count()) === 0);
  await waitFor("a word about it", async () => /GPT-2 is deleted: .* are free again/.test(await page.locator("#kept-status").textContent()));
  assert.deepEqual(await foldersLeft(), []);
  assert.ok(await kept().evaluate((details) => details.contains(document.activeElement)), "the focus is lost");
  // The deleted model is still in memory, and goes on working.
  await run(page, "Still in memory.");
  await waitFor("a trace", async () => (await page.locator("#tokens").innerText()).includes("memory"));
  await isQuiet(page, { except: [/404/] });
});

test("all models can be deleted at once", async () => {
  const about = (key) => JSON.stringify({ version: 1, key, source: key, weightsBytes: 9, complete: true, used: 1, files: {} });
  await plant({ one: { "about.json": about("https://a/") }, two: { "about.json": about("https://b/") } });
  await page.reload();
  await traced(page);
  await waitFor("two rows", async () => (await rows().count()) === 2);
  await page.getByRole("button", { name: "Delete all models kept in this browser" }).click();
  assert.match(await page.locator("#kept-foot").innerText(), /all 2 models/);
  await page.locator("#kept-foot").getByRole("button", { name: "Delete", exact: true }).click();
  await waitFor("nothing left", async () => (await rows().count()) === 0);
  assert.deepEqual(await foldersLeft(), []);
});

test("a download that was stopped is listed as incomplete, and goes on where it stopped", async () => {
  await stopHalfway();
  await openList();
  await waitFor("the incomplete row", async () => /someone\/slow[\s\S]*MB of [\d.]+ MB · incomplete, resumes/.test(await rows().innerText()));
  await page.reload();
  await traced(page);
  await chooseRepo("someone/slow");
  await waitFor("an offer of the rest", async () => /^Download the rest \(.*MB\)$/.test(await page.locator("#model-load").textContent()));
  hub.fault("someone/slow/model.safetensors", { at: "cdn", rate: 1_500_000 });
  await page.locator("#model-load").click();
  await waitFor("bytes from the storage told apart", async () =>
    /from this browser’s storage/.test(await page.locator("#model-detail").textContent()));
  await waitFor("the model", ready(/slow/));
  await waitFor("a complete row", async () => /MB · used today/.test(await rows().innerText()));
  await isQuiet(page, { except: [/404/] });
});

test("blocks are named while they arrive, and the charts keep their places", async () => {
  hub.fault("someone/slow/model.safetensors", { at: "cdn", rate: 400_000 });
  const places = () => page.evaluate(() => [...document.querySelectorAll(".plot")].map((plot) => {
    const { top, height } = plot.getBoundingClientRect();
    return [Math.round(top + scrollY), height];
  }));
  await chooseRepo("someone/slow");
  const stages = new Set(), statuses = new Set(), seenPlaces = new Set();
  let before;
  await load(async () => {
    if (await page.locator("#model-cancel").isVisible()) {
      const now = await places();
      before ??= now;
      seenPlaces.add(JSON.stringify(now));
    }
    stages.add(await page.locator("#model-stage").textContent());
    statuses.add(await page.locator("#run-status").textContent());
    return ready(/slow/)();
  });
  const seen = (set, words) => assert.ok([...set].some((text) => words.test(text)), `${words} in ${JSON.stringify([...set])}`);
  seen(stages, /^Block \d of 6 is (computing|arriving)/);
  seen(stages, /^The charts are complete; the rest, for predictions, is arriving$/);
  seen(statuses, /^Block \d of 6 computed; the charts still lack/);
  seen(statuses, /The charts are complete; predictions wait for the rest\.$/);
  assert.ok(!/wait for the rest/.test(await page.locator("#run-status").textContent()), "the status goes on about the rest");
  for (const moved of seenPlaces) assert.deepEqual(JSON.parse(moved), before, "a plot moved while the model arrived");
});

test("another text can be run while the rest of the token table is arriving", async () => {
  hub.fault("someone/slow/model.safetensors", { at: "cdn", rate: 300_000 });
  await chooseRepo("someone/slow");
  await load(async () => /^The charts are complete/.test(await page.locator("#model-stage").textContent()));
  await run(page, "Zebras juggle quartz kumquats.");
  await waitFor("a trace of tokens whose rows were not asked for before", async () =>
    /kumqu|umqu/.test((await page.locator("#tokens").innerText()).replace(/\s/g, "")) && /^\d+ tokens/.test(await page.locator("#run-status").textContent()));
  await waitFor("the last byte", ready(/slow/));
});

test("torn, foreign and other versions' folders are listed and can be deleted", async () => {
  await plant({
    torn: { "about.json": '{"version":1,"key":"https://x', "model.safetensors.data": "x".repeat(5000) },
    empty: {},
    future: { "about.json": '{"version":99,"key":"https://y/","complete":true}' },
    sealed: { "about.json": `{"version":1,"key":"${GPT2}","source":"openai-community/gpt2","complete":true,"weightsBytes":5}\n0123456789abcdef` },
  });
  await page.reload();
  await traced(page);
  await waitFor("four rows", async () => (await rows().count()) === 4);
  const texts = await rows().allInnerTexts();
  assert.equal(texts.filter((text) => /Unfinished download[\s\S]*of no further use/.test(text)).length, 3, texts.join(" | "));
  assert.ok(texts.some((text) => /^GPT-2/.test(text)), texts.join(" | "));
  for (let left = 3; left >= 0; left -= 1) {
    await rows().first().getByRole("button").click();
    await rows().first().getByRole("button", { name: "Delete", exact: true }).click();
    await waitFor(`${left} rows`, async () => (await rows().count()) === left);
  }
  await isQuiet(page);
});

test("a model that another tab is loading stays, with a sentence", async () => {
  await plant({ busy: { "about.json": `{"version":1,"key":"https://busy/","source":"busy","weightsBytes":5}`, "a.data": "x" } });
  // A worker that holds a file, as a loading engine does.
  await page.evaluate(async () => {
    const source = `onmessage = async () => {
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("residual-stream");
      const file = await (await root.getDirectoryHandle("busy")).getFileHandle("a.data");
      self.handle = await file.createSyncAccessHandle();
      postMessage("held");
    }`;
    window.holder = new Worker(URL.createObjectURL(new Blob([source])));
    await new Promise((held) => { window.holder.onmessage = held; window.holder.postMessage(0); });
    document.querySelector("#kept summary").click();
  });
  await page.locator("#model-load, #kept summary").last().focus();
  await waitFor("the row", async () => (await rows().count()) === 1);
  await page.getByRole("button", { name: "Delete busy from this browser" }).click();
  await rows().getByRole("button", { name: "Delete", exact: true }).click();
  await waitFor("a sentence", async () => /busy stays: it is being loaded/.test(await page.locator("#kept-status").textContent()));
  assert.equal(await rows().count(), 1);
  await isQuiet(page);
});

test("a storage too small for the model becomes a remark, and the model loads all the same", async () => {
  const session = await page.context().newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: site.origin, quotaSize: 300_000 });
  await loadGpt2();
  await waitFor("a remark about the storage", async () => /storage/.test(await page.locator("#model-notice").textContent()));
  assert.equal(await page.locator("#model-notice").getAttribute("role"), "status");
  await page.locator('input[name="model"][value="demo"]').check();
  await waitFor("the demo model", ready(/Demo/));
  assert.equal(await page.locator("#model-notice").textContent(), "", "the remark outlives the load it belongs to");
});

test("without a storage the list is hidden, and models load", async () => {
  await page.context().close();
  page = await openPage(browser, { viewport: { width: WIDTHS.wide, height: 900 }, ignoreHTTPSErrors: true });
  await page.addInitScript(() => Object.defineProperty(StorageManager.prototype, "getDirectory", { value: undefined }));
  await page.goto(`${site.origin}${SITE_PATH}index.html`);
  await traced(page);
  assert.ok(await kept().isHidden());
  await loadGpt2();
  assert.ok(await page.locator("#model-error").isHidden());
});

test("axe finds nothing to object to in the open list, its question, and on a phone", async () => {
  const about = (key, complete) => JSON.stringify({ version: 1, key, source: key, weightsBytes: 9_000, complete, used: Date.now(), files: {} });
  const planted = { a: { "about.json": about(GPT2, true) }, b: { "about.json": about("https://host/a/long/address/of/a/model/", false) } };
  for (const [width, theme] of [[WIDTHS.wide, "light"], [WIDTHS.wide, "dark"], [WIDTHS.phone, "light"], [WIDTHS.phone, "dark"]]) {
    await page.context().close();
    page = await openSite(browser, site.origin, { width, theme });
    await plant(planted);
    await page.reload();
    await traced(page);
    await waitFor("two rows", async () => (await rows().count()) === 2);
    await page.getByRole("button", { name: "Delete GPT-2 from this browser" }).click();
    assert.deepEqual(await axeObjections(page), [], `axe at ${width} pixels, ${theme}`);
    const [scroll, client] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(scroll <= client, `the page is ${scroll} pixels wide in a window of ${client}`);
  }
});
