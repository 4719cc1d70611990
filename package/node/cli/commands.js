// What the command line offers: names, options, help.
import { WISHES } from "./wishes.js";

const text = { type: "string" };
const flag = { type: "boolean" };

export const COMMANDS = {
  trace: {
    options: {
      model: { ...text, default: "demo" }, text, out: text, hub: text, format: { ...text, default: "json" },
      name: text, workers: text, ...WISHES,
    },
    needs: ["text", "out"],
    run: async (...given) => (await import("./trace.js")).trace(...given),
  },
  svg: {
    options: {
      trace: text, chart: text, out: text, theme: { ...text, default: "light" },
      width: text, height: text, sequence: text, token: text, head: text, bins: text, quantity: text, "with-first": flag,
    },
    needs: ["trace", "chart", "out"],
    run: async (...given) => (await import("./svg.js")).svg(...given),
  },
};

/** What `--help` says. The package is loaded for the charts' names. */
export async function help() {
  const { charts } = await import("../../node.js");
  const names = charts().map(({ name, lead }) => `      ${name.padEnd(18)}${lead}`).join("\n");
  return `residual-stream: what every attention and MLP sub-layer of GPT-2 adds to the residual stream

  residual-stream trace --text FILE --out trace.json     records a run, which the page and the embed replay
    --model MODEL       a folder on disk (config.json, model.safetensors, tokenizer.json), a Hugging Face repo
                        such as openai-community/gpt2, a folder's http address, or demo (the default)
    --text FILE         one text a line; empty lines are left out; - reads from standard input
    --out FILE          - writes to standard output
    --format FORMAT     json (the default) or safetensors
    --heads             every head's part of attention's contribution
    --lens K            the logit lens: K candidates per layer and token
    --leads             since which layer the final prediction leads
    --no-predictions    leaves log-probabilities and next tokens out;   --next N   how many next tokens (5)
    --patterns LIST     attention patterns of heads, as LAYER.HEAD, both from 0 (charts call layer 0
                        "layer 1"): 1.0,3.2
    --attribution       what moves the predicted token's logit;   --target TOKEN, --against TOKEN   other tokens
    --off LIST          with parts switched off, beside the unchanged model: attn.3,mlp.2.mean,head.1.4;
                        layers and heads count from 0
    --name NAME         what the trace calls the model, instead of its folder or address
    --workers N         how many threads compute, 1 to 64; by default what the model's size makes worthwhile
    --hub URL           instead of https://huggingface.co

  residual-stream svg --trace trace.json --chart evolution --out x.svg     draws a chart of a recorded run
    --chart NAME        one of these, where the run has what it shows (docs/views.md):
${names}
    --theme THEME       light (the default) or dark
    --width, --height   in pixels (720 and 440)
    --sequence N        which text, from 0;   --token N   a token to stand out
    --quantity WHAT     what the heatmap shows: mlp (the default), attention, difference or stream
    --head LAYER.HEAD   whose pattern is drawn, both from 0; the first recorded otherwise
    --bins N            of the distribution, 1 to 500; its own rule decides otherwise
    --with-first        with position 0, which is left out otherwise: its norms are tens of times the rest

  residual-stream --help, --version
Exit codes: 0 done, 1 failed, 2 misused, 130 stopped.
`;
}
