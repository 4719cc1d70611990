// `residual-stream trace`: texts through a model into a file that the page and the embed replay.
import { isFolder, isPath } from "../source.js";
import { readInput, writeOutput } from "./files.js";
import { Progress } from "./progress.js";
import { Misuse, oneOf, whole } from "./values.js";
import { needsAll, wishes } from "./wishes.js";

/** Texts that are traced at a time: enough for the engine to share work among them, few enough for progress to be seen. */
const GROUP = 16;
/** What the engine refuses a text for. */
const OF_THE_TEXT = ["too-long", "empty-input", "token-out-of-range"];
const MIB = 2 ** 20;

export async function trace(values, signal) {
  const format = oneOf(values, "format", ["json", "safetensors"]);
  const [wished, workers] = [wishes(values), whole(values, "workers", 1, 64)];
  const lines = linesOf(values.text, await readInput(values.text));
  const source = await whichModel(values.model);

  const { loadModel, writeTrace } = await import("../../node.js");
  const progress = new Progress(process.stderr);
  let model;
  try {
    const onProgress = ({ phase, loaded, total }) => {
      if (phase === "weights" && total > 0) progress.show("loading", loaded / total, `${mib(loaded)} of ${mib(total)} MiB`);
    };
    model = await loadModel(source, { onProgress, signal, workers, hub: values.hub });
    // What cannot be read is found before anything is computed.
    await checked(model, lines, signal, values.text);
    const group = needsAll(wished) ? lines.length : GROUP;
    let all;
    for (let from = 0; from < lines.length; from += group) {
      const some = lines.slice(from, from + group);
      const show = (share) => {
        const done = from + share * some.length;
        progress.show("tracing", done / lines.length, `${Math.floor(done)} of ${lines.length} texts`);
      };
      const part = await model.trace(some.map(({ text }) => text), { ...wished, signal, onProgress: show });
      if (all) all.sequences.push(...part.sequences);
      else all = part;
      show(1);
    }
    if (values.name) all.model.source = values.name;
    await writeOutput(values.out, writeTrace(all, { format }), signal);
    progress.end(`${values.out}: ${lines.length} ${lines.length === 1 ? "text" : "texts"} through ${all.model.source}`);
  } finally {
    progress.clear();
    model?.close();
  }
}

/** Whether the model can read all texts: the error says which line it cannot. */
async function checked(model, lines, signal, name) {
  try {
    await model.tokenize(lines.map(({ text }) => text), { signal });
  } catch (error) {
    if (!OF_THE_TEXT.includes(error.code)) throw error;
    for (const { text, number } of lines) {
      await model.tokenize([text], { signal }).catch((alone) => {
        alone.message = `${nameOf(name)}, line ${number}: ${alone.message}`;
        throw alone;
      });
    }
    throw error;
  }
}

/** The texts with the numbers of their lines; empty lines are none. */
function linesOf(name, content) {
  const lines = content.split(/\r?\n/).map((text, index) => ({ text, number: index + 1 }));
  const texts = lines.filter(({ text }) => text.trim() !== "");
  if (texts.length === 0) throw new Misuse(`--text: ${nameOf(name)} has no text, only empty lines.`);
  return texts;
}

const nameOf = (name) => (name === "-" ? "standard input" : name);

/** A folder on disk goes before a repo of the same name: whoever has one means it. */
async function whichModel(name) {
  if (name === "demo" || isPath(name) || name.includes("://")) return name;
  return (await isFolder(name)) ? `./${name}` : name;
}

const mib = (bytes) => (bytes / MIB).toFixed(bytes < 10 * MIB ? 1 : 0);
