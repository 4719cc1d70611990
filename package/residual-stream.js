// residual-stream: a GPT-2 microscope for the browser. See residual-stream.d.ts for the contract.
// This file joins two compiled halves: the page's (charts, summaries, messages to the worker), loaded
// here, and the engine's (GPT-2), which the page's half starts in a worker when a model is loaded: one of two
// builds, by what the browser has.
import init, {
  cachedModels, configure, draw, evolution, histogram, loadModel, removeCachedModel,
} from "./internal/{{page_script}}";

const at = (path) => new URL(path, import.meta.url);
await init({ module_or_path: at("./internal/{{page_module}}") });
configure({
  engineScript: at("./internal/{{engine_script}}").href,
  engineModule: at("./internal/{{engine_module}}").href,
  relaxedScript: at("./internal/{{relaxed_script}}").href,
  relaxedModule: at("./internal/{{relaxed_module}}").href,
  demo: at("{{demo}}").href,
});

export { cachedModels, draw, evolution, histogram, loadModel, removeCachedModel };
