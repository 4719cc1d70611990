// All cores: the same numbers for any number of workers, in pages that are not isolated; a helper that dies fails the
// request, and the next one works; an engine that says nothing any more is ended. And which of the two engines runs.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isRejection, openLab } from "./support/lab.mjs";
import { until } from "./support/browser.mjs";

// Sums over heads and columns in another order, and relaxed against plain multiply-adds, through twelve blocks.
const TOLERANCE = 1e-4;
const TEXTS = ["The fox sat by the river and waited for the moon to rise over the hills.", "Once.", "A crow came, and went again."];
const OPTIONS = { heads: true, lens: 2 };

let lab;
before(async () => { lab = await openLab(); });
after(() => lab?.close());

/** Traces texts with the demo model in a page of its own: `{ trace, simd, workers }`. */
const traced = (workers, texts = TEXTS) => lab.run(async (rs, { workers, texts, options }) => {
  const model = await rs.loadModel("demo", { workers });
  const trace = await model.trace(texts, options);
  const found = { trace: window.plain(trace), simd: model.simd, workers: model.workers };
  model.close();
  return found;
}, { workers, texts, options: OPTIONS });

function assertSame(what, found, expected) {
  assert.equal(found.sequences.length, expected.sequences.length, `${what}: sequences`);
  found.sequences.forEach((sequence, number) => {
    for (const [name, values] of Object.entries(expected.sequences[number])) {
      const got = name === "lens" || name === "next" ? sequence[name].probs : sequence[name];
      const wanted = name === "lens" || name === "next" ? values.probs : values;
      if (typeof wanted?.[0] !== "number") continue;
      assert.equal(got.length, wanted.length, `${what}: length of ${name}`);
      const largest = Math.max(1e-3, ...wanted.map(Math.abs));
      wanted.forEach((value, place) => {
        const error = Math.abs(got[place] - value) / largest;
        assert.ok(error <= TOLERANCE, `${what}: sequence ${number}, ${name}[${place}] is ${got[place]}, not ${value}`);
      });
    }
  });
}

test("any number of workers gives the same numbers, without cross-origin isolation", async () => {
  await lab.freshPage();
  assert.equal(await lab.page.evaluate(() => window.crossOriginIsolated), false, "the point is a page that is not isolated");
  const one = await traced(1);
  assert.equal(one.workers, 1);
  for (const workers of [2, 3, 5]) {
    const found = await traced(workers);
    assert.equal(found.workers, workers, "Model.workers");
    assertSame(`${workers} workers`, found.trace, one.trace);
  }
});

test("every worker has its own share of the memory, and all are gone when the model is closed", async () => {
  await lab.freshPage();
  await lab.run(async (rs) => {
    window.model = await rs.loadModel("demo", { workers: 3 });
    await window.model.trace(["It was."]);
  });
  assert.equal(lab.page.workers().length, 3, "the engine and two helpers, nested or not, are workers of the page");
  await lab.run(() => window.model.close());
  await until("the end of the workers", () => lab.page.workers().length === 0);
});

test("a model chooses for itself: a small one runs in one worker", async () => {
  await lab.freshPage();
  const workers = await lab.run(async (rs) => {
    const model = await rs.loadModel("demo");
    const { workers } = model;
    model.close();
    return workers;
  });
  assert.equal(workers, 1, "the demo model is too small to be split");
  for (const wrong of [0, 65, 1.5, "two"]) {
    const rejection = await lab.run((rs, workers) => window.rejection(rs.loadModel("demo", { workers })), wrong);
    isRejection(`workers: ${wrong}`, rejection, "bad-argument");
  }
});

test("a text that grows gives what it gives at once", async () => {
  await lab.freshPage();
  for (const workers of [1, 2]) {
    const { grown, whole } = await lab.run(async (rs, { workers, text, options }) => {
      const model = await rs.loadModel("demo", { workers });
      let grown;
      for (const end of [20, 40, 41, 30, text.length]) grown = await model.trace([text.slice(0, end)], options);
      model.close();
      const fresh = await rs.loadModel("demo", { workers });
      const whole = await fresh.trace([text], options);
      fresh.close();
      return { grown: window.plain(grown), whole: window.plain(whole) };
    }, { workers, text: TEXTS[0], options: OPTIONS });
    assertSame(`growing, ${workers} workers`, grown, whole);
  }
});

for (const [how, act] of [
  ["crashes", () => { setTimeout(() => { throw new Error("crashed by a test"); }); }],
  ["goes silent", () => { self.close(); }],
]) {
  test(`a helper that ${how} fails the request, and the next one works`, async () => {
    await lab.freshPage();
    await lab.run(async (rs) => {
      window.notices = [];
      window.model = await rs.loadModel("demo", { workers: 2, onNotice: (notice) => window.notices.push(notice) });
      await window.model.ready;
      window.expected = window.plain(await window.model.traceTokens([[5, 6, 7]]));
    });
    const names = await Promise.all(lab.page.workers().map(async (worker) => [await worker.evaluate(() => self.name), worker]));
    const [, helper] = names.find(([name]) => name === "residual-stream-helper") ?? assert.fail(`no helper among ${names}`);
    await helper.evaluate(act);
    const { lost, found, expected, notices } = await lab.run(async () => {
      const lost = await window.rejection(window.model.traceTokens([[9, 8, 7, 6]]));
      const found = window.plain(await window.model.traceTokens([[5, 6, 7]]));
      await window.model.ready;
      return { lost, found, expected: window.expected, notices: window.notices };
    });
    isRejection("the request whose helper was lost", lost, "engine-crashed");
    assert.match(lost.message, /worker|helper|crashed/);
    assertSame("after the loss", found, expected);
    assert.ok(notices.some((notice) => notice.message.includes("lost")), `the reader is told: ${JSON.stringify(notices)}`);
    await lab.run(() => window.model.close());
  });
}

/** The page's looks at its engine (crates/protocol/src/watchdog.rs) come so much faster that five minutes take three seconds. */
const HURRY = () => {
  const { setInterval } = window;
  window.setInterval = (callback, milliseconds) => setInterval(callback, milliseconds / 100);
};

for (const [how, act] of [
  ["vanishes", () => { self.close(); }],
  ["loops", () => { setTimeout(() => { for (;;); }); }],
]) {
  test(`an engine that ${how} does not keep a trace waiting for ever`, async () => {
    await lab.freshPage();
    await lab.run(HURRY);
    await lab.run(async (rs) => {
      window.model = await rs.loadModel("demo", { workers: 1 });
      // Longer than the patience, with nobody waiting: no reason to end it.
      await new Promise((done) => setTimeout(done, 4000));
      await window.model.traceTokens([[5, 6, 7]], { predictions: false });
    });
    const [engine] = lab.page.workers();
    await engine.evaluate(act).catch(() => {});
    const { waiting, later } = await lab.run(async () => {
      const { model, rejection } = window;
      const waiting = await rejection(model.traceTokens([[9, 8]]));
      return { waiting, later: await rejection(model.traceTokens([[9, 8]])) };
    });
    for (const [what, found] of [["what waited", waiting], ["the next request", later]]) {
      isRejection(what, found, "engine-crashed", "5 minutes", "load the model again");
    }
    await until("the end of the worker", () => lab.page.workers().length === 0);
  });
}

test("an engine that computes for longer than that is let be", async () => {
  await lab.freshPage();
  await lab.run(HURRY);
  const seconds = await lab.run(async (rs) => {
    const model = await rs.loadModel("demo", { workers: 1 });
    const [began, ids] = [performance.now(), Array.from({ length: 250 }, (_, id) => id)];
    let count = 1;
    do {
      // Other first tokens, so that nothing of an earlier text is of use.
      await model.traceTokens(Array.from({ length: count }, (_, text) => [count, text, ...ids]), { heads: true, lens: 5 });
      count *= 2;
    } while (performance.now() - began < 7000);
    model.close();
    return (performance.now() - began) / 1000;
  });
  assert.ok(seconds > 7, `${seconds} s of computing`);
});

test("without nested workers the engine computes alone", async () => {
  await lab.freshPage({ inWorkers: "delete self.Worker;" });
  const alone = await traced(2);
  assert.equal(alone.workers, 1);
  await lab.freshPage();
  assertSame("alone", alone.trace, (await traced(1)).trace);
});

/** Says no to modules whose bytes hold this run. */
const REFUSE = (run) => {
  const { validate } = WebAssembly;
  WebAssembly.validate = (bytes) => !`,${new Uint8Array(bytes.buffer ?? bytes)},`.includes(`,${run},`) && validate(bytes);
};

test("the engine with relaxed SIMD is taken where the browser has that, and only that one is downloaded", async () => {
  const engines = (page) => {
    const names = [];
    page.on("request", (request) => { if (/engine.*\.wasm$/.test(request.url())) names.push(new URL(request.url()).pathname.split("/").at(-1)); });
    return names;
  };
  await lab.freshPage();
  const first = engines(lab.page);
  const relaxed = await traced(1);
  assert.equal(relaxed.simd, "relaxed");
  assert.equal(first.length, 1, `downloads: ${first}`);
  assert.match(first[0], /^engine-relaxed-/);

  await lab.freshPage();
  await lab.page.addInitScript(REFUSE, "253,128,2");
  await lab.reload();
  const second = engines(lab.page);
  const plain = await traced(2);
  assert.equal(plain.simd, "simd128");
  assert.ok(second.length === 1 && !second[0].includes("relaxed"), `downloads: ${second}`);
  assertSame("without relaxed SIMD", plain.trace, relaxed.trace);
});

test("a browser without SIMD is told so", async () => {
  await lab.freshPage();
  await lab.page.addInitScript(REFUSE, "253,98");
  await lab.reload();
  const rejection = await lab.run((rs) => window.rejection(rs.loadModel("demo")));
  isRejection("no SIMD", rejection, "unsupported-browser");
  assert.match(rejection.message, /SIMD.*Chrome.*Firefox.*Safari/);
});

test("a profile says where the time went", async () => {
  await lab.freshPage();
  const profile = await lab.run(async (rs) => {
    const model = await rs.loadModel("demo");
    const { profile } = await model.traceTokens([Array.from({ length: 200 }, (_, i) => i)], { profile: true });
    const without = await model.traceTokens([[1]]);
    model.close();
    return { ...profile, without: "profile" in without };
  });
  const { total, without, ...parts } = profile;
  assert.equal(without, false, "nobody asked for it");
  assert.deepEqual(Object.keys(parts).sort(), ["attention", "exchange", "linear", "norms", "other"]);
  const sum = Object.values(parts).reduce((sum, part) => sum + part, 0);
  assert.ok(Math.abs(sum - total) < 1e-6 * total, `the parts of ${JSON.stringify(profile)} make ${sum}`);
  assert.ok(parts.linear > 0 && parts.attention > 0 && parts.norms > 0, JSON.stringify(profile));
});
