// Writes a site's service worker: www/sw.js with the list of the site's files and their hashes. The last step of the
// build (tools/trunk-hook.mjs), when all other files are as they will be.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { fill, integrity, nameHash } from "./template.mjs";

const SOURCE = fileURLToPath(new URL("../www/sw.js", import.meta.url));
const NAME = "sw.js";
// What no page asks for: documents of the package and of the demo model.
const LEFT_OUT = /\.(md|d\.ts)$|\/LICENSE-\w+$|THIRD-PARTY-NOTICES\.txt$|\/package\.json$|\/(expected|training)\.json$/;

/** `engines`: paths of script and module of the engine for every browser, then of the one with relaxed SIMD; `demo`:
 *  the demo model's folder; `core`: what else a visit of the page needs. */
export async function writeServiceWorker(site, { engines, demo, core }) {
  const entries = await readdir(site, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile())
    .map((entry) => relative(site, join(entry.parentPath ?? entry.path, entry.name)).split(sep).join("/"))
    .filter((path) => path !== NAME && !LEFT_OUT.test(path)).sort();
  const files = {};
  for (const path of paths) files[path] = integrity(await readFile(join(site, path)), "sha256");
  const ofDemo = ["config.json", "model.safetensors", "tokenizer.json"].map((name) => demo + name);
  const needed = [...core, ...ofDemo];
  for (const path of [...needed, ...engines]) {
    if (!files[path]) throw new Error(`the service worker would miss ${path}`);
  }

  const source = await readFile(SOURCE, "utf8");
  const list = JSON.stringify(files, null, 1);
  const values = {
    version: nameHash(source, list), files: list, core: JSON.stringify(needed),
    engines: JSON.stringify({ plain: engines.slice(0, 2), relaxed: engines.slice(2, 4) }),
  };
  await writeFile(join(site, NAME), fill(source, values, "www/sw.js"));
}

/** A service worker that takes the place of an earlier one, and goes: while it is installed, and where a browser did not
 *  let it then, once it is active. */
export function writeNoServiceWorker(site) {
  return writeFile(join(site, NAME), `addEventListener("install", () => {
  skipWaiting();
  registration.unregister();
});
addEventListener("activate", (event) => event.waitUntil(registration.unregister()));
`);
}
