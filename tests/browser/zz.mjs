import { readFileSync } from "node:fs";
import { Hub } from "./hub.mjs";
import { launch, until } from "./support/browser.mjs";
import { serve } from "./support/site.mjs";
import { tinyModel, tinyModelWithGpt2Tokenizer } from "./support/models.mjs";
import { openSite, said } from "./support/site-page.mjs";
const hub = await new Hub({ tls: { key: readFileSync("/tmp/key.pem"), cert: readFileSync("/tmp/cert.pem") }, cdnName: "https://cdn-lfs.hf.co" }).start();
const site = await serve({ mounts: { "/some/where/": "/work/main/target/page-try" } });
const browser = await launch(["--ignore-certificate-errors", `--host-resolver-rules=MAP huggingface.co:443 127.0.0.1:${hub.port}, MAP cdn-lfs.hf.co:443 127.0.0.1:${hub.cdnPort}`]);
await hub.add("openai-community/gpt2", { ...tinyModelWithGpt2Tokenizer(), ...tinyModel({ config: { vocab_size: 50257, n_positions: 1024, n_embd: 64, n_head: 4, n_layer: 12 } }) });
for (const [width, theme] of [[1440, "light"], [1024, "light"], [390, "dark"]]) {
  const page = await openSite(browser, site.origin, { width, theme, dpr: width === 390 ? 2 : 1 });
  const tops = [];
  const top = async (what) => tops.push(what + " " + await page.evaluate(() => Math.round(document.querySelector("#charts").getBoundingClientRect().top + scrollY)));
  await top("demo");
  hub.reset(); hub.fault("gpt2/model.safetensors", { at: "cdn", rate: 150_000 });
  const start = async () => {
    await page.locator('input[name="model"][value="gpt2"]').check(); await top("ticked");
    await page.locator("#model-load").click(); await top("started");
  };
  const see = (what, words) => until(what, async () => words.test(await page.locator("#model-stage").textContent()), 30000).catch(async (e) => console.log(e.message, await said(page)));
  await start();
  await see("blocks", /Block ([4-9]|1\d) of 12/);
  await top("blocks");
  await page.locator("#model").screenshot({ path: `/tmp/shots/load2-blocks-${width}.png` });
  await page.locator("#model-cancel").click();
  await page.waitForTimeout(500); await top("cancelled");
  await start();
  await see("complete", /charts are complete/);
  await top("complete");
  await page.waitForTimeout(1500); await top("later");
  await page.locator("#model").screenshot({ path: `/tmp/shots/load2-model-${width}.png` });
  console.log(width, tops.join(", "), page.problems);
  await page.context().close();
}
await browser.close(); await site.close(); await hub.close();
