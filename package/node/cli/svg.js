// `residual-stream svg`: a chart of a recorded run as a picture.
import { readBytes, writeOutput } from "./files.js";
import { head, oneOf, whole } from "./values.js";

export async function svg(values, signal) {
  const theme = oneOf(values, "theme", ["light", "dark"]);
  const [width, height] = [whole(values, "width", 120, 10_000), whole(values, "height", 120, 10_000)];
  const [sequence, token] = [whole(values, "sequence", 0, 1e6), whole(values, "token", 0, 1e6)];
  const bins = whole(values, "bins", 1, 1000);
  const quantity = values.quantity && oneOf(values, "quantity", ["attention", "mlp", "difference", "stream"]);
  const bytes = await readBytes(values.trace);
  const { readTrace, svg: draw } = await import("../../node.js");
  const options = { theme, width, height, sequence, token, bins, quantity, head: values.head && head("head", values.head), skipFirst: !values["with-first"] };
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  await writeOutput(values.out, draw(readTrace(bytes), values.chart, given), signal);
}
