// Somebody else's page: another origin than the site's, with a strict policy of its own, that puts embeds on it.
import http from "node:http";
import { openPage, until } from "./browser.mjs";
import { openFirefoxPage } from "./firefox.mjs";

/** The policy of a careful author who allows this project's script and nothing else. */
export const strict = (origin) =>
  `default-src 'none'; script-src ${origin} 'wasm-unsafe-eval'; worker-src blob:; connect-src 'self'; style-src 'none'; img-src data:; frame-src ${origin}`;

/** Serves pages of an origin of its own: `pages`: { "/x.html": body of a page }, `files`: { "/x.json": text }. */
export async function openBlog({ pages, files = {}, policy }) {
  const requests = [];
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://blog");
    requests.push(pathname);
    if (pathname in files) {
      const type = pathname.endsWith(".js") ? "text/javascript" : pathname.endsWith(".svg") ? "image/svg+xml" : "application/json";
      return response.writeHead(200, { "Content-Type": type }).end(files[pathname]);
    }
    if (!(pathname in pages)) return response.writeHead(404, { "Content-Type": "text/plain" }).end("no such page");
    response.writeHead(200, { "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy });
    return response.end(`<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A blog</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"></head>
<body><main><h1>A blog</h1>${pages[pathname]}</main></body></html>`);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    requests, pages, files,
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

// Runs before a page's scripts: keeps what embeds say, and the violations of the page's policy.
function REMEMBER() {
  window.heard = [];
  window.violations = [];
  for (const name of ["ready", "trace", "error"]) {
    window.addEventListener(name, (event) => {
      if (event.target?.localName !== "residual-stream") return;
      window.heard.push({ id: event.target.id, name, code: event.detail?.code, message: event.detail?.message, isError: event.detail instanceof Error });
    }, true);
  }
  document.addEventListener("securitypolicyviolation", (event) =>
    window.violations.push(`${event.effectiveDirective} refused ${event.blockedURI}`));
}

/** Opens a page of the blog that remembers the embeds' events: `page.evaluate(() => window.heard)`. `init`: what else runs
 *  before its scripts. */
export async function visit(browser, address, { init = [], ...options } = {}) {
  const page = await openPage(browser, options);
  for (const script of [REMEMBER, ...init]) await page.addInitScript(script);
  await page.goto(address);
  return page;
}

/** The same in Firefox. */
export async function visitInFirefox(browser, address, options = {}) {
  const page = await openFirefoxPage(browser, { init: [REMEMBER], ...options });
  await page.goto(address);
  return page;
}

/** Waits for an event of an embed. */
export function heard(page, id, name, timeoutMs = 60_000) {
  return until(`the embed #${id} to say "${name}"`, () => page.evaluate(([id, name]) =>
    window.heard.find((event) => event.id === id && event.name === name), [id, name]), timeoutMs)
    .catch(async (error) => {
      throw new Error(`${error.message}\nheard: ${JSON.stringify(await page.evaluate(() => window.heard))}\n${page.problems.join("\n")}`);
    });
}

/** What a reader sees of an embed. */
export function seen(page, id) {
  return page.evaluate((id) => {
    const host = document.getElementById(id);
    const find = (selector) => host.shadowRoot.querySelector(selector);
    const shows = (element) => !!element && element.checkVisibility();
    const canvas = find("canvas");
    const drawn = () => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size;
    };
    return {
      chart: shows(find(".chart")), own: shows(host.firstElementChild), title: find(".title")?.textContent,
      error: find(".error")?.textContent, status: find(".status")?.textContent, finding: find(".finding")?.textContent,
      readOut: shows(find(".readout")) ? find(".readout").textContent : "", label: canvas?.getAttribute("aria-label"),
      colours: shows(canvas) ? drawn() : 0, ask: shows(find(".ask button")) ? find(".ask button").textContent : "",
      height: canvas?.getBoundingClientRect().height, dark: !!find(".frame.dark"),
      unpin: shows(find(".chip")) ? find(".chip").textContent : "",
    };
  }, id);
}
