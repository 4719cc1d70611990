// The fault script of the stand-in hub: which answers misbehave, how, and how often.
//
// `hub.fault(path, what)` is for files whose `org/repo/name` ends with `path`, and for the hub's own accounts
// (`api/org/repo/revision`, `api/org/repo/tree`). `what` has any of these.
//
// Which answers:
//   at          "hub", "cdn" or "api"; without it, wherever the fault can happen
//   times       only so often (default: always)
//   after       let so many of them through first
//   within      [from, to]: only answers to requests for bytes that overlap these
//   method      only requests of this method
// A fault at a place in the file (dropAt, truncateAt, corrupt) counts only answers that reach it.
//
// Before an answer:
//   call        a function that is called with the request
//   hold        a promise to wait for
//   status      refuse with this; `retryAfter`: seconds, a Date, or a function of one
//   stall       the headers never come
//   reset       the connection is reset instead
//   redirect    "loop" (to itself) or "dead" (where nobody listens)
//   expireAfter the CDN refuses a signed address that has answered so many requests
//
// The headers:
//   noCors      no Access-Control-Allow-Origin
//   expose      instead of what Access-Control-Expose-Headers lists
//   noLength    no Content-Length
//   lengthOff   Content-Length is so much larger (the body ends early) or smaller (it is cut)
//
// The body:
//   body, type  this text (or Buffer) instead of the file, as this type
//   noRange     the whole file with status 200, whatever was asked for
//   gzip        the same, compressed; with "parts", a part that was asked for is sent as one, compressed
//   corrupt     [{ offset, bytes }]: other bytes at these places of the file; without `bytes`, a flipped bit
//   rate        bytes per second
//   dropAt, dropAfter          the connection breaks at this byte of the file, after so many of this answer;
//   truncateAt  the body ends cleanly there;
//   stallAfter  nothing more comes from there on.

const BEFORE = ["call", "hold", "status", "stall", "reset", "redirect", "noCors", "expose"];
const ANSWERS = ["path", "at", "times", "after", "within", "method"];
const HEADERS = ["retryAfter", "expireAfter", "noLength", "lengthOff"];
const BODY = ["body", "type", "noRange", "gzip", "corrupt", "rate", "dropAt", "dropAfter", "truncateAt", "stallAfter"];
const KNOWN = new Set([...BEFORE, ...ANSWERS, ...HEADERS, ...BODY]);

export class Faults {
  #list = [];

  add(path, what) {
    const unknown = Object.keys(what).filter((key) => !KNOWN.has(key));
    if (unknown.length > 0) throw new Error(`faults.mjs knows no fault called ${unknown.join(", ")}`);
    const fault = { times: Infinity, after: 0, ...what, path, hits: 0 };
    this.#list.push(fault);
    return fault;
  }

  /** The fault for an answer about `path` from `at`, which would send the bytes from `start` to `end`;
   *  `sends`: whether it is this answer that sends them, and not one that it redirects to. */
  take(path, at, asked, sends) {
    for (const fault of this.#list) {
      const whole = fault.noRange || (fault.gzip && fault.gzip !== "parts");
      const { start, end } = whole ? { start: 0, end: Infinity } : asked;
      if (!path.endsWith(fault.path) || (fault.at ?? at) !== at || fault.times <= 0) continue;
      if (fault.method && fault.method !== asked.method) continue;
      if (!sends && !BEFORE.some((key) => key in fault)) continue;
      if (fault.within && !(fault.within[0] < asked.end && asked.start < fault.within[1])) continue;
      if (places(fault).some((place) => place >= end)) continue;
      if (fault.corrupt && !fault.corrupt.some(({ offset, bytes }) => offset + (bytes?.length ?? 1) > start && offset < end)) continue;
      if (fault.after > 0) {
        fault.after -= 1;
        continue;
      }
      fault.times -= 1;
      fault.hits += 1;
      return fault;
    }
    return {};
  }
}

function places(fault) {
  return ["dropAt", "truncateAt"].filter((key) => key in fault).map((key) => fault[key]);
}

/** `Retry-After` as a header. */
export function retryAfterText(given) {
  const value = typeof given === "function" ? given() : given;
  return value instanceof Date ? value.toUTCString() : String(value);
}

/** Bytes for `corrupt`: a number that no weights have. */
export const NAN = Buffer.from([0x00, 0x00, 0xc0, 0x7f]);
