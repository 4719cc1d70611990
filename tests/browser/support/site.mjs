// Static files over http, as any host would serve them: the built site under a sub-path, and mounts of the tests' own.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import http from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
  ".json": "application/json", ".wasm": "application/wasm", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
};

/** `mounts`: { "/some/path/": folder }; the longest that fits serves a request. `pages`: { "/x.html": text }.
 *  `cors`: other origins may read all of it, as on some hosts. `isolated`: with the headers that make pages
 *  cross-origin isolated. `port`: where an earlier one was, for what comes after it. `instead`: a page that is sent, with
 *  status 200, in the place of what is missing, as hosts of single-page applications do. */
export async function serve({ mounts, pages = {}, cors = false, isolated = false, port = 0, instead }) {
  const requests = [];
  const roots = Object.keys(mounts).sort((a, b) => b.length - a.length);
  const server = http.createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://site").pathname);
    requests.push(path);
    if (cors) response.setHeader("Access-Control-Allow-Origin", "*");
    if (isolated) {
      response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
      response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    }
    const send = (page) => response.writeHead(200, { "Content-Type": TYPES[".html"] }).end(page);
    if (pages[path] !== undefined) return send(pages[path]);
    const root = roots.find((mount) => path.startsWith(mount));
    const file = root && join(mounts[root], normalize(`/${path.slice(root.length)}`), path.endsWith("/") ? "index.html" : "");
    const info = file && (await stat(file).catch(() => undefined));
    if (!info?.isFile() && instead) return send(instead);
    if (!info?.isFile()) return response.writeHead(404, { "Content-Type": "text/plain" }).end(`no ${path}`);
    response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream", "Content-Length": info.size });
    createReadStream(file).pipe(response);
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    port: server.address().port,
    requests,
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
