// Sends a file's bytes, whole or as a range, well or badly: see `Hub.fault` for the ways.
import { setTimeout as sleep } from "node:timers/promises";

const TICK_MS = 20;
const TYPES = { json: "application/json", txt: "text/plain; charset=utf-8" };

/** `file`: { name, size, open(start, end) -> stream }. Resolves to the bytes sent. */
export async function sendBody(request, response, file, fault = {}) {
  const content = fault.body === undefined ? file : replacement(file, Buffer.from(fault.body));
  const range = request.headers.range?.match(/^bytes=(\d+)-(\d*)$/);
  const start = range ? Number(range[1]) : 0;
  let end = range && range[2] ? Math.min(Number(range[2]) + 1, content.size) : content.size;
  if (range && start >= content.size) {
    response.writeHead(416, { "Content-Range": `bytes */${content.size}` }).end();
    return 0;
  }
  if (range) response.setHeader("Content-Range", `bytes ${start}-${end - 1}/${content.size}`);
  if (fault.truncateAt !== undefined) end = Math.max(start, Math.min(end, fault.truncateAt));
  response.setHeader("Content-Type", fault.type ?? TYPES[file.name.split(".").pop()] ?? "application/octet-stream");
  if (!fault.noLength) response.setHeader("Content-Length", end - start);
  response.writeHead(range ? 206 : 200);
  if (request.method === "HEAD" || end === start) {
    response.end();
    return 0;
  }

  let sent = 0;
  for await (const chunk of content.open(start, end)) {
    for (const piece of pieces(chunk, fault.rate)) {
      if (response.destroyed) return sent;
      if (fault.dropAt !== undefined && start + sent + piece.length >= fault.dropAt) {
        response.write(piece.subarray(0, Math.max(0, fault.dropAt - start - sent)));
        // Give what was written the time to leave before the connection goes.
        await sleep(TICK_MS);
        response.destroy();
        return sent;
      }
      if (!response.write(piece)) await drained(response);
      sent += piece.length;
      if (fault.rate) await sleep(TICK_MS);
    }
  }
  response.end();
  return sent;
}

function replacement(file, bytes) {
  return { name: file.name, size: bytes.length, open: (start, end) => [bytes.subarray(start, end)] };
}

function* pieces(chunk, rate) {
  const size = rate ? Math.max(1, Math.round((rate * TICK_MS) / 1000)) : chunk.length;
  for (let at = 0; at < chunk.length; at += size) yield chunk.subarray(at, at + size);
}

function drained(response) {
  return new Promise((done) => {
    const either = () => {
      response.off("drain", either).off("close", either);
      done();
    };
    response.on("drain", either).on("close", either);
  });
}
