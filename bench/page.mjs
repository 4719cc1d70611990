// The site itself: how long until its first charts, how long from a click to new ones, how many bytes a first visit
// downloads.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { SITE, SITE_PATH } from "../tests/browser/support/lab.mjs";
import { openPage } from "../tests/browser/support/browser.mjs";
import { openSite, traced } from "../tests/browser/support/site-page.mjs";
import { median, megabytes, row, summary } from "./summary.mjs";

/** Twenty words of one token each in the demo model's vocabulary, so that each text differs from its first token on. */
const STARTS = ["The", "A", "It", "He", "She", "They", "We", "You", "But", "And"];
const REST = " old man was in the house and he said to her that it was not the time to go";

/** Resolves to { click: ms, firstVisit: bytes }. */
export async function page(lab, runs) {
  console.log("\nThe page, from navigation to its first charts (demo model, empty cache)");
  const starts = [];
  for (let i = 0; i < runs; i += 1) {
    const site = await openSite(lab.browser, lab.site.origin);
    starts.push(await site.evaluate(() => performance.now()));
    await site.context().close();
  }
  row("first charts", summary(starts, "ms"));
  const click = await clicks(lab, runs);
  return { click, firstVisit: await firstVisit(lab) };
}

async function clicks(lab, runs) {
  const site = await openSite(lab.browser, lab.site.origin);
  const times = [];
  let tokens = 0;
  for (let i = -2; i < runs * 2; i += 1) {
    await site.locator("#text-input").fill(STARTS[(i + 2) % STARTS.length] + REST);
    const time = await site.evaluate(() => new Promise((resolve) => {
      const status = document.querySelector("#run-status");
      let start = 0, began = false;
      new MutationObserver((_, observer) => {
        const busy = status.hasAttribute("data-busy");
        began ||= busy;
        if (!began || busy) return;
        observer.disconnect();
        // The charts are on the canvas by the next frame at the latest.
        requestAnimationFrame(() => resolve(performance.now() - start));
      }).observe(status, { attributes: true });
      start = performance.now();
      document.querySelector("#run").click();
    }));
    await traced(site);
    tokens = await site.locator("#tokens [role=option]").count();
    if (i >= 0) times.push(time);
  }
  await site.context().close();
  row(`click to charts, ${tokens} tokens`, summary(times, "ms"));
  return median(times);
}

async function firstVisit(lab) {
  const files = new Set();
  const site = await openPage(lab.browser);
  site.on("response", (response) => {
    const path = new URL(response.url()).pathname;
    if (path.startsWith(SITE_PATH) && !path.includes("/models/")) files.add(path.slice(SITE_PATH.length) || "index.html");
  });
  await site.goto(`${lab.site.origin}${SITE_PATH}index.html`);
  await traced(site);
  await site.context().close();
  console.log("\nWhat a first visit downloads, but for the model");
  let sum = 0;
  for (const file of [...files].sort()) {
    const bytes = readFileSync(join(SITE, file));
    const packed = gzipSync(bytes, { level: 9 }).length;
    sum += packed;
    row(file.replace(/-[0-9a-f]{16}/, ""), `${megabytes(bytes.length)}, gzip ${megabytes(packed)}`);
  }
  row("in all", `gzip ${megabytes(sum)}`);
  return sum;
}
