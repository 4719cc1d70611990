// A stand-in for the Hugging Face hub: the same paths, two origins (the hub, and a CDN that large files
// redirect to), CORS as the real ones have it. It counts what it is asked, and misbehaves when told to:
// support/faults.mjs lists how.
import http from "node:http";
import https from "node:https";
import { asked, closed, sendBody } from "./support/body.mjs";
import { Faults, retryAfterText } from "./support/faults.mjs";
import { Ledger } from "./support/ledger.mjs";
import { COMMIT, Repos } from "./support/repos.mjs";

const EXPOSED = "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag";
// What a browser adds by itself to a simple cross-origin GET. Anything else came from the page.
const BROWSER_HEADERS = /^(host|connection|accept|accept-encoding|accept-language|cache-control|pragma|origin|referer|user-agent|range|if-range|if-none-match|if-modified-since|priority|dnt|sec-[a-z-]+)$/;
const DENIED = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>`;

export class Hub {
  #repos = new Repos();
  #faults;
  #ledger;
  /** Signed addresses: number -> { file, uses }. */
  #signatures = new Map();
  #signed = 0;

  /** `tls`: { key, cert } for https; `cdnName`: the CDN's public address where a browser maps host names. */
  constructor({ tls, cdnName, relativeRedirects = false } = {}) {
    Object.assign(this, { tls, cdnName, relativeRedirects });
    this.reset();
  }

  async start() {
    const listen = async (handler) => {
      const safely = async (request, response) => {
        try {
          await handler(request, response);
        } catch (error) {
          this.failures.push(`${request.method} ${request.url}: ${error.stack}`);
          response.destroy();
        }
      };
      const server = this.tls ? https.createServer(this.tls, safely) : http.createServer(safely);
      await new Promise((done) => server.listen(0, "127.0.0.1", done));
      return server;
    };
    this.servers = [await listen((q, a) => this.#hub(q, a)), await listen((q, a) => this.#cdn(q, a))];
    [this.port, this.cdnPort] = this.servers.map((server) => server.address().port);
    const scheme = this.tls ? "https" : "http";
    this.origin = `${scheme}://127.0.0.1:${this.port}`;
    this.cdn = this.cdnName ?? `${scheme}://127.0.0.1:${this.cdnPort}`;
    // An address where nobody listens: one that was given back.
    const gone = await listen(() => {});
    this.dead = `${scheme}://127.0.0.1:${gone.address().port}`;
    await new Promise((done) => gone.close(done));
    return this;
  }

  async close() {
    for (const server of this.servers) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  /** "org/repo/name" -> { size, sha256(), .. } of the files as they are now. */
  get files() {
    return this.#repos.files;
  }

  /** Adds files to a repo: a folder on disk, or { name: Buffer | path }; `direct`: without redirects. */
  add(repo, content, options) {
    return this.#repos.add(repo, content, options);
  }

  /** Pushes other files, as a new commit (or over the old: `{ commit }`). Resolves to the commit. */
  replace(repo, content, options) {
    return this.#repos.replace(repo, content, options);
  }

  /** Where a repo is a plain folder of files. */
  folder(repo) {
    return `${this.origin}/${repo}/resolve/main/`;
  }

  /** Misbehave: see support/faults.mjs. What is returned counts its `hits`. */
  fault(path, what) {
    return this.#faults.add(path, what);
  }

  /** Forgets faults and counts. */
  reset() {
    this.#faults = new Faults();
    this.#ledger = new Ledger();
    this.failures = [];
  }

  /** What was asked, by the request. */
  get requests() {
    return this.#ledger.requests;
  }

  /** What was asked and sent, by the file: see support/ledger.mjs. */
  get ledger() {
    return this.#ledger;
  }

  /** Bytes sent of a file, so far. */
  sent(name) {
    return this.#ledger.sent(name);
  }

  /** Runs of a file's bytes that were sent more than once. */
  overlaps(name) {
    return this.#ledger.overlaps(name);
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

  #note(request, response, where) {
    const note = this.#ledger.note(request, where);
    response.on("close", () => { note.over = true; });
    return note;
  }

  /** What a fault does before an answer; true where that was all. */
  async #instead(request, response, fault) {
    await fault.call?.(request);
    await fault.hold;
    if (fault.noCors) response.removeHeader("Access-Control-Allow-Origin");
    if (fault.expose !== undefined) response.setHeader("Access-Control-Expose-Headers", fault.expose);
    if (fault.reset) {
      request.socket.resetAndDestroy();
    } else if (fault.stall) {
      await closed(response);
    } else if (fault.status) {
      refuse(response, fault.status, "Told", "told to", fault);
    } else if (fault.redirect) {
      const address = { loop: request.url, dead: `${this.dead}/nobody` }[fault.redirect];
      response.writeHead(302, { Location: address }).end();
    } else {
      return response.destroyed;
    }
    return true;
  }

  async #hub(request, response) {
    const note = this.#note(request, response, "hub");
    response.setHeader("Access-Control-Allow-Origin", request.headers.origin ?? "*");
    response.setHeader("Access-Control-Expose-Headers", EXPOSED);
    response.setHeader("Vary", "Origin");
    if (request.method === "OPTIONS") return response.writeHead(204, { "Access-Control-Allow-Headers": "range" }).end();

    const path = decodeURIComponent(new URL(request.url, "http://hub").pathname);
    const api = path.match(/^\/api\/models\/(.+?)\/(revision|tree)\/([^/]+)$/);
    if (api) return this.#api(request, response, api.slice(1));
    const parts = path.match(/^\/(?:api\/resolve-cache\/models\/)?(.+?)\/(resolve|raw)\/([^/]+)\/(.+)$/);
    if (!parts) return refuse(response, 404, "EntryNotFound", `no such page: ${path}`);
    const [, repo, how, revision, name] = parts;
    const commit = this.#repos.commit(repo, revision);
    const found = this.#repos.file(repo, commit, name);
    const redirects = found?.large && (how === "raw" || !this.#repos.isDirect(repo));
    const fault = this.#faults.take(`${repo}/${name}`, "hub", asked(request, found?.size ?? Infinity), found && !redirects);
    if (await this.#instead(request, response, fault)) return undefined;
    if (!this.#repos.has(repo)) return refuse(response, 401, "RepoNotFound", "Repository not found");
    if (!commit) return refuse(response, 404, "RevisionNotFound", "Invalid rev id");
    if (!found) return refuse(response, 404, "EntryNotFound", "Entry not found");

    response.setHeader("X-Repo-Commit", commit);
    response.setHeader("Accept-Ranges", "bytes");
    const oid = await found.sha256();
    if (found.large && how === "raw") {
      return response.end(`version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${found.size}\n`);
    }
    if (redirects) {
      response.setHeader("X-Linked-Size", found.size);
      response.setHeader("X-Linked-ETag", `"${oid}"`);
      // No two signed addresses are equal, so that a browser's HTTP cache never resumes a download that a fault cut.
      this.#signed += 1;
      this.#signatures.set(String(this.#signed), { file: found, uses: 0 });
      const signed = `${this.cdn}/repos/${oid}?file=${encodeURIComponent(found.path)}&Expires=${Math.floor(Date.now() / 1000) + 3600}&Signature=${this.#signed}`;
      return response.writeHead(302, { Location: signed }).end();
    }
    if (this.relativeRedirects && !path.startsWith("/api/")) {
      return response.writeHead(307, { Location: `/api/resolve-cache/models/${repo}/${how}/${commit}/${name}` }).end();
    }
    return this.#send(request, response, found, fault, note, oid.slice(0, 40));
  }

  async #cdn(request, response) {
    const note = this.#note(request, response, "cdn");
    // The real CDN has answered preflights with an error: so does this one.
    if (request.method === "OPTIONS") return response.writeHead(403).end();
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("Access-Control-Expose-Headers", "*");
    const signature = this.#signatures.get(new URL(request.url, "http://cdn").searchParams.get("Signature"));
    if (!signature) return response.writeHead(403, { "Content-Type": "application/xml" }).end(DENIED);
    const { file } = signature;
    const fault = this.#faults.take(file.path, "cdn", asked(request, file.size), true);
    if (signature.uses >= (fault.expireAfter ?? Infinity)) {
      return response.writeHead(403, { "Content-Type": "application/xml" }).end(DENIED);
    }
    signature.uses += 1;
    if (await this.#instead(request, response, fault)) return undefined;
    response.setHeader("Accept-Ranges", "bytes");
    return this.#send(request, response, file, fault, note, (await file.sha256()).slice(0, 32));
  }

  async #send(request, response, file, fault, note, hash) {
    response.setHeader("ETag", `"${hash}"`);
    note.path = file.path;
    note.sent = await sendBody(request, response, file, fault, note);
  }

  async #api(request, response, [repo, what, revision]) {
    const fault = this.#faults.take(`api/${repo}/${what}`, "api", { start: 0, end: Infinity }, true);
    if (await this.#instead(request, response, fault)) return undefined;
    if (!this.#repos.has(repo)) return refuse(response, 401, "RepoNotFound", "Repository not found");
    const commit = this.#repos.commit(repo, revision);
    if (!commit) return refuse(response, 404, "RevisionNotFound", "Invalid rev id");
    const files = this.#repos.list(repo, commit);
    const answer = what === "revision"
      ? { id: repo, sha: commit, siblings: files.map((f) => ({ rfilename: f.name })) }
      : await Promise.all(files.map(async (f) => {
          const oid = await f.sha256();
          const lfs = f.large ? { lfs: { oid, size: f.size, pointerSize: 134 } } : {};
          return { type: "file", oid: oid.slice(0, 40), size: f.size, path: f.name, ...lfs };
        }));
    return response.writeHead(200, { "Content-Type": "application/json; charset=utf-8" }).end(JSON.stringify(answer));
  }
}

function refuse(response, status, code, message, { retryAfter } = {}) {
  response.setHeader("X-Error-Code", code);
  response.setHeader("X-Error-Message", message);
  if (retryAfter !== undefined) response.setHeader("Retry-After", retryAfterText(retryAfter));
  if (status === 429) response.setHeader("RateLimit", '"resolvers";r=0;t=120');
  response.writeHead(status, { "Content-Type": "text/plain" }).end(message);
}

export { COMMIT };
