// The views beside the two charts: tabs, pinned tokens, and that the package draws the same.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, afterEach, before, test } from "node:test";
import { launch, painted, until } from "./support/browser.mjs";
import { openLab, SITE, SITE_PATH } from "./support/lab.mjs";
import { serve } from "./support/site.mjs";
import { axeObjections, canvasOf, isQuiet, openSite, run, tableOf, traced, WIDTHS } from "./support/site-page.mjs";

const SCREENSHOTS = fileURLToPath(new URL("../../target/screenshots/", import.meta.url));
const VIEWS = ["heatmap", "growth", "relative", "direction", "heads", "pattern", "lens", "attribution", "next", "compare"];
// Those that a trace with everything can be drawn in, beside them.
const MORE = ["true-token", "attribution-heads", "change", "patching"];

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

/** Which position the view's first column has. */
async function firstPosition(page) {
  await page.focus("#view canvas");
  await page.keyboard.press("Home");
  return Number(/position (\d+)/.exec(await page.locator("#view .plot [role=status]").textContent())?.[1]);
}

/** Chooses a view and waits until it is drawn; heads and the lens run the text again. */
async function choose(view) {
  const description = () => page.getAttribute("#view canvas", "aria-label");
  const before = await description();
  await page.click(`#tab-${view}`);
  await until(`the view ${view} to be drawn`, async () => {
    const selected = await page.getAttribute(`#tab-${view}`, "aria-selected") === "true";
    const finding = await page.locator("#view .finding").textContent();
    return selected && finding !== "" && (view === "heatmap" || await description() !== before);
  });
  await traced(page);
}

for (const [width, theme] of [[WIDTHS.wide, "light"], [WIDTHS.wide, "dark"], [WIDTHS.phone, "light"]]) {
  test(`every view draws, says what it found, and fills its table: ${width} pixels, ${theme}`, async () => {
    page = await openSite(browser, site.origin, { width, theme, dpr: width === WIDTHS.phone ? 3 : 1 });
    const titles = new Set();
    for (const view of VIEWS) {
      await choose(view);
      const canvas = await canvasOf(page, "view");
      assert.ok(canvas.colours > 10, `${view}: the canvas holds ${canvas.colours} colours, as good as blank`);
      titles.add(await page.locator("#view-title").textContent());
      assert.match(await page.locator("#view .finding").textContent(), /\d|embedding/, `${view}: a finding without a number`);
      await page.click("#view [data-tool=table]");
      assert.ok(await page.locator("#view tbody tr").count() >= 12, `${view}: the table has too few rows`);
      await page.click("#view [data-tool=table]");
      const [file] = await Promise.all([page.waitForEvent("download"), page.click("#view [data-tool=json]")]);
      const numbers = JSON.parse(await readFile(await file.path(), "utf8"));
      assert.ok(numbers.rows.length >= 12 && numbers.rows.every((row) => row.length === numbers.columns.length), `${view}: ${file.suggestedFilename()}`);
      const [scroll, client] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(scroll <= client, `${view}: the page is ${scroll} pixels wide in a window of ${client}`);
      assert.deepEqual(await axeObjections(page, "#view"), [], `axe in ${view}`);
      await page.locator("#view").screenshot({ path: join(SCREENSHOTS, `view-${view}-${width}-${theme}.png`) });
    }
    assert.equal(titles.size, VIEWS.length, `two views share a title: ${[...titles].join(", ")}`);
    await isQuiet(page);
  });
}

for (const [width, theme] of [[WIDTHS.phone, "dark"], [WIDTHS.laptop, "light"]]) {
  test(`axe finds nothing to object to in any state: ${width} pixels, ${theme}`, async () => {
    page = await openSite(browser, site.origin, { width, theme });
    const objections = async (state) => assert.deepEqual(await axeObjections(page), [], `axe, ${state}`);
    for (const chart of ["histogram", "evolution", "view"]) await page.click(`#${chart} [data-tool=table]`);
    await objections("with all three tables open");
    for (const chart of ["histogram", "evolution", "view"]) await page.click(`#${chart} [data-tool=table]`);
    for (const view of VIEWS.slice(3)) {
      await choose(view);
      await objections(`in ${view}`);
    }
    await page.locator("#tokens [data-chip]").nth(3).click();
    await page.click("#tab-change");
    await page.click("#off-add");
    await until("the change", async () => /widest change/.test(await page.locator("#view .finding").textContent()));
    await page.click("[data-zoom=in]");
    await objections("pinned, ablated and zoomed");
    await page.fill("#off-layer", "40");
    await page.click("#off-add");
    await until("a refusal", async () => /no layer 39/.test(await page.locator("#view-error").textContent()));
    await run(page, "");
    await until("another refusal", async () => (await page.locator("#run-error").textContent()) !== "");
    await objections("with two refusals, what is shown being old");
  });
}

test("the tabs follow the keyboard, and arrow keys walk the rows and columns of a grid", async () => {
  page = await openSite(browser, site.origin);
  await page.focus("#tab-heatmap");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await page.evaluate(() => document.activeElement.id), "tab-patching", "left of the first tab is the last");
  await page.keyboard.press("Home");
  assert.equal(await page.getAttribute("#tab-heatmap", "aria-selected"), "true");
  await until("the heatmap", async () => await page.locator("#view-title").textContent() === "Token by layer");
  await traced(page);
  await page.focus("#view canvas");
  const said = async () => await page.locator("#view .plot [role=status]").textContent();
  await page.keyboard.press("Home");
  await until("a read-out", async () => /layer 12, .*position 0/.test(await said()));
  await page.keyboard.press("ArrowRight");
  await until("the next token", async () => /layer 12, .*position 1/.test(await said()));
  await page.keyboard.press("ArrowDown");
  await until("the row below", async () => /layer 11, .*position 1/.test(await said()));
  await page.keyboard.press("Enter");
  await until("the token to be pinned", async () => await page.isVisible("#unpin"));
});

test("grids zoom by keys, buttons and the wheel, move with the mouse, and are whole again in another view", async () => {
  page = await openSite(browser, site.origin);
  await run(page, "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do.");
  await traced(page);
  const position = () => firstPosition(page);
  const drawn = async (what, act) => {
    const before = page.url();
    await act();
    await until(`${what} in the address`, () => page.url() !== before);
    await painted(page);
  };
  assert.equal(await position(), 0);
  await page.keyboard.press("Escape");
  await drawn("fewer tokens", () => page.click("[data-zoom=in]"));
  const first = await position();
  assert.ok(first > 0, `after zooming in about the middle the first column is position ${first}`);
  await page.keyboard.press("Escape");
  await drawn("tokens to the right", () => page.click("[data-zoom=right]"));
  assert.ok(await position() > first, "nothing moved to the right");
  await page.keyboard.press("End");
  await drawn("more by the key", () => page.keyboard.press("-"));
  await page.keyboard.press("Escape");
  const box = await page.locator("#view canvas").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 100);
  await page.keyboard.down("Control");
  await drawn("closer by the wheel", () => page.mouse.wheel(0, -100));
  await page.keyboard.up("Control");
  const before = await position();
  await page.keyboard.press("Escape");
  await page.mouse.move(box.x + box.width / 2, box.y + 100);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2 + 240, box.y + 100, { steps: 4 });
  await page.mouse.up();
  await until("the mouse to move it", async () => await position() < before);
  assert.equal(await page.isVisible("#unpin"), false, "moving pinned a token");
  await choose("lens");
  assert.equal(await position(), 0, "another view is whole");
  await isQuiet(page);
});

test("a pinned token shows in every view, and goes with the text it belongs to", async () => {
  page = await openSite(browser, site.origin);
  await run(page, "Alice was beginning to get very tired.\nThe whale swam on and on.");
  await traced(page);
  await page.locator("#tokens .sequence").nth(1).locator("[data-chip]").nth(2).click();
  for (const [chart, words] of [["view", /sentence 2 of 2/], ["evolution", /dashed: .*position 2/]]) {
    await until(`#${chart} to show the pinned token`, async () => words.test(await page.locator(`#${chart} .notes`).textContent()));
  }
  assert.equal(await page.locator("#tokens .pinned").count(), 1);
  // Appending keeps it; another text does not.
  await run(page, "Alice was beginning to get very tired.\nThe whale swam on and on. So did she.");
  await traced(page);
  assert.ok(await page.isVisible("#unpin"), "appending to the sentence took the pin away");
  await run(page, "A short one.");
  await traced(page);
  await until("the pin to be gone", async () => !(await page.isVisible("#unpin")));
  await page.locator("#tokens [data-chip]").nth(1).click();
  await until("a new pin", async () => await page.isVisible("#unpin"));
  await page.click("#unpin");
  await until("it to be gone", async () => !(await page.isVisible("#unpin")));
  await isQuiet(page);
});

test("the package draws every view, and the lens names its tokens", async () => {
  const lab = await openLab();
  try {
    const drawn = await lab.run(async (rs, { views }) => {
      const model = await rs.loadModel("demo");
      const texts = ["Once upon a time there was a little girl.", "Once upon a time there was a little boy."];
      const trace = await model.trace(texts, { heads: true, lens: 3, next: 10, patterns: [{ layer: 1, head: 2 }], attribution: {}, ablate: [{ layer: 2, part: "attn" }] });
      trace.patching = await model.patch(...texts);
      const [{ lens, ids, tokens }] = trace.sequences;
      const canvas = document.querySelector("canvas");
      const pictures = views.map((view) => {
        rs.draw(canvas, JSON.parse(JSON.stringify(trace)), view, { quantity: "difference", token: 2 });
        return canvas.toDataURL().length;
      });
      model.close();
      const layers = trace.model.n_layer + 1;
      return { pictures, cells: lens.ids.length, expected: layers * ids.length * 3, vocab: lens.vocab, tokens, ids: [...ids], lens: [...lens.ids] };
    }, { views: [...VIEWS, ...MORE] });
    assert.equal(drawn.cells, drawn.expected, "(L+1) * T * k");
    drawn.pictures.forEach((size, at) => assert.ok(size > 2000, `${[...VIEWS, ...MORE][at]}: a picture of ${size} characters is blank`));
    const texts = new Map(Object.values(drawn.vocab.ids).map((id, at) => [id, drawn.vocab.tokens[at]]));
    assert.ok(drawn.lens.every((id) => texts.has(id)), "a token of the lens has no text");
    for (const [at, id] of drawn.ids.entries()) if (texts.has(id)) assert.equal(texts.get(id), drawn.tokens[at], `text of token ${id}`);
  } finally {
    await lab.close();
  }
});

test("the address holds the picture: a copied link shows it again, back and forward undo and redo", async () => {
  page = await openSite(browser, site.origin);
  assert.equal(new URL(page.url()).hash, "", "a first visit has a clean address");
  await run(page, "The whale & the sea: 100 % <deep>.");
  await traced(page);
  await choose("growth");
  await page.locator("#tokens [data-chip]").nth(1).click();
  await until("the pin in the address", () => new URL(page.url()).hash.includes("pin=0.1"));
  const link = page.url();
  const numbers = await tableOf(page, "view");

  await page.goBack();
  await until("the pin to be undone", async () => !(await page.isVisible("#unpin")));
  await page.goBack();
  await until("the view to be undone", async () => await page.getAttribute("#tab-heatmap", "aria-selected") === "true");
  await page.goBack();
  await until("the text to be undone", async () => (await page.inputValue("#text-input")).startsWith("Once") || !(await page.inputValue("#text-input")).includes("whale"));
  await traced(page);
  for (let step = 0; step < 3; step += 1) {
    await page.goForward();
    await traced(page);
  }
  await until("the pin to be redone", async () => await page.isVisible("#unpin"));
  assert.equal(await page.inputValue("#text-input"), "The whale & the sea: 100 % <deep>.");
  await isQuiet(page);

  const copied = await page.context().newPage();
  await copied.goto("about:blank");
  await copied.goto(link);
  await traced(copied);
  await until("the copied link to pin its token", async () => await copied.isVisible("#unpin"));
  await until("the copied link to show the same numbers", async () => await tableOf(copied, "view") === numbers);
  assert.equal(copied.url(), link, "following a link changed it");
});

test("the address has bins, sampling and zoom as well; zooming is no step of its own", async () => {
  page = await openSite(browser, site.origin);
  await run(page, "Alice was beginning to get very tired of sitting by her sister on the bank.");
  await traced(page);
  const hash = () => new URLSearchParams(new URL(page.url()).hash.slice(1));
  await page.fill("#bins", "12");
  await page.locator("#bins").blur();
  await until("the bins in the address", () => hash().get("bins") === "12");
  await page.click("#tab-next");
  await until("candidates", async () => /Most probable/.test(await page.locator("#view .finding").textContent()));
  await page.fill("#temperature", "0.7");
  await page.fill("#top-k", "40");
  await page.locator("#top-k").blur();
  await until("the sampling in the address", () => hash().get("temperature") === "0.7" && hash().get("top-k") === "40");
  await page.click("#tab-heatmap");
  await until("the heatmap", () => !hash().has("view"));
  const steps = await page.evaluate(() => history.length);
  for (let closer = 0; closer < 2; closer += 1) {
    const before = hash().get("zoom");
    await page.click("[data-zoom=in]");
    await until("the zoom in the address", () => hash().get("zoom") !== before);
  }
  assert.equal(await page.evaluate(() => history.length), steps, "zooming is a step of its own");
  await until("the zoomed picture", async () => (await canvasOf(page, "view")).colours > 10);
  const first = await firstPosition(page);
  assert.ok(first > 0, `zoomed in, the first column is position ${first}`);
  const copied = await page.context().newPage();
  await copied.goto("about:blank");
  await copied.goto(page.url());
  await traced(copied);
  assert.deepEqual([await copied.inputValue("#bins"), await copied.inputValue("#temperature"), await copied.inputValue("#top-k")], ["12", "0.7", "40"]);
  await until("the copied link to show the same part", async () => await firstPosition(copied) === first);
  assert.equal(copied.url(), page.url(), "following a link changed it");
  await isQuiet(page);
});

test("a link with another model ticks its row and waits for the click that names the size; a broken one harms nothing", async () => {
  page = await openSite(browser, site.origin);
  const copied = await page.context().newPage();
  await copied.goto(page.url() + "#model=openai-community%2Fgpt2&view=direction");
  await traced(copied);
  assert.ok(await copied.isChecked("input[name=model][value=gpt2]"), "GPT-2's row is not ticked");
  await until("the button that names the size", async () => /548/.test(await copied.locator("#model-load").textContent()));
  assert.match(new URL(copied.url()).hash, /model=openai-community%2Fgpt2/, "the link lost its model before it was loaded");
  for (const hash of ["#view=pie&pin=9.9&model=..%2F..&first=%00", "#pin=a.b&=&text=", "#text=%F0%9F&pin=0.99999999999999999999"]) {
    await copied.goto("about:blank");
    await copied.goto(page.url() + hash);
    await until(`${hash}: an answer`, async () => await copied.evaluate(() =>
      !document.querySelector("#run-status[data-busy]") && [...document.querySelectorAll("#run-status, #run-error")].some((line) => line.textContent.trim() !== "")), 60_000);
  }
  await isQuiet(page);
});
