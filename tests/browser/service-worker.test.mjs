// The site without its server: after one visit it opens and computes, fetched nothing twice for that, and an update
// arrives whole, in the background, for the next visit.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { writeNoServiceWorker, writeServiceWorker } from "../../tools/service-worker.mjs";
import { until } from "./support/browser.mjs";
import { assertSameRun, BROWSERS, savedRun } from "./support/browsers.mjs";
import { SITE, SITE_PATH } from "./support/lab.mjs";
import { serve } from "./support/site.mjs";
import { isQuiet, traced } from "./support/site-page.mjs";

const PATIENCE_MS = 90_000;
const demo = `models/${readdirSync(join(SITE, "models"))[0]}/`;
let folder;
before(() => { folder = mkdtempSync(join(tmpdir(), "residual-stream-sw-")); });
after(() => rmSync(folder, { recursive: true }));

/** A copy of the site with another title, as a later build would leave it. `listed`: whether its service worker knows. */
async function changedSite(name, title, { listed = true } = {}) {
  const copy = join(folder, name);
  cpSync(SITE, copy, { recursive: true });
  const html = readFileSync(join(SITE, "index.html"), "utf8");
  writeFileSync(join(copy, "index.html"), html.replace(/<title>[^<]*/, `<title>${title}`));
  const [, content] = html.match(/residual-stream-engine" content="([^"]*)"/);
  const loaded = [...html.matchAll(/(?:src|href)="\.\/([^"]+\.(?:js|css|svg|wasm))"/g)].map(([, path]) => path);
  await writeServiceWorker(copy, { engines: content.split(" ").slice(0, 4), demo, core: ["index.html", ...new Set(loaded)] });
  // A server in the middle of an update: the new worker, and a page that is neither the old nor the new.
  if (!listed) writeFileSync(join(copy, "index.html"), html.replace(/<title>[^<]*/, "<title>half"));
  return copy;
}

/** Names of this site's caches, and the paths in them. */
const kept = (page) => page.evaluate(async () => {
  const found = {};
  for (const name of await caches.keys()) {
    found[name] = (await (await caches.open(name)).keys()).map(({ url }) => url.slice(new URL(".", location.href).href.length));
  }
  return found;
});

for (const { name, launch, open, closePage } of BROWSERS) {
  describe(name, () => {
    let browser, site, page;
    const served = (root) => serve({ mounts: { [SITE_PATH]: root }, port: site?.port });
    const visit = async () => {
      await page.goto(`${site.origin}${SITE_PATH}`);
      await traced(page);
    };
    // Browsers look for a new version some time after a navigation; a busy machine makes that long. A look may fail (the server
    // has just been replaced), and the page itself registers the worker once more when all is there: so it is repeated.
    const lookForNews = () => page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.update().then(() => {}, () => {}));
    const isKept = () => until("the service worker to be active, with all it needs", () => page.evaluate(async () => {
      const registration = await navigator.serviceWorker.getRegistration();
      return registration?.active?.state === "activated" && !registration.installing && !registration.waiting;
    }), PATIENCE_MS).catch(async (error) => {
      const state = await page.evaluate(async () => {
        const { installing, waiting, active } = await navigator.serviceWorker.getRegistration() ?? {};
        return `installing: ${installing?.state}, waiting: ${waiting?.state}, active: ${active?.state}`;
      });
      throw new Error(`${error.message}; ${state}; kept: ${JSON.stringify(await kept(page))}`);
    });
    before(async () => { browser = await launch(); });
    after(() => browser?.close());
    beforeEach(async () => {
      site = await served(SITE);
      page = await open(browser);
    });
    afterEach(async () => {
      await closePage(page);
      await site.close();
      site = undefined;
    });

    test("a first visit fetches every file once, and only the engine that runs", async () => {
      await visit();
      await isKept();
      const counts = {};
      for (const path of site.requests) counts[path] = (counts[path] ?? 0) + 1;
      const twice = Object.entries(counts).filter(([path, count]) => count > 1 && !path.endsWith("/sw.js"));
      assert.deepEqual(twice, [], "paths that were asked for more than once");
      const [paths] = Object.values(await kept(page));
      assert.ok(paths.some((path) => /engine-relaxed.*wasm/.test(path)), `the engine is not kept: ${paths}`);
      assert.ok(!paths.some((path) => /engine-[0-9a-f]+/.test(path)), `an engine that does not run is kept: ${paths}`);
      assert.ok(paths.includes(`${demo}model.safetensors`), "the demo model is not kept");
      await isQuiet(page);
    });

    test("with the server gone, the page opens, traces and loads the demo model anew", async () => {
      await visit();
      const expected = await savedRun(page);
      await isKept();
      await site.close();
      for (const address of ["", "index.html", "?from=somewhere"]) {
        await page.goto(`${site.origin}${SITE_PATH}${address}`);
        assertSameRun(`/${address} without a server`, await savedRun(page), expected, 0);
      }
      await isQuiet(page);
    });

    test("files of the host that are not the site's are not kept, whatever they are called", async () => {
      const copy = join(folder, `${name}-host`);
      cpSync(SITE, copy, { recursive: true });
      const strangers = ["constructor", "toString", "valueOf", "hasOwnProperty", "notes.txt"];
      for (const file of strangers) writeFileSync(join(copy, file), "the host's own");
      await site.close();
      site = await served(copy);
      await visit();
      await isKept();
      await visit();
      const answers = await page.evaluate((files) => Promise.all(files.map(async (file) => (await fetch(file)).text())), strangers);
      assert.deepEqual(answers, strangers.map(() => "the host's own"));
      const paths = Object.values(await kept(page)).flat();
      assert.deepEqual(paths.filter((path) => strangers.includes(path)), []);
    });

    test("a range of a kept file is that range", async () => {
      await visit();
      await isKept();
      await visit();
      const asked = site.requests.length;
      const answers = await page.evaluate(async (address) => {
        const found = [];
        for (const range of ["bytes=0-7", "bytes=1000-1009", "bytes=5887590-", "bytes=99999999-"]) {
          const response = await fetch(address, { headers: { Range: range } });
          found.push([response.status, response.headers.get("Content-Range"), [...new Uint8Array(await response.arrayBuffer())]]);
        }
        return found;
      }, `${demo}model.safetensors`);
      const file = readFileSync(join(SITE, demo, "model.safetensors"));
      const part = (start, end) => [206, `bytes ${start}-${end - 1}/${file.length}`, [...file.subarray(start, end)]];
      assert.deepEqual(answers, [part(0, 8), part(1000, 1010), part(5887590, file.length), [416, `bytes */${file.length}`, []]]);
      assert.deepEqual(site.requests.slice(asked).filter((path) => !path.endsWith("/sw.js")), [], "the server was asked");
    });

    test("a new version arrives in the background, whole, and the old one goes", async () => {
      await visit();
      await isKept();
      const [before] = Object.keys(await kept(page));
      const title = await page.title();
      await site.close();
      site = await served(await changedSite("half", "never seen", { listed: false }));
      await visit();
      await lookForNews();
      await until("the end of an installation that cannot succeed", () => page.evaluate(async () => {
        const registration = await navigator.serviceWorker.getRegistration();
        return !registration.installing && !registration.waiting && registration.active.state === "activated";
      }));
      await visit();
      assert.equal(await page.title(), title, "half an update is shown");
      // A browser may end a worker in the middle of an installation; the next one that fails tidies up after it.
      let looks = 0;
      await until("nothing to be kept of half an update", async () => {
        if (Object.keys(await kept(page)).join() === before) return true;
        if ((looks += 1) % 100 === 0) await lookForNews();
        return false;
      }, PATIENCE_MS);

      await site.close();
      site = await served(await changedSite("whole", "the next version"));
      await visit();
      assert.equal(await page.title(), title, "the version that is kept is what opens");
      await lookForNews();
      await until("the new version to be kept", async () => {
        await lookForNews();
        return Object.keys(await kept(page)).some((name) => name !== before);
      }, PATIENCE_MS);
      await isKept();
      const asked = site.requests.filter((path) => path.endsWith(".safetensors") || path.endsWith(".wasm"));
      assert.deepEqual(asked, [], "files that did not change were fetched again");
      await visit();
      assert.equal(await page.title(), "the next version");
      await until("the old version to be deleted", async () => !Object.keys(await kept(page)).includes(before));
      await site.close();
      await visit();
      assert.equal(await page.title(), "the next version", "without the server");
    });

    test("a site that is taken down, or under development, lets go of its visitors", async () => {
      await visit();
      await isKept();
      await site.close();
      const copy = await changedSite("without", "no service worker");
      await writeNoServiceWorker(copy);
      const html = readFileSync(join(copy, "index.html"), "utf8");
      writeFileSync(join(copy, "index.html"), html.replace(/<meta name="residual-stream-service-worker"[^>]*>/, ""));
      site = await served(copy);
      await visit();
      await lookForNews();
      // Where an open page still has the old worker, the new one waits for the next visit.
      let looks = 0;
      await until("the service worker to be gone", async () => {
        await lookForNews();
        if ((looks += 1) % 100 === 0) await visit();
        return page.evaluate(async () => !(await navigator.serviceWorker.getRegistration()));
      }, PATIENCE_MS);
      await visit();
      assert.equal(await page.title(), "no service worker");
    });
  });
}
