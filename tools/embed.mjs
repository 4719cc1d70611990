// Builds the embed: `embed.js`, one classic script that is all a saved run's chart needs, and beside it the scripts
// that a model needs, loaded when one is asked for. All of them are plain scripts, since those may be loaded from any
// origin without the host's consent (CORS).
// Called by tools/package.mjs and tools/trunk-hook.mjs after they have built the package.
import { createHash } from "node:crypto";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const DEMO_FILES = ["config.json", "model.safetensors", "tokenizer.json"];

// The page that holds one embed, for an <iframe>.
const FRAME = ["embed.html", "frame.js", "frame.css"];

const packed = (bytes) => gzipSync(bytes, { level: 9 }).toString("base64");

/** Where a section of the style sheet ends: at the next one that begins with such a comment. */
function section(css, name) {
  const from = css.indexOf(`/* ${name} */`);
  if (from < 0) throw new Error(`www/style.css has no section "${name}", which the embed's charts need`);
  const to = css.indexOf("\n/* ", css.indexOf("\n\n", from));
  return css.slice(from, to < 0 ? undefined : to);
}

/** The page's colours and its charts' parts, for a shadow root: the embed looks like the page. */
export function styleOf(page, own) {
  const [light, dark] = [...page.matchAll(/:root \{([^}]*)\}/g)].map(([, body]) => body.replace(/color-scheme:[^;]*;/, ""));
  if (!light || !dark) throw new Error("www/style.css: expected :root twice, once for light and once for dark");
  const css = [
    `.frame { color-scheme: light; ${light} }`, `@media not print { .frame.dark { color-scheme: dark; ${dark} } }`, section(page, "Charts"), own,
  ].join("\n");
  return css.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\s+/g, " ").replace(/ ?([{};]) ?/g, "$1").trim();
}

/** The glue without its guess at its own address, which a page's markup can change (`<img name=currentScript>`): modules
 *  are handed to it. */
function withoutAddress(glue) {
  const guess = /^if \(typeof document !== 'undefined' && document\.currentScript !== null\) \{\n.*\n\}\n/m;
  const without = glue.replace(guess, "");
  if (/document\.currentScript/.test(without)) throw new Error("the glue of wasm-bindgen asks for document.currentScript in another way than tools/embed.mjs knows");
  return without;
}

/** The glue with Binaryen's short names for what it and the module call each other (`SHORT_NAMES` in package.mjs). */
function withShortNames(glue, { imports, exports }) {
  const short = new Map([...imports, ...exports].map((names) => names.slice(-2)));
  return glue.replace(/"\.\/\w+_bg\.js"(?=: import0)/, "a").replace(/(?<=\bwasm\.)\w+|\b__wb\w+/g, (name) => short.get(name) ?? name);
}

/** A script without comments that stand alone, and without indentation. */
const bare = (script) => script.replace(/^\s*\/\*\*[\s\S]*?\*\/\n/gm, "").replace(/^\s*\/\/.*\n/gm, "").replace(/^ +/gm, "");

/** Writes the embed into `out`. `root`: the project; `engines`: script and module of both engines; `bind(wasm, dir,
 *  name)`: wasm-bindgen and wasm-opt, returns the names that the latter has changed; `program(kind)`: builds the wasm of
 *  "embed" (charts of saved runs) or "live" (models). */
export async function buildEmbed({ root, out, engines, program, bind }) {
  const work = await mkdtemp(join(tmpdir(), "residual-stream-embed-"));
  try {
    const bound = async (wasm, name) => {
      const renamed = bind(wasm, work, name);
      const [glue, module] = await Promise.all([`${name}.js`, `${name}_bg.wasm`].map((file) => readFile(join(work, file))));
      return { glue: withShortNames(withoutAddress(bare(glue.toString())), renamed), wasm: module };
    };
    const write = async (name, script) => {
      const file = `embed-${name}-${createHash("sha256").update(script).digest("hex").slice(0, 16)}.js`;
      await writeFile(join(out, file), script);
      return file;
    };
    const part = (name, content) =>
      write(name, `customElements.get("residual-stream").take(${JSON.stringify(name)}, ${content});\n`);

    const files = {};
    const package_ = await bound(program("live"), "live");
    const handed = `customElements.get("residual-stream").take("live", { bindings: wasm_bindgen, module: "${packed(package_.wasm)}" });`;
    files.live = await write("live", `(() => {\n${package_.glue}\n${handed}\n})();\n`);
    for (const [name, [script, module]] of Object.entries({ engine: engines.slice(0, 2), relaxed: engines.slice(2) })) {
      const [glue, wasm] = await Promise.all([script, module].map((file) => readFile(file)));
      files[name] = await part(name, JSON.stringify({ script: packed(glue), module: packed(wasm) }));
    }
    const demo = await Promise.all(DEMO_FILES.map(async (file) =>
      [file, packed(await readFile(join(root, "www/models/demo", file)))]));
    files.demo = await part("demo", JSON.stringify(Object.fromEntries(demo)));

    const own = await bound(program("embed"), "embed");
    const [page, css, template, theme] = await Promise.all(["www/style.css", "embed/embed.css", "embed/embed.js", "embed/theme.js"]
      .map((file) => readFile(join(root, file), "utf8")));
    const values = {
      style: JSON.stringify(styleOf(page, css)), theme: bare(theme), glue: own.glue, parts: JSON.stringify(files),
      module: packed(own.wasm),
    };
    const script = bare(template).replace(/\{\{(\w+)\}\}/g, (braces, name) => {
      if (!Object.hasOwn(values, name)) throw new Error(`embed/embed.js: nothing fills ${braces}`);
      return values[name];
    });
    await writeFile(join(out, "embed.js"), script);
    for (const file of FRAME) await cp(join(root, "embed", file), join(out, file));
    return Object.values(files);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
