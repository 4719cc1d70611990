// What the command line offers: names, options, help.

/** The command was called in a way that it does not know. */
export class Misuse extends Error {}

const text = { type: "string" };
const flag = { type: "boolean" };

export const COMMANDS = {
  trace: {
    options: {
      model: { ...text, default: "demo" }, text, out: text, hub: text, format: { ...text, default: "json" },
      name: text, lens: text, workers: text, heads: flag, "no-predictions": flag,
    },
    needs: ["text", "out"],
    run: async (...given) => (await import("./trace.js")).trace(...given),
  },
  svg: {
    options: {
      trace: text, chart: text, out: text, theme: { ...text, default: "light" },
      width: text, height: text, sequence: text, token: text, bins: text, quantity: text, "with-first": flag,
    },
    needs: ["trace", "chart", "out"],
    run: async (...given) => (await import("./svg.js")).svg(...given),
  },
};

export const HELP = `residual-stream: what every attention and MLP sub-layer of GPT-2 adds to the residual stream

  residual-stream trace --text FILE --out trace.json     records a run, which the page and the embed replay
    --model MODEL       a folder on disk (config.json, model.safetensors, tokenizer.json), a Hugging Face repo
                        such as openai-community/gpt2, a folder's http address, or demo (the default)
    --text FILE         one text a line; empty lines are left out; - reads from standard input
    --out FILE          - writes to standard output
    --format FORMAT     json (the default) or safetensors
    --heads             every head's part of attention's contribution
    --lens K            the logit lens: K candidates per layer and token
    --no-predictions    leaves log-probabilities and next tokens out
    --name NAME         what the trace calls the model, instead of its folder or address
    --workers N         how many threads compute, 1 to 64; by default what the model's size makes worthwhile
    --hub URL           instead of https://huggingface.co

  residual-stream svg --trace trace.json --chart evolution --out x.svg     draws a chart of a recorded run
    --chart NAME        distribution, evolution, heatmap, growth, relative, direction, next; heads and lens where
                        the run has them, and whatever else it recorded (docs/views.md)
    --theme THEME       light (the default) or dark
    --width, --height   in pixels (720 and 440)
    --sequence N        which text, from 0;   --token N   a token to stand out
    --quantity WHAT     what the heatmap shows: mlp (the default), attention, difference or stream
    --bins N            of the distribution; its own rule decides otherwise
    --with-first        with position 0, which is left out otherwise: its norms are tens of times the rest

  residual-stream --help, --version
Exit codes: 0 done, 1 failed, 2 misused, 130 stopped.
`;

/** A whole number in its range; undefined where none is given. */
export function whole(values, name, least, most) {
  if (values[name] === undefined) return undefined;
  const number = Number(values[name]);
  if (!/^\d+$/.test(values[name]) || number < least || number > most) {
    throw new Misuse(`--${name}: expected a whole number from ${least} to ${most}, not "${values[name]}".`);
  }
  return number;
}

/** One of some words. */
export function oneOf(values, name, words) {
  if (!words.includes(values[name])) throw new Misuse(`--${name}: expected ${words.join(" or ")}, not "${values[name]}".`);
  return values[name];
}
