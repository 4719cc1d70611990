// The licences of everything that is compiled into what we ship, with their texts: MIT, Apache-2.0 and Unicode-3.0 ask for
// them in every copy.
//   node tools/licences.mjs FILE
// Cargo says which crates are in the engine and in the page; each crate's own licence files are what is written. A crate
// that has none, or a licence that nobody has looked at yet, fails the build.
import { execFileSync } from "node:child_process";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const TARGET = "wasm32-unknown-unknown";
const PROGRAMS = [
  ["--package", "residual-stream-worker"],
  ["--package", "residual-stream", "--package", "residual-stream-embed", "--package", "residual-stream-embed-live"],
];
/** What may be given on under our own licences with a notice. */
// MPL-2.0 asks besides that its source be to be had: crates.io has it, under the name and version in the list.
const PERMISSIVE = ["MPL-2.0", "MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unicode-3.0", "Unlicense", "0BSD", "CC0-1.0", "BSL-1.0"];
const IS_LICENCE = /^(licen[cs]e|copying|unlicense|notice)/i;
/** Some crates are published without the text that their manifest names: then it is the text that we have of it. */
const OURS = { "Apache-2.0": "LICENSE-APACHE", MIT: "LICENSE-MIT" };

const cargo = (args) => execFileSync("cargo", [...args, "--locked"], { cwd: ROOT, encoding: "utf8", maxBuffer: 1 << 28 });

/** Name and version of each crate that is linked. */
function linked() {
  const tree = PROGRAMS.map((program) => cargo([
    "tree", ...program, "--target", TARGET, "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}",
  ]));
  const lines = tree.join("\n").split("\n").map((line) => line.match(/^(\S+) v(\S+)/)).filter(Boolean);
  return new Set(lines.map(([, name, version]) => `${name} ${version}`));
}

/** The choices that an SPDX expression leaves, as far as crates use them: A OR B, A/B, A AND B. */
function isPermissive(expression) {
  const any = expression.replaceAll(/[()]/g, " ").split(/\s+OR\s+|\//).map((choice) => choice.trim());
  return any.some((choice) => choice.split(/\s+AND\s+/).every((one) => PERMISSIVE.includes(one.trim())));
}

async function textsOf({ name, manifest_path, license, authors }) {
  if (!license || !isPermissive(license)) throw new Error(`licences: ${name} is under "${license}", which tools/licences.mjs does not know`);
  const folder = dirname(manifest_path);
  const files = (await readdir(folder)).filter((file) => IS_LICENCE.test(file)).sort();
  const own = await Promise.all(files.map((file) => readFile(join(folder, file), "utf8").catch(() => "")));
  const texts = own.map((text) => text.trim()).filter(Boolean);
  if (texts.length > 0) return texts;
  const known = Object.keys(OURS).find((id) => license.includes(id));
  if (!known) throw new Error(`licences: ${name} comes without the text of its licence, ${license}`);
  const text = (await readFile(join(ROOT, OURS[known]), "utf8")).trim();
  return [known === "MIT" ? text.replace(/^Copyright.*$/m, `Copyright (c) ${authors.join(", ") || `the authors of ${name}`}`) : text];
}

/** The notices as one text; each licence's text stands there once, under the crates that have it. */
export async function notices() {
  const wanted = linked();
  const { packages } = JSON.parse(cargo(["metadata", "--format-version", "1", "--filter-platform", TARGET, "--all-features"]));
  const crates = packages.filter(({ name, version, source }) => source && wanted.has(`${name} ${version}`));
  const own = packages.filter(({ source }) => !source).length;
  if (crates.length < wanted.size - own) throw new Error(`licences: cargo tree names ${wanted.size} crates, cargo metadata knows ${crates.length} of them`);
  const owners = new Map();
  for (const crate of crates) {
    for (const text of await textsOf(crate)) owners.set(text, [...(owners.get(text) ?? []), crate]);
  }
  const list = crates.map(({ name, version, license }) => `  ${name} ${version}: ${license}`).sort();
  const texts = [...owners].map(([text, of]) => `${"-".repeat(80)}\n${of.map(({ name, version }) => `${name} ${version}`).join(", ")}\n\n${text}\n`);
  return `What is compiled into residual-stream besides its own code, and under which licences. Rust's standard library
(MIT OR Apache-2.0, The Rust Project Developers) is in every part of it as well.

${list.join("\n")}

${texts.join("\n")}`;
}

/** The name under which the notices lie beside what they are for. */
export const NOTICES = "THIRD-PARTY-NOTICES.txt";

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , out] = process.argv;
  if (!out) throw new Error("usage: node tools/licences.mjs FILE");
  await writeFile(out, await notices());
}
