// What the command records on an author's machine, the page opens: the same run as its own, without any model.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, openPage, until } from "./support/browser.mjs";
import { allClose, NORM_RELATIVE } from "./support/compare.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { serve } from "./support/site.mjs";
import { openSite, run, traced } from "./support/site-page.mjs";

const PACKAGE = resolve(fileURLToPath(new URL("../../", import.meta.url)), process.env.PACKAGE ?? "target/test-pkg");
const TEXTS = "The whale & the <b>sea</b>.\nAnother one.";
const folder = mkdtempSync(join(tmpdir(), "residual-stream-command-"));

let site, browser;
before(async () => {
  site = await serve({ mounts: { [SITE_PATH]: SITE } });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function saved(page, kind) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(`#save-${kind}`)]);
  const file = join(folder, `saved.${kind}`);
  await download.saveAs(file);
  return readFileSync(file);
}

test("a recorded trace opens in the page, which would save it byte for byte, and holds the page's own numbers", async () => {
  writeFileSync(join(folder, "texts.txt"), TEXTS);
  const own = await openSite(browser, site.origin);
  await run(own, TEXTS);
  await traced(own);
  const ours = JSON.parse((await saved(own, "json")).toString());

  for (const format of ["json", "safetensors"]) {
    const file = join(folder, `trace.${format}`);
    const command = [join(PACKAGE, "cli.js"), "trace", "--text", join(folder, "texts.txt"), "--out", file, "--format", format, "--heads", "--lens", "5"];
    execFileSync(process.execPath, command, { stdio: "pipe" });
    const page = await openPage(browser);
    // No engine comes: what is shown can only be the file.
    await page.route("**/*_bg.wasm", (route) => (/engine/.test(route.request().url()) ? route.abort() : route.continue()));
    await page.goto(`${site.origin}${SITE_PATH}index.html`);
    await page.waitForSelector("#open-trace", { state: "attached" });
    await until("the page to listen", () => page.evaluate(() => document.querySelector("#run-status").textContent !== ""));
    await page.setInputFiles("#open-trace", file);
    await until(`the ${format} file to be shown`, async () => /Saved run of demo/.test(await page.locator("#run-status").textContent()));
    assert.equal(await page.inputValue("#text-input"), TEXTS);
    assert.match(await page.locator("#evolution .finding").textContent(), /layer/);
    assert.deepEqual(await saved(page, format), readFileSync(file), `${format}: the page and the command write the same file`);
    await page.context().close();
  }

  const theirs = JSON.parse(readFileSync(join(folder, "trace.json"), "utf8"));
  assert.deepEqual(theirs.model, ours.model);
  assert.equal(theirs.sequences.length, 2);
  for (const [i, sequence] of theirs.sequences.entries()) {
    for (const name of ["text", "ids", "tokens", "spans"]) assert.deepEqual(sequence[name], ours.sequences[i][name], `${i}: ${name}`);
    for (const name of ["embed_norm", "attn_norm", "mlp_norm", "resid_post_norm"]) {
      allClose(`${i}: ${name}`, sequence[name], ours.sequences[i][name], { relative: NORM_RELATIVE });
    }
  }
  await own.context().close();
});
