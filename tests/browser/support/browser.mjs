// Debian's Chromium, driven by playwright-core, with a fresh profile every time.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

function executable() {
  const finder = fileURLToPath(new URL("../../../tools/chromium.sh", import.meta.url));
  return execFileSync("bash", [finder], { encoding: "utf8" }).trim();
}

export async function launch(extraFlags = []) {
  return chromium.launch({ executablePath: executable(), headless: true, args: [...FLAGS, ...extraFlags] });
}

/** A browser with its profile in a folder, as readers have one; `launch` gives private windows. */
export async function launchPersistent(folder) {
  return chromium.launchPersistentContext(folder, { executablePath: executable(), headless: true, args: FLAGS });
}

/** Opens a page that remembers what went wrong in it: `page.problems` fills with console errors, uncaught
 *  errors and violations of the Content-Security-Policy. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.problems = [];
  page.on("console", (message) => {
    if (message.type() === "error") page.problems.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => page.problems.push(`uncaught: ${error.stack ?? error}`));
  return page;
}

/** Waits until what has changed in the page is laid out and drawn: charts draw on a frame, and where that changed a size,
 *  on the next. */
export function painted(page) {
  return page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))));
}

/** Waits until `look` (in node) returns something true; the error says what never came. */
export async function until(what, look, timeoutMs = 30_000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${timeoutMs / 1000} s in vain for: ${what}`);
    await new Promise((next) => setTimeout(next, 50));
  }
}
