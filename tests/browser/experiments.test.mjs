// What a reader does on the page beyond reading: switches parts off, goes on writing, patches, looks at a head, saves and
// opens runs, follows findings.
import assert from "node:assert/strict";
import { readFile, writeFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { launch, until } from "./support/browser.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { serve } from "./support/site.mjs";
import { axeObjections, canvasOf, isQuiet, openSite, run, tableOf, traced } from "./support/site-page.mjs";

let browser, site, page;
before(async () => {
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

const finding = () => page.locator("#view .finding").textContent();
const notes = (chart) => page.locator(`#${chart} .notes`).textContent();
const hash = () => new URLSearchParams(new URL(page.url()).hash.slice(1));

test("a part that is switched off shows in every chart, in the address, and can be switched on again", async () => {
  page = await openSite(browser, site.origin);
  const before = await tableOf(page, "evolution");
  await page.click("#tab-change");
  assert.match(await page.locator("#view canvas").getAttribute("aria-label"), /Nothing is switched off/);
  await page.fill("#off-layer", "3");
  await page.selectOption("#off-part", "mlp");
  await page.click("#off-add");
  await until("the change to be found", async () => /layer \d+: from/.test(await finding()));
  assert.match(await notes("view"), /switched off: layer 3's MLP.*KL divergence/);
  for (const chart of ["histogram", "evolution"]) assert.match(await notes(chart), /dotted: without ablation/);
  assert.notEqual(await tableOf(page, "evolution"), before);
  assert.equal(hash().get("off"), "mlp.2");
  assert.equal(await page.locator("#off-list button").count(), 1);
  await page.click("#tab-next");
  await until("the prediction without it", async () => /Without ablation it was/.test(await finding()));
  await page.click("#tab-heads");
  await until("the heads", async () => /Head \d/.test(await finding()));
  assert.deepEqual(await axeObjections(page), [], "axe with something switched off");

  // A link has it; the head too, once that is off instead.
  await page.click("#tab-change");
  await page.fill("#off-layer", "5");
  await page.selectOption("#off-part", "head");
  await page.fill("#off-head", "1");
  await page.selectOption("#off-how", "mean");
  await page.click("#off-add");
  await until("both to be off", async () => hash().get("off") === "mlp.2~head.4.1.mean");
  const copied = await page.context().newPage();
  await copied.goto(page.url());
  await traced(copied);
  await until("the link to switch both off", async () => await copied.locator("#off-list button").count() === 2);
  await copied.close();

  // Back switches the second on again, its button the first.
  await page.goBack();
  await until("one to be off", async () => await page.locator("#off-list button").count() === 1);
  await traced(page);
  await page.locator("#off-list button").click();
  await until("all to be on", async () => !(await page.isVisible("#off")) && !hash().has("off"));
  await until("the first numbers", async () => await tableOf(page, "evolution") === before);

  await page.fill("#off-layer", "40");
  await page.click("#off-add");
  await until("a refusal that names the layer", async () => /no layer 39.*has 12/s.test(await page.locator("#view-error").textContent()));
  await isQuiet(page);
});

test("appending goes on with the sentence, and back takes it away again", async () => {
  page = await openSite(browser, site.origin);
  await run(page, "The old fox said to the little\nThe end.");
  await traced(page);
  await page.click("#tab-next");
  await until("candidates", async () => /Most probable/.test(await finding()));
  await page.fill("#temperature", "0");
  await page.click("#append-more");
  await until("ten more tokens", async () => (await page.inputValue("#text-input")).length > "The old fox said to the little\nThe end.".length + 10);
  await traced(page);
  const [first, second] = (await page.inputValue("#text-input")).split("\n");
  assert.ok(first.startsWith("The old fox said to the little") && second === "The end.", `${first} | ${second}`);
  await until("the address to have it", async () => hash().get("text")?.startsWith(first));
  await page.goBack();
  await until("the text before", async () => await page.inputValue("#text-input") === "The old fox said to the little\nThe end.");
  await page.fill("#top-p", "7");
  await page.click("#append");
  await until("a refusal", async () => /topP/i.test(await page.locator("#view-error").textContent()));
  await isQuiet(page);
});

test("a head that is chosen shows its pattern; attribution follows the pinned token and names the tokens asked for", async () => {
  page = await openSite(browser, site.origin);
  await page.click("#tab-heads");
  await until("the heads", async () => /Head \d/.test(await finding()));
  await page.focus("#view canvas");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await until("head 1 of layer 12", async () => /head 1 of layer 12/.test(await finding()));
  assert.equal(hash().get("head"), "11.1");
  await page.fill("#head-number", "9");
  await page.locator("#head-number").blur();
  await until("a refusal", async () => /no head 9/.test(await page.locator("#view-error").textContent()));

  await page.click("#tab-attribution");
  await until("an attribution", async () => /Most for .* is added by/.test(await finding()));
  assert.match(await notes("view"), /the parts add up to the logit/);
  const last = await notes("view");
  await page.locator("#tokens [data-chip]").nth(3).click();
  await until("the pinned token's prediction", async () => await notes("view") !== last && /add up/.test(await notes("view")));
  await page.fill("#target", "the");
  await page.fill("#against", "a");
  await page.locator("#against").blur();
  await until("the difference of two", async () => /“ the” less “ a”|“the” less “a”/.test(await notes("view")));
  await page.selectOption("#parts", "attribution-heads");
  await until("the heads' parts", async () => /head \d+ of layer/.test(await finding()));
  assert.equal(hash().get("view"), "attribution-heads");
  await page.fill("#target", "no such token at all");
  await page.locator("#target").blur();
  await until("a refusal that shows the tokens", async () => /is \d+ tokens/.test(await page.locator("#view-error").textContent()));
  await isQuiet(page);
});

test("patching maps two sentences of one length, and says so where they are not", async () => {
  page = await openSite(browser, site.origin);
  await page.click("#tab-patching");
  await until("a refusal", async () => /\d+ tokens.*one length/s.test(await page.locator("#view-error").textContent()));
  await page.click("[data-sample=pairs]");
  await traced(page);
  await until("the map", async () => /brought back/.test(await finding()), 60_000);
  await until("all layers", async () => !/so far/.test(await notes("view")), 60_000);
  assert.equal(await page.locator("#view-error").textContent(), "");
  assert.ok((await canvasOf(page, "view")).colours > 10);
  await page.fill("#first-text", "3");
  await page.fill("#second-text", "4");
  await page.locator("#second-text").blur();
  await until("the other pair in the address", async () => hash().get("texts") === "2.3");
  await page.click("#tab-compare");
  await until("the comparison", async () => /sentence 4 less sentence 3/.test(await notes("view")));
  await isQuiet(page);
});

test("a saved run opens again without any model, from either kind of file; other files say why not", async () => {
  page = await openSite(browser, site.origin);
  await run(page, "The whale & the <b>sea</b>.\nAnother one.");
  await traced(page);
  await page.click("#tab-lens");
  await until("the lens", async () => /leads from/.test(await finding()));
  const numbers = await tableOf(page, "view");
  const folder = await mkdtemp(join(tmpdir(), "residual-stream-"));
  try {
    for (const kind of ["json", "safetensors"]) {
      const [download] = await Promise.all([page.waitForEvent("download"), page.click(`#save-${kind}`)]);
      const file = join(folder, `run.${kind}`);
      await download.saveAs(file);
      const other = await page.context().newPage();
      // No engine comes: what is shown can only be the file.
      await other.route("**/*_bg.wasm", (route) => /worker|engine/.test(route.request().url()) ? route.abort() : route.continue());
      await other.goto(`${site.origin}${SITE_PATH}index.html`);
      await other.waitForSelector("#open-trace", { state: "attached" });
      await until("the page to listen", () => other.evaluate(() => document.querySelector("#run-status .late, #run-status noscript") === null));
      await other.setInputFiles("#open-trace", file);
      await until(`the ${kind} to be shown`, async () => /Saved run of demo/.test(await other.locator("#run-status").textContent()));
      assert.equal(await other.inputValue("#text-input"), "The whale & the <b>sea</b>.\nAnother one.");
      assert.match(new URL(other.url()).hash, /text=The\+whale/, "back would not undo the opening");
      assert.match(await other.locator("#evolution .finding").textContent(), /layer/);
      await other.click("#tab-lens");
      await until("the same lens", async () => await tableOf(other, "view") === numbers);
      await other.close();
    }
    const saved = JSON.parse(await readFile(join(folder, "run.json"), "utf8"));
    assert.deepEqual([saved.format, saved.version, saved.sequences.length], ["residual-stream trace", 1, 2]);
    for (const [name, text, why] of [["a.json", "{}", /format/], ["b.json", "{\"format\":", /damaged/], ["c.safetensors", "hello", /neither/],
      ["d.json", JSON.stringify({ ...saved, version: 9 }), /version 9/], ["e.json", JSON.stringify({ ...saved, sequences: [{ ids: [1] }] }), /missing/],
      ["f.json", JSON.stringify({ ...saved, model: { ...saved.model, n_layer: 1e9 } }), /n_layer is 1000000000, expected at most 4096/]]) {
      await writeFile(join(folder, name), text);
      await page.setInputFiles("#open-trace", join(folder, name));
      await until(`${name}: why it is no run`, async () => why.test(await page.locator("#trace-error").textContent()));
    }
    assert.match(await page.locator("#evolution .finding").textContent(), /layer/, "a file that is no run took the last one away");
  } finally {
    await rm(folder, { recursive: true });
  }
  await isQuiet(page);
});

test("findings lead to what they speak of, and the first visit's three steps go for good", async () => {
  page = await openSite(browser, site.origin);
  assert.ok(await page.isVisible("#intro"), "a first visit sees the three steps");
  await page.click("#intro-done");
  assert.equal(await page.isVisible("#intro"), false);
  await page.reload();
  await traced(page);
  assert.equal(await page.isVisible("#intro"), false, "the steps came back");
  await until("since when the prediction leads", async () => /first leads/.test(await page.locator("#findings-list").textContent()));
  await page.click("#findings-list button:has-text('largest single update')");
  await until("the heatmap with its token pinned and its cell read out", async () =>
    await page.getAttribute("#tab-heatmap", "aria-selected") === "true" && await page.isVisible("#unpin") && await page.isVisible("#view .readout"));
  const said = await page.locator("#findings-list button:has-text('largest single update')").textContent();
  const layer = /layer (\d+)/.exec(said)[1];
  assert.match(await page.locator("#view .readout").textContent(), new RegExp(`layer ${layer},`));
  await page.click("#findings-list button:has-text('largest gap')");
  await until("the layer in the evolution", () => page.isVisible("#evolution .readout"));
  await page.click("#findings-list button:has-text('first leads')");
  await until("the lens", async () => await page.getAttribute("#tab-lens", "aria-selected") === "true" && /leads/.test(await finding()));
  await isQuiet(page);
});
