// What `loadModel` takes in Node besides what it takes everywhere: a folder on disk.
// Must never know: the engine.
import { basename, isAbsolute, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { DiskFile, look } from "./disk.js";
import { fail } from "./fail.js";

/** Bytes of an index: GPT-2 xl's has 0.1 MB. */
const LARGEST_INDEX = 16 << 20;
/** Small files beside a tokenizer, by the names that `loadModel` takes them under. */
const SETTINGS = { config: "tokenizer_config.json", special: "special_tokens_map.json", added: "added_tokens.json" };
const TOKENIZER = ["json", "vocab", "merges", ...Object.keys(SETTINGS)];

/** "./model", "../model", "/model", "C:\\model", "file:///model": a path or a file: URL, never a repo's id. */
export function isPath(source) {
  return source.startsWith("file:") || /^\.{1,2}([\\/]|$)/.test(source) || isAbsolute(source);
}

/** The source as the package's common part takes it. */
export async function resolveSource(source) {
  const address = source instanceof URL ? source.href : source;
  if (typeof address === "string") return isPath(address.trim()) ? readFolder(address.trim()) : address;
  return source && typeof source === "object" ? sendable(source) : source;
}

/** Throws the error again; where a repo's id is the name of a folder as well, it says how that would be given. */
export async function explain(error, source) {
  const isMissing = ["not-found", "network"].includes(error?.code) && typeof source === "string" && !isPath(source.trim());
  if (isMissing && (await isFolder(source.trim()))) {
    error.message += ` If you mean the folder of this name on disk, write "./${source.trim()}".`;
  }
  throw error;
}

/** Whether there is a folder of this path. */
export const isFolder = (path) => look(path).then((found) => Boolean(found?.isDirectory()), () => false);

async function readFolder(address) {
  const folder = resolve(address.startsWith("file:") ? pathOf(address) : address);
  if (!(await look(folder))?.isDirectory()) fail("not-found", `${folder.replaceAll("\0", "\\0")}: there is no such folder.`);
  const find = (name) => DiskFile.find(join(folder, name));
  const need = async (name, instead = "") =>
    (await find(name)) ?? fail("not-found", `${name} is not in ${folder}${instead}.`);

  const config = await need("config.json");
  const whole = await find("model.safetensors");
  const weights = whole ? [whole] : await indexed(folder, need);
  return { config, weights, tokenizer: await tokenizerOf(find), name: basename(folder) };
}

/** The tokenizer's files, with the small ones beside them that say more of it; nothing where there are none. */
async function tokenizerOf(find) {
  const found = async (names) => {
    const files = await Promise.all(Object.entries(names).map(async ([key, name]) => [key, await find(name)]));
    return Object.fromEntries(files.filter(([, file]) => file));
  };
  const json = await found({ json: "tokenizer.json" });
  const own = json.json ? json : await found({ vocab: "vocab.json", merges: "merges.txt" });
  if (!own.json && !(own.vocab && own.merges)) return undefined;
  return { ...own, ...(await found(SETTINGS)) };
}

function pathOf(address) {
  try {
    return fileURLToPath(address);
  } catch (error) {
    return fail("bad-argument", `${address} names no folder of this machine: ${error.message}.`);
  }
}

/** The files that the index lists, and the index, which says what is where. */
async function indexed(folder, need) {
  const name = "model.safetensors.index.json";
  const index = await DiskFile.find(join(folder, name));
  if (!index) fail("not-found", `neither model.safetensors nor ${name} is in ${folder}: weights are read from safetensors files.`);
  if (index.size > LARGEST_INDEX) {
    fail("bad-safetensors", `${name} has ${index.size} bytes; an index has ${LARGEST_INDEX} at most.`);
  }
  const text = await index.text();
  let map;
  try {
    map = JSON.parse(text).weight_map;
  } catch (error) {
    fail("bad-safetensors", `${name} is no JSON: ${error.message}.`);
  }
  const names = [...new Set(map && typeof map === "object" ? Object.values(map) : [])];
  // The index is somebody else's: it names files beside it, and nothing elsewhere.
  if (names.length === 0 || names.some((shard) => typeof shard !== "string" || shard === ".." || /[\\/\0]/.test(shard))) {
    fail("bad-safetensors", `${name} has no "weight_map" that names the files beside it.`);
  }
  return [...(await Promise.all(names.map((shard) => need(shard)))), index];
}

/** Blobs that Node cannot send to a thread (those of fs.openAsBlob) are read into memory. */
async function sendable({ config, weights, tokenizer, ...others }) {
  const one = async (file) => {
    if (!(file instanceof Blob) || file instanceof DiskFile) return file;
    try {
      structuredClone(file);
      return file;
    } catch {
      const bytes = await file.arrayBuffer();
      return file instanceof File ? new File([bytes], file.name) : new Blob([bytes]);
    }
  };
  const several = tokenizer?.json || tokenizer?.vocab
    ? Object.fromEntries(await Promise.all(TOKENIZER.filter((key) => tokenizer[key])
      .map(async (key) => [key, await one(tokenizer[key])])))
    : undefined;
  return {
    ...others,
    config: await one(config),
    weights: Array.isArray(weights) ? await Promise.all(weights.map(one)) : weights,
    tokenizer: several ?? (await one(tokenizer)),
  };
}
