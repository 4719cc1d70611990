// Reading what is named on the command line, and writing so that a file is there as a whole or not at all.
import { open, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

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

/** "-" is standard output. A file is written under another name beside its place, and takes it when it is complete. */
export async function writeOutput(name, content, signal) {
  if (name === "-") {
    // The write's own answer tells; as an event, the same error would end the process with a stack trace.
    process.stdout.on("error", () => {});
    const written = new Promise((done, failed) => process.stdout.write(content, (error) => (error ? failed(error) : done())));
    return written.catch((error) => explain(error, "standard output"));
  }
  const part = join(dirname(name), `.${basename(name)}.${process.pid}.part`);
  try {
    const file = await open(part, "w");
    try {
      await file.writeFile(content, { signal });
      await file.sync();
    } finally {
      await file.close();
    }
    signal.throwIfAborted();
    await rename(part, name);
  } catch (error) {
    await rm(part, { force: true });
    explain(error, name);
  }
}

function explain(error, name) {
  const reasons = {
    ENOENT: "there is no such file or folder", EACCES: "it may not be read or written", EISDIR: "it is a folder",
    ENOSPC: "the disk is full", EROFS: "the disk is read-only", ENOTDIR: "a part of its path is no folder",
    EPIPE: "whoever was reading it has stopped",
  };
  throw reasons[error.code] ? new Error(`${name}: ${reasons[error.code]}.`) : error;
}
