// Debian's firefox-esr, driven by puppeteer-core over WebDriver BiDi, with a fresh profile every time.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

/** Everything goes to a proxy where nobody listens, this machine's own addresses too. */
const NO_NETWORK = {
  "network.proxy.type": 1, "network.proxy.http": "127.0.0.1", "network.proxy.http_port": 9, "network.proxy.ssl": "127.0.0.1",
  "network.proxy.ssl_port": 9, "network.proxy.no_proxies_on": "", "network.proxy.allow_hijacking_localhost": true,
};

/** `network: false`: no address can be reached. */
export async function launchFirefox({ network = true } = {}) {
  const finder = fileURLToPath(new URL("../../../tools/firefox.sh", import.meta.url));
  return puppeteer.launch({
    browser: "firefox", protocol: "webDriverBiDi", headless: true,
    executablePath: execFileSync("bash", [finder], { encoding: "utf8" }).trim(),
    extraPrefsFirefox: network ? {} : NO_NETWORK,
  });
}

/** Opens a page in a profile of its own, which remembers what went wrong in it (`page.problems`) and what it asked for
 *  (`page.requests`). `init`: functions that run in the page before its scripts. Has what support/ needs of a
 *  playwright page: evaluate, goto, locator(css).click. */
export async function openFirefoxPage(browser, { init = [], width = 1440, height = 900, context } = {}) {
  const profile = context ?? await browser.createBrowserContext();
  const page = await profile.newPage();
  await page.setViewport({ width, height });
  page.problems = [];
  page.requests = [];
  page.on("console", (message) => {
    if (message.type() === "error") page.problems.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => page.problems.push(`uncaught: ${error.stack ?? error}`));
  page.on("request", (request) => page.requests.push(request.url()));
  for (const script of init) await page.evaluateOnNewDocument(script);
  return page;
}
