// A stand-in for the Hugging Face hub: the same paths, two origins (the hub, and a CDN that large files
// redirect to), CORS as the real ones have it. It counts what it is asked, and misbehaves when told to.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import { join } from "node:path";
import { Readable } from "node:stream";
import { sendBody } from "./support/body.mjs";

const COMMIT = "607a30d783dfa663caf39e06633721c8d4cfcd7e";
const LARGE = 1 << 20;
const EXPOSED = "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag";
// What a browser adds by itself to a simple cross-origin GET. Anything else came from the page.
const BROWSER_HEADERS = /^(host|connection|accept|accept-encoding|accept-language|cache-control|pragma|origin|referer|user-agent|range|if-range|if-none-match|if-modified-since|priority|dnt|sec-[a-z-]+)$/;

/** A file of a repo: bytes in memory or a path on disk. */
async function entry(repo, name, content) {
  const onDisk = typeof content === "string";
  const size = onDisk ? (await stat(content)).size : content.length;
  const open = (start, end) =>
    onDisk ? createReadStream(content, { start, end: end - 1 }) : Readable.from([content.subarray(start, end)]);
  let digest;
  const sha256 = () => (digest ??= new Promise((done, fail) => {
    const hash = createHash("sha256");
    open(0, Math.max(size, 1)).on("data", (piece) => hash.update(piece)).on("end", () => done(hash.digest("hex"))).on("error", fail);
  }));
  return { repo, name, size, open, sha256, large: size > LARGE || name.endsWith(".safetensors"), path: `${repo}/${name}` };
}

export class Hub {
  /** `tls`: { key, cert } for https; `cdnName`: the CDN's public address where a browser maps host names. */
  constructor({ tls, cdnName, relativeRedirects = false } = {}) {
    Object.assign(this, { tls, cdnName, relativeRedirects, files: new Map(), signed: 0 });
    this.reset();
  }

  async start() {
    const listen = async (handler) => {
      const safely = (request, response) => handler(request, response).catch((error) => {
        this.failures.push(`${request.method} ${request.url}: ${error.stack}`);
        response.destroy();
      });
      const server = this.tls ? https.createServer(this.tls, safely) : http.createServer(safely);
      await new Promise((done) => server.listen(0, "127.0.0.1", done));
      return server;
    };
    this.servers = [await listen((q, a) => this.#hub(q, a)), await listen((q, a) => this.#cdn(q, a))];
    [this.port, this.cdnPort] = this.servers.map((server) => server.address().port);
    const scheme = this.tls ? "https" : "http";
    this.origin = `${scheme}://127.0.0.1:${this.port}`;
    this.cdn = this.cdnName ?? `${scheme}://127.0.0.1:${this.cdnPort}`;
    return this;
  }

  async close() {
    for (const server of this.servers) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  /** Adds a repo: a folder on disk, or { name: Buffer | path }. */
  async add(repo, content) {
    const files = typeof content === "string"
      ? Object.fromEntries((await readdir(content)).map((name) => [name, join(content, name)]))
      : content;
    for (const [name, value] of Object.entries(files)) this.files.set(`${repo}/${name}`, await entry(repo, name, value));
  }

  /** Misbehave for files whose `org/repo/name` ends with `path`:
   *  { status, retryAfter } instead of an answer; { dropAt } cut the connection after so many bytes;
   *  { truncateAt } end cleanly there; { rate } bytes per second; { noLength }; { body, type } something else;
   *  { times } only so often; { at: "hub" | "cdn" } only there. */
  fault(path, what) {
    this.faults.push({ path, times: Infinity, ...what });
  }

  /** Forgets faults and counts. */
  reset() {
    Object.assign(this, { faults: [], requests: [], failures: [] });
  }

  /** Bytes of files sent in answers that have ended, one way or another. */
  get bytes() {
    return this.requests.reduce((sum, request) => sum + (request.sent ?? 0), 0);
  }

  /** What no loading code may do: preflights, headers of its own, suffix or multiple ranges; and our own faults. */
  violations() {
    const found = [...this.failures];
    for (const { method, url, headers } of this.requests) {
      if (method === "OPTIONS") found.push(`preflight for ${url}: ${headers["access-control-request-headers"]}`);
      const own = Object.keys(headers).filter((name) => !BROWSER_HEADERS.test(name));
      if (own.length > 0) found.push(`${method} ${url} carries ${own.join(", ")}`);
      if (headers.range && !/^bytes=\d+-\d*$/.test(headers.range)) found.push(`${url} asks for range ${headers.range}`);
    }
    return found;
  }

  #fault(path, at) {
    const fault = this.faults.find((f) => path.endsWith(f.path) && f.times > 0 && (f.at ?? at) === at);
    if (fault) fault.times -= 1;
    return fault ?? {};
  }

  #note(request, where) {
    const note = { where, method: request.method, url: request.url, headers: request.headers, sent: undefined };
    this.requests.push(note);
    return note;
  }

  async #hub(request, response) {
    const note = this.#note(request, "hub");
    response.setHeader("Access-Control-Allow-Origin", request.headers.origin ?? "*");
    response.setHeader("Access-Control-Expose-Headers", EXPOSED);
    response.setHeader("Vary", "Origin");
    if (request.method === "OPTIONS") return response.writeHead(204, { "Access-Control-Allow-Headers": "range" }).end();

    const path = decodeURIComponent(new URL(request.url, "http://hub").pathname);
    const api = path.match(/^\/api\/models\/(.+?)\/(revision|tree)\/([^/]+)$/);
    if (api) return this.#api(response, api[1], api[2], api[3]);
    const file = path.match(/^\/(?:api\/resolve-cache\/models\/)?(.+?)\/(resolve|raw)\/([^/]+)\/(.+)$/);
    if (!file) return refuse(response, 404, "EntryNotFound", `no such page: ${path}`);
    const [, repo, how, revision, name] = file;
    const fault = this.#fault(`${repo}/${name}`, "hub");
    if (fault.status) return refuse(response, fault.status, "Told", "told to", fault);
    if (![...this.files.values()].some((f) => f.repo === repo)) return refuse(response, 401, "RepoNotFound", "Repository not found");
    if (revision !== "main" && revision !== COMMIT) return refuse(response, 404, "RevisionNotFound", "Invalid rev id");
    const found = this.files.get(`${repo}/${name}`);
    if (!found) return refuse(response, 404, "EntryNotFound", "Entry not found");

    response.setHeader("X-Repo-Commit", COMMIT);
    response.setHeader("Accept-Ranges", "bytes");
    if (found.large && how === "raw") {
      return response.end(`version https://git-lfs.github.com/spec/v1\noid sha256:${await found.sha256()}\nsize ${found.size}\n`);
    }
    if (found.large) {
      const oid = await found.sha256();
      response.setHeader("X-Linked-Size", found.size);
      response.setHeader("X-Linked-ETag", `"${oid}"`);
      // No two signed addresses are equal, so that a browser's HTTP cache never resumes a download that a fault cut.
      const signed = `${this.cdn}/repos/${oid}?file=${encodeURIComponent(found.path)}&Expires=${Math.floor(Date.now() / 1000) + 3600}&Signature=${++this.signed}`;
      return response.writeHead(302, { Location: signed }).end();
    }
    if (this.relativeRedirects && !path.startsWith("/api/")) {
      return response.writeHead(307, { Location: `/api/resolve-cache/models/${repo}/${how}/${COMMIT}/${name}` }).end();
    }
    response.setHeader("ETag", `"${(await found.sha256()).slice(0, 40)}"`);
    note.sent = await sendBody(request, response, found, fault);
  }

  async #cdn(request, response) {
    const note = this.#note(request, "cdn");
    // The real CDN has answered preflights with an error: so does this one.
    if (request.method === "OPTIONS") return response.writeHead(403).end();
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("Access-Control-Expose-Headers", "*");
    const found = this.files.get(new URL(request.url, "http://cdn").searchParams.get("file"));
    if (!found) return response.writeHead(403).end("<Error><Code>AccessDenied</Code></Error>");
    const fault = this.#fault(found.path, "cdn");
    if (fault.status) return refuse(response, fault.status, "Told", "told to", fault);
    response.setHeader("Accept-Ranges", "bytes");
    response.setHeader("ETag", `"${(await found.sha256()).slice(0, 32)}"`);
    note.sent = await sendBody(request, response, found, fault);
  }

  async #api(response, repo, what, revision) {
    const fault = this.#fault(`api/${repo}/${what}`, "hub");
    if (fault.status) return refuse(response, fault.status, "Told", "told to", fault);
    const files = [...this.files.values()].filter((f) => f.repo === repo);
    if (files.length === 0) return refuse(response, 401, "RepoNotFound", "Repository not found");
    if (revision !== "main" && revision !== COMMIT) return refuse(response, 404, "RevisionNotFound", "Invalid rev id");
    const answer = what === "revision"
      ? { id: repo, sha: COMMIT, siblings: files.map((f) => ({ rfilename: f.name })) }
      : await Promise.all(files.map(async (f) => {
          const oid = await f.sha256();
          const lfs = f.large ? { lfs: { oid, size: f.size, pointerSize: 134 } } : {};
          return { type: "file", oid: oid.slice(0, 40), size: f.size, path: f.name, ...lfs };
        }));
    response.writeHead(200, { "Content-Type": "application/json; charset=utf-8" }).end(JSON.stringify(answer));
  }
}

function refuse(response, status, code, message, { retryAfter } = {}) {
  response.setHeader("X-Error-Code", code);
  response.setHeader("X-Error-Message", message);
  if (retryAfter !== undefined) response.setHeader("Retry-After", retryAfter);
  if (status === 429) response.setHeader("RateLimit", '"resolvers";r=0;t=120');
  response.writeHead(status, { "Content-Type": "text/plain" }).end(message);
}

export { COMMIT };
