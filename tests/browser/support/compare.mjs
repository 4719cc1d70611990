// Comparing arrays of numbers with a message that says how many differ, where most, and by how much.
import assert from "node:assert/strict";

/** The project's tolerances against Hugging Face transformers (float32 on both sides; sums run in another order). */
export const NORM_RELATIVE = 1e-4;
export const LOGPROB_ABSOLUTE = 1e-3;
// Cosines are quotients of norms within the tolerance above, and lie in -1..1.
export const COSINE_ABSOLUTE = 2e-4;
// exp of a log-probability within the tolerance above.
export const PROBABILITY_RELATIVE = 1e-3;

/** Fails unless every |actual - expected| <= absolute + relative * |expected|. `expected` may be nested. */
export function allClose(what, actual, expected, { relative = 0, absolute = 0 }) {
  const wanted = Array.from(expected.flat(Infinity));
  const found = Array.from(actual);
  assert.equal(found.length, wanted.length, `${what}: ${found.length} numbers, expected ${wanted.length}`);
  const off = wanted
    .map((value, i) => ({ i, excess: Math.abs(found[i] - value) - absolute - relative * Math.abs(value) }))
    .filter(({ excess }) => !(excess <= 0));
  if (off.length === 0) return;
  const worst = off.reduce((a, b) => (b.excess > a.excess || Number.isNaN(b.excess) ? b : a));
  assert.fail(
    `${what}: ${off.length} of ${wanted.length} differ (relative ${relative}, absolute ${absolute}); ` +
    `worst at ${worst.i}: ${found[worst.i]}, expected ${wanted[worst.i]}`,
  );
}

/** A sequence of a trace (plain arrays) against an entry of an expected.json made by transformers. */
export function matchesReference(what, sequence, expected) {
  for (const name of ["embed_norm", "attn_norm", "mlp_norm", "resid_pre_norm", "resid_mid_norm", "resid_post_norm", "head_norm"]) {
    allClose(`${what}: ${name}`, sequence[name], expected[name], { relative: NORM_RELATIVE });
  }
  for (const name of ["attn_cos", "mlp_cos"]) {
    allClose(`${what}: ${name}`, sequence[name], expected[name], { absolute: COSINE_ABSOLUTE });
  }
  allClose(`${what}: token_logprob`, sequence.token_logprob, expected.token_logprob, { absolute: LOGPROB_ABSOLUTE });
  assert.deepEqual([...sequence.next.ids], expected.next_top5.map(([id]) => id), `${what}: next.ids`);
  allClose(`${what}: next.probs`, sequence.next.probs, expected.next_top5.map(([, p]) => p), { relative: PROBABILITY_RELATIVE });
  const k = sequence.lens.ids.length / expected.lens_top1.flat().length;
  assert.ok(Number.isInteger(k) && k > 0, `${what}: lens has ${sequence.lens.ids.length} entries`);
  const top1 = sequence.lens.ids.filter((_, i) => i % k === 0);
  assert.deepEqual([...top1], expected.lens_top1.flat(), `${what}: the lens' most probable tokens`);
}

/** A sequence of a trace against the expected.json of one of tests/fixtures/checkpoints. */
export function matchesCheckpoint(what, sequence, expected) {
  allClose(`${what}: token_logprob`, sequence.token_logprob, expected.token_logprob, { absolute: LOGPROB_ABSOLUTE });
  const top = expected.next.ids.length;
  assert.deepEqual([...sequence.next.ids].slice(0, top), expected.next.ids, `${what}: next.ids`);
  allClose(`${what}: next.probs`, [...sequence.next.probs].slice(0, top), expected.next.probs, { relative: PROBABILITY_RELATIVE });
}
