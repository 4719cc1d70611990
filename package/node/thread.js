// A Web Worker, as far as the engine uses one, over a thread of Node's: scope.js is its inside.
// Must never know: what the messages say.
import { resolveObjectURL } from "node:buffer";
import { Worker } from "node:worker_threads";
import { DiskFile } from "./disk.js";

const SCOPE = new URL("./scope.js", import.meta.url);

export class Thread {
  onmessage = null;
  onerror = null;
  #worker;
  #ended = false;

  /** `url`: a script's blob: URL, or the name of one that the caller has at hand as `script`. */
  constructor(url, { name = "", script = resolveObjectURL(url) } = {}) {
    if (!script) throw new Error(`${url} is no blob: URL of this process`);
    // Options of the command line are for the program: some, such as --input-type, would keep a thread from starting.
    this.#worker = new Worker(SCOPE, { workerData: { script, url, name }, execArgv: [], name: "residual-stream" });
    this.#worker.on("message", (data) => {
      if (!this.#ended) this.onmessage?.({ data });
    });
    this.#worker.on("messageerror", (error) => this.#fail(error.message));
    this.#worker.on("error", (error) => this.#fail(error.message));
    this.#worker.on("exit", (code) => this.#fail(`its thread ended with code ${code}`));
  }

  postMessage(message, transfer) {
    this.#worker.postMessage(withPlaces(message), transfer);
  }

  terminate() {
    this.#ended = true;
    void this.#worker.terminate();
  }

  /** The process may end while this thread waits for work. */
  unref() {
    this.#worker.unref();
  }

  #fail(message) {
    if (this.#ended) return;
    this.#ended = true;
    this.onerror?.({ message, preventDefault() {} });
  }
}

/** Files on disk go as the places where they are. */
function withPlaces(message) {
  if (!Array.isArray(message?.files)) return message;
  const files = message.files.map(([name, file]) => [name, file instanceof DiskFile ? { place: file.place } : file]);
  return { ...message, files };
}
