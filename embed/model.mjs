// What comes next in a WebAssembly module, bit by bit: guesses from what stood before, mixed by how well each has done
// (context mixing). An arithmetic coder turns the guesses into a third of the bytes (gzip: 45 %), since wasm repeats its
// short phrases a lot and its long ones little. tools/embed.mjs packs with it, embed.js unpacks with it: both must come
// to the very same numbers, so there is nothing here but sums, products and integers, which are exact or rounded alike
// in every engine.

/** A fresh model: `chance()` that the next bit is 1, in 65536ths; `learn(bit)` what it was. */
export function model() {
  const SLOTS = 1 << 22, HISTORY = 1 << 22, PLACES = 1 << 16;
  // Bytes before, by which each guess looks up what followed them: masks of the last four, and a hash of six.
  const MASKS = [0xff, 0xffff, 0xffffff, -1, 0xff00, 0xffff00];
  const GUESSES = MASKS.length + 1, INPUTS = GUESSES + 1;

  // The logistic function at steps of 1/256, from e^(1/256), and its inverse on 12 bits.
  const squash = new Int32Array(4096), stretch = new Int32Array(4096);
  for (let i = 0, odds = 1; i < 2048; i += 1, odds *= 1.0039138893383475) {
    squash[2048 + i] = Math.min(65503, Math.floor((65536 * odds) / (1 + odds)));
    squash[2047 - i] = 65536 - squash[2048 + i];
  }
  for (let i = 0, at = 0; i < 4096; i += 1) {
    while (at < 4095 && squash[at] < i * 16 + 8) at += 1;
    stretch[i] = at - 2048;
  }

  // A chance in 2^24ths, with how often it was tried below it. Sixteen lie side by side: those of half a byte.
  const slots = new Uint32Array(SLOTS).fill(0x80000000);
  const rates = Float64Array.from({ length: 256 }, (_, n) => 1 / (n + 1.5));
  const weights = new Float64Array(INPUTS * 256 * 4).fill(0.3);
  const keys = new Int32Array(GUESSES), halves = new Int32Array(GUESSES), inputs = new Float64Array(INPUTS);
  const history = new Uint8Array(HISTORY), places = new Int32Array(PLACES);
  // The byte so far with a 1 before it, the four bytes before and the two before those, where they stand.
  let partial = 1, last = 0, older = 0, length = 0;
  // Where a longer phrase was met before that has gone on like this one, and how long that is.
  let match = 0, matched = 0;
  let guess = 32768, row = 0, at = 1;

  function prepare() {
    for (let i = 0; i < GUESSES; i += 1) {
      const bytes = i < MASKS.length ? last & MASKS[i] : Math.imul(last, 0x2f0b4c47) ^ (older & 0xffff);
      keys[i] = Math.imul(Math.imul(bytes + i * 0x3779, 0x9e3779b1) ^ Math.imul(i, 0x5bd1e995), 0x85ebca6b);
    }
  }

  // Half a byte begins.
  function turn() {
    for (let i = 0; i < GUESSES; i += 1) {
      const hash = Math.imul(keys[i] + Math.imul(partial, 0x2545f491), 0x9e3779b1);
      halves[i] = ((hash ^ (hash >>> 15)) << 4) & (SLOTS - 1);
    }
  }
  prepare();
  turn();

  function chance() {
    const bits = 31 - Math.clz32(partial);
    let hint = 0;
    if (matched > 0) {
      const byte = history[match] | 256;
      if (byte >> (8 - bits) === partial) hint = ((byte >> (7 - bits)) & 1 ? 64 : -64) * Math.min(matched, 16);
      else matched = 0;
    }
    row = (partial + (hint === 0 ? 0 : matched < 8 ? 256 : matched < 16 ? 512 : 768)) * INPUTS;
    at = bits < 4 ? partial : (partial & ((1 << (bits - 4)) - 1)) | (1 << (bits - 4));
    let sum = hint * weights[row + GUESSES];
    inputs[GUESSES] = hint;
    for (let i = 0; i < GUESSES; i += 1) {
      const slot = slots[halves[i] + at];
      // A place that was never met knows nothing.
      const input = (slot & 255) === 0 ? 0 : stretch[slot >>> 20];
      inputs[i] = input;
      sum += input * weights[row + i];
    }
    guess = squash[Math.max(0, Math.min(4095, Math.floor(sum) + 2048))];
    return guess;
  }

  function learn(bit) {
    const error = (bit * 65536 - guess) * 2e-9;
    for (let i = 0; i < INPUTS; i += 1) weights[row + i] += error * inputs[i];
    const target = bit * 0xffffff;
    for (let i = 0; i < GUESSES; i += 1) {
      const slot = slots[halves[i] + at], times = slot & 255, before = slot >>> 8;
      slots[halves[i] + at] = (before + Math.floor((target - before) * rates[times])) * 256 + Math.min(90, times + 1);
    }
    partial = partial * 2 + bit;
    if (partial >= 16 && partial < 32) turn();
    if (partial < 256) return;
    const byte = partial & 255;
    partial = 1;
    older = ((older << 8) | (last >>> 24)) & 0xffff;
    last = (last << 8) | byte;
    history[length] = byte;
    length += 1;
    if (matched > 0) {
      match += 1;
      matched += 1;
    }
    const place = Math.imul(last, 0x9e3779b1) >>> 16;
    if (matched === 0 && places[place] > 0) {
      match = places[place];
      while (matched < 32 && match > matched && history[match - 1 - matched] === history[length - 1 - matched]) matched += 1;
      if (matched < 4) matched = 0;
    }
    places[place] = length;
    prepare();
    turn();
  }

  return { chance, learn };
}

/** The bytes that `pack` packed: `size` of them. Calls `rest()` now and then, so that the page stays alive. */
export async function unpack(packed, size, rest) {
  const { chance, learn } = model();
  const bytes = new Uint8Array(size);
  let low = 0, high = 0xffffffff, value = 0, from = 0;
  for (; from < 4; from += 1) value = value * 256 + (packed[from] ?? 0);
  for (let at = 0; at < size; at += 1) {
    let byte = 1;
    while (byte < 256) {
      const middle = low + Math.floor(((high - low) * chance()) / 65536);
      const bit = value <= middle ? 1 : 0;
      if (bit) high = middle;
      else low = middle + 1;
      learn(bit);
      byte = byte * 2 + bit;
      // The bytes that both ends agree on are done with.
      while (Math.floor(low / 0x1000000) === Math.floor(high / 0x1000000)) {
        low = (low % 0x1000000) * 256;
        high = (high % 0x1000000) * 256 + 255;
        value = (value % 0x1000000) * 256 + (packed[from] ?? 0);
        from += 1;
      }
    }
    bytes[at] = byte & 255;
    if (at % 8192 === 8191) await rest();
  }
  return bytes;
}

/** The other way. */
export function pack(bytes) {
  const { chance, learn } = model();
  const packed = [];
  let low = 0, high = 0xffffffff;
  for (const byte of bytes) {
    for (let place = 7; place >= 0; place -= 1) {
      const bit = (byte >> place) & 1;
      const middle = low + Math.floor(((high - low) * chance()) / 65536);
      if (bit) high = middle;
      else low = middle + 1;
      learn(bit);
      while (Math.floor(low / 0x1000000) === Math.floor(high / 0x1000000)) {
        packed.push(Math.floor(high / 0x1000000));
        low = (low % 0x1000000) * 256;
        high = (high % 0x1000000) * 256 + 255;
      }
    }
  }
  for (let i = 0, rest = low; i < 4; i += 1, rest = (rest % 0x1000000) * 256) packed.push(Math.floor(rest / 0x1000000));
  return Uint8Array.from(packed);
}
