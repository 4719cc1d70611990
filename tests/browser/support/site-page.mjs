// The real page: opening it, waiting for it to have traced, reading what a visitor would see.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { openPage, until } from "./browser.mjs";
import { SITE_PATH } from "./lab.mjs";

export const WIDTHS = { wide: 1440, laptop: 1024, phone: 390 };

/** Opens the site in a fresh context and waits for the first trace. */
export async function openSite(browser, origin, { width = WIDTHS.wide, height = 900, theme = "light", dpr = 1, trace = true } = {}) {
  const page = await openPage(browser, {
    viewport: { width, height }, colorScheme: theme, deviceScaleFactor: dpr, ignoreHTTPSErrors: true,
  });
  // A violation of the policy is also a console error, but this names the directive.
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
      window.violations.push(`${event.effectiveDirective} refused ${event.blockedURI}`));
  });
  await page.goto(`${origin}${SITE_PATH}index.html`);
  if (trace) await traced(page);
  return page;
}

/** Waits until a trace of the text in the box is done and both charts have a finding. */
export async function traced(page) {
  await until("the page to finish a trace (#run-status loses data-busy, both charts have a finding)", () => page.evaluate(() =>
    !document.querySelector("#run-status[data-busy]")
    && document.querySelectorAll("#tokens [role=option]").length > 0
    && [...document.querySelectorAll(".charts .finding")].every((finding) => finding.textContent.trim() !== "")), 60_000)
    .catch(async (error) => {
      throw new Error(`${error.message}\nThe page says: ${await said(page)}\n${page.problems.join("\n")}`);
    });
}

/** What the page tells its reader, for messages of failed tests. */
export function said(page) {
  return page.evaluate(() => ["#run-status", "#run-error", "#model-line", "#model-detail", "#model-error"]
    .map((id) => `${id}: ${document.querySelector(id)?.textContent.trim()}`).join(" | "));
}

/** Types text into the box and runs it. */
export async function run(page, text) {
  await page.locator("#text-input").fill(text);
  await page.getByRole("button", { name: "Run", exact: true }).click();
}

/** What a chart's table says: the numbers in its picture. */
export function tableOf(page, chart) {
  return page.evaluate((chart) => {
    const panel = document.getElementById(chart), button = panel.querySelector("[data-tool=table]");
    button.click();
    const text = panel.querySelector("table").textContent;
    button.click();
    return text;
  }, chart);
}

/** Pixels of a chart's canvas: its backing size, its size on the page, how many colours it holds, and which of them is
 *  most of what is drawn. */
export function canvasOf(page, chart) {
  return page.locator(`#${chart} canvas`).evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const box = canvas.getBoundingClientRect();
    const counts = new Map();
    for (const pixel of new Uint32Array(data.buffer)) if (pixel !== 0) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
    const [ink] = [...counts].reduce((most, one) => (one[1] > most[1] ? one : most), [0, 0]);
    return { width: canvas.width, height: canvas.height, cssWidth: box.width, cssHeight: box.height,
      colours: counts.size, ink };
  });
}

export const CHARTS = ["histogram", "evolution"];

/** What axe objects to in the page, or in a part of it: a line for each rule, with the elements that break it. */
export async function axeObjections(page, part) {
  if (!await page.evaluate(() => "axe" in window)) {
    await page.evaluate(await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
  }
  const { violations } = await page.evaluate((part) => part ? window.axe.run(part) : window.axe.run(), part);
  return violations.map((v) => `${v.id} (${v.help}): ${v.nodes.map((node) => node.target.join(" ")).join("; ")}`);
}

/** No console error, no uncaught error, no violation of the page's own policy. */
export async function isQuiet(page, { except = [] } = {}) {
  const violations = await page.evaluate(() => window.violations ?? []);
  const problems = page.problems.filter((problem) => !except.some((allowed) => allowed.test(problem)));
  assert.deepEqual([...problems, ...violations], [], "the page's console is not clean, or its Content-Security-Policy was violated");
}
