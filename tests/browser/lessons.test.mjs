// The lessons: short, drawn, quiet, and true to the saved runs they show.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, openPage, until } from "./support/browser.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { serve } from "./support/site.mjs";
import { axeObjections, isQuiet } from "./support/site-page.mjs";

const FOLDER = join(SITE, "lessons");
const LESSONS = readdirSync(FOLDER).filter((file) => file.endsWith(".html"));
const MOST_WORDS = 900;

let site, browser;
before(async () => {
  site = await serve({ mounts: { [SITE_PATH]: SITE } });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.close();
});

test("there are three, and the site leads to them", () => {
  assert.equal(LESSONS.length, 3);
  const index = readFileSync(join(SITE, "index.html"), "utf8");
  const [, first] = index.match(/href="lessons\/([\w-]+\.html)"/) ?? [];
  assert.ok(LESSONS.includes(first), `index.html leads to no lesson (${first})`);
});

/** What a lesson claims, position 0 left out: `mean <field> [layer] [off]` (off: with layer 1's attention switched off),
 *  `leads attn` (layers where attention's mean is ahead), `share least|most` (layer 1's attention by token, of the
 *  embedding's length), `change most` (layer 1's MLP by token, off against on, in per cent); and `lens <text> <layer>`
 *  (the top guess at the text's end; 0 is the embedding). */
function worth(claim, runs) {
  const [kind, name, at, off] = claim.split(" ");
  const [on, without] = ["girl.json", "girl-off.json"].map((file) => runs[file].sequences[0]);
  const tokens = on.ids.length;
  const row = (field, layer = 1, sequence = on) => sequence[field].slice((layer - 1) * tokens, layer * tokens).slice(1);
  const mean = (...of) => row(...of).reduce((sum, value) => sum + value, 0) / (tokens - 1);
  if (kind === "mean") return mean(name, at === undefined ? 1 : Number(at), off ? without : on);
  if (kind === "share") {
    const shares = row("attn_norm").map((norm, i) => norm / row("embed_norm")[i]);
    return name === "least" ? Math.min(...shares) : Math.max(...shares);
  }
  if (kind === "change") {
    return Math.max(...row("mlp_norm", 1, without).map((norm, i) => Math.abs(norm / row("mlp_norm")[i] - 1))) * 100;
  }
  if (kind === "leads") {
    return Array.from({ length: 12 }, (_, i) => mean("attn_norm", i + 1) > mean("mlp_norm", i + 1)).filter(Boolean).length;
  }
  const { ids, lens } = runs["guesses.json"].sequences[Number(name)];
  const top = lens.ids.length / (13 * ids.length);
  return lens.probs[(Number(at) * ids.length + ids.length - 1) * top];
}

test("what a lesson says is switched off is switched off in its run, and nothing else is another run's", () => {
  const [on, off] = ["girl.json", "girl-off.json"].map((file) => JSON.parse(readFileSync(join(FOLDER, file), "utf8")));
  assert.deepEqual(off.ablate, [{ how: "zero", layer: 0, part: "attn" }]);
  assert.deepEqual(off.sequences[0].ids, on.sequences[0].ids);
  assert.deepEqual(off.sequences[0].baseline.mlp_norm, on.sequences[0].mlp_norm, "the unchanged run in girl-off.json and girl.json");
});

for (const lesson of LESSONS) {
  test(`${lesson}: every number that it quotes is the saved run's`, () => {
    const runs = Object.fromEntries(["girl.json", "girl-off.json", "guesses.json"].map((file) => [file, JSON.parse(readFileSync(join(FOLDER, file), "utf8"))]));
    const html = readFileSync(join(FOLDER, lesson), "utf8");
    const claims = [...html.matchAll(/<data value="([^"]+)">([^<]+)<\/data>/g)];
    assert.ok(claims.length >= 5, `${lesson} quotes ${claims.length} numbers`);
    for (const [, claim, said] of claims) {
      const decimals = said.split(".")[1]?.length ?? 0;
      assert.equal(said.replace("−", "-"), worth(claim, runs).toFixed(decimals), `${lesson}: ${claim}`);
    }
  });

  for (const width of [1440, 390]) {
    test(`${lesson} at ${width} pixels: short, every chart drawn, quiet, nothing for axe to object to`, async () => {
      // High enough that every embed is near the screen.
      const page = await openPage(browser, { viewport: { width, height: 5000 } });
      await page.goto(`${site.origin}${SITE_PATH}lessons/${lesson}`);
      const words = await page.evaluate(() => document.querySelector("main").innerText.split(/\s+/).length);
      assert.ok(words < MOST_WORDS, `${words} words`);
      const embeds = await page.locator("residual-stream").count();
      assert.ok(embeds >= 3, `${embeds} charts`);
      await until("every chart to be drawn", () => page.evaluate(() => [...document.querySelectorAll("residual-stream")].every(({ shadowRoot }) => {
        const said = shadowRoot.querySelector(".error")?.textContent;
        if (said) throw new Error(said);
        return shadowRoot.querySelector(".chart")?.checkVisibility() && shadowRoot.querySelector(".finding").textContent !== "";
      })), 90_000);
      assert.equal(await page.locator("residual-stream.try textarea").count(), 1, "a box to try it in");
      assert.equal(page.workers().length, 1, "only the try-it box runs a model");
      assert.deepEqual(await axeObjections(page), []);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "wider than the screen");
      for (const link of await page.locator("a").evaluateAll((links) => links.map(({ href }) => href))) {
        const answer = await page.request.get(link);
        assert.ok(answer.ok(), `${link}: ${answer.status()}`);
      }
      await isQuiet(page);
      await page.context().close();
    });
  }
}
