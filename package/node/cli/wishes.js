// What a trace is to hold besides norms, from the command line's options to `TraceOptions`. Parts of the model are written
// as in the page's address: a head as LAYER.HEAD, something switched off as attn.LAYER, mlp.LAYER or head.LAYER.HEAD.
import { head, Misuse, whole } from "./values.js";

export const WISHES = {
  heads: { type: "boolean" }, lens: { type: "string" }, leads: { type: "boolean" }, "no-predictions": { type: "boolean" },
  next: { type: "string" }, patterns: { type: "string" }, attribution: { type: "boolean" }, target: { type: "string" },
  against: { type: "string" }, off: { type: "string" },
};

const PART = /^(?:(attn|mlp)\.(\d+)|head\.(\d+)\.(\d+))(\.mean)?$/;

export function wishes(values) {
  const { target, against } = values;
  const explains = values.attribution || target !== undefined || against !== undefined;
  const list = (name, read) => values[name]?.split(",").map((item) => read(item.trim()));
  const all = {
    heads: values.heads, leads: values.leads, predictions: !values["no-predictions"],
    lens: whole(values, "lens", 0, 100), next: whole(values, "next", 1, 1000),
    patterns: list("patterns", (item) => head("patterns", item)),
    attribution: explains ? given({ target, against }) : undefined,
    ablate: list("off", off),
  };
  return given(all);
}

/** Whether every text must go in one request: a mean is taken over all of them. */
export const needsAll = ({ ablate }) => Boolean(ablate?.some(({ how }) => how === "mean"));

function off(item) {
  const found = item.match(PART);
  if (!found) throw new Misuse(`--off: expected attn.LAYER, mlp.LAYER or head.LAYER.HEAD, with .mean if wanted, not "${item}".`);
  const [, part = "head", layer = found[3], , number, mean] = found;
  return given({ layer: Number(layer), part, head: number && Number(number), how: mean && "mean" });
}

const given = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
