// Our engine beside ONNX Runtime Web, and beside candle's own matmul: in turns, in one browser, so that a slow moment
// of the machine hits all of them.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ours } from "./ours.mjs";
import { peak } from "./peak.mjs";
import { onnxRuntime } from "./peers.mjs";
import { median, row, summary } from "./summary.mjs";

const LENGTHS = [1, 4, 16, 64, 128, 256];
/** Multiply-adds of the linear layers, per token: 12 blocks of (D x 3D) + (D x D) + 2 (D x 4D), D = 768. */
const LINEAR_FLOPS = 2 * 12 * 12 * 768 * 768;
/** Norms of two runtimes that add in different orders. */
const SAME = 1e-3;

/** Ids of a text of T tokens. The first differs from text to text, so that nothing of the one before can be used again. */
const text = (number, T) => Array.from({ length: T }, (_, i) => (i === 0 ? 100 + number : (i * 7919 + 13) % 50257));

/** Between two contestants: threads that wait for more work by spinning take a while to give up, and would slow the next. */
const pause = () => new Promise((done) => setTimeout(done, 250));

/** One timed run after one that is not: a core that has just idled is slow for some milliseconds, for everybody. */
async function timed(contestant, [before, ids], options) {
  await pause();
  await contestant.run(before, options);
  return contestant.run(ids, options);
}

/** Resolves to { times: { name: { T: [ms] } }, gflops: { linear, peak }, profile, append: [ms] }. */
export async function compute({ root, browser, hub, site, model, runs }) {
  const folder = join(site, "pkg");
  const baseline = join(root, "target/baseline-pkg");
  const contestants = {};
  const open = async (name, opening) => { contestants[name] = await opening; };
  await open("ours, 1 worker", ours({ browser, hub, folder, workers: 1 }));
  await open("ours, 2 workers", ours({ browser, hub, folder, workers: 2 }));
  await open("ours without relaxed SIMD, 1 worker", ours({ browser, hub, folder, workers: 1, relaxed: false }));
  if (existsSync(baseline)) await open("candle's matmul, 1 worker", ours({ browser, hub, folder: baseline, workers: 1 }));
  for (const threads of [1, 2]) {
    const peer = await onnxRuntime({ root, browser, model, threads });
    await peer.create();
    contestants[`ONNX Runtime Web, ${threads} thread${threads > 1 ? "s, isolated page" : ""}`] = peer;
  }
  const limit = await peak(browser);
  const times = Object.fromEntries(Object.keys(contestants).map((name) => [name, {}]));
  const profiles = [], gflops = { linear: [], peak: [] }, append = [];
  let number = 0;
  try {
    for (const T of LENGTHS) {
      for (let round = -2; round < runs; round += 1) {
        const ids = [text(number += 1, T), text(number += 1, T)];
        let norms;
        for (const [name, contestant] of Object.entries(contestants)) {
          const found = await timed(contestant, ids);
          norms ??= found.norms;
          const worst = Math.max(...found.norms.map((norm, i) => Math.abs(norm / norms[i] - 1)));
          if (!(worst < SAME)) throw new Error(`${name} computes something else: norms differ by ${worst} at ${T} tokens`);
          if (round >= 0) (times[name][T] ??= []).push(found.ms);
        }
        if (T !== 64 || round < 0) continue;
        const one = contestants["ours, 1 worker"];
        const { profile } = await timed(one, [text(number += 1, T), text(number += 1, T)], { profile: true });
        profiles.push(profile);
        gflops.linear.push((LINEAR_FLOPS * T) / profile.linear / 1e6);
        gflops.peak.push(await limit.measure());
        await one.run(text(number += 1, T));
        append.push((await one.run([...text(number, T), 99])).ms);
      }
    }
  } finally {
    await limit.close();
    for (const contestant of Object.values(contestants)) await contestant.close();
  }
  show(times, profiles, gflops, append, existsSync(baseline));
  return { times, profiles, gflops, append };
}

function show(times, profiles, gflops, append, withBaseline) {
  const peer = Object.keys(times).find((name) => name.startsWith("ONNX"));
  for (const T of LENGTHS) {
    console.log(`\n${T} token${T > 1 ? "s" : ""} through the 12 blocks, norms captured, nothing reused`);
    for (const [name, of] of Object.entries(times)) {
      row(name, `${summary(of[T], "ms", T < 64 ? 1 : 0)}, ${(median(times[peer][T]) / median(of[T])).toFixed(2)} x the peer's speed`);
    }
  }
  if (!withBaseline) console.log('  (candle\'s matmul is left out: "make bench-baseline" builds it)');
  console.log("\nWhere the time goes, 64 tokens, 1 worker");
  const total = median(profiles.map((profile) => profile.total));
  for (const kind of ["linear", "attention", "norms", "exchange", "other"]) {
    const time = median(profiles.map((profile) => profile[kind]));
    row(kind, `${time.toFixed(1)} ms, ${((100 * time) / total).toFixed(1)} %`);
  }
  row("linear layers", summary(gflops.linear, "GFLOP/s", 1));
  row("multiply-adds in registers, same moments", summary(gflops.peak, "GFLOP/s", 1));
  row("one token appended to 64", summary(append, "ms", 1));
}
