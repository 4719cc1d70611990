// Faults while a file is read in pieces, several at a time: whole files, shards, folders, files that change under way.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { INFINITE, NAN } from "./support/faults.mjs";
import { total } from "./support/ledger.mjs";
import { openLab } from "./support/lab.mjs";
import { cases, filesOf, rightTrace, WEIGHTS } from "./support/loads.mjs";
import { largeModel, places } from "./support/models.mjs";

let lab;
before(async () => {
  lab = await openLab();
  for (const model of ["large", "bare", "shards"]) await rightTrace(lab, model);
});
after(() => lab?.close());

const where = places(filesOf("large")[WEIGHTS]);
const [first] = where.get("h.0.attn.bias");
const [table, end] = where.get("wte.weight");
const inside = (name) => where.get(name)[0] + 400;
const block = (l) => ({ within: [where.get(`h.${l}.attn.c_attn.bias`)[0], where.get(`h.${l}.mlp.c_proj.weight`)[1]] });
const anywhere = { within: [first, end] };
const once = (what) => ({ times: 1, ...what });
const cdn = (what) => ({ [WEIGHTS]: { at: "cdn", ...what } });
const shard = (number) => `model-0000${number}-of-00003.safetensors`;
const other = largeModel({ seed: 2 })[WEIGHTS];
const large = (rows) => rows.map((row) => ({ model: "large", ...row }));

/** Resuming at the byte: what was sent twice is at most what was lost on its way in the broken connections. */
const resumed = (most) => ({ hub, path }) => {
  const twice = total(hub.overlaps(path));
  assert.ok(twice <= most, `${twice} bytes were sent twice: broken pieces are not resumed where they broke`);
};

cases("pieces", () => lab, large([
  { name: "a piece stops coming in its middle, once", faults: cdn(once({ ...block(2), stallAfter: 1_000_000 })), expect: "trace" },
  { name: "four connections break, each after a megabyte", faults: cdn({ ...anywhere, dropAfter: 1_000_000, times: 4 }), expect: "trace", check: resumed(4_000_000) },
  { name: "every answer breaks after three megabytes", faults: cdn({ ...anywhere, dropAfter: 3_000_000 }), expect: "trace" },
  { name: "every answer is cut after a megabyte", faults: cdn({ ...anywhere, truncateAfter: 1_000_000 }), expect: "trace", check: resumed(0) },
  { name: "never more than a megabyte at a time", faults: cdn({ cap: 1_000_000 }), expect: "trace", check: resumed(0) },
  { name: "503 for every second piece, for a while", faults: { [WEIGHTS]: [{ at: "cdn", ...anywhere, status: 503, times: 3 }, { at: "cdn", ...block(3), status: 500, times: 2 }] }, expect: "trace" },
  { name: "429 in the middle", faults: cdn(once({ ...block(1), status: 429, retryAfter: 1 })), expect: "trace", notice: "retrying" },
  { name: "a reset in the middle", faults: cdn({ ...block(1), reset: true, times: 2 }), expect: "trace" },
  { name: "signed addresses that are good for three answers", faults: cdn({ expireAfter: 3 }), expect: "trace" },
  {
    name: "all signed addresses expire at once", expect: "trace",
    prepare(hub, repo) {
      hub.fault(`${repo}/${WEIGHTS}`, { at: "cdn", ...block(2), times: 1, call: () => hub.expire(`${repo}/${WEIGHTS}`), dropAfter: 0 });
    },
  },
  { name: "a NaN in a block, once", faults: cdn(once({ corrupt: [{ offset: inside("h.2.mlp.c_fc.weight"), bytes: NAN }] })), expect: "trace" },
  { name: "a NaN in a row of the text, once", faults: cdn(once({ corrupt: [{ offset: table + 6000 * 1024, bytes: NAN }] })), expect: "trace" },
  { name: "a NaN in a bias and infinity in the next tensor, once", faults: cdn(once({ corrupt: [{ offset: inside("h.1.mlp.c_fc.bias"), bytes: NAN }, { offset: inside("h.1.mlp.c_fc.weight"), bytes: INFINITE }] })), expect: "trace" },
  { name: "a NaN in a mask that nobody reads", faults: cdn({ corrupt: [{ offset: inside("h.1.attn.bias"), bytes: NAN }] }), mayMiss: true, expect: "trace" },
  { name: "a NaN in a block", faults: cdn({ corrupt: [{ offset: inside("h.2.mlp.c_fc.weight"), bytes: NAN }] }), expect: "corrupt-download", words: [/h\.2\.mlp\.c_fc\.weight/, new RegExp(String(inside("h.2.mlp.c_fc.weight")))] },
  { name: "infinity in a row of the text", faults: cdn({ corrupt: [{ offset: table + 6000 * 1024, bytes: INFINITE }] }), expect: "corrupt-download", words: [/wte\.weight/, new RegExp(String(table + 6000 * 1024))] },
  { name: "infinity in a row that only predictions need", faults: cdn({ corrupt: [{ offset: table + 9000 * 1024 + 4, bytes: INFINITE }] }), expect: "corrupt-download", words: [/wte\.weight/, new RegExp(String(table + 9000 * 1024 + 4))] },
  { name: "no ranges", faults: cdn({ noRange: true }), expect: "trace", notice: "no-ranges" },
  { name: "no ranges, and the connection breaks twice", faults: { [WEIGHTS]: [{ at: "cdn", noRange: true, dropAfter: 9_000_000, times: 2 }, { at: "cdn", noRange: true }] }, expect: "trace" },
  { name: "everything is compressed, and the connection breaks", faults: { [WEIGHTS]: [{ at: "cdn", gzip: true, dropAfter: 9_000_000, after: 2, times: 1 }, { at: "cdn", gzip: true }] }, expect: "trace", notice: "no-ranges" },
  { name: "ranges are unknown from the sixth answer on", faults: cdn({ noRange: true, after: 5 }), expect: "trace" },
  { name: "no ranges, and a NaN", folder: true, faults: cdn({ noRange: true, corrupt: [{ offset: inside("h.3.attn.c_proj.weight"), bytes: NAN }] }), expect: "corrupt-download", words: [/h\.3\.attn\.c_proj\.weight/] },
  { name: "500 from block 2 on", faults: cdn({ ...block(2), status: 500 }), expect: "network", words: [/500/] },
  { name: "block 2 never comes whole", faults: cdn({ ...block(2), dropAt: inside("h.2.mlp.c_fc.weight") }), expect: "network", words: [/model\.safetensors/] },
  { name: "a piece for which the server asks to wait an hour", faults: cdn({ ...block(1), status: 429, retryAfter: () => new Date(Date.now() + 3_600_000) }), expect: "rate-limited" },
  { name: "404 in the middle", faults: cdn({ ...block(3), status: 404 }), expect: "not-found", words: [/model\.safetensors/] },
  { name: "a file that is cut off behind block 2", faults: cdn({ truncateAt: where.get("h.2.mlp.c_proj.weight")[0] }), expect: "corrupt-download", words: [/model\.safetensors/] },
  { name: "another ETag in the middle", faults: cdn({ ...block(2), etag: '"other"' }), expect: ["trace", "corrupt-download"] },
  { name: "another size in the middle", faults: cdn({ ...block(2), totalOff: 4 }), expect: ["trace", "corrupt-download"] },
  { name: "the wrong range in the middle, once", faults: cdn(once({ ...block(1), shift: -4096 })), expect: "trace" },
  { name: "a redirect in circles in the middle, once", faults: cdn(once({ ...block(1), redirect: "loop" })), expect: "trace" },
  { name: "as a plain folder, with a break", folder: true, direct: true, faults: { [WEIGHTS]: once({ ...block(1), dropAfter: 500_000 }) }, expect: "trace" },
  { name: "as a plain folder without ETag or ranges", folder: true, direct: true, faults: { [WEIGHTS]: { noRange: true, etag: null } }, expect: "trace" },
  { name: "one request at a time, each broken once", options: { parallel: 1 }, faults: cdn({ ...anywhere, dropAfter: 200_000, times: 5 }), expect: "trace" },
  { name: "sixteen requests at a time", options: { parallel: 16 }, faults: cdn({ ...anywhere, status: 503, times: 3 }), expect: "trace" },
]), { concurrency: 3 });

/** While block 1 is asked for, somebody pushes another model. */
const pushed = (options) => ({
  prepare(hub, repo) {
    hub.fault(`${repo}/${WEIGHTS}`, {
      at: "cdn", ...block(1), times: 1,
      call: async () => {
        await hub.replace(repo, { ...filesOf("large"), [WEIGHTS]: other }, options);
        hub.expire(`${repo}/${WEIGHTS}`);
      },
    });
  },
  async check({ hub, repo }) {
    await hub.replace(repo, filesOf("large"), options);
    hub.expire(`${repo}/${WEIGHTS}`);
  },
});

cases("files that change, and shards", () => lab, [
  { name: "a push during the load: the commit was resolved once", model: "large", ...pushed(), expect: "trace" },
  { name: "a folder's file is overwritten during the load", model: "large", folder: true, ...pushed({ commit: "607a30d783dfa663caf39e06633721c8d4cfcd7e" }), expect: ["trace", "corrupt-download"] },
  { name: "a whole file with a flipped bit, once", model: "bare", faults: cdn(once({ corrupt: [{ offset: 5_000_000 }] })), expect: ["trace", "corrupt-download"] },
  { name: "shards: 503 for one, twice", model: "shards", faults: { [shard(2)]: { at: "hub", status: 503, times: 2 } }, expect: "trace" },
  { name: "shards: one breaks", model: "shards", faults: { [shard(1)]: { at: "cdn", dropAfter: 700_000, within: [100_000, 8_000_000], times: 2 } }, expect: "trace" },
  { name: "shards: one is missing", model: "shards", faults: { [shard(2)]: { status: 404 } }, expect: "not-found", words: [/model-00002-of-00003/] },
  { name: "shards: one comes without ranges", model: "shards", faults: { [shard(3)]: { at: "cdn", noRange: true } }, expect: "trace", notice: "no-ranges" },
  { name: "shards: one is compressed", model: "shards", faults: { [shard(2)]: { at: "cdn", gzip: true } }, expect: "trace", notice: "no-ranges" },
  { name: "shards: none comes with ranges", model: "shards", faults: Object.fromEntries([1, 2, 3].map((n) => [shard(n), { at: "cdn", noRange: true }])), expect: "trace" },
  { name: "shards: a damaged index", model: "shards", faults: { "model.safetensors.index.json": { body: "{" } }, expect: "bad-safetensors", words: [/index\.json/] },
  { name: "shards: the index fails, once", model: "shards", faults: { "model.safetensors.index.json": { status: 502, times: 1 } }, expect: "trace" },
  { name: "shards: one fails for good", model: "shards", faults: { [shard(3)]: { at: "cdn", status: 500 } }, expect: "network", words: [/model-00003-of-00003/] },
], { concurrency: 3 });
