// The repos of the stand-in hub: every version of every file, by commit.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { chunks } from "./body.mjs";

export const COMMIT = "607a30d783dfa663caf39e06633721c8d4cfcd7e";
const LARGE = 1 << 20;

// Of files in memory, so that one model in many repos is hashed once.
const digests = new WeakMap();

/** A file of a repo: bytes in memory or a path on disk. */
async function entry(repo, name, content) {
  const onDisk = typeof content === "string";
  const size = onDisk ? (await stat(content)).size : content.length;
  const open = (start, end) =>
    onDisk ? createReadStream(content, { start, end: end - 1 }) : chunks(content.subarray(start, end));
  let digest = onDisk ? undefined : digests.get(content);
  const sha256 = () => (digest ??= (async () => {
    const hash = createHash("sha256");
    if (size > 0) for await (const chunk of open(0, size)) hash.update(chunk);
    return hash.digest("hex");
  })());
  if (!onDisk) digests.set(content, sha256());
  return { repo, name, size, open, sha256, large: size > LARGE || name.endsWith(".safetensors"), path: `${repo}/${name}` };
}

export class Repos {
  #repos = new Map();
  /** "org/repo/name" -> the file as it is now. */
  files = new Map();

  /** Adds files to a repo: a folder on disk, or { name: Buffer | path }. `direct`: large files come from the hub
   *  itself, as from a plain web server. */
  async add(repo, content, { direct = false } = {}) {
    const files = typeof content === "string"
      ? Object.fromEntries((await readdir(content)).map((name) => [name, join(content, name)]))
      : content;
    const known = this.#repos.get(repo) ?? { head: COMMIT, versions: new Map([[COMMIT, new Map()]]) };
    known.direct = direct;
    this.#repos.set(repo, known);
    for (const [name, value] of Object.entries(files)) {
      const added = await entry(repo, name, value);
      known.versions.get(known.head).set(name, added);
      this.files.set(`${repo}/${name}`, added);
    }
  }

  /** Pushes other files to a repo: what it had before stays at its old commit. With the old commit's own name it is
   *  overwritten instead, as on a plain web server. */
  async replace(repo, content, { commit } = {}) {
    const known = this.#repos.get(repo);
    if (!known) throw new Error(`repos.mjs: there is no repo ${repo} to replace`);
    known.head = commit ?? createHash("sha1").update(`${known.head} and on`).digest("hex");
    known.versions.set(known.head, new Map());
    for (const path of [...this.files.keys()]) {
      if (this.files.get(path).repo === repo) this.files.delete(path);
    }
    await this.add(repo, content, { direct: known.direct });
    return known.head;
  }

  has(repo) {
    return this.#repos.has(repo);
  }

  /** The commit that a revision stands for, or undefined. */
  commit(repo, revision) {
    const known = this.#repos.get(repo);
    if (revision === "main") return known?.head;
    return known?.versions.has(revision) ? revision : undefined;
  }

  /** A file at a commit. */
  file(repo, commit, name) {
    return this.#repos.get(repo)?.versions.get(commit)?.get(name);
  }

  /** All files at a commit. */
  list(repo, commit) {
    return [...(this.#repos.get(repo)?.versions.get(commit)?.values() ?? [])];
  }

  isDirect(repo) {
    return this.#repos.get(repo)?.direct ?? false;
  }
}
