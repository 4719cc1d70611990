// Makes one HTML file out of a built site: the offline page, which works from file:// with the network off.
//   node tools/offline.mjs [--site dist] [--out dist/residual-stream-offline.html]
//
// Nothing can be fetched or imported from file://, so everything stands in the file itself: styles, icon and the
// page's script as they are; WebAssembly and the demo model as base64 of gzip in elements that no browser runs
// (www/offline.js unpacks them). The Content-Security-Policy names the hash of each script and style in the file.
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { NOTICES } from "./licences.mjs";
import { between, integrity } from "./template.mjs";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const LARGEST = 16_000_000;
const TYPES = { js: "text/javascript", wasm: "application/wasm", json: "application/json" };
const SITE_ONLY = ["<!-- site only -->", "<!-- /site only -->"];
const DEMO_FILES = ["config.json", "tokenizer.json", "model.safetensors"];

const { values: options } = parseArgs({ options: {
  site: { type: "string", default: join(ROOT, "dist") },
  out: { type: "string" },
} });
const site = resolve(options.site);
const out = resolve(options.out ?? join(site, "residual-stream-offline.html"));
const read = (name, encoding) => readFile(join(site, name), encoding);

const hashes = { script: [], style: [] };
/** Text for an inline element, its hash noted for the policy. */
function inline(kind, text, name) {
  const safe = text.trim();
  if (new RegExp(`</${kind}|<!--`, "i").test(safe)) throw new Error(`${name} holds text that ends or breaks an inline ${kind} element`);
  hashes[kind].push(`'${integrity(safe, "sha256")}'`);
  return safe;
}

/** A file as an inert element. */
async function carried(name) {
  const bytes = await read(name);
  const type = TYPES[name.split(".").pop()] ?? "application/octet-stream";
  return `<script type="application/gzip;base64" id="file:${name}" data-type="${type}">${gzipSync(bytes, { level: 9 }).toString("base64")}</script>`;
}

/** The page's script: wasm-bindgen's glue is a module that imports nothing, and may stand inline. It is cut before its
 *  exports, of which only the one that starts it is of use here. */
async function pageScript({ script, module }) {
  const glue = await read(script, "utf8");
  if (/^\s*import\b/m.test(glue)) throw new Error(`${script} imports another file, which a page from file:// cannot`);
  const end = glue.lastIndexOf("\nexport {");
  const start = glue.slice(end).match(/(\w+) as default/)?.[1];
  if (end < 0 || !start) throw new Error(`${script} has no default export that starts it`);
  const offline = await readFile(join(ROOT, "www/offline.js"), "utf8");
  return [offline, glue.slice(0, end), `await ${start}({ module_or_path: unpack(${JSON.stringify(module)}) });`].join("\n");
}

const { page, engines, demo, look: [style, check, icon] } = JSON.parse(await read("files.json", "utf8"));

/** The licences of what is compiled into this file: whoever has the file has them. */
async function carriedNotices() {
  const text = await read(NOTICES, "utf8");
  if (/<\/script|<!--/i.test(text)) throw new Error(`${NOTICES} holds text that would end a script element`);
  return `<script type="text/plain" id="file:${NOTICES}">\n${text}</script>`;
}

const script = inline("script", await pageScript(page), "the page's script");
const head = [
  `<link rel="icon" href="data:image/svg+xml;base64,${(await read(icon)).toString("base64")}">`,
  `<style>${inline("style", await read(style, "utf8"), style)}</style>`,
  `<script>${inline("script", await read(check, "utf8"), check)}</script>`,
  `<meta name="residual-stream-engine" content="${[...engines, demo].join(" ")}">`,
  "</head>",
];
const later = [...engines, ...DEMO_FILES.map((name) => `${demo}${name}`)];
const tail = [
  await carried(page.module),
  // Async: it need not wait for what follows.
  `<script type="module" async>${script}</script>`,
  ...await Promise.all(later.map(carried)),
  await carriedNotices(),
  "</body>",
];

// The page as it is written, not as Trunk built it: what the browser would fetch stands in the file.
const source = await readFile(join(ROOT, "index.html"), "utf8");
let html = between(source, ['<link data-trunk rel="icon"', "</head>"], head.join("\n"), "index.html");
html = html.split(SITE_ONLY[0]).map((part, index) => (index === 0 ? part : part.split(SITE_ONLY[1])[1])).join("");
html = between(html, ["</body>", "\n"], `${tail.join("\n")}\n`, "index.html");

// 'self' would be the folder that the file lies in: what may run and what styles, the hashes say.
const policy = source.match(/Content-Security-Policy" content="([^"]*)"/)[1];
html = html.replace(policy, () => policy.replaceAll("'self' ", "").replace("style-src 'self'", `style-src ${hashes.style.join(" ")}`)
  .replace("script-src ", `script-src ${hashes.script.join(" ")} `).replace(" font-src 'self';", ""));

const left = html.match(/(?:src|href)="\.\/[^"]*"/);
if (left) throw new Error(`the offline page would still ask for ${left[0]}`);
const size = Buffer.byteLength(html);
if (size > LARGEST) throw new Error(`the offline page has ${size} bytes; it must stay below ${LARGEST}`);
await writeFile(out, html);
console.error(`offline page: ${out}, ${(size / 1e6).toFixed(1)} MB`);
