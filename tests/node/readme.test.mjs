// The package as a stranger gets it: packed by npm, installed in a fresh project, and used as its README says.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { importPackage, PACKAGE, ROOT, run, scratch } from "./support.mjs";

const project = join(scratch(after), "fresh");
const README = readFileSync(join(ROOT, "package/README.md"), "utf8");
const blocks = (language) => [...README.matchAll(new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``, "g"))].map((found) => found[1]);
const NPM = { npm_config_offline: "true", npm_config_audit: "false", npm_config_fund: "false", npm_config_update_notifier: "false" };
const env = { ...process.env, ...NPM };

before(() => {
  mkdirSync(project);
  const [packed] = JSON.parse(execFileSync("npm", ["pack", PACKAGE, "--json", "--loglevel=error"], { cwd: project, env, encoding: "utf8" }));
  writeFileSync(join(project, "package.json"), '{ "name": "fresh", "private": true, "type": "module" }');
  execFileSync("npm", ["install", `./${packed.filename}`, "--loglevel=error"], { cwd: project, env, encoding: "utf8" });
});

test("the example has five lines of code and prints what the package computes", async () => {
  const [example] = blocks("js");
  assert.equal(example.trim().split("\n").length, 5, example);
  writeFileSync(join(project, "example.js"), example);
  const ran = await run(process.execPath, ["example.js"], { cwd: project });
  assert.deepEqual([ran.code, ran.stderr], [0, ""]);

  const rs = await importPackage();
  const model = await rs.loadModel("demo");
  const trace = await model.trace(["The cat sat on the mat."]);
  model.close();
  const means = rs.evolution(trace).mlp.map(({ mean }) => mean.toFixed(1));
  assert.equal(means.length, 12);
  assert.ok(means.every((mean) => mean > 0));
  assert.equal(ran.stdout.trim(), means.join(" "));
});

test("the commands run by npx as they stand there, and write what they say", async () => {
  writeFileSync(join(project, "texts.txt"), "The cat sat on the mat.\n");
  const commands = blocks("sh")[0].trim().split("\n");
  assert.equal(commands.length, 2);
  for (const command of commands) {
    const [tool, ...args] = command.split(" ");
    assert.equal(tool, "npx");
    const ran = await run(tool, args, { cwd: project, env });
    assert.equal(ran.code, 0, `${command}: ${ran.stderr}`);
  }
  assert.equal(JSON.parse(readFileSync(join(project, "trace.json"), "utf8")).version, 1);
  assert.match(readFileSync(join(project, "evolution.svg"), "utf8"), /^<svg [^]*<\/svg>\n$/);
});

test("TypeScript finds the types where the package is installed, as bundlers and as Node resolve them", async () => {
  const program = `
    import { loadModel, svg } from "residual-stream";
    import { start } from "residual-stream/slim";
    const model = await loadModel("demo");
    const norms: Float32Array | undefined = (await model.trace(["A"])).sequences[0]?.mlp_norm;
    export const late = () => start({ page: "p", engine: { script: "s", module: "m" } }).then((rs) => rs.loadModel("demo"));
    // @ts-expect-error: options are checked.
    await loadModel("demo", { workers: "two" });
    console.log(norms, svg);`;
  writeFileSync(join(project, "typed.ts"), program);
  for (const [module, lib] of [["nodenext", "es2022"], ["preserve", "es2022,dom"]]) {
    const options = ["--strict", "--noEmit", "--target", "es2022", "--lib", lib, "--types", "node", "--typeRoots", join(ROOT, "node_modules/@types")];
    const resolution = module === "preserve" ? "bundler" : module;
    const checked = await run(join(ROOT, "node_modules/.bin/tsc"), [...options, "--module", module, "--moduleResolution", resolution, "typed.ts"], { cwd: project });
    assert.equal(checked.code, 0, `${module}: ${checked.stdout}`);
  }
});

test("every example of the package's README and docs/package.md is strict TypeScript", async () => {
  const docs = readFileSync(join(ROOT, "docs/package.md"), "utf8");
  const examples = [README, docs].flatMap((page) => [...page.matchAll(/```(?:js|ts)\n([^]*?)```/g)].map(([, example]) => example));
  assert.ok(examples.length >= 3, `${examples.length} examples`);
  writeFileSync(join(project, "addresses.d.ts"), 'declare module "*?url" { const address: string; export default address; }\n');
  const files = examples.map((example, index) => {
    const file = `example-${index}.ts`;
    writeFileSync(join(project, file), `${example}\nexport {};\n`);
    return file;
  });
  const options = ["--strict", "--noEmit", "--target", "es2022", "--module", "preserve", "--moduleResolution", "bundler", "--lib", "es2022,dom",
    "--types", "node", "--typeRoots", join(ROOT, "node_modules/@types"), "addresses.d.ts"];
  const checked = await run(join(ROOT, "node_modules/.bin/tsc"), [...options, ...files], { cwd: project });
  assert.equal(checked.code, 0, checked.stdout);
});

test("whoever has the package has the licences of all that is compiled into it", () => {
  const notices = readFileSync(join(project, "node_modules/residual-stream/THIRD-PARTY-NOTICES.txt"), "utf8");
  // Independently of the tool that writes it: crates that the engine cannot do without, by what their sources say.
  const lock = readFileSync(join(ROOT, "Cargo.lock"), "utf8");
  for (const [crate, licence] of [["candle-core", "MIT OR Apache-2.0"], ["gemm", "MIT"], ["safetensors", "Apache-2.0"], ["yoke", "Unicode-3.0"], ["wasm-bindgen", "MIT OR Apache-2.0"], ["serde_json", "MIT OR Apache-2.0"]]) {
    const version = lock.match(new RegExp(`name = "${crate}"\nversion = "([^"]+)"`))?.[1];
    assert.ok(notices.includes(`  ${crate} ${version}: ${licence}\n`), `${crate} ${version} is not named`);
  }
  for (const text of ["Permission is hereby granted, free of charge", "Apache License", "UNICODE LICENSE V3", "Copyright (c) Tokio Contributors"]) {
    assert.ok(notices.toLowerCase().includes(text.toLowerCase()), `no "${text}" in the notices`);
  }
  assert.doesNotMatch(notices, /^ {2}(proptest|pollster) /m, "what tests alone need is in no copy");
});

test("what the manifest promises is there, and nothing else is exported", async () => {
  const folder = join(project, "node_modules/residual-stream");
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const promised = (value) => (typeof value === "string" ? [value] : Object.values(value).flatMap(promised));
  for (const path of [...promised(manifest.exports), ...promised(manifest.bin), manifest.types]) {
    assert.ok(existsSync(join(folder, path)), `${path} is promised and not packed`);
  }
  assert.deepEqual(manifest.dependencies ?? {}, {});
  writeFileSync(join(project, "inside.js"), 'await import("residual-stream/node/thread.js").catch((error) => console.log(error.code));');
  assert.equal((await run(process.execPath, ["inside.js"], { cwd: project })).stdout, "ERR_PACKAGE_PATH_NOT_EXPORTED\n");
});
