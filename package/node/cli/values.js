// Reading single values of the command line; what is none of its kind is a misuse, and named.

/** The command was called in a way that it does not know. */
export class Misuse extends Error {}

/** A whole number in its range; undefined where none is given. */
export function whole(values, name, least, most) {
  if (values[name] === undefined) return undefined;
  const number = Number(values[name]);
  if (!/^\d+$/.test(values[name]) || number < least || number > most) {
    throw new Misuse(`--${name}: expected a whole number from ${least} to ${most}, not "${values[name]}".`);
  }
  return number;
}

/** One of some words. */
export function oneOf(values, name, words) {
  if (!words.includes(values[name])) throw new Misuse(`--${name}: expected ${words.join(" or ")}, not "${values[name]}".`);
  return values[name];
}

/** A head as LAYER.HEAD. */
export function head(name, item) {
  const found = item.match(/^(\d+)\.(\d+)$/);
  if (!found) throw new Misuse(`--${name}: expected LAYER.HEAD, such as 3.2, not "${item}". Both count from 0.`);
  return { layer: Number(found[1]), head: Number(found[2]) };
}
