// `residual-stream trace`: texts through a model into a file that the page and the embed replay.
import { stat } from "node:fs/promises";
import { isPath } from "../source.js";
import { Misuse, oneOf, whole } from "./commands.js";
import { readInput, writeOutput } from "./files.js";
import { Progress } from "./progress.js";

/** Texts that are traced at a time: enough for the engine to share work among them, few enough for progress to be seen. */
const GROUP = 16;
const MIB = 2 ** 20;

export async function trace(values, signal) {
  const format = oneOf(values, "format", ["json", "safetensors"]);
  const [lens, workers] = [whole(values, "lens", 0, 100), whole(values, "workers", 1, 64)];
  const texts = lines(values.text, await readInput(values.text));
  const source = await whichModel(values.model);

  const { loadModel, writeTrace } = await import("../../node.js");
  const progress = new Progress(process.stderr);
  let model;
  try {
    const onProgress = ({ phase, loaded, total }) => {
      if (phase === "weights" && total > 0) progress.show("loading", loaded / total, `${mib(loaded)} of ${mib(total)} MiB`);
    };
    model = await loadModel(source, { onProgress, signal, workers, hub: values.hub });
    const options = { heads: values.heads, lens, predictions: !values["no-predictions"], signal };
    let whole;
    for (let from = 0; from < texts.length; from += GROUP) {
      const part = await model.trace(texts.slice(from, from + GROUP), options);
      if (whole) whole.sequences.push(...part.sequences);
      else whole = part;
      const done = whole.sequences.length;
      progress.show("tracing", done / texts.length, `${done} of ${texts.length} texts`);
    }
    await writeOutput(values.out, writeTrace(whole, { format }), signal);
    progress.end(`${values.out}: ${texts.length} ${texts.length === 1 ? "text" : "texts"} through ${whole.model.source}`);
  } finally {
    progress.clear();
    model?.close();
  }
}

function lines(name, text) {
  const texts = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  if (texts.length === 0) throw new Misuse(`--text: ${name === "-" ? "standard input" : name} has no text, only empty lines.`);
  return texts;
}

/** A folder on disk goes before a repo of the same name: whoever has one means it. */
async function whichModel(name) {
  if (name === "demo" || isPath(name) || name.includes("://")) return name;
  const isFolder = await stat(name).then((found) => found.isDirectory(), () => false);
  return isFolder ? `./${name}` : name;
}

const mib = (bytes) => (bytes / MIB).toFixed(bytes < 10 * MIB ? 1 : 0);
