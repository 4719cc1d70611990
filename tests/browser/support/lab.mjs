// A laboratory for one test file: the built site, a stand-in hub, Chromium, and a blank page that has
// imported the package. `await lab.run(fn, argument)` runs fn(package, argument) in that page.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Hub } from "../hub.mjs";
import { launch, openPage } from "./browser.mjs";
import { serve } from "./site.mjs";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
/** The site under test: SITE=dist for a release build. */
export const SITE = resolve(ROOT, process.env.SITE ?? "target/test-dist");
// Not the server's root: every address in the site must be relative.
export const SITE_PATH = "/some/where/";

const BLANK = `<!doctype html><html lang="en"><meta charset="utf-8"><title>blank</title><link rel="icon" href="data:,">
<canvas id="canvas" style="width:600px;height:340px"></canvas></html>`;

export async function openLab() {
  if (!existsSync(join(SITE, "pkg/residual-stream.js"))) {
    throw new Error(`${SITE} holds no built site: run "make test-site" first, or point SITE at one`);
  }
  const folder = mkdtempSync(join(tmpdir(), "residual-stream-"));
  const site = await serve({
    mounts: { [SITE_PATH]: SITE, "/fixtures/": join(ROOT, "tests/fixtures"), "/models/": folder },
    pages: { "/blank.html": BLANK },
  });
  const hub = await new Hub().start();
  const browser = await launch();

  const imported = async (page) => {
    await page.goto(`${site.origin}/blank.html`);
    await page.evaluate(IN_PAGE, `${site.origin}${SITE_PATH}pkg/residual-stream.js`);
    return page;
  };
  const lab = {
    site, hub, browser, folder,
    page: undefined,
    /** Where files written into `folder` are served. */
    modelUrl: (name) => `${site.origin}/models/${name}/`,
    fixtureUrl: (name) => `${site.origin}/fixtures/${name}/`,
    /** A new blank page with the package imported as `window.rs`, in a profile of its own (and so with an empty
     *  storage). `inWorkers`: JavaScript that the engine's workers run before anything else. */
    async freshPage({ inWorkers = "" } = {}) {
      await lab.page?.context().close();
      lab.page = await openPage(browser);
      if (inWorkers) await lab.page.addInitScript(PREPEND, inWorkers);
      await lab.reload();
      return lab.page;
    },
    /** Opens the blank page, with the package imported, in a page of another browser. */
    bring: (page) => imported(page),
    /** Leaves the page, with all its workers, and opens it again. */
    reload: () => imported(lab.page),
    /** Another tab of the same profile. */
    secondPage: async () => imported(await lab.page.context().newPage()),
    run: (fn, argument) => lab.page.evaluate(
      ([source, value]) => (0, eval)(`(${source})`)(window.rs, value), [fn.toString(), argument]),
    async close() {
      const problems = lab.page?.problems ?? [];
      await browser.close();
      await hub.close();
      await site.close();
      rmSync(folder, { recursive: true });
      assert.deepEqual(hub.violations(), [], "requests to the hub that a plain page could not make, or that failed");
      assert.deepEqual(problems.filter((p) => p.startsWith("uncaught")), [], "uncaught errors in the page");
    },
  };
  await lab.freshPage();
  return lab;
}

// Runs in the page: imports the package and leaves helpers beside it.
async function IN_PAGE(address) {
  window.rs = await import(address);
  // Traces as plain arrays, since typed arrays do not cross to node.
  window.plain = (value) => {
    if (ArrayBuffer.isView(value)) return Array.from(value);
    if (Array.isArray(value)) return value.map(window.plain);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, window.plain(inner)]));
    }
    return value;
  };
  // What a rejection was: { code, message, isError }, or { resolved: true }.
  window.rejection = async (promise) => {
    try {
      await promise;
      return { resolved: true };
    } catch (error) {
      return { code: error?.code, message: String(error?.message ?? error), isError: error instanceof Error };
    }
  };
  // A few lines of "a page" reading bytes that the test sent as base64.
  window.bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

// Runs in the page before its scripts: a worker's script is a Blob.
function PREPEND(code) {
  const Original = window.Blob;
  window.Blob = class Blob extends Original {
    constructor(parts = [], options = {}) {
      super(/javascript/.test(options.type) ? [`${code};\n`, ...parts] : parts, options);
    }
  };
}

/** Asserts a rejection: its code, that it is an Error, and that its message speaks of each of `names`. */
export function isRejection(what, found, code, ...names) {
  assert.ok(!found.resolved, `${what}: expected a rejection with code "${code}", but it resolved`);
  assert.equal(found.code, code, `${what}: wrong code; the message was: ${found.message}`);
  assert.ok(found.isError, `${what}: the rejection is no Error`);
  for (const name of names) {
    assert.match(found.message, name instanceof RegExp ? name : new RegExp(name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")),
      `${what}: the message does not name ${name}`);
  }
}
