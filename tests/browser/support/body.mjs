// Sends a file's bytes, whole or as a range, well or badly: faults.mjs lists the ways.
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";

const TICK_MS = 20;
const WRITE = 64 << 10;
const TYPES = { json: "application/json", txt: "text/plain; charset=utf-8" };

/** The method of a request, and the bytes that it asks for of a file of this size. */
export function asked(request, size) {
  const { method } = request;
  const range = request.headers.range?.match(/^bytes=(\d+)-(\d*)$/);
  if (!range) return { method, start: 0, end: size, isRange: false };
  const end = range[2] ? Math.min(Number(range[2]) + 1, size) : size;
  return { method, start: Number(range[1]), end, isRange: true };
}

/** `file`: { name, size, open(start, end) -> stream }. `note` learns which bytes were sent, as they are. */
export async function sendBody(request, response, file, fault = {}, note = {}) {
  let content = fault.body === undefined ? file : inMemory(file.name, Buffer.from(fault.body));
  if (fault.gzip === "parts" && request.headers.range) return sendPackedPart(request, response, content, note);
  if (fault.gzip) {
    content = inMemory(file.name, gzipSync(Buffer.concat(await content.open(0, content.size).toArray())));
    response.setHeader("Content-Encoding", "gzip");
    note.encoded = true;
  }
  let { start, end, isRange } = asked(request, content.size);
  if (fault.noRange || fault.gzip) [start, end, isRange] = [0, content.size, false];
  if (isRange && start >= content.size) {
    response.writeHead(416, { "Content-Range": `bytes */${content.size}` }).end();
    return 0;
  }
  if (isRange) {
    response.setHeader("Content-Range", `bytes ${start}-${end - 1}/${content.size}`);
  }
  end = Math.max(start, Math.min(end, fault.truncateAt ?? end));
  response.setHeader("Content-Type", fault.type ?? TYPES[file.name.split(".").pop()] ?? "application/octet-stream");
  if (fault.lengthOff) response.setHeader("Connection", "close");
  if (!fault.noLength) response.setHeader("Content-Length", end - start + (fault.lengthOff ?? 0));
  response.writeHead(isRange ? 206 : 200);
  Object.assign(note, { start, count: 0 });
  if (request.method === "HEAD" || end === start) {
    response.end();
    return 0;
  }
  response.flushHeaders();

  const dropped = Math.min(fault.dropAt ?? Infinity, start + (fault.dropAfter ?? Infinity));
  const stalled = start + (fault.stallAfter ?? Infinity);
  const stop = Math.max(start, Math.min(end, dropped, stalled));
  const step = fault.rate ? Math.max(1, Math.round((fault.rate * TICK_MS) / 1000)) : WRITE;
  if (stop > start) {
    for await (const chunk of content.open(start, stop)) {
      for (let from = 0; from < chunk.length; from += step) {
        if (response.destroyed) return note.count;
        const at = start + note.count;
        const piece = corrupted(chunk.subarray(from, from + step), at, fault.corrupt);
        const flows = response.write(piece, at + piece.length === end ? () => { note.over = true; } : undefined);
        note.count += piece.length;
        if (!flows) await drained(response);
        if (fault.rate) await sleep(TICK_MS);
      }
    }
  }
  if (stop === end && dropped > end && stalled > end) {
    response.end();
  } else if (dropped <= stalled) {
    // Give what was written the time to leave before the connection goes.
    await sleep(TICK_MS);
    response.destroy();
  } else {
    await closed(response);
  }
  return note.count;
}

/** The part that was asked for, compressed. */
async function sendPackedPart(request, response, content, note) {
  const { start, end } = asked(request, content.size);
  const packed = gzipSync(Buffer.concat(await content.open(start, end).toArray()));
  response.writeHead(206, {
    "Content-Encoding": "gzip", "Content-Length": packed.length, "Content-Type": "application/octet-stream",
    "Content-Range": `bytes ${start}-${end - 1}/${content.size}`,
  }).end(packed);
  Object.assign(note, { start, count: packed.length, encoded: true });
  return packed.length;
}

/** Ends when the other side gives up. */
export function closed(response) {
  return new Promise((done) => (response.destroyed || response.closed ? done() : response.on("close", done)));
}

function inMemory(name, bytes) {
  return { name, size: bytes.length, open: (start, end) => chunks(bytes.subarray(start, end)) };
}

/** A stream of a Buffer that has not been copied. */
export function chunks(bytes) {
  return Object.assign([bytes], { toArray: async () => [bytes] });
}

function corrupted(piece, at, places) {
  let copy = piece;
  for (const { offset, bytes } of places ?? []) {
    const other = bytes ?? [undefined];
    for (let i = 0; i < other.length; i += 1) {
      const here = offset + i - at;
      if (here < 0 || here >= piece.length) continue;
      if (copy === piece) copy = Buffer.from(piece);
      copy[here] = other[i] ?? piece[here] ^ 0x10;
    }
  }
  return copy;
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
