// What this project sets out to reach, beside what was measured: ratios of medians of one run.
import { median, row } from "./summary.mjs";

/** Prints one line; says whether it was reached. `least`: the figure must not be below, otherwise not above. */
function target(name, figure, wanted, { least, unit = "x", digits = 2 }) {
  const reached = least ? figure >= wanted : figure <= wanted;
  row(name, `${figure.toFixed(digits)} ${unit} (wanted: at ${least ? "least" : "most"} ${wanted}) ${reached ? "ok" : "MISSED"}`);
  return reached;
}

/** All of them, as far as they were measured. */
export function targets({ computed, warm, created, click, firstVisit }) {
  console.log("\nTargets");
  if (computed) {
    const { times, gflops, profiles, append } = computed;
    const name = (start) => Object.keys(times).find((name) => name.startsWith(start));
    const ratio = (slow, fast, T) => median(times[name(slow)][T]) / median(times[name(fast)][T]);
    const one = "ONNX Runtime Web, 1", two = "ONNX Runtime Web, 2";
    for (const T of [64, 128]) {
      target(`1 worker against the peer's 1 thread, ${T} tokens`, ratio(one, "ours, 1", T), 1.6, { least: true });
      target(`2 workers against its 2 threads (isolated), ${T}`, ratio(two, "ours, 2", T), 1.5, { least: true });
      target(`2 workers against it without isolation, ${T}`, ratio(one, "ours, 2", T), 2.6, { least: true });
      target(`without relaxed SIMD against its 1 thread, ${T}`, ratio(one, "ours without", T), 1.1, { least: true });
    }
    target("2 workers against 1, 64 tokens", ratio("ours, 1", "ours, 2", 64), 1.7, { least: true });
    target("2 workers against 1, 1 token", ratio("ours, 1", "ours, 2", 1), 1, { least: true });
    target("linear layers, of the machine's peak", median(gflops.linear.map((rate, i) => rate / gflops.peak[i])), 0.9, { least: true });
    target("linear layers, of the time at 64 tokens", median(profiles.map((p) => p.linear / p.total)), 0.85, { least: true });
    target("one token appended, of the peer's 64", median(append) / median(times[name(one)][64]), 0.1, { least: false });
  }
  if (warm && created) target("warm load, of the peer's session creation", warm / created, 1 / 3, { least: false });
  if (click) target("demo model: click to charts, 20 tokens", click, 60, { least: false, unit: "ms", digits: 0 });
  if (firstVisit) target("code of a first visit, gzipped", firstVisit / 1e6, 1.2, { least: false, unit: "MB" });
}
