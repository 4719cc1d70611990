// Makes the saved runs that the lessons show, with the demo model in the built package:
//   node tools/lessons.mjs --package pkg
// The numbers that the lessons quote are checked against these files (tests/browser/lessons.test.mjs).
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const RUNS = {
  "girl.json": { texts: ["Once upon a time there was a little girl."], options: {} },
  "girl-off.json": { texts: ["Once upon a time there was a little girl."], options: { ablate: [{ layer: 0, part: "attn" }] } },
  "guesses.json": { texts: ["said the old", "He was so much surpr", "in the mid"], options: { lens: 5 } },
};

const { values } = parseArgs({ options: { package: { type: "string", default: "pkg" } } });
const { loadModel, writeTrace } = await import(pathToFileURL(join(resolve(values.package), "node.js")).href);
const lessons = fileURLToPath(new URL("../www/lessons/", import.meta.url));
const model = await loadModel("demo");
for (const [name, { texts, options }] of Object.entries(RUNS)) {
  await writeFile(join(lessons, name), writeTrace(await model.trace(texts, options), { format: "json" }));
}
model.close();
