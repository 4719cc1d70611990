// Texts with holes that a build fills in: {{name}}.
import { createHash } from "node:crypto";

/** The text with every hole filled; an error for one that nothing fills. */
export function fill(text, values, what) {
  return text.replace(/\{\{(\w+)\}\}/g, (hole, name) => {
    if (!Object.hasOwn(values, name)) throw new Error(`${what}: nothing fills ${hole}`);
    return values[name];
  });
}

/** The text with all between two marks, and the marks, replaced; the marks stand there just once. */
export function between(text, [from, to], replacement, what) {
  const [start, end] = [text.indexOf(from), text.indexOf(to, text.indexOf(from))];
  if (start < 0 || end < 0) throw new Error(`${what}: expected ${from} and then ${to}`);
  if (text.indexOf(from, start + 1) >= 0) throw new Error(`${what}: ${from} stands there twice`);
  return text.slice(0, start) + replacement + text.slice(end + to.length);
}

/** What a file is named after. */
export const nameHash = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest("hex").slice(0, 16);

/** A hash as Subresource Integrity and policies write it. */
export const integrity = (bytes, kind = "sha384") => `${kind}-${createHash(kind).update(bytes).digest("base64")}`;
