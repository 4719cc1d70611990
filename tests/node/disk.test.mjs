// What disks really hold: links, pipes, devices, folders in the place of files. The command writes through what is no file,
// replaces files as a whole, and always ends; the package names what it cannot read, with a code.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { isRejection } from "../browser/support/lab.mjs";
import { CLI, FIXTURES, importPackage, rejection, run, scratch } from "./support.mjs";

const rs = await importPackage();
const folder = scratch(after);
const at = (name) => join(folder, name);
const TINY = join(FIXTURES, "tiny-gpt2");
const cli = (...args) => run(process.execPath, [CLI, ...args], { cwd: folder });
const shell = (command) => run("sh", ["-c", command], { cwd: folder });
const quoted = `"${process.execPath}" "${CLI}"`;

const model = await rs.loadModel("demo");
const trace = await model.trace(["The cat sat on the mat."]);
model.close();
writeFileSync(at("run.json"), rs.writeTrace(trace));
const picture = rs.svg(trace, "evolution", { theme: "light" });
const svg = (out) => ["svg", "--trace", "run.json", "--chart", "evolution", "--out", out];
/** Whoever may replace the machine's own null device gets one that nobody needs. */
function nullDevice() {
  if (process.getuid?.() !== 0) return "/dev/null";
  execFileSync("mknod", [at("null"), "c", "1", "3"]);
  return at("null");
}
const leavesNothing = () => assert.deepEqual(readdirSync(folder).filter((name) => name.endsWith(".part")), []);

test("a link stays a link, and its target is replaced as a whole and keeps its mode", async () => {
  mkdirSync(at("far"));
  writeFileSync(at("far/target.svg"), "old");
  chmodSync(at("far/target.svg"), 0o640);
  symlinkSync("far/target.svg", at("near.svg"));
  symlinkSync("near.svg", at("nearer.svg"));
  symlinkSync("far/new.svg", at("dangling.svg"));
  for (const [link, leads, target] of [["nearer.svg", "near.svg", "far/target.svg"], ["dangling.svg", "far/new.svg", "far/new.svg"]]) {
    const done = await cli(...svg(link));
    assert.equal(done.code, 0, done.stderr);
    assert.equal(readlinkSync(at(link)), leads);
    assert.ok(lstatSync(at(target)).isFile());
    assert.equal(readFileSync(at(target), "utf8"), picture);
  }
  assert.equal(statSync(at("far/target.svg")).mode & 0o777, 0o640);
  // The folder itself is behind a link, and the file's link is relative to where it lies.
  mkdirSync(at("deep/down"), { recursive: true });
  symlinkSync("deep/down", at("door"));
  symlinkSync("../beside.svg", at("deep/down/link.svg"));
  assert.equal((await cli(...svg("door/link.svg"))).code, 0);
  assert.equal(readFileSync(at("deep/beside.svg"), "utf8"), picture);
  const long = `${"x".repeat(250)}.svg`;
  assert.equal((await cli(...svg(long))).code, 0);
  symlinkSync("circle", at("circle"));
  const circle = await cli(...svg("circle"));
  assert.deepEqual([circle.code, circle.stderr], [1, "residual-stream: circle: its links lead in a circle.\n"]);
  leavesNothing();
});

test("devices, pipes and open files are written to, and stay what they are", async () => {
  const device = nullDevice();
  const before = lstatSync(device);
  assert.equal((await cli(...svg(device))).code, 0);
  assert.ok(lstatSync(device).isCharacterDevice() && lstatSync(device).ino === before.ino, `${device} was replaced`);

  for (const out of ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-"]) {
    assert.equal((await shell(`${quoted} ${svg(out).join(" ")} | cat`)).stdout, picture, out);
    await shell(`echo before > log; ${quoted} ${svg(out).join(" ")} >> log; echo after >> log`);
    assert.equal(readFileSync(at("log"), "utf8"), `before\n${picture}after\n`, `${out}: what stood in the log is gone`);
  }
  assert.equal((await shell(`${quoted} ${svg("/dev/fd/5").join(" ")} 5>five.svg`)).code, 0);
  assert.equal(readFileSync(at("five.svg"), "utf8"), picture);

  execFileSync("mkfifo", [at("pipe")]);
  assert.equal((await shell(`cat pipe & ${quoted} ${svg("pipe").join(" ")}; wait`)).stdout, picture);
  assert.ok(lstatSync(at("pipe")).isFIFO());

  for (const [out, words] of [["far", "it is a folder"], ["/dev/full", "the disk is full"], [`${"x".repeat(300)}.svg`, "its name is too long"]]) {
    const done = await cli(...svg(out));
    assert.equal(done.code, 1, done.stderr);
    assert.match(done.stderr, new RegExp(`^residual-stream: .*: ${words}\\.\\n$`));
  }
  leavesNothing();
});

test("whoever reads less than is said, or nothing of it, gets no stack trace", async () => {
  for (const command of ["--help", "--version"]) {
    const full = await shell(`${quoted} ${command} > /dev/full`);
    assert.deepEqual([full.code, full.stderr], [1, "residual-stream: standard output: the disk is full.\n"]);
  }
  const silent = await shell(`${quoted} ${svg("silent.svg").join(" ")} 2> /dev/full`);
  assert.equal(silent.code, 0);
  const traced = await shell(`echo A king. | ${quoted} trace --text - --out said.json 2> /dev/full`);
  assert.equal(traced.code, 0, "a full standard error fails no work");
  assert.equal(rs.readTrace(readFileSync(at("said.json"))).sequences.length, 1);
});

test("names that every object has are no commands", async () => {
  for (const name of ["constructor", "toString", "__proto__", "hasOwnProperty"]) {
    const done = await cli(name);
    assert.equal(done.code, 2, `${name}: ${done.stderr}`);
    assert.match(done.stderr, /is no command: it is trace or svg/);
  }
});

test("Ctrl-C and SIGTERM end a command that waits for a pipe nobody writes to", { timeout: 60_000 }, async () => {
  execFileSync("mkfifo", [at("never")]);
  for (const signal of ["SIGINT", "SIGTERM"]) {
    for (const args of [["trace", "--text", "never", "--out", "x.json"], ["svg", "--trace", "never", "--chart", "evolution", "--out", "x.svg"]]) {
      const child = spawn(process.execPath, [CLI, ...args], { cwd: folder, stdio: "ignore" });
      const ended = new Promise((done) => child.on("exit", (code, by) => done(code ?? by)));
      // Until it listens for signals, the signal itself ends it: both are an end.
      await new Promise((next) => setTimeout(next, 500));
      child.kill(signal);
      const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
      after(() => clearTimeout(late));
      assert.ok([130, signal].includes(await ended), `${args[0]} after ${signal}`);
    }
  }
  assert.ok(!existsSync(at("x.json")));
});

test("what lies in the place of a model's file has a code and a sentence, at once", { timeout: 60_000 }, async () => {
  const place = (name, make, without = name) => {
    const copy = at(`model-${Math.random().toString(36).slice(2)}`);
    cpSync(TINY, copy, { recursive: true, filter: (path) => !path.endsWith(without) });
    make(join(copy, name));
    return copy;
  };
  const INDEX = "model.safetensors.index.json";
  const index = (map) => place(INDEX, (path) => writeFileSync(path, JSON.stringify({ weight_map: map })), "model.safetensors");
  for (const [what, source, code, ...words] of [
    ["a pipe as config", place("config.json", (path) => execFileSync("mkfifo", [path])), "not-found", "config.json", "pipe"],
    ["a pipe as index", place(INDEX, (path) => execFileSync("mkfifo", [path]), "model.safetensors"), "not-found", INDEX, "pipe"],
    ["a folder as weights", place("model.safetensors", (path) => mkdirSync(path)), "not-found", "model.safetensors"],
    ["a link in a circle", place("config.json", (path) => symlinkSync("config.json", path)), "not-found", "config.json", "circle"],
    ["a shard with a NUL", index({ a: "shard\0.safetensors" }), "bad-safetensors", INDEX],
    ["a shard with a long name", index({ a: `${"x".repeat(300)}.safetensors` }), "not-found", "too long"],
    ["a large index", place(INDEX, (path) => execFileSync("truncate", ["-s", "600M", path]), "model.safetensors"), "bad-safetensors", INDEX, "629145600"],
    ["a folder's name with a NUL", "./mod\0el", "not-found"],
    ["a folder's long name", `./${"x".repeat(300)}`, "not-found", "too long"],
    ["a file: URL of another host", "file://elsewhere/model", "bad-argument", "file://elsewhere/model"],
    ["a file: URL with an encoded slash", "file:///model%2Fname", "bad-argument", "file:///model%2Fname"],
    ["a file in the folder's place", "./run.json", "not-found", "run.json"],
  ]) {
    isRejection(what, await rejection(rs.loadModel(source)), code, ...words);
  }
});
