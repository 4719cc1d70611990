// `residual-stream svg`: a chart of a recorded run as a picture.
import { readBytes, writeOutput } from "./files.js";
import { head, Misuse, oneOf, whole } from "./values.js";

export async function svg(values, signal) {
  const theme = oneOf(values, "theme", ["light", "dark"]);
  const [width, height] = [whole(values, "width", 120, 10_000), whole(values, "height", 120, 10_000)];
  const bins = whole(values, "bins", 1, 500);
  const quantity = values.quantity && oneOf(values, "quantity", ["attention", "mlp", "difference", "stream"]);
  const bytes = await readBytes(values.trace);
  const { readTrace, svg: draw } = await import("../../node.js");
  const trace = readTrace(bytes);
  const sequence = whole(values, "sequence", 0, Math.max(trace.sequences.length - 1, 0));
  const token = whole(values, "token", 0, Math.max((trace.sequences[sequence ?? 0]?.ids.length ?? 0) - 1, 0));
  const options = { theme, width, height, sequence, token, bins, quantity, head: values.head && head("head", values.head), skipFirst: !values["with-first"] };
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  await writeOutput(values.out, picture(() => draw(trace, values.chart, given)), signal);
}

/** What is drawn. The package alone knows the charts' names; one that is none of them is a misuse. */
function picture(draw) {
  try {
    return draw();
  } catch (error) {
    if (/^There is no chart named/.test(error.message)) throw new Misuse(`--chart: ${error.message}`);
    throw error;
  }
}
