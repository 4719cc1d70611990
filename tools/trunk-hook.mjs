// What Trunk cannot do for us, after it has built the page (one hook: hooks of a stage run at the same time):
// 1. the demo model's folder is named after its content, as every file that the page loads: none is ever stale;
// 2. the engines and the JavaScript package go into `pkg/` of the site, the embed beside the page, the page's colours
//    beside the lessons;
// 3. `files.json` says what the site consists of, for the service worker and the offline page;
// 4. the names of what was built go into index.html and www/start.js, which have holes for them.
// With RESIDUAL_STREAM_SERVE, as by `make run`, only what the page itself needs is built: one engine, no package, no embed
// and no service worker, because whoever works on the site wants to see the change, not the version before it.
import { cp, readFile, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { NOTICES, notices } from "./licences.mjs";
import { buildEmbedOf, buildEngines, buildPackage } from "./package.mjs";
import { writeNoServiceWorker, writeServiceWorker } from "./service-worker.mjs";
import { between, fill, integrity, nameHash } from "./template.mjs";

const staging = process.env.TRUNK_STAGING_DIR;
if (!staging) throw new Error("tools/trunk-hook.mjs is started by trunk (see Trunk.toml), not by hand");
const profile = process.env.RESIDUAL_STREAM_PROFILE || (process.env.TRUNK_PROFILE === "release" ? "release" : "quick");
const served = Boolean(process.env.RESIDUAL_STREAM_SERVE);

const models = join(staging, "models");
const ofDemo = await Promise.all((await readdir(join(models, "demo"))).sort().map((name) => readFile(join(models, "demo", name))));
const demo = `models/demo-${nameHash(...ofDemo)}/`;
await rename(join(models, "demo"), join(staging, demo));

const pkg = join(staging, "pkg");
const built = served ? await buildEngines({ out: pkg, profile, relaxed: false })
  : await buildPackage({ out: pkg, profile, demo: `../${demo}` });
const [engine, relaxed = engine] = built.map(({ script, module }) => [`pkg/${script}`, `pkg/${module}`]);
const engines = [...engine, ...relaxed];
if (!served) await buildEmbedOf({ out: staging, pkg: staging, engines, profile });
await writeFile(join(staging, NOTICES), await notices());

// The lessons have the page's colours.
const style = await readFile("www/style.css", "utf8");
await writeFile(join(staging, "lessons/colours.css"), style.slice(style.indexOf(":root"), style.indexOf("*, *::before")));

const names = await readdir(staging);
/** The file that Trunk named after its content. */
const named = (start, end) => {
  const found = names.filter((name) => name.startsWith(`${start}-`) && name.endsWith(end));
  if (found.length !== 1) throw new Error(`expected one ${start}-….${end} from Trunk, found ${found.join(", ") || "none"}`);
  return found[0];
};
const page = { script: named("page", ".js"), module: named("page", "_bg.wasm") };
const start = fill(await readFile("www/start.js", "utf8"), { page_script: page.script, page_module: page.module }, "www/start.js");
page.start = `start-${nameHash(start)}.js`;
await writeFile(join(staging, page.start), start);

const files = { page, engines, demo, look: [named("style", ".css"), named("check", ".js"), named("icon", ".svg")] };
await writeFile(join(staging, "files.json"), JSON.stringify(files, null, 1));

const index = join(staging, "index.html");
// What it has compiled, Trunk names where it starts it, and leaves where it does not.
const html = between(await readFile(index, "utf8"), ['<link data-trunk rel="rust"', ">\n"], "", "index.html");
await writeFile(index, fill(html, {
  engine: [...engines, demo].join(" "),
  service_worker: served ? "" : "sw.js",
  page_script: page.script, page_script_hash: integrity(await readFile(join(staging, page.script))),
  page_module: page.module,
  start: page.start, start_hash: integrity(start),
}, "index.html"));

if (served) await writeNoServiceWorker(staging);
else await writeServiceWorker(staging, { engines, demo, core: ["index.html", ...Object.values(page), ...files.look] });
