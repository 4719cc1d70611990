//! What JavaScript sees: DESIGN's contract, argument by argument. `package/residual-stream.d.ts` has the types.

use std::rc::Rc;

use js_sys::{Float32Array, Function, JSON, JsString, Object, Promise, Reflect, Uint8Array, Uint32Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

use super::cache;
use super::client::{LoadOptions, Model};
use super::connection::{Callbacks, Input};
use super::errors::to_js;
use super::launch::{EngineFiles, Locations, configure};
use super::options::{bad, callback, describe, optional, read_options, required_text, settings, signal, text, whole};
use super::source::ModelSource;
use charts::svg::document;
use charts::{ChartName, ChartOptions, Figure, Size, Theme, canvas};
use protocol::foreign::{get, is_typed_array, items, list_of};
use protocol::js::{bytes, from_js};
use protocol::{Notice, PatchOptions, Progress, RunOptions, SampleOptions, Task};
use trace::{Code, Error, Result, file, summary};

/// Options by the names that JavaScript has for them, beside those that [`settings`] reads.
const LOADING: [&str; 7] = ["onProgress", "onNotice", "signal", "hub", "cache", "parallel", "workers"];
const TRACING: [&str; 4] = ["lens", "signal", "onPartial", "onProgress"];
const RECORDED: [&str; 8] = ["heads", "predictions", "profile", "leads", "next", "patterns", "attribution", "ablate"];
const SAMPLING: [&str; 5] = ["count", "temperature", "topK", "topP", "seed"];
const PATCHING: [&str; 2] = ["answer", "against"];
const BINS: [&str; 2] = ["bins", "skipFirst"];

/// CSS pixels of a chart as an SVG file, where none are asked for.
const SVG_SIZE: (f64, f64) = (720.0, 440.0);
/// Below, no axis fits; above, the file is of no use.
const SVG_LEAST: f64 = 120.0;
const SVG_MOST: f64 = 10_000.0;

/// Says where this copy of the package keeps its files: `{ engineScript, engineModule, relaxedScript, relaxedModule,
/// demo }`, absolute URLs, and how they are read where fetching them will not do: `read(address)`, a promise of a
/// `Response`, or of the engine's compiled module. `worker(address)` starts a worker where there is no `Worker`.
#[wasm_bindgen(js_name = configure)]
pub fn configure_js(locations: &JsValue) {
    let url = |name: &str| get(locations, name).as_string().unwrap_or_default();
    let files =
        |kind: &str| EngineFiles { script: url(&format!("{kind}Script")), module: url(&format!("{kind}Module")) };
    let function = |name: &str| get(locations, name).dyn_into().ok();
    let (read, worker) = (function("read"), function("worker"));
    configure(Locations { engine: files("engine"), relaxed: files("relaxed"), demo: url("demo"), read, worker });
}

/// Loads a model into a worker of its own.
#[wasm_bindgen(js_name = loadModel)]
pub async fn load_model(source: JsValue, options: JsValue) -> Result<ModelJs, JsValue> {
    let load = async {
        let source = ModelSource::from_js(&source)?;
        let options = read_options("loadModel", &options, &[&LOADING])?;
        let number = |name: &str, most: u32, of: &str| match optional(&options, name) {
            None => Ok(None),
            Some(value) => match whole(&value).filter(|n| (1..=most).contains(n)) {
                Some(n) => Ok(Some(n as usize)),
                None => {
                    let found = describe(&value);
                    Err(bad(&format!("{name}: expected a whole number from 1 to {most}, {of}, found {found}")))
                }
            },
        };
        let parallel = number("parallel", 16, "requests at a time")?;
        let workers = number("workers", 64, "workers to compute with")?;
        let options = LoadOptions {
            on_progress: callback(&options, "onProgress")?.map(listener::<Progress>),
            on_notice: callback(&options, "onNotice")?.map(listener::<Notice>),
            signal: signal(&options)?,
            hub: text(&options, "hub")?,
            cache: !get(&options, "cache").is_falsy() || get(&options, "cache").is_undefined(),
            parallel: parallel.unwrap_or(LoadOptions::default().parallel),
            workers,
        };
        Model::load(source, options).await
    };
    load.await.map(ModelJs).map_err(|error| to_js(&error))
}

/// The models in the browser's storage: a list of `{ key, source, bytes, complete, used }`.
#[wasm_bindgen(js_name = cachedModels)]
pub async fn cached_models() -> JsValue {
    let models = cache::cached_models().await.unwrap_or_default();
    plain(&models.iter().map(cache::CachedModel::to_js).collect::<Vec<_>>())
}

/// Removes one of them.
#[wasm_bindgen(js_name = removeCachedModel)]
pub async fn remove_cached_model(key: JsValue) -> Result<(), JsValue> {
    let remove = async {
        let key = required_text(&key, "removeCachedModel", "a key, as cachedModels lists it")?;
        cache::remove_cached_model(&key).await
    };
    remove.await.map_err(|error| to_js(&error))
}

/// A JavaScript function as a listener. One that throws is the caller's own affair, and must not end the loading.
fn listener<T: Serialize + 'static>(call: Function) -> Rc<dyn Fn(T)> {
    Rc::new(move |value: T| {
        let value = serde_wasm_bindgen::to_value(&value).unwrap_or(JsValue::NULL);
        let _ = call.call1(&JsValue::UNDEFINED, &value);
    })
}

/// A loaded, or still loading, model.
#[wasm_bindgen(js_name = Model)]
pub struct ModelJs(Model);

#[wasm_bindgen(js_class = Model)]
impl ModelJs {
    /// `config.json` as it is.
    #[wasm_bindgen(getter)]
    pub fn config(&self) -> JsValue {
        JSON::parse(&self.0.opened().config_json).unwrap_or(JsValue::NULL)
    }

    /// Workers the engine computes with.
    #[wasm_bindgen(getter)]
    pub fn workers(&self) -> usize {
        self.0.workers()
    }

    /// "relaxed" or "simd128".
    #[wasm_bindgen(getter)]
    pub fn simd(&self) -> String {
        self.0.simd()
    }

    /// Settles with the last byte. Asking for it asks for every byte: see `Model::ready`.
    #[wasm_bindgen(getter)]
    pub fn ready(&self) -> Promise {
        self.0.ready_promise()
    }

    /// Traces texts, one sequence each.
    pub fn trace(&self, texts: &JsValue, options: &JsValue) -> Promise {
        settled(self.request_trace("trace", read_texts(texts).map(Input::Texts), options))
    }

    /// Traces token ids, one sequence per list; needs no tokenizer.
    #[wasm_bindgen(js_name = traceTokens)]
    pub fn trace_tokens(&self, ids: &JsValue, options: &JsValue) -> Promise {
        settled(self.request_trace("traceTokens", read_lists(ids).map(Input::Ids), options))
    }

    /// Splits texts into tokens, and computes nothing.
    pub fn tokenize(&self, texts: &JsValue, options: &JsValue) -> Promise {
        let ask = || {
            let options = &read_options("tokenize", options, &[&["signal"]])?;
            let input = read_texts(texts).map(Input::Texts)?;
            self.0.request(input, Task::Tokenize, signal(options)?, Callbacks::default())
        };
        settled(ask())
    }

    /// Goes on with a text, or with ids.
    pub fn sample(&self, text: &JsValue, options: &JsValue) -> Promise {
        let ask = || {
            let options = &read_options("sample", options, &[&SAMPLING, &["signal"]])?;
            let task = Task::Sample(settings::<SampleOptions>(options, &SAMPLING)?);
            self.0.request(read_input(&[("text", text)])?, task, signal(options)?, Callbacks::default())
        };
        settled(ask())
    }

    /// Activation patching from one text to another.
    pub fn patch(&self, clean: &JsValue, corrupted: &JsValue, options: &JsValue) -> Promise {
        let ask = || {
            let options = &read_options("patch", options, &[&PATCHING, &["signal", "onPartial"]])?;
            let task = Task::Patch(settings::<PatchOptions>(options, &PATCHING)?);
            let callbacks = Callbacks { partial: callback(options, "onPartial")?.map(partial_listener), share: None };
            let texts = [("clean", clean), ("corrupted", corrupted)];
            self.0.request(read_input(&texts)?, task, signal(options)?, callbacks)
        };
        settled(ask())
    }

    /// Ends the worker and gives its memory back.
    pub fn close(&self) {
        self.0.close();
    }
}

impl ModelJs {
    fn request_trace(&self, call: &str, input: Result<Input>, options: &JsValue) -> Result<Promise> {
        let options = &read_options(call, options, &[&RECORDED, &TRACING])?;
        let number = |value: JsValue| {
            let what = "a whole number, how many predictions per cell";
            whole(&value).ok_or_else(|| bad(&format!("lens: expected {what}, found {}", describe(&value))))
        };
        let lens = optional(options, "lens").map(number).transpose()?.unwrap_or(0);
        let run = RunOptions { lens: lens as usize, ..settings::<RunOptions>(options, &RECORDED)? };
        let callbacks = Callbacks {
            partial: callback(options, "onPartial")?.map(partial_listener),
            share: callback(options, "onProgress")?.map(listener::<f64>),
        };
        self.0.request(input?, Task::Trace(run), signal(options)?, callbacks)
    }
}

/// A JavaScript function that is told of what is done so far.
fn partial_listener(call: Function) -> Rc<dyn Fn(JsValue)> {
    Rc::new(move |answer: JsValue| {
        let _ = call.call1(&JsValue::UNDEFINED, &answer);
    })
}

/// Texts, or lists of token ids, by the names of the arguments.
fn read_input(given: &[(&str, &JsValue)]) -> Result<Input> {
    if given.iter().all(|(_, item)| item.is_string()) {
        return Ok(Input::Texts(given.iter().filter_map(|(_, item)| item.as_string()).collect()));
    }
    let is_either = |item: &JsValue| item.is_string() || item.is_object();
    if let Some((name, item)) = given.iter().find(|(_, item)| !is_either(item)) {
        return Err(bad(&format!("{name}: expected a text, or a list of token ids, found {}", describe(item))));
    }
    let ids = |&(name, item): &(&str, &JsValue)| read_ids(name, item, "a list of token ids, as the other is");
    given.iter().map(ids).collect::<Result<_>>().map(Input::Ids)
}

/// Counts of contribution norms in shared bins: `{ edges, attn, mlp, rule, capped }`.
#[wasm_bindgen]
pub fn histogram(trace: &JsValue, options: &JsValue) -> Result<JsValue, JsValue> {
    let draw = || {
        let options = &read_options("histogram", options, &[&BINS])?;
        let options: summary::HistogramOptions = settings(options, &BINS)?;
        summary::check_bins(options.bins)?;
        let histogram = summary::histogram(from_js(trace)?.run(), &options);
        let object = Object::new();
        let set = |name: &str, value: &JsValue| Reflect::set(&object, &name.into(), value);
        let filled = set("edges", &Float32Array::from(histogram.edges.as_slice()))
            .and(set("attn", &Uint32Array::from(histogram.attn.as_slice())))
            .and(set("mlp", &Uint32Array::from(histogram.mlp.as_slice())))
            .and(set("rule", &plain(&histogram.rule)))
            .and(set("capped", &histogram.capped.into()));
        filled.map(|_| object.into()).map_err(|why| super::errors::from_js(&why))
    };
    draw().map_err(|error| to_js(&error))
}

/// Mean and spread of contribution norms per layer: `{ embed, attn, mlp, resid }`.
#[wasm_bindgen]
pub fn evolution(trace: &JsValue, options: &JsValue) -> Result<JsValue, JsValue> {
    let summarise = || {
        let options = &read_options("evolution", options, &[&BINS])?;
        Ok(plain(&summary::evolution(from_js(trace)?.run(), &settings(options, &["skipFirst"])?)))
    };
    summarise().map_err(|error| to_js(&error))
}

/// The charts there are, in the order a page shows them: `{ name, title, lead }` each.
#[wasm_bindgen]
pub fn charts() -> JsValue {
    plain(&ChartName::ALL.map(ChartName::spec))
}

/// Draws a chart on a canvas at its size on the page and the screen's resolution. Besides the chart's own options,
/// `theme` may be "light", "dark" or "auto" (the default: what the system prefers).
#[wasm_bindgen]
pub fn draw(canvas: &JsValue, trace: &JsValue, chart: &JsValue, options: &JsValue) -> Result<(), JsValue> {
    let draw = || {
        let no_canvas = || bad(&format!("canvas: expected a canvas element, found {}", describe(canvas)));
        // What merely looks like one has no size that can be read.
        let real = Some(canvas).filter(|canvas| get(canvas, "width").as_f64().is_some());
        let canvas: &HtmlCanvasElement = real.and_then(JsCast::dyn_ref).ok_or_else(no_canvas)?;
        let options = &read_options("draw", options, &[&ChartOptions::NAMES, &["theme"]])?;
        let theme = theme(options)?;
        let options: ChartOptions = settings(options, &ChartOptions::NAMES)?;
        let trace = from_js(trace)?;
        options.check(&trace)?;
        let figure = Figure::new(chart_name(chart)?, &trace, &options);
        canvas::draw(canvas, &figure, &theme, None).map(|_| ())
    };
    draw().map_err(|error| to_js(&error))
}

/// The chart as an SVG file of its own: ground, title, legend, text as text. `width` and `height` are in CSS pixels.
/// Needs no browser; texts are as wide as they are on average.
#[wasm_bindgen]
pub fn svg(trace: &JsValue, chart: &JsValue, options: &JsValue) -> Result<String, JsValue> {
    let draw = || {
        let options = &read_options("svg", options, &[&ChartOptions::NAMES, &["theme", "width", "height"]])?;
        let side = |name: &str, otherwise: f64| match optional(options, name) {
            None => Ok(otherwise),
            Some(value) => value.as_f64().filter(|pixels| (SVG_LEAST..=SVG_MOST).contains(pixels)).ok_or_else(|| {
                let found = describe(&value);
                bad(&format!("{name}: expected a number of pixels from {SVG_LEAST} to {SVG_MOST}, found {found}"))
            }),
        };
        let size = Size::new(side("width", SVG_SIZE.0)?, side("height", SVG_SIZE.1)?);
        let theme = theme(options)?;
        let options: ChartOptions = settings(options, &ChartOptions::NAMES)?;
        let (name, trace) = (chart_name(chart)?, from_js(trace)?);
        options.check(&trace)?;
        name.check(&trace, &options)?;
        let figure = Figure::new(name, &trace, &options);
        Ok(document(&figure, size, &theme))
    };
    draw().map_err(|error| to_js(&error))
}

/// A trace as the page saves it: bytes of JSON, or of safetensors (`{ format: "safetensors" }`). docs/traces.md.
#[wasm_bindgen(js_name = writeTrace)]
pub fn write_trace(trace: &JsValue, options: &JsValue) -> Result<Uint8Array, JsValue> {
    let write = || {
        let options = &read_options("writeTrace", options, &[&["format"]])?;
        let trace = from_js(trace)?;
        match text(options, "format")?.as_deref() {
            None | Some("json") => file::to_json(&trace).map(String::into_bytes),
            Some("safetensors") => file::to_safetensors(&trace),
            Some(other) => Err(bad(&format!("format: \"{other}\" is neither json nor safetensors"))),
        }
    };
    write().map(|bytes| Uint8Array::from(bytes.as_slice())).map_err(|error| to_js(&error))
}

/// What [`write_trace`] wrote, or the page saved, as a trace with typed arrays again.
#[wasm_bindgen(js_name = readTrace)]
pub fn read_trace(file: &JsValue) -> Result<JsValue, JsValue> {
    let read = || {
        let array = file.dyn_ref::<Uint8Array>().filter(|array| is_typed_array(array));
        let file = match (file.dyn_ref::<JsString>(), array) {
            (Some(text), _) => {
                file::check_size(text.length() as usize)?;
                String::from(text).into_bytes()
            }
            (None, Some(array)) => bytes(array)?,
            (None, None) => {
                let found = describe(file);
                return Err(bad(&format!(
                    "readTrace: expected a file's text, or its bytes as a Uint8Array, found {found}"
                )));
            }
        };
        Ok(protocol::js::to_js(&file::read(&file)?))
    };
    read().map_err(|error| to_js(&error))
}

fn chart_name(chart: &JsValue) -> Result<ChartName> {
    required_text(chart, "chart", "a chart's name, such as \"evolution\"")?.parse()
}

fn theme(options: &JsValue) -> Result<Theme> {
    match text(options, "theme")?.as_deref() {
        None | Some("auto") if prefers_dark() => Ok(Theme::dark()),
        None | Some("auto" | "light") => Ok(Theme::light()),
        Some("dark") => Ok(Theme::dark()),
        Some(other) => Err(bad(&format!("theme: \"{other}\" is none of light, dark, auto"))),
    }
}

fn prefers_dark() -> bool {
    let query = web_sys::window().and_then(|window| window.match_media("(prefers-color-scheme: dark)").ok().flatten());
    query.is_some_and(|query| query.matches())
}

/// A promise for a request, which may have failed before it was sent.
fn settled(request: Result<Promise>) -> Promise {
    request.unwrap_or_else(|error| Promise::reject(&to_js(&error)))
}

fn read_texts(value: &JsValue) -> Result<Vec<String>> {
    let list = items(value);
    let list = list.ok_or_else(|| bad(&format!("texts: expected a list of texts, found {}", describe(value))))?;
    let text = |(index, item): (usize, JsValue)| required_text(&item, &format!("texts[{index}]"), "a text");
    list.enumerate().map(text).collect()
}

fn read_lists(value: &JsValue) -> Result<Vec<Vec<u32>>> {
    let what = "a list of lists of token ids";
    let list = items(value).ok_or_else(|| bad(&format!("ids: expected {what}, found {}", describe(value))))?;
    list.enumerate().map(|(index, item)| read_ids(&format!("ids[{index}]"), &item, "a list of token ids")).collect()
}

/// Token ids out of a plain or a typed array.
fn read_ids(name: &str, list: &JsValue, what: &str) -> Result<Vec<u32>> {
    let plain = Some(list).filter(|list| list.is_object()).and_then(list_of);
    let plain = plain.ok_or_else(|| bad(&format!("{name}: expected {what}, found {}", describe(list))))?;
    let id = |(index, id): (usize, JsValue)| {
        let message = || {
            let last = u32::MAX;
            format!("{name}[{index}] is {}: a token id is a whole number from 0 to {last}.", describe(&id))
        };
        whole(&id).ok_or_else(|| Error::new(Code::TokenOutOfRange, message()))
    };
    plain.iter().enumerate().map(id).collect()
}

/// As plain data; what is missing is null, as in JSON.
fn plain(value: &impl Serialize) -> JsValue {
    value.serialize(&serde_wasm_bindgen::Serializer::json_compatible()).unwrap_or(JsValue::NULL)
}
