// What this machine can do at most: a loop of relaxed multiply-adds that never leaves the registers.
import binaryen from "binaryen";
import { openPage } from "../tests/browser/support/browser.mjs";

const CHAINS = 10;
const STEPS = 4_000_000;

/** A module with `run(steps)`: CHAINS independent sums, each multiplied and added to in every step. */
function module() {
  const names = Array.from({ length: CHAINS }, (_, i) => `$s${i}`);
  const step = names.map((name) => `(local.set ${name} (f32x4.relaxed_madd (local.get ${name}) (local.get $x) (local.get $y)))`);
  const total = names.reduce((sum, name) => `(f32x4.add ${sum} (local.get ${name}))`, "(local.get $y)");
  const wat = `(module (func (export "run") (param $n i32) (result f32)
    (local $x v128) (local $y v128) ${names.map((name) => `(local ${name} v128)`).join(" ")}
    (local.set $x (f32x4.splat (f32.const 0.5))) (local.set $y (f32x4.splat (f32.convert_i32_s (local.get $n))))
    (loop $again ${step.join(" ")}
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (f32x4.extract_lane 0 ${total})))`;
  const parsed = binaryen.parseText(wat);
  parsed.setFeatures(binaryen.Features.SIMD128 | binaryen.Features.RelaxedSIMD);
  return Buffer.from(parsed.emitBinary()).toString("base64");
}

/** Opens a page; `measure()` resolves to GFLOP/s. */
export async function peak(browser) {
  const page = await openPage(browser);
  await page.goto("about:blank");
  await page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    window.peak = (await WebAssembly.instantiate(bytes)).instance.exports;
    for (let i = 0; i < 5; i += 1) window.peak.run(400_000);
  }, module());
  return {
    measure: () => page.evaluate(({ steps, chains }) => {
      const start = performance.now();
      window.peak.run(steps);
      return (steps * chains * 8) / (performance.now() - start) / 1e6;
    }, { steps: STEPS, chains: CHAINS }),
    close: () => page.context().close(),
  };
}
