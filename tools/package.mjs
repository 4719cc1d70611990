// Builds the JavaScript package: the engine (candle, SIMD) for the worker, the page's half of the
// library, and the hand-written module that joins them.
//   node tools/package.mjs --out pkg [--profile release|quick]
// writes a folder that stands alone, demo model included. The site's build (tools/trunk-hook.mjs) calls
// `buildEngines` or `buildPackage` too. Commands (cargo, wasm-bindgen, wasm-opt) are found on PATH: the Makefile sets it.
import { spawnSync } from "node:child_process";
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { buildEmbed } from "./embed.mjs";
import { NOTICES, notices } from "./licences.mjs";
import { fill, nameHash } from "./template.mjs";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const TARGET = "wasm32-unknown-unknown";
// As in .cargo/config.toml, which an explicit RUSTFLAGS replaces; the engine adds SIMD.
const PAGE_FLAGS = '--cfg getrandom_backend="wasm_js"';
// The scheduler keeps the order of the source: LLVM's own choice for wasm moves the loads of the matrix kernel so far
// from their use that the browser runs out of registers (measured: 43 against 47 GFLOP/s of 50).
const ENGINE_FLAGS = `${PAGE_FLAGS} -C llvm-args=-pre-RA-sched=linearize`;
// One engine for browsers with relaxed SIMD, one for the others; the page picks (src/api/launch.rs).
const ENGINES = [
  { name: "engine", flags: `${ENGINE_FLAGS} -C target-feature=+simd128`, optimise: ["--enable-simd"] },
  {
    name: "engine-relaxed", flags: `${ENGINE_FLAGS} -C target-feature=+simd128,+relaxed-simd`,
    optimise: ["--enable-simd", "--enable-relaxed-simd"],
  },
];
// What lies below 1024 is the far end of the stack, never a pointer's target: so what is added to an address goes into
// the load itself, which is a sixth of the matrix kernel's instructions.
const FOR_SPEED = ["-O3", "--low-memory-unused"];
// "candle-matmul" makes the engine that `make bench` compares with.
const ENGINE_FEATURES = process.env.RESIDUAL_STREAM_ENGINE_FEATURES || "";
// For the embed, of which every reader would download the long names twice; prints what they were, and what they are.
const SHORT_NAMES = "--minify-imports-and-exports-and-modules";
// What rustc itself emits for wasm32 today, and no more.
const WASM_FEATURES = [
  "--enable-bulk-memory", "--enable-nontrapping-float-to-int", "--enable-sign-ext",
  "--enable-mutable-globals", "--enable-reference-types", "--enable-multivalue",
];
// Files of package/ that name what was built; the others are copied as they are.
const TEMPLATES = ["package.json", "residual-stream.js", "slim.js", "node.js"];
// What only an installed package has a use for: a site serves no programs for Node.
const INSTALLED = ["package.json", "README.md", "node.js", "node", "cli.js", "inline.js", "inline.d.ts"];
const MODEL_FILES = ["config.json", "model.safetensors", "tokenizer.json", "README.md"];

/** Runs a command; returns what it prints. */
function run(command, args, env = {}) {
  const { status, error, stdout } = spawnSync(command, args, { cwd: ROOT, stdio: ["ignore", "pipe", 2], env: { ...process.env, ...env } });
  if (error) throw new Error(`${command} does not start: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed (its reason stands above)`);
  return stdout.toString();
}

// One build directory for each set of flags, so that neither build undoes the other's.
const targetDir = (kind) => join(ROOT, "target", kind);

function cargo(kind, profile, args, flags) {
  run("cargo", [...args, "--locked", "--target", TARGET, "--profile", profile], {
    CARGO_TARGET_DIR: targetDir(kind),
    RUSTFLAGS: flags,
  });
  return join(targetDir(kind), TARGET, profile === "dev" ? "debug" : profile);
}

// wasm-bindgen and (where there is something to do) wasm-opt: leaves `name.js` and `name_bg.wasm` in `dir`, and returns what
// wasm-opt prints.
function bind(wasm, dir, name, jsTarget, optimise) {
  run("wasm-bindgen", [wasm, "--target", jsTarget, "--no-typescript", "--out-dir", dir, "--out-name", name]);
  const out = join(dir, `${name}_bg.wasm`);
  return optimise.length > 0 ? run("wasm-opt", [out, "-o", out, ...WASM_FEATURES, ...optimise]) : "";
}

// Renames `name.js` and `name_bg.wasm` after their content: an updated site never meets a stale half.
async function hashNames(dir, name) {
  const files = [`${name}.js`, `${name}_bg.wasm`];
  const key = nameHash(...await Promise.all(files.map((file) => readFile(join(dir, file)))));
  const [script, module] = [`${name}-${key}.js`, `${name}-${key}_bg.wasm`];
  await rename(join(dir, files[0]), join(dir, script));
  await rename(join(dir, files[1]), join(dir, module));
  // The glue's own idea of where its module is, which bundlers follow.
  const glue = await readFile(join(dir, script), "utf8");
  await writeFile(join(dir, script), glue.replaceAll(files[1], module));
  return { script, module };
}

const fromTemplate = async (file, values) => fill(await readFile(join(ROOT, "package", file), "utf8"), values, `package/${file}`);

/** Builds the engines into `internal/` of `out`: the one for every browser, and the one with relaxed SIMD if it is wanted.
 *  Returns script and module of each, relative to `out`. */
export async function buildEngines({ out, profile, relaxed }) {
  const internal = join(out, "internal");
  await mkdir(internal, { recursive: true });
  const built = [];
  for (const { name, flags, optimise } of relaxed ? ENGINES : ENGINES.slice(0, 1)) {
    console.error(`building the ${name}`);
    const dir = cargo(name, profile, ["build", "--package", "residual-stream-worker", "--features", ENGINE_FEATURES], flags);
    bind(join(dir, "worker.wasm"), internal, name, "no-modules", profile === "release" ? [...optimise, ...FOR_SPEED] : []);
    const { script, module } = await hashNames(internal, name);
    built.push({ script: `internal/${script}`, module: `internal/${module}` });
  }
  return built;
}

/** Builds the package into `out`; `demo` is the demo model's folder as seen from there. `installed`: with the parts for Node
 *  and for bundlers, as npm gets it; without them as a site serves it.
 *  Returns the engines as `buildEngines` does. */
export async function buildPackage({ out, profile, demo, installed = false }) {
  await rm(out, { recursive: true, force: true });
  const engines = await buildEngines({ out, profile, relaxed: true });
  const internal = join(out, "internal");
  const pageDir = cargo("page", profile, ["rustc", "--lib", "--crate-type", "cdylib"], PAGE_FLAGS);
  bind(join(pageDir, "residual_stream.wasm"), internal, "page", "web", profile === "release" ? ["-Oz"] : []);
  const page = await hashNames(internal, "page");
  const [engine, relaxed] = engines.map(({ script, module }) => ({ script: basename(script), module: basename(module) }));
  const values = {
    version: await fromManifest("version"), repository: await fromManifest("repository"), demo,
    page_script: page.script, page_module: page.module,
    engine_script: engine.script, engine_module: engine.module,
    relaxed_script: relaxed.script, relaxed_module: relaxed.module,
  };
  const isWanted = (file) => installed || !INSTALLED.includes(file);
  for (const file of (await readdir(join(ROOT, "package"))).filter(isWanted)) {
    await cp(join(ROOT, "package", file), join(out, file), { recursive: true });
  }
  for (const file of TEMPLATES.filter(isWanted)) await writeFile(join(out, file), await fromTemplate(file, values));
  for (const licence of ["LICENSE-MIT", "LICENSE-APACHE"]) await cp(join(ROOT, licence), join(out, licence));
  await writeFile(join(out, NOTICES), await notices());
  return engines;
}

/** The compiled halves as modules of text, for inline.js: only a package that is installed has a use for them. */
async function writeInline(out) {
  const internal = join(out, "internal");
  const files = await readdir(internal);
  const find = (pattern) => {
    const found = files.filter((name) => pattern.test(name));
    if (found.length !== 1) throw new Error(`${internal}: ${found.length} files match ${pattern}`);
    return join(internal, found[0]);
  };
  const hash = "[\\da-f]{16}";
  await mkdir(join(internal, "inline"));
  for (const [name, file] of [["page", "page"], ["engine", "engine"], ["relaxed", "engine-relaxed"]]) {
    const parts = { script: `^${file}-${hash}\\.js$`, module: `^${file}-${hash}_bg\\.wasm$` };
    // The page's glue is imported as it is.
    if (name === "page") delete parts.script;
    for (const [part, pattern] of Object.entries(parts)) {
      const packed = gzipSync(await readFile(find(new RegExp(pattern))), { level: 9 }).toString("base64");
      await writeFile(join(internal, "inline", `${name}-${part}.js`), `export default "${packed}";\n`);
    }
  }
}

/** Writes embed.js and its parts into `out`, from a package that `buildPackage` wrote into `pkg`. */
export async function buildEmbedOf({ out, pkg, engines, profile }) {
  const release = profile === "release";
  const program = (kind) => {
    const name = kind === "embed" ? "embed" : "embed-live";
    const dir = cargo("page", profile, ["build", "--package", `residual-stream-${name}`], PAGE_FLAGS);
    return join(dir, `${name.replace("-", "_")}.wasm`);
  };
  await buildEmbed({
    root: ROOT, out, program,
    engines: engines.map((file) => join(pkg, file)),
    bind: (wasm, dir, name) => JSON.parse(bind(wasm, dir, name, "no-modules", [...(release ? ["-Oz"] : []), SHORT_NAMES])),
  });
}

/** What Cargo.toml says of the project, for the package to say the same. */
async function fromManifest(key) {
  const text = await readFile(join(ROOT, "Cargo.toml"), "utf8");
  const found = text.match(new RegExp(`^${key} = "(.+)"$`, "m"));
  if (!found) throw new Error(`Cargo.toml: no ${key}`);
  return found[1];
}

/** The demo model beside a package that stands alone. */
async function copyDemo(out) {
  await mkdir(join(out, "models", "demo"), { recursive: true });
  for (const file of MODEL_FILES) await cp(join(ROOT, "www/models/demo", file), join(out, "models/demo", file));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { out: { type: "string" }, profile: { type: "string", default: "release" } } });
  if (!values.out) throw new Error("usage: node tools/package.mjs --out DIR [--profile release|quick]");
  const out = resolve(values.out);
  const built = await buildPackage({ out, profile: values.profile, demo: "./models/demo/", installed: true });
  const engines = built.flatMap(({ script, module }) => [script, module]);
  await buildEmbedOf({ out, pkg: out, engines, profile: values.profile });
  await copyDemo(out);
  await writeInline(out);
  console.error(`package: ${out}`);
}
