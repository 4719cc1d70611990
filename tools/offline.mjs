// Makes one HTML file out of a built site: the offline page, which works from file:// with the network off.
//   node tools/offline.mjs [--site dist] [--out dist/residual-stream-offline.html]
//
// Nothing can be fetched or imported from file://, so everything stands in the file itself: styles, icon and the
// page's script as they are; WebAssembly and the demo model as base64 of gzip in elements that no browser runs
// (www/offline.js unpacks them). The Content-Security-Policy names the hash of each script and style in the file.
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { NOTICES } from "./licences.mjs";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const LARGEST = 16_000_000;
const TYPES = { js: "text/javascript", wasm: "application/wasm", json: "application/json" };
const DEMO_FILES = ["config.json", "tokenizer.json", "model.safetensors"];

const { values: options } = parseArgs({ options: {
  site: { type: "string", default: join(ROOT, "dist") },
  out: { type: "string" },
} });
const site = resolve(options.site);
const out = resolve(options.out ?? join(site, "residual-stream-offline.html"));
const read = (name, encoding) => readFile(join(site, name), encoding);

/** The one match of a pattern; an error that says what is not as the build leaves it. */
function only(text, pattern, what) {
  const found = [...text.matchAll(pattern)];
  if (found.length !== 1) throw new Error(`${what}: expected once, found ${found.length} times`);
  return found[0];
}

const hashes = { script: [], style: [] };
/** Text for an inline element, its hash noted for the policy. */
function inline(kind, text, name) {
  const safe = text.trim();
  if (new RegExp(`</${kind}|<!--`, "i").test(safe)) throw new Error(`${name} holds text that ends or breaks an inline ${kind} element`);
  hashes[kind].push(`'sha256-${createHash("sha256").update(safe).digest("base64")}'`);
  return safe;
}

/** A file as an inert element. */
async function carried(name) {
  const bytes = await read(name);
  const type = TYPES[name.split(".").pop()] ?? "application/octet-stream";
  return `<script type="application/gzip;base64" id="file:${name}" data-type="${type}">${gzipSync(bytes, { level: 9 }).toString("base64")}</script>`;
}

/** The page's script: wasm-bindgen's glue is a module that imports nothing, and may stand inline with its exports. */
async function pageScript(glueName, moduleName) {
  const glue = await read(glueName, "utf8");
  if (/^\s*import\b/m.test(glue)) throw new Error(`${glueName} imports another file, which a page from file:// cannot`);
  const [, init] = only(glue, /export \{[^}]*?(\w+) as default[^}]*\}/g, `the default export of ${glueName}`);
  const offline = await readFile(join(ROOT, "www/offline.js"), "utf8");
  return [offline, glue, `await ${init}({ module_or_path: unpack(${JSON.stringify(moduleName)}) });`].join("\n");
}

let html = await read("index.html", "utf8");
// The lessons are files of their own.
html = html.replace(/ *<a href="lessons\/[^>]*>[^<]*<\/a>\n/, "");
const [element, startName] = only(html, /<script type="module" src="\.\/(start-\w+\.js)"[^>]*><\/script>\n?/g, "the start-up script in index.html");
const start = await read(startName, "utf8");
const [, glueName] = only(start, /from ["']\.?\/?(page-[^"']+\.js)["']/g, `the glue's name in ${startName}`);
const [, moduleName] = only(start, /["']\.?\/?(page-[^"']+_bg\.wasm)["']/g, `the module's name in ${startName}`);
html = html.replace(element, "");

// What the browser would fetch ahead stands in the file.
html = html.replace(/<link rel="(?:modulepreload|preload)"[^>]*>\n?/g, "");
for (const [link, name] of html.matchAll(/<link rel="stylesheet" href="\.\/([^"]+)"[^>]*>/g)) {
  const style = inline("style", await read(name, "utf8"), name);
  html = html.replace(link, () => `<style>${style}</style>`);
}
for (const [script, name] of html.matchAll(/<script src="\.\/([^"]+)"[^>]*><\/script>/g)) {
  const text = inline("script", await read(name, "utf8"), name);
  html = html.replace(script, () => `<script>${text}</script>`);
}
const [icon, iconName] = only(html, /<link rel="icon" href="\.\/([^"]+)"[^>]*>/g, "the icon in index.html");
html = html.replace(icon, `<link rel="icon" href="data:image/svg+xml;base64,${(await read(iconName)).toString("base64")}">`);
// What only a site has: links to its other pages, and whatever is marked so.
html = html.replace(/<a\b[^>]*\bhref="(?!#|data:|https?:)[^"]*"[^>]*>[\s\S]*?<\/a>\n?/g, "");
html = html.replace(/<meta name="residual-stream-service-worker"[^>]*>\n?/, "");
html = html.replace(/<(\w+)[^>]*\bdata-site-only\b[^>]*>[\s\S]*?<\/\1>\n?/g, "");

const [, engines] = only(html, /<meta name="residual-stream-engine" content="([^"]+)">/g, "the engine's addresses in index.html");
const names = engines.split(" ");
const demo = names.pop();
const [ahead, later] = [[moduleName], [...names, ...DEMO_FILES.map((name) => `${demo}${name}`)]];
/** The licences of what is compiled into this file: whoever has the file has them. */
async function carriedNotices() {
  const text = await read(NOTICES, "utf8");
  if (/<\/script|<!--/i.test(text)) throw new Error(`${NOTICES} holds text that would end a script element`);
  return `<script type="text/plain" id="file:${NOTICES}">\n${text}</script>`;
}

const script = inline("script", await pageScript(glueName, moduleName), "the page's script");
const tail = [
  ...await Promise.all(ahead.map(carried)),
  // Async: it need not wait for what follows.
  `<script type="module" async>${script}</script>`,
  ...await Promise.all(later.map(carried)),
  await carriedNotices(),
];
html = html.replace("</body>", () => `${tail.join("\n")}\n</body>`);

const [policy, before, scripts, between, styles, after] = only(html,
  /(<meta http-equiv="Content-Security-Policy" content="[^"]*?script-src )([^;]*)(;[^"]*?style-src )([^;]*)(;[^"]*">)/g, "the policy in index.html");
const withoutSelf = (text) => text.replaceAll(/'self' ?/g, "");
html = html.replace(policy, () => [
  withoutSelf(before), hashes.script.join(" "), " ", withoutSelf(scripts), withoutSelf(between),
  hashes.style.join(" "), withoutSelf(after),
].join("")).replace(/ (?:font|manifest)-src *;/g, "");

const left = html.match(/(?:src|href)="\.\/[^"]*"/);
if (left) throw new Error(`the offline page would still ask for ${left[0]}`);
const size = Buffer.byteLength(html);
if (size > LARGEST) throw new Error(`the offline page has ${size} bytes; it must stay below ${LARGEST}`);
await writeFile(out, html);
console.error(`offline page: ${out}, ${(size / 1e6).toFixed(1)} MB`);
