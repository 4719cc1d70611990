// What the tests of the package in Node share: where it is, and programs of their own that use it.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** The package under test: PACKAGE=pkg for a release build. */
export const PACKAGE = resolve(ROOT, process.env.PACKAGE ?? "target/test-pkg");
export const CLI = join(PACKAGE, "cli.js");
export const FIXTURES = join(ROOT, "tests/fixtures");
export const DEMO = join(PACKAGE, "models/demo");

if (!existsSync(join(PACKAGE, "node.js"))) {
  throw new Error(`${PACKAGE} holds no package: run "make test-site" first, or point PACKAGE at one`);
}

export const importPackage = () => import(pathToFileURL(join(PACKAGE, "node.js")).href);
export const fixtureJson = (path) => JSON.parse(readFileSync(join(FIXTURES, path), "utf8"));

/** A folder that goes when the tests of a file are over. */
export function scratch(after) {
  const folder = mkdtempSync(join(tmpdir(), "residual-stream-node-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Runs a command to its end: { code, signal, stdout, stderr }. */
export function run(command, args, { input, onChild, ...options } = {}) {
  return new Promise((done) => {
    const child = execFile(command, args, { timeout: 120_000, maxBuffer: 1 << 28, ...options }, (error, stdout, stderr) => {
      done({ code: error ? error.code : 0, signal: child.signalCode, stdout, stderr });
    });
    child.stdin.end(input ?? "");
    onChild?.(child);
  });
}

/** Runs a program in a process of its own; `rs` is the package in it. */
export function program(folder, body) {
  const file = join(folder, `program-${Math.random().toString(36).slice(2)}.mjs`);
  writeFileSync(file, `import * as rs from ${JSON.stringify(pathToFileURL(join(PACKAGE, "node.js")).href)};\n${body}\n`);
  return run(process.execPath, [file], { cwd: folder });
}

/** Whether a promise is rejected as `isRejection` (browser/support/lab.mjs) wants it described. */
export async function rejection(promise) {
  try {
    await promise;
    return { resolved: true };
  } catch (error) {
    return { code: error?.code, message: String(error?.message ?? error), isError: error instanceof Error };
  }
}
