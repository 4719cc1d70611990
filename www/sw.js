// The service worker: after a first visit the site opens and computes without a network, demo model included.
//
// The build (tools/service-worker.mjs) fills in what the site consists of. A version is kept whole or not at all, every
// file compared with its hash, so that a page never meets halves of two versions. A new version is fetched in the
// background and is what the next navigation gets; pages that are open keep what they have.
// It must never keep anything but the site's own files: models from elsewhere are the engine's business.

/** Hash of everything below. */
const VERSION = "{{version}}";
/** Every file of the site, by its path: the hash that its bytes must have, as Subresource Integrity writes it. */
const FILES = {{files}};
/** What a visit needs. */
const CORE = {{core}};
/** The engine's two files, for browsers with relaxed SIMD and for others. */
const ENGINES = {{engines}};

const PREFIX = `residual-stream ${new URL(self.registration.scope).pathname} `;
const CACHE = PREFIX + VERSION;
const INDEX = "index.html";
/** Names that say what is in the file: such a file is the same in every version that has it. */
const NAMED_BY_CONTENT = /-[0-9a-f]{12,16}[._/]/;

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(tidy(0)));
// A page says so once it has everything that it will ask for.
self.addEventListener("message", (event) => {
  if (event.data === "settled") event.waitUntil(tidy(1));
});
self.addEventListener("fetch", (event) => {
  const path = pathOf(event.request);
  if (path !== undefined) event.respondWith(answer(event.request, path));
});

async function install() {
  const paths = [...CORE, ...(hasRelaxedSimd() ? ENGINES.relaxed : ENGINES.plain)];
  const cache = await caches.open(CACHE);
  await Promise.all(paths.map(async (path) => {
    if (!(await cache.match(path))) await keep(cache, path);
  })).catch(async (error) => {
    await caches.delete(CACHE);
    throw error;
  });
  self.skipWaiting();
}

/** Deletes older versions once no page can want one of their files: where no more than `settled` pages are open. */
async function tidy(settled) {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  if (pages.length > settled) return;
  const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(names.map((name) => caches.delete(name)));
}

/** Whether a path is one of the site's files; not merely a name that every object has, such as `constructor`. */
const isOurs = (path) => Object.hasOwn(FILES, path);

/** The path of a request that this worker answers. */
function pathOf({ method, url, mode }) {
  if (method !== "GET" || !url.startsWith(self.registration.scope)) return undefined;
  const [, rest, query] = url.slice(self.registration.scope.length).match(/^([^?#]*)(\?[^#]*)?/);
  const path = decodeURI(rest) + (rest === "" || rest.endsWith("/") ? INDEX : "");
  if (isOurs(path)) return query && mode !== "navigate" ? undefined : path;
  // Of an older version, perhaps, that an open page still has.
  return NAMED_BY_CONTENT.test(path) ? path : undefined;
}

async function answer(request, path) {
  const kept = await find(path);
  if (kept) return part(request, kept);
  if (isOurs(path)) {
    try {
      return await part(request, await keep(await caches.open(CACHE), path));
    } catch {
      // The server has another version by now, or none can be reached; then what the browser says is the truth.
    }
  }
  return fetch(request);
}

/** What is kept under a path; of another version only where that can make no difference. */
async function find(path) {
  const own = await (await caches.open(CACHE)).match(path);
  if (own || !NAMED_BY_CONTENT.test(path)) return own;
  for (const name of await caches.keys()) {
    const other = name.startsWith(PREFIX) && await (await caches.open(name)).match(path);
    if (other) return other;
  }
  return undefined;
}

/** Fetches a file that has the hash it must have, and keeps it. What the visit has just fetched is not fetched again. */
async function keep(cache, path) {
  const known = await find(path);
  const response = known ?? await fetchChecked(path, "force-cache").catch(() => fetchChecked(path, "reload"));
  await cache.put(path, response.clone());
  return response;
}

async function fetchChecked(path, cache) {
  const response = await fetch(await addressOf(path), { cache, integrity: FILES[path], credentials: "same-origin" });
  if (response.status !== 200) throw new Error(`${path}: status ${response.status}`);
  // A response that was redirected cannot answer a navigation.
  return response.redirected ? new Response(response.body, { headers: response.headers }) : response;
}

/** Where to fetch a file: the page itself under the address by which it was visited, since the browser has it as that. */
async function addressOf(path) {
  const { scope } = self.registration;
  if (path !== INDEX) return scope + path;
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const visited = pages.map(({ url }) => url.replace(/[?#].*$/, ""));
  return visited.includes(scope + INDEX) ? scope + INDEX : scope;
}

/** The bytes that a request asks for of a whole file. */
async function part(request, whole) {
  const range = request.headers.get("Range")?.match(/^bytes=(\d+)-(\d*)$/);
  if (!range) return whole;
  const blob = await whole.blob();
  const [start, end] = [Number(range[1]), range[2] === "" ? blob.size : Math.min(Number(range[2]) + 1, blob.size)];
  if (start >= blob.size || end <= start) {
    return new Response(null, { status: 416, headers: { "Content-Range": `bytes */${blob.size}` } });
  }
  const headers = new Headers(whole.headers);
  for (const name of ["Content-Encoding", "Transfer-Encoding"]) headers.delete(name);
  headers.set("Content-Range", `bytes ${start}-${end - 1}/${blob.size}`);
  headers.set("Content-Length", String(end - start));
  return new Response(blob.slice(start, end), { status: 206, headers });
}

/** As src/api/launch.rs asks: a function with one relaxed instruction. */
function hasRelaxedSimd() {
  return WebAssembly.validate(new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
  ]));
}
