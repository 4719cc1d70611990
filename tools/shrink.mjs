// Shortens what wasm-bindgen calls things: a wasm module and its glue agree on long names, which every reader downloads
// twice. Knows nothing of what the names stand for.

const LONG = /\b(?:__wbg_\w+|__wbindgen_\w+|__externref_\w+|wasm_bindgen__\w+)\b/g;

/** `{ wasm, glue }` with short names. Names that only one of the two knows stay. */
export function shrink({ wasm, glue }) {
  const sections = read(wasm);
  const named = sections.filter(({ id }) => id === IMPORTS || id === EXPORTS).flatMap(({ names }) => names);
  const known = new Set(named.map(({ text }) => text));
  const used = [...new Set(glue.match(LONG))].filter((name) => known.has(name)).sort();
  // Not a name that the glue uses already: none of its own begins so.
  const short = new Map(used.map((name, index) => [name, `$${index.toString(36)}`]));
  return {
    wasm: write(sections, short),
    glue: glue.replace(LONG, (name) => short.get(name) ?? name),
  };
}

const IMPORTS = 2;
const EXPORTS = 7;

function number(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at];
    at += 1;
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return { value, at };
  }
}

function leb(value) {
  const bytes = [];
  do {
    const byte = value % 128;
    value = Math.floor(value / 128);
    bytes.push(value > 0 ? byte | 128 : byte);
  } while (value > 0);
  return Buffer.from(bytes);
}

/** The sections of a module; where names stand in imports and exports. */
function read(wasm) {
  const sections = [];
  for (let at = 8; at < wasm.length;) {
    const id = wasm[at];
    const size = number(wasm, at + 1);
    const body = wasm.subarray(size.at, size.at + size.value);
    sections.push({ id, body, names: id === IMPORTS ? imports(body) : id === EXPORTS ? exports_(body) : [] });
    at = size.at + size.value;
  }
  return sections;
}

function name(body, at) {
  const length = number(body, at);
  const end = length.at + length.value;
  return { from: at, to: end, text: body.toString("utf8", length.at, end) };
}

function imports(body) {
  const names = [];
  let { value: count, at } = number(body, 0);
  for (; count > 0; count -= 1) {
    const module = name(body, at);
    const field = name(body, module.to);
    names.push(field);
    at = field.to;
    const kind = body[at];
    at += 1;
    const limits = () => {
      const most = body[at] & 1;
      at = number(body, at + 1).at;
      if (most) at = number(body, at).at;
    };
    if (kind === 0) at = number(body, at).at;
    else if (kind === 1) { at += 1; limits(); }
    else if (kind === 2) limits();
    else if (kind === 3) at += 2;
    else throw new Error(`an import of kind ${kind}, which tools/shrink.mjs does not know`);
  }
  return names;
}

function exports_(body) {
  const names = [];
  let { value: count, at } = number(body, 0);
  for (; count > 0; count -= 1) {
    const field = name(body, at);
    names.push(field);
    at = number(body, field.to + 1).at;
  }
  return names;
}

function write(sections, short) {
  const out = [Buffer.from([0, 97, 115, 109, 1, 0, 0, 0])];
  for (const { id, body, names } of sections) {
    // Names and producers help no browser.
    if (id === 0) continue;
    const pieces = [];
    let from = 0;
    for (const found of names) {
      const text = short.get(found.text);
      if (text === undefined) continue;
      pieces.push(body.subarray(from, found.from), leb(text.length), Buffer.from(text));
      from = found.to;
    }
    pieces.push(body.subarray(from));
    const whole = Buffer.concat(pieces);
    out.push(Buffer.from([id]), leb(whole.length), whole);
  }
  return Buffer.concat(out);
}
