// Files on disk as the engine takes files: Blobs that are read by slices, never whole. A class of our own, since Node's
// fs.openAsBlob makes Blobs that no worker can be sent, and (in Node 20) none longer than 2 GiB.
// Must never know: what is in the files.
import { open, stat } from "node:fs/promises";
import { basename } from "node:path";
import { fail, refuse } from "./fail.js";

const PIECE = 1 << 20;

/** What is at a path; undefined where nothing is. */
export const look = (path) => stat(path).catch((error) => {
  if (error.code !== "ENOENT" && error.code !== "ENOTDIR") refuse(error, path);
});

/** A file, or a part of one, by its path. */
export class DiskFile extends File {
  #path;
  #start;
  #end;
  #stamp;

  /** `stamp`: the size and time of change that the file must still have when it is read. */
  constructor(path, stamp, start = 0, end = stamp.size) {
    super([], basename(path));
    this.#path = path;
    this.#stamp = stamp;
    this.#start = start;
    this.#end = end;
  }

  /** The file of this path; undefined where there is none. A pipe or a device in its place is an error: to read from some
   *  of them would never end. */
  static async find(path) {
    const found = await look(path);
    if (!found || found.isDirectory()) return undefined;
    if (!found.isFile()) fail("not-found", `${path} is no file, but a pipe or a device.`);
    return new DiskFile(path, { size: found.size, changed: found.mtimeMs });
  }

  /** What another thread makes the same file of. */
  get place() {
    return { path: this.#path, stamp: this.#stamp, start: this.#start, end: this.#end };
  }

  static from({ path, stamp, start, end }) {
    return new DiskFile(path, stamp, start, end);
  }

  get size() {
    return this.#end - this.#start;
  }

  slice(start = 0, end = this.size) {
    const within = (at) => Math.min(Math.max(at < 0 ? this.size + at : at, 0), this.size);
    const from = within(start);
    return new DiskFile(this.#path, this.#stamp, this.#start + from, this.#start + Math.max(from, within(end)));
  }

  stream() {
    let at = this.#start;
    return new ReadableStream({
      pull: async (controller) => {
        if (at >= this.#end) return controller.close();
        const piece = await this.#read(at, Math.min(PIECE, this.#end - at));
        at += piece.length;
        controller.enqueue(piece);
      },
    });
  }

  async arrayBuffer() {
    const bytes = new Uint8Array(this.size);
    let filled = 0;
    for await (const piece of this.stream()) {
      bytes.set(piece, filled);
      filled += piece.length;
    }
    return bytes.buffer;
  }

  async text() {
    return new TextDecoder().decode(await this.arrayBuffer());
  }

  // Opened anew for every piece, which takes some microseconds: a reader that stops in the middle leaves nothing open.
  async #read(at, length) {
    const file = await open(this.#path);
    try {
      const found = await file.stat();
      if (found.size !== this.#stamp.size || found.mtimeMs !== this.#stamp.changed) throw new Error("it has changed on disk");
      const bytes = new Uint8Array(length);
      const { bytesRead } = await file.read(bytes, 0, length, at);
      if (bytesRead === 0) throw new Error("it ends too early");
      return bytes.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }
}
