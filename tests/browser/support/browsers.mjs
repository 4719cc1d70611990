// Chromium and Firefox behind one door, for tests that run in both: what a page is asked is asked by `page.evaluate`.
import assert from "node:assert/strict";
import { launch, openPage, until } from "./browser.mjs";
import { launchFirefox, openFirefoxPage } from "./firefox.mjs";
import { said, traced } from "./site-page.mjs";

// As in firefox.mjs: a proxy where nobody listens.
const NO_NETWORK = ["--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>"];

/** Of each: `launch({ network })`, `open(browser, { init, profile })` for a page with `problems` and `requests` in a
 *  profile of its own or that of an earlier page, `pick(page, css, paths)` for a file input, `closePage(page)`. */
export const BROWSERS = [
  {
    name: "Chromium",
    launch: ({ network = true } = {}) => launch(network ? [] : NO_NETWORK),
    async open(browser, { init = [], profile } = {}) {
      const page = await openPage(profile ? { newContext: () => profile.context() } : browser, { viewport: { width: 1440, height: 900 } });
      page.requests = [];
      page.on("request", (request) => page.requests.push(request.url()));
      for (const script of [REMEMBER, ...init]) await page.addInitScript(script);
      return page;
    },
    pick: (page, css, paths) => page.locator(css).setInputFiles(paths),
    closePage: (page) => page.context().close(),
  },
  {
    name: "Firefox",
    launch: launchFirefox,
    open: (browser, { init = [], profile } = {}) =>
      openFirefoxPage(browser, { init: [REMEMBER, ...init], context: profile?.browserContext() }),
    pick: async (page, css, paths) => (await page.$(css)).uploadFile(...paths),
    closePage: (page) => page.browserContext().close(),
  },
];

/** Makes the page believe that it has no relaxed SIMD. */
export function withoutRelaxed() {
  const { validate } = WebAssembly;
  WebAssembly.validate = (bytes) => !`${new Uint8Array(bytes.buffer ?? bytes)}`.includes("253,128,2") && validate(bytes);
}

// Runs before a page's scripts: keeps the violations of its policy, and the files that it hands to its reader.
function REMEMBER() {
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) =>
    window.violations.push(`${event.effectiveDirective} refused ${event.blockedURI}`));
  window.handedOut = [];
  const { createObjectURL } = URL;
  URL.createObjectURL = (blob) => {
    window.handedOut.push(blob);
    return createObjectURL(blob);
  };
}

/** The run that the page shows, as its "Save JSON" writes it. */
export async function savedRun(page) {
  await traced(page);
  const text = await page.evaluate(async () => {
    window.handedOut.length = 0;
    document.getElementById("save-json").click();
    for (let waited = 0; window.handedOut.length === 0 && waited < 5000; waited += 50) {
      await new Promise((next) => setTimeout(next, 50));
    }
    return window.handedOut[0]?.text();
  });
  assert.ok(text, "\"Save JSON\" handed out no file");
  return JSON.parse(text);
}

/** Fails unless two saved runs hold the same texts, tokens and, within `relative` of each array's largest, numbers. */
export function assertSameRun(what, found, expected, relative) {
  // Since when the prediction leads is found after the run is shown, so a run saved at once lacks it.
  const walk = (path, a, b) => {
    if (path.endsWith(".leads")) return;
    if (typeof b === "number") return;
    if (Array.isArray(b) && typeof b[0] === "number") {
      assert.equal(a?.length, b.length, `${what}: length of ${path}`);
      const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3);
      const off = b.findIndex((value, i) => !(Math.abs(a[i] - value) <= relative * largest));
      assert.ok(off < 0, `${what}: ${path}[${off}] is ${a[off]}, expected ${b[off]} (within ${relative} of ${largest})`);
    } else if (b && typeof b === "object") {
      for (const key of Object.keys(b)) walk(`${path}.${key}`, a?.[key], b[key]);
    } else {
      assert.equal(a, b, `${what}: ${path}`);
    }
  };
  assert.ok(expected.sequences?.length > 0, `${what}: the expected run has no sequences`);
  walk("sequences", found.sequences, expected.sequences);
}

/** Types a text and runs it. */
export async function runText(page, text) {
  await page.evaluate((text) => {
    const input = document.getElementById("text-input");
    input.value = text;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    document.getElementById("run").click();
  }, text);
  await traced(page);
}

/** Waits until the page's model chip says `words`. */
export function inUse(page, words, timeoutMs = 60_000) {
  return until(`${words} to be the model in use`, () => page.evaluate((source) => {
    const chip = document.getElementById("model-chip");
    return chip.dataset.state === "ready" && new RegExp(source).test(chip.textContent);
  }, words.source), timeoutMs).catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });
}
