// What Trunk cannot do for us, after it has built the page (one hook: hooks of a stage run at the same time):
// 1. the engines and the JavaScript package go into `pkg/` of the site;
// 2. the page learns the engines' addresses, which carry hashes, from a <meta> element;
// 3. Trunk's inline start-up script moves into a file, so that the page's CSP needs no inline script.
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildPackage } from "./package.mjs";

const staging = process.env.TRUNK_STAGING_DIR;
if (!staging) throw new Error("tools/trunk-hook.mjs is started by trunk (see Trunk.toml), not by hand");
const profile = process.env.RESIDUAL_STREAM_PROFILE || (process.env.TRUNK_PROFILE === "release" ? "release" : "quick");

const engines = await buildPackage({ out: join(staging, "pkg"), profile, demo: "../models/demo/" });

const file = join(staging, "index.html");
let html = await readFile(file, "utf8");
html = html.replace("</head>", `<meta name="residual-stream-engine" content="${engines.map((path) => `pkg/${path}`).join(" ")}">\n</head>`);

const inline = /<script type="module"[^>]*>([\s\S]*?)<\/script>/g;
const scripts = [...html.matchAll(inline)].filter(([, body]) => body.trim() !== "");
if (scripts.length !== 1) throw new Error(`expected Trunk's one inline start-up script in index.html, found ${scripts.length}`);
const [element, body] = scripts[0];
const name = `start-${createHash("sha256").update(body).digest("hex").slice(0, 16)}.js`;
await writeFile(join(staging, name), body.trimStart());
html = html.replace(element, () => `<script type="module" src="./${name}"></script>`);
await writeFile(file, html);
