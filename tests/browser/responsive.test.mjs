// The page stays alive: no long task while the model runs, and a worker that dies becomes a message.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isRejection, openLab } from "./support/lab.mjs";
import { painted, until } from "./support/browser.mjs";
import { openSite, run, said, tableOf, traced } from "./support/site-page.mjs";

// A page that blocks does so every time; a machine that is busy elsewhere stalls it now and then.
const ROUNDS = 3;
const LONG_TEXT = "It was a bright cold day, and the clocks of the old town were striking as he walked. ".repeat(9);

let lab;
before(async () => { lab = await openLab(); });
after(() => lab?.close());

// In the page: notes every task over 50 ms from now on.
function watchLongTasks() {
  window.longTasks = [];
  const note = (tasks) => {
    for (const task of tasks) window.longTasks.push(`${Math.round(task.duration)} ms at ${Math.round(task.startTime)}`);
  };
  const observer = new PerformanceObserver((list) => note(list.getEntries()));
  observer.observe({ type: "longtask" });
  // A task is known once it has ended.
  window.endedLongTasks = async () => {
    await new Promise((next) => setTimeout(next));
    note(observer.takeRecords());
    return [...window.longTasks];
  };
}

async function quietRound(attempt) {
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    rounds.push(await attempt());
    if (rounds.at(-1).length === 0) return;
  }
  assert.fail(`tasks over 50 ms on the main thread in each of ${ROUNDS} rounds: ${JSON.stringify(rounds)}`);
}

test("tracing with the package leaves the main thread free", async () => {
  await lab.run(async (rs) => {
    window.demo = await rs.loadModel("demo");
    await window.demo.ready;
  });
  await lab.page.evaluate(watchLongTasks);
  await quietRound(() => lab.run(async (rs, text) => {
    window.longTasks.length = 0;
    const trace = await window.demo.trace([text, text, text], { heads: true, lens: 5 });
    rs.draw(document.querySelector("canvas"), trace, "evolution");
    return window.endedLongTasks();
  }, LONG_TEXT));
});

test("the page runs a long text without a long task", async () => {
  const page = await openSite(lab.browser, lab.site.origin);
  await page.evaluate(watchLongTasks);
  let round = 0;
  await quietRound(async () => {
    round += 1;
    await page.evaluate(() => { window.longTasks.length = 0; });
    const before = await tableOf(page, "evolution");
    await page.evaluate(() => { window.longTasks.length = 0; });
    await run(page, [round, LONG_TEXT, LONG_TEXT].join("\n"));
    // Looked at rarely: looking is work on the main thread as well.
    await until("the trace of a long text", () => page.evaluate(() =>
      !document.querySelector("#run-status[data-busy]") && document.querySelectorAll("#tokens [role=option]").length > 300));
    const tasks = await page.evaluate(() => window.endedLongTasks());
    // A later round repeats the text but for its number, and may give the same numbers.
    if (round === 1) await until("the chart of the long text", async () => await tableOf(page, "evolution") !== before);
    return tasks;
  });
  await page.context().close();
});

/** Throws in every worker of a page, where nobody catches: what a wasm trap does. */
async function crash(page) {
  const workers = page.workers();
  assert.ok(workers.length > 0, "the page has no worker to crash");
  await Promise.all(workers.map((worker) => worker.evaluate(() => {
    setTimeout(() => { throw new Error("crashed by a test"); });
  })));
}

test("a crash of the engine rejects what was asked of it; another model can be loaded", async () => {
  await lab.freshPage();
  await lab.run(async (rs) => {
    window.model = await rs.loadModel("demo");
    await window.model.ready;
    window.running = window.rejection(window.model.traceTokens(Array(40).fill(Array(256).fill(5)), { lens: 5 }));
  });
  await crash(lab.page);
  const found = await lab.run(async () => ({ running: await window.running, later: await window.rejection(window.model.traceTokens([[1]])) }));
  isRejection("the trace under way", found.running, "engine-crashed");
  isRejection("a trace asked for afterwards", found.later, "engine-crashed");
  const tokens = await lab.run(async (rs) => {
    const model = await rs.loadModel("demo");
    const trace = await model.traceTokens([[1, 2]]);
    model.close();
    return trace.sequences[0].ids.length;
  });
  assert.equal(tokens, 2);
});

test("a crash of the engine leaves the page working", async () => {
  const page = await openSite(lab.browser, lab.site.origin);
  const before = await tableOf(page, "evolution");
  await crash(page);
  await painted(page);
  assert.equal(await tableOf(page, "evolution"), before, "the last good chart is gone");
  await run(page, "After the storm the sea was calm.");
  await until("either a message or a trace", async () => page.evaluate(() =>
    document.querySelector("#run-error").textContent.trim() !== "" || document.querySelector("#tokens").innerText.includes("storm")))
    .catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });
  await run(page, "The old sailor went home.");
  await until("a trace after the crash", async () => (await page.locator("#tokens").innerText()).includes("sailor"), 60_000)
    .catch(async (error) => { throw new Error(`${error.message}; the page says ${await said(page)}`); });
  await traced(page);
  await page.context().close();
});
