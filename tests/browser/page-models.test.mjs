// The page's model picker against a stand-in for huggingface.co itself: the browser resolves that name, and a
// CDN's, to this machine, so that the page's own addresses and its Content-Security-Policy are what is tested.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Hub } from "./hub.mjs";
import { launch, until } from "./support/browser.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { fixture, places, tinyModel, tinyModelWithGpt2Tokenizer, tinyModelWithSettings } from "./support/models.mjs";
import { serve } from "./support/site.mjs";
import { isQuiet, openSite, run, said, tableOf } from "./support/site-page.mjs";

const CDN = "cdn-lfs.hf.co";
let browser, hub, page, site, folder;

function certificate() {
  const [key, cert] = ["key.pem", "cert.pem"].map((name) => join(folder, name));
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=huggingface.co",
    "-keyout", key, "-out", cert], { stdio: "ignore" });
  return { key: readFileSync(key), cert: readFileSync(cert) };
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "residual-stream-hub-"));
  hub = await new Hub({ tls: certificate(), cdnName: `https://${CDN}` }).start();
  site = await serve({ mounts: { [SITE_PATH]: SITE } });
  browser = await launch([
    "--ignore-certificate-errors",
    `--host-resolver-rules=MAP huggingface.co:443 127.0.0.1:${hub.port}, MAP ${CDN}:443 127.0.0.1:${hub.cdnPort}`,
  ]);
  const tiny = tinyModelWithGpt2Tokenizer();
  await hub.add("openai-community/gpt2", tiny);
  await hub.add("someone/tiny", tiny);
  await hub.add("someone/llama", { ...tiny, "config.json": Buffer.from('{"model_type":"llama"}') });
  await hub.add("someone/slow", { ...tiny, ...tinyModel({ config: { vocab_size: 50257, n_positions: 64, n_embd: 16 } }) });
});
after(async () => {
  await browser?.close();
  await hub?.close();
  await site?.close();
  rmSync(folder, { recursive: true });
});
beforeEach(async () => {
  hub.reset();
  page = await openSite(browser, site.origin);
});
afterEach(async () => {
  await page?.context().close();
  assert.deepEqual(hub.violations(), [], "requests to the hub that need a preflight, or that failed in the stand-in");
});

const chip = () => page.locator("#model-chip");
const inUse = (words) => until(`${words} to be the model in use`, async () =>
  (await chip().getAttribute("data-state")) === "ready" && words.test(await chip().innerText()))
  .catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });

async function chooseRepo(id) {
  await page.locator('input[name="model"][value="repo"]').check();
  await page.getByLabel("Repo id").fill(id);
}

/** Presses the load button as often as it offers something: the size is looked up before a download. */
async function load(done) {
  await until("loading to end", async () => {
    const button = page.locator("#model-load");
    if (await done()) return true;
    if (await button.isVisible() && await button.isEnabled()) await button.click({ timeout: 1000 }).catch(() => {});
    return false;
  }).catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });
}

const failed = async () => (await page.locator("#model-error").textContent()).trim() !== "";
const ready = (words) => async () => (await chip().getAttribute("data-state")) === "ready" && words.test(await chip().innerText());

test("GPT-2 by its row: downloaded from huggingface.co through the CDN, then traced", async () => {
  await page.locator('input[name="model"][value="gpt2"]').check();
  await load(ready(/^GPT-2/));
  await run(page, "Transformers update a residual stream.");
  await until("tokens split by GPT-2's tokenizer", async () => (await page.locator("#tokens [role=option]").count()) === 7);
  assert.ok(hub.requests.some((request) => request.where === "cdn"), "the CDN was never asked");
  await isQuiet(page, { except: [/404/] });
});

test("any repo id, and the demo model again afterwards", async () => {
  await chooseRepo("someone/tiny");
  await load(ready(/tiny/));
  await page.locator('input[name="model"][value="demo"]').check();
  await load(ready(/Demo/));
  await isQuiet(page, { except: [/404/] });
});

test("what cannot be loaded says why, and the demo model goes on", async () => {
  const before = await tableOf(page, "evolution");
  for (const [repo, words] of [["someone/llama", /llama/], ["nobody/none", /nobody\/none/]]) {
    await chooseRepo(repo);
    await load(failed);
    assert.match(await page.locator("#model-error").textContent(), words, `message for ${repo}`);
  }
  assert.equal(await tableOf(page, "evolution"), before, "the last good chart is gone");
  await run(page, "Still here.");
  await until("a trace by the demo model", async () => (await page.locator("#tokens").innerText()).includes("Still"));
});

test("a repo id that is none is refused before anything is asked of the hub", async () => {
  await chooseRepo("not a repo id");
  await page.getByLabel("Repo id").press("Enter");
  await until("a message about the repo id", async () => (await page.locator("#repo-error").textContent()).trim() !== "" || await failed());
  assert.deepEqual(hub.requests, []);
});

test("a download shows bytes, rate and time left, and can be cancelled", async () => {
  hub.fault("someone/slow/model.safetensors", { rate: 200_000 });
  await chooseRepo("someone/slow");
  const cancel = page.locator("#model-cancel");
  await load(() => cancel.isVisible());
  await until("progress in bytes with a rate", async () => /[MGk]B.*\/s/s.test(await page.locator("#model-detail").innerText()))
    .catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });
  await cancel.click();
  await inUse(/Demo/);
  await run(page, "After cancelling.");
  await until("a trace after cancelling", async () => (await page.locator("#tokens").innerText()).includes("cancelling"));
  await isQuiet(page, { except: [/404/] });
});

/** Picks these files, and waits for the model that they hold; without one, for an error. */
async function pick(files, { fails = false } = {}) {
  await page.locator('input[name="model"][value="files"]').check();
  await page.locator("#files-input").setInputFiles(Object.entries(files).map(([name, buffer]) => ({ name, mimeType: "", buffer })));
  await load(fails ? failed : ready(/safetensors|model|files/i));
}
const tokens = () => page.locator("#tokens [role=option]").allInnerTexts();

test("files from disk", async () => {
  await pick(tinyModelWithGpt2Tokenizer());
  await run(page, "Hello world");
  await until("two tokens", async () => (await page.locator("#tokens [role=option]").count()) === 2);
  assert.deepEqual(hub.requests, [], "picked files caused requests");
  await page.locator("#files-input").setInputFiles([{ name: "config.json", mimeType: "", buffer: fixture("tiny-gpt2/config.json") }]);
  await until("a message about the missing weights", async () => /safetensors/.test(await page.locator("#model-error").textContent()));
  await isQuiet(page);
});

test("files from disk: the small files beside the tokenizer count", async () => {
  const { files } = tinyModelWithSettings("b04-map");
  await pick(files);
  await run(page, "<s>in the</s>");
  await until("four tokens, two of them named by special_tokens_map.json alone", async () => (await tokens()).length === 4);
  await isQuiet(page);
});

test("what is remarked of a model's files stands in the panel, as long as it is that model's", async () => {
  const remark = page.locator("#model-notice");
  const shape = (named, name) => ({ ...named.get(name), data: named.get(name).data.map((value) => value + 1) });
  const own = { spoil: (named) => named.set("lm_head.weight", shape(named, "wte.weight")) };
  const more = { spoil: (named) => ["lm_head.bias", "ln_emb.weight"].forEach((name) => named.set(name, shape(named, "ln_f.bias"))) };
  for (const [what, options, words] of [
    ["untied", own, /"lm_head\.weight".*differs from the embedding.*the file's counts/],
    ["no-unembedding", { config: { tie_word_embeddings: false } }, /no "lm_head\.weight".*makes no predictions/],
    ["unused", more, /^2 tensors of the weights are not used.*: lm_head\.bias, ln_emb\.weight\.$/],
    ["nothing", {}, /^$/],
  ]) {
    await pick(tinyModelWithGpt2Tokenizer(options));
    await until(`a remark: ${what}`, async () => words.test(await remark.innerText()))
      .catch(async (error) => { throw new Error(`${error.message}: it is "${await remark.innerText()}"; the page says ${await said(page)}`); });
    await run(page, `A text for ${what}`);
    await until(`tokens: ${what}`, async () => (await tokens()).join("").replace(/\W/g, "").includes(what.replace("-", "")));
    assert.match(await remark.innerText(), words, `${what}: the remark does not last`);
    assert.equal((await page.locator("#run-error").innerText()).trim(), "", what);
    if (what !== "no-unembedding") continue;
    await page.click("#tab-lens");
    await until("the lens to say why it is empty", async () => /makes no predictions/.test(await page.locator("#view").innerText()));
    await page.click("#tab-heatmap");
  }
  assert.equal(await remark.getAttribute("role"), "status");
  await isQuiet(page);
});

test("files from disk: the index decides between two shards, and without it the error names both", async () => {
  const whole = tinyModelWithGpt2Tokenizer();
  const { "model.safetensors": weights, ...rest } = whole;
  const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const other = tinyModel({ config: { vocab_size: 50257, n_layer: 1, n_positions: 64 }, seed: 2 })["model.safetensors"];
  const picked = { ...rest, [shards[0]]: other, [shards[1]]: weights };
  await pick(picked, { fails: true });
  const error = await page.locator("#model-error").innerText();
  for (const name of shards) assert.ok(error.includes(name), `${name} is not named: ${error}`);

  const weight_map = Object.fromEntries([...places(weights).keys()].map((name) => [name, shards[1]]));
  await pick({ ...picked, "model.safetensors.index.json": Buffer.from(JSON.stringify({ weight_map })) });
  const remark = `${shards[0]} (not in model.safetensors.index.json)`;
  await until("a remark on the shard that does not count", async () => (await page.locator("#model-notice").innerText()).includes(remark));
  await isQuiet(page);
});

test("a folder that is dropped is read, also one that holds the model's folder, and the files dropped beside it", async () => {
  const inner = join(folder, "models--someone--dropped/snapshots/607a30d");
  mkdirSync(inner, { recursive: true });
  for (const [name, bytes] of Object.entries(tinyModel())) writeFileSync(join(inner, name), bytes);
  writeFileSync(join(inner, "._model.safetensors"), "what another system leaves");
  writeFileSync(join(inner, "optimizer.safetensors"), "not read");
  const client = await page.context().newCDPSession(page);
  const [loose, weights] = [join(folder, "loose"), join(folder, "weights-alone")];
  for (const [part, has] of [[loose, (name) => name !== "model.safetensors"], [weights, (name) => name === "model.safetensors"]]) {
    mkdirSync(part);
    for (const name of Object.keys(tinyModel()).filter(has)) writeFileSync(join(part, name), tinyModel()[name]);
  }
  writeFileSync(join(weights, "optimizer.safetensors"), "not read");
  const apart = [weights, ...Object.keys(tinyModel()).filter((name) => name !== "model.safetensors").map((name) => join(loose, name))];
  for (const dropped of [[inner], [join(folder, "models--someone--dropped")], apart]) {
    await page.locator("#model").scrollIntoViewIfNeeded();
    const { x, y, width } = await page.locator("#model").boundingBox();
    const place = { x: x + width / 2, y: y + 20 };
    const data = { items: [], files: dropped, dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"]) await client.send("Input.dispatchDragEvent", { type, ...place, data });
    await inUse(/model\.safetensors/);
    await until(`a remark on what is not read of ${dropped}`, async () => /optimizer\.safetensors/.test(await page.locator("#model-notice").innerText()))
      .catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });
    await page.reload();
    await inUse(/Demo/);
  }
});
