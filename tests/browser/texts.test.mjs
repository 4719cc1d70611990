// Texts as they are: white space at their ends and line ends inside them, from the box, a link, a saved run and what a model
// writes on; what is traced is what stands there.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { until } from "./support/browser.mjs";
import { openLab, SITE_PATH } from "./support/lab.mjs";
import { tinyModel } from "./support/models.mjs";
import { isQuiet, openSite, run, said, traced } from "./support/site-page.mjs";

/** What no box of lines holds as it is. */
const HARD = ["def f(x):\n    return x\n", "one\r\ntwo ", "   ", "\t", "a \\↵ sign \\", "ends in \u00a0"];

let lab, page, folder;
before(async () => {
  lab = await openLab();
  folder = await mkdtemp(join(tmpdir(), "residual-stream-texts-"));
});
after(async () => {
  await lab?.close();
  await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  await page?.context().close();
  page = undefined;
});

/** The sequences of the run that is shown, as the page saves them. */
async function shown() {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save-json")]);
  const file = join(folder, "shown.json");
  await download.saveAs(file);
  return JSON.parse(await readFile(file, "utf8")).sequences.map(({ text, ids }) => ({ text, ids }));
}

/** What the package makes of texts. */
const tracesOf = (texts) => lab.run(async (rs, texts) => {
  const model = await rs.loadModel("demo");
  const { sequences } = await model.trace(texts, { predictions: false });
  model.close();
  return sequences.map(({ text, ids }) => ({ text, ids: [...ids] }));
}, texts);

/** How GPT-2's byte-level vocabulary writes a byte. */
function letterOf(byte) {
  const plain = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  const odd = Array.from({ length: 256 }, (_, b) => b).filter((b) => !plain(b));
  return String.fromCodePoint(plain(byte) ? byte : 256 + odd.indexOf(byte));
}

/** A model that goes on with this byte, whatever it reads. */
function always(byte) {
  const vocabulary = Object.fromEntries(Array.from({ length: 256 }, (_, b) => [letterOf(b), b]));
  const files = tinyModel({
    config: { vocab_size: 256, n_positions: 64 },
    spoil(named) {
      named.get("ln_f.weight").data.fill(0);
      named.get("ln_f.bias").data.fill(0).set([1]);
      const { data, shape: [ids, width] } = named.get("wte.weight");
      for (let id = 0; id < ids; id += 1) data[id * width] = id === byte ? 5 : 0;
    },
  });
  return { ...files, "vocab.json": Buffer.from(JSON.stringify(vocabulary)), "merges.txt": Buffer.from("#version: 0.2\n") };
}

test("white space at a line's end is traced, and a line of nothing else is none", async () => {
  page = await openSite(lab.browser, lab.site.origin);
  const lines = ["in the cat", "in the cat ", "in the cat\t", "in the cat\u00a0", " in the cat"];
  await run(page, `${lines.join("\n")}\n  \n\t\n`);
  await traced(page);
  assert.deepEqual(await shown(), await tracesOf(lines));
  await isQuiet(page);
});

for (const [name, byte, sign] of [["a space", 32, " "], ["a line end", 10, "↵"]]) {
  test(`what a model goes on with is traced, also where that is ${name} each time`, async () => {
    page = await openSite(lab.browser, lab.site.origin);
    await run(page, "ab");
    await page.click("input[value=files]");
    await page.locator("#files-input").setInputFiles(Object.entries(always(byte)).map(([name, buffer]) => ({ name, mimeType: "", buffer })));
    await until("the model", async () => /context 64/.test(await page.locator("#model-detail").textContent()))
      .catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });
    await traced(page);
    await page.click("#tab-next");
    await page.fill("#temperature", "0");
    for (let more = 1; more <= 5; more += 1) {
      await page.click("#append");
      await until(`${more} more in the box`, async () => await page.inputValue("#text-input") === `ab${sign.repeat(more)}`);
      await traced(page);
      await until(`${more} more tokens`, async () => /^\d+ tokens? · /.test(await page.locator("#run-status").textContent())
        && Number.parseInt(await page.locator("#run-status").textContent(), 10) === 2 + more);
    }
    assert.deepEqual(await shown(), [{ text: `ab${String.fromCharCode(byte).repeat(5)}`, ids: [97, 98, ...Array(5).fill(byte)] }]);
    await isQuiet(page);
  });
}

test("a saved run of texts with line ends is computed anew as the same tokens, by Run and by its link", async () => {
  const file = join(folder, "hard.json");
  const json = await lab.run(async (rs, texts) => {
    const model = await rs.loadModel("demo");
    const trace = await model.trace(texts, { predictions: false });
    model.close();
    return new TextDecoder().decode(rs.writeTrace(trace));
  }, HARD);
  const expected = JSON.parse(json).sequences.map(({ text, ids }) => ({ text, ids }));
  assert.deepEqual(expected.map(({ text }) => text), HARD);
  // As PowerShell 5 would pass it on.
  await writeFile(file, Buffer.from(`\ufeff${json}`, "utf16le"));
  page = await openSite(lab.browser, lab.site.origin);
  await page.setInputFiles("#open-trace", file);
  await until("the run to be shown", async () => /Saved run of demo.*Run computes it anew/.test(await page.locator("#run-status").textContent()));
  assert.equal(await page.inputValue("#text-input"), "def f(x):↵    return x↵\none␍↵two \n␂   \n␂\t\na \\\\\\↵ sign \\\nends in \u00a0");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await until("a run of its own", async () => / tokens · /.test(await page.locator("#run-status").textContent()));
  assert.deepEqual(await shown(), expected);
  const address = page.url();
  await page.context().close();

  page = await openSite(lab.browser, lab.site.origin, { trace: false });
  await page.goto("about:blank");
  await page.goto(address);
  await traced(page);
  await until("the link's texts", async () => (await page.inputValue("#text-input")).startsWith("def f(x):↵"));
  await traced(page);
  assert.deepEqual(await shown(), expected);
  await isQuiet(page);
});

test("a run that was made from token ids promises nothing", async () => {
  const file = join(folder, "ids.json");
  const json = await lab.run(async (rs) => {
    const model = await rs.loadModel("demo");
    const trace = await model.traceTokens([[5, 6, 7]], { predictions: false });
    model.close();
    return new TextDecoder().decode(rs.writeTrace(trace));
  });
  await writeFile(file, `\ufeff${json}`);
  page = await openSite(lab.browser, lab.site.origin);
  await page.setInputFiles("#open-trace", file);
  await until("the run to be shown", async () => /Saved run of demo.*made from token ids/.test(await page.locator("#run-status").textContent()));
});

test("Shift+Enter writes a line end inside a text, Enter and pasted lines begin the next", async () => {
  page = await openSite(lab.browser, lab.site.origin);
  const box = page.locator("#text-input");
  await box.fill("");
  await box.pressSequentially("one");
  await box.press("Shift+Enter");
  await box.pressSequentially("two");
  await box.press("Enter");
  await box.pressSequentially("three");
  assert.equal(await box.inputValue(), "one↵two\nthree");
  await box.press("Control+z");
  assert.notEqual(await box.inputValue(), "one↵two\nthree", "what was written cannot be undone");
  await box.fill("one↵two\r\nthree");
  await box.press("Control+Enter");
  await until("both texts", async () => (await page.locator("#tokens .sequence").count()) === 2);
  await traced(page);
  assert.deepEqual(await shown(), await tracesOf(["one\ntwo", "three"]));
  assert.match(await page.locator("#text-hint").textContent(), /Shift\+Enter writes ↵/);
  await isQuiet(page);
});

test("a translator of pages leaves tokens alone", async () => {
  page = await openSite(lab.browser, lab.site.origin);
  await page.click("#tab-heatmap");
  await page.locator("#view").getByRole("button", { name: "Table" }).click();
  await page.locator("#view table").waitFor();
  const translated = await page.evaluate(() => ["#tokens [role=option]", "#token-detail", "#view td", "#view tbody th", "#view thead th", "#view .readout"]
    .filter((selector) => document.querySelector(selector)?.translate !== false));
  assert.deepEqual(translated, []);
});

test("an embed's text is read as the box is, and its run whatever wrote the file", async () => {
  page = await openSite(lab.browser, lab.site.origin);
  await page.addScriptTag({ url: `${lab.site.origin}${SITE_PATH}embed.js` });
  const read = (attributes) => page.evaluate((attributes) => new Promise((done, failed) => {
    const element = document.createElement("residual-stream");
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.addEventListener("trace", ({ detail }) => done(detail.sequences.map(({ text, ids }) => ({ text, ids: [...ids] }))));
    element.addEventListener("error", ({ detail }) => failed(detail));
    document.querySelector("main, body").prepend(element);
    element.scrollIntoView();
  }), attributes);
  const texts = ["one\ntwo ", "three", " four"];
  const expected = await tracesOf(texts);
  assert.deepEqual(await read({ text: "one↵two \n     three\n␂ four\n  " }), expected);
  const json = await lab.run(async (rs, texts) => {
    const model = await rs.loadModel("demo");
    const trace = await model.trace(texts);
    model.close();
    return new TextDecoder().decode(rs.writeTrace(trace));
  }, texts);
  const files = { utf8: Buffer.from(`\ufeff${json}`), utf16: Buffer.from(`\ufeff${json}`, "utf16le") };
  await page.route("**/windows-*.json", (route) => route.fulfill({ body: files[/windows-(\w+)/.exec(route.request().url())[1]] }));
  for (const name of Object.keys(files)) assert.deepEqual(await read({ src: `windows-${name}.json` }), expected, name);
  await page.evaluate((json) => {
    const holder = Object.assign(document.createElement("script"), { type: "application/json", id: "marked", textContent: `\ufeff\n${json}` });
    document.body.append(holder);
  }, json);
  assert.deepEqual(await read({ src: "#marked" }), expected);

  // One that would freeze the page is refused at once.
  await page.evaluate((json) => {
    const run = JSON.parse(json);
    run.model.n_layer = 1e9;
    document.getElementById("marked").textContent = JSON.stringify(run);
  }, json);
  const refused = await read({ src: "#marked", chart: "growth" }).catch((error) => String(error));
  assert.match(refused, /n_layer is 1000000000, expected at most 4096/);
});
