// What Trunk cannot do for us, after it has built the page (one hook: hooks of a stage run at the same time):
// 1. the demo model's folder is named after its content, as every file that the page loads: none is ever stale;
// 2. the engines and the JavaScript package go into `pkg/` of the site;
// 3. the embed goes beside the page, and the page's colours beside the lessons;
// 4. the page learns the engines' addresses and the demo's from a <meta> element;
// 5. Trunk's inline start-up script moves into a file, so that the page's CSP needs no inline script;
// 6. the service worker learns all files and their hashes; the page learns of it unless RESIDUAL_STREAM_SERVE is set,
//    as by `make run`: whoever works on the site wants to see the change, not the version before it, and one that an
//    earlier visit of this address left behind goes.
import { createHash } from "node:crypto";
import { cp, readFile, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { NOTICES } from "./licences.mjs";
import { buildEmbedOf, buildPackage } from "./package.mjs";
import { writeNoServiceWorker, writeServiceWorker } from "./service-worker.mjs";

const staging = process.env.TRUNK_STAGING_DIR;
if (!staging) throw new Error("tools/trunk-hook.mjs is started by trunk (see Trunk.toml), not by hand");
const profile = process.env.RESIDUAL_STREAM_PROFILE || (process.env.TRUNK_PROFILE === "release" ? "release" : "quick");

const hashOf = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest("hex").slice(0, 16);

const models = join(staging, "models");
const files = await Promise.all((await readdir(join(models, "demo"))).sort().map((name) => readFile(join(models, "demo", name))));
const demo = `models/demo-${hashOf(...files)}/`;
await rename(join(models, "demo"), join(staging, demo));

const engines = (await buildPackage({ out: join(staging, "pkg"), profile, demo: `../${demo}` })).map((path) => `pkg/${path}`);
await buildEmbedOf({ out: staging, pkg: staging, engines, profile });
await cp(join(staging, "pkg", NOTICES), join(staging, NOTICES));

// The lessons have the page's colours.
const style = await readFile("www/style.css", "utf8");
await writeFile(join(staging, "lessons/colours.css"), style.slice(style.indexOf(":root"), style.indexOf("*, *::before")));

const file = join(staging, "index.html");
let html = await readFile(file, "utf8");
html = html.replace("</head>", `<meta name="residual-stream-engine" content="${[...engines, demo].join(" ")}">\n</head>`);

// What a preload of fetched bytes says of their hash is ignored by Chromium, with a warning at every visit.
html = html.replace(/<link rel="preload"[^>]*as="fetch"[^>]*>/, (link) => link.replace(/ integrity="[^"]*"/, ""));

const inline = /<script type="module"[^>]*>([\s\S]*?)<\/script>/g;
const scripts = [...html.matchAll(inline)].filter(([, body]) => body.trim() !== "");
if (scripts.length !== 1) throw new Error(`expected Trunk's one inline start-up script in index.html, found ${scripts.length}`);
const [element, body] = scripts[0];
const name = `start-${hashOf(body)}.js`;
await writeFile(join(staging, name), body.trimStart());
const integrity = `sha384-${createHash("sha384").update(body.trimStart()).digest("base64")}`;
html = html.replace(element, () => `<script type="module" src="./${name}" integrity="${integrity}"></script>`);
const served = Boolean(process.env.RESIDUAL_STREAM_SERVE);
if (!served) html = html.replace("</head>", '<meta name="residual-stream-service-worker" content="sw.js">\n</head>');
await writeFile(file, html);

// What the markup loads, and what that loads: Trunk's glue and module.
const loaded = [...html.matchAll(/(?:src|href)="\.\/([^"]+\.(?:js|css|svg|wasm))"/g)].map(([, path]) => path);
if (served) await writeNoServiceWorker(staging);
else await writeServiceWorker(staging, { engines, demo, core: ["index.html", ...new Set(loaded)] });
