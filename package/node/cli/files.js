// Reading what is named on the command line, and writing so that a file is there as a whole or not at all.
import { randomUUID } from "node:crypto";
import { writeFile as writeTo } from "node:fs";
import { open, readFile, readlink, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { reasonOf } from "../fail.js";

/** As many links as Linux follows. */
const MOST_LINKS = 40;

/** "-" is standard input. */
export async function readBytes(name) {
  if (name !== "-") return new Uint8Array(await readFile(name).catch((error) => explain(error, name)));
  const pieces = [];
  for await (const piece of process.stdin) pieces.push(piece);
  return new Uint8Array(Buffer.concat(pieces));
}

/** Text in UTF-8, or in UTF-16 with a byte order mark, as PowerShell 5 writes; the mark is left out. */
export async function readInput(name) {
  const bytes = await readBytes(name);
  const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch (error) {
    if (error.code !== "ERR_ENCODING_INVALID_ENCODED_DATA") throw error;
    throw new Error(`${name}: this is no text in UTF-8.`);
  }
}

/** "-" is standard output. A file is written under another name beside its place, and takes it when it is complete; where a
 *  link leads to it, the link stays. What is no file (a device, a pipe) is written to as it is. */
export async function writeOutput(name, content, signal) {
  try {
    const descriptor = descriptorOf(name);
    if (descriptor === 1) return await print(content);
    if (descriptor !== undefined) return await promisify(writeTo)(descriptor, content, { signal });
    const place = await stat(name).catch(unlessMissing);
    if (place && !place.isFile()) return await writeFile(name, content, { signal });
    await replace(await target(name), content, place?.mode, signal);
  } catch (error) {
    explain(error, name === "-" ? "standard output" : name);
  }
}

/** The number of the open file that a name stands for: its bytes follow what was written there before. */
function descriptorOf(name) {
  if (name === "-") return 1;
  const found = name.match(/^\/(?:dev|proc\/self)\/(?:(stdout)|(stderr)|fd\/(\d+))$/);
  if (!found) return undefined;
  const [, stdout, stderr, number] = found;
  return stdout ? 1 : stderr ? 2 : Number(number);
}

function print(content) {
  // The write's own answer tells; as an event, the same error would end the process with a stack trace.
  process.stdout.on("error", () => {});
  return new Promise((done, failed) => process.stdout.write(content, (error) => (error ? failed(error) : done())));
}

/** Where a link leads, also one to a file that is not there yet. */
async function target(name, links = MOST_LINKS) {
  const next = await readlink(name).catch((error) => {
    if (["EINVAL", "ENOENT"].includes(error.code)) return undefined;
    throw error;
  });
  if (next === undefined) return name;
  if (links === 0) throw Object.assign(new Error("too many links"), { code: "ELOOP" });
  // A link is read from where it lies, which is where the folder's own links lead.
  return target(resolve(await realpath(dirname(name)), next), links - 1);
}

async function replace(name, content, mode, signal) {
  // A name of its own, whatever the file's is: one that nobody has put there, and no longer than a name may be.
  const part = join(dirname(name), `.residual-stream.${randomUUID()}.part`);
  try {
    const file = await open(part, "wx", mode);
    try {
      if (mode !== undefined) await file.chmod(mode & 0o7777);
      await file.writeFile(content, { signal });
      await file.sync();
    } finally {
      await file.close();
    }
    signal.throwIfAborted();
    await rename(part, name);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

function unlessMissing(error) {
  if (error.code !== "ENOENT") throw error;
}

function explain(error, name) {
  const reason = reasonOf(error);
  throw reason ? new Error(`${name}: ${reason}.`) : error;
}
