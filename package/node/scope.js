// The inside of a thread (thread.js): what a dedicated Web Worker has around it, as far as the engine asks for it.
// The globals set here are this thread's own; the program that uses the package never sees them.
import { availableParallelism } from "node:os";
import { runInThisContext } from "node:vm";
import { parentPort, workerData } from "node:worker_threads";
import { resolveObjectURL } from "node:buffer";
import { DiskFile } from "./disk.js";
import { Thread } from "./thread.js";

const { script, url, name } = workerData;
const listeners = new Set();

const scope = {
  self: globalThis,
  name,
  location: { href: url },
  onmessage: null,
  postMessage: (message, transfer) => parentPort.postMessage(message, transfer),
  addEventListener: (kind, listener) => kind === "error" && listeners.add(listener),
  removeEventListener: (kind, listener) => kind === "error" && listeners.delete(listener),
  Worker: class extends Thread {
    // A thread's blob: URLs are its own; the one that it was started from it has at hand.
    constructor(address, options = {}) {
      super(address, { name: options.name, script: address === url ? script : resolveObjectURL(address) });
    }
  },
};
// Node 21 and later have one.
if (!globalThis.navigator) scope.navigator = { hardwareConcurrency: availableParallelism() };
for (const [key, value] of Object.entries(scope)) {
  Object.defineProperty(globalThis, key, { value, writable: true, configurable: true, enumerable: true });
}

process.on("uncaughtException", (error) => {
  let prevented = false;
  const event = { message: String(error?.message ?? error), error, preventDefault: () => { prevented = true; } };
  for (const listener of listeners) listener(event);
  if (!prevented) {
    process.removeAllListeners("uncaughtException");
    throw error;
  }
});
// A browser only notes a rejection that nobody waits for; Node would end the thread.
process.on("unhandledRejection", (why) => console.error("residual-stream: unhandled rejection in the engine:", why));

// Messages wait in the port until somebody listens.
runInThisContext(await script.text(), { filename: "residual-stream-engine.js" });
parentPort.on("message", (data) => globalThis.onmessage?.({ data: withFiles(data) }));

/** The other side of `withPlaces` in thread.js. */
function withFiles(message) {
  if (!Array.isArray(message?.files)) return message;
  return { ...message, files: message.files.map(([key, file]) => [key, file?.place ? DiskFile.from(file.place) : file]) };
}
