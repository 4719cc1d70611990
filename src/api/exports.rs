//! What JavaScript sees: DESIGN's contract, argument by argument. `package/residual-stream.d.ts` has the types.

use std::rc::Rc;

use js_sys::{Array, Float32Array, Function, JSON, Object, Promise, Reflect, Uint8Array, Uint32Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;
use web_sys::{AbortSignal, HtmlCanvasElement};

use super::client::{Input, LoadOptions, Model, Told};
use super::errors::to_js;
use super::launch::{EngineFiles, Locations, configure};
use super::shelves;
use super::source::Source;
use crate::charts::svg::document;
use crate::charts::{ChartOptions, Figure, Size, Theme, canvas};
use crate::protocol::{Notice, PatchOptions, Progress, RunOptions, SampleOptions, Task};
use crate::trace::js::from_js;
use crate::trace::{file, summary};
use crate::{Code, Error, Result};

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
        let source = Source::from_js(&source)?;
        let number = |name: &str, most: u32, of: &str| match get(&options, name) {
            value if value.is_undefined() || value.is_null() => Ok(None),
            value => match whole(&value).filter(|n| (1..=most).contains(n)) {
                Some(n) => Ok(Some(n as usize)),
                None => Err(bad(&format!("{name}: expected a whole number from 1 to {most}, {of}"))),
            },
        };
        let parallel = number("parallel", 16, "requests at a time")?;
        let workers = number("workers", 64, "workers to compute with")?;
        let options = LoadOptions {
            on_progress: callback(&options, "onProgress")?.map(listener::<Progress>),
            on_notice: callback(&options, "onNotice")?.map(listener::<Notice>),
            signal: signal(&options)?,
            hub: get(&options, "hub").as_string(),
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
    let models = shelves::cached_models().await.unwrap_or_default();
    plain(&models.iter().map(shelves::CachedModel::to_js).collect::<Vec<_>>())
}

/// Removes one of them.
#[wasm_bindgen(js_name = removeCachedModel)]
pub async fn remove_cached_model(key: JsValue) -> Result<(), JsValue> {
    let remove = async {
        let key = key.as_string().ok_or_else(|| bad("removeCachedModel: expected a key, as cachedModels lists it"))?;
        shelves::remove_cached_model(&key).await
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
        settled(self.request_trace(read_texts(texts).map(Input::Texts), options))
    }

    /// Traces token ids, one sequence per list; needs no tokenizer.
    #[wasm_bindgen(js_name = traceTokens)]
    pub fn trace_tokens(&self, ids: &JsValue, options: &JsValue) -> Promise {
        settled(self.request_trace(read_ids(ids).map(Input::Ids), options))
    }

    /// Goes on with a text, or with ids.
    pub fn sample(&self, text: &JsValue, options: &JsValue) -> Promise {
        let ask = || {
            let task =
                Task::Sample(settings::<SampleOptions>(options, &["count", "temperature", "topK", "topP", "seed"])?);
            self.0.request(read_input(&Array::of1(text))?, task, signal(options)?, Told::default())
        };
        settled(ask())
    }

    /// Activation patching from one text to another.
    pub fn patch(&self, clean: &JsValue, corrupted: &JsValue, options: &JsValue) -> Promise {
        let ask = || {
            let task = Task::Patch(settings::<PatchOptions>(options, &["answer", "against"])?);
            let told = Told { partial: callback(options, "onPartial")?.map(partial_listener), share: None };
            self.0.request(read_input(&Array::of2(clean, corrupted))?, task, signal(options)?, told)
        };
        settled(ask())
    }

    /// Ends the worker and gives its memory back.
    pub fn close(&self) {
        self.0.close();
    }
}

impl ModelJs {
    fn request_trace(&self, input: Result<Input>, options: &JsValue) -> Result<Promise> {
        let lens = match get(options, "lens") {
            value if value.is_undefined() || value.is_null() => 0,
            value => {
                whole(&value).ok_or_else(|| bad("lens: expected a whole number, how many predictions per cell"))?
            }
        };
        let of_their_own = ["heads", "predictions", "profile", "leads", "next", "patterns", "attribution", "ablate"];
        let run = RunOptions { lens: lens as usize, ..settings::<RunOptions>(options, &of_their_own)? };
        let told = Told {
            partial: callback(options, "onPartial")?.map(partial_listener),
            share: callback(options, "onProgress")?.map(listener::<f64>),
        };
        self.0.request(input?, Task::Trace(run), signal(options)?, told)
    }
}

/// A JavaScript function that is told of what is done so far.
fn partial_listener(call: Function) -> Rc<dyn Fn(JsValue)> {
    Rc::new(move |answer: JsValue| {
        let _ = call.call1(&JsValue::UNDEFINED, &answer);
    })
}

/// Some of an object's settings, each checked by itself so that an error names it; the others as they are by default.
fn settings<T: DeserializeOwned + Default>(options: &JsValue, names: &[&str]) -> Result<T> {
    let given = Object::new();
    for name in names {
        let value = get(options, name);
        if value.is_undefined() || value.is_null() {
            continue;
        }
        let alone = Object::new();
        let set =
            |object: &Object| Reflect::set(object, &(*name).into(), &value).map_err(|why| super::errors::from_js(&why));
        set(&alone)?;
        set(&given)?;
        serde_wasm_bindgen::from_value::<T>(alone.into()).map_err(|why| {
            // The library's own words begin with "Error: ".
            bad(&format!("{name}: {}", why.to_string().trim_start_matches("Error: ")))
        })?;
    }
    serde_wasm_bindgen::from_value(given.into()).map_err(|why| bad(&format!("options: {why}")))
}

/// Texts, or lists of token ids.
fn read_input(list: &Array) -> Result<Input> {
    if list.iter().all(|item| item.is_string()) {
        read_texts(list).map(Input::Texts)
    } else {
        read_ids(list).map(Input::Ids)
    }
}

/// Counts of contribution norms in shared bins: `{ edges, attn, mlp, rule }`.
#[wasm_bindgen]
pub fn histogram(trace: &JsValue, options: &JsValue) -> Result<JsValue, JsValue> {
    let draw = || {
        let histogram = summary::histogram(&from_js(trace)?, &settings(options, &["bins", "skipFirst"])?);
        let object = Object::new();
        let set = |name: &str, value: &JsValue| Reflect::set(&object, &name.into(), value);
        let filled = set("edges", &Float32Array::from(histogram.edges.as_slice()))
            .and(set("attn", &Uint32Array::from(histogram.attn.as_slice())))
            .and(set("mlp", &Uint32Array::from(histogram.mlp.as_slice())))
            .and(set("rule", &plain(&histogram.rule)));
        filled.map(|_| object.into()).map_err(|why| super::errors::from_js(&why))
    };
    draw().map_err(|error| to_js(&error))
}

/// Mean and spread of contribution norms per layer: `{ embed, attn, mlp, resid }`.
#[wasm_bindgen]
pub fn evolution(trace: &JsValue, options: &JsValue) -> Result<JsValue, JsValue> {
    let summarise = || Ok(plain(&summary::evolution(&from_js(trace)?, &settings(options, &["skipFirst"])?)));
    summarise().map_err(|error| to_js(&error))
}

/// Draws a chart on a canvas at its size on the page and the screen's resolution. Besides the chart's own options,
/// `theme` may be "light", "dark" or "auto" (the default: what the system prefers).
#[wasm_bindgen]
pub fn draw(canvas: &JsValue, trace: &JsValue, chart: &str, options: &JsValue) -> Result<(), JsValue> {
    let draw = || {
        let canvas: &HtmlCanvasElement = canvas.dyn_ref().ok_or_else(|| bad("canvas: expected a canvas element"))?;
        let theme = theme(options)?;
        let options: ChartOptions = settings(options, &ChartOptions::NAMES)?;
        let figure = Figure::new(chart.parse()?, &from_js(trace)?, &options);
        canvas::draw(canvas, &figure, &theme, None).map(|_| ())
    };
    draw().map_err(|error| to_js(&error))
}

/// The chart as an SVG file of its own: ground, title, legend, text as text. `width` and `height` are in CSS pixels.
/// Needs no browser; texts are as wide as they are on average.
#[wasm_bindgen]
pub fn svg(trace: &JsValue, chart: &str, options: &JsValue) -> Result<String, JsValue> {
    let draw = || {
        let side = |name: &str, otherwise: f64| match get(options, name) {
            value if value.is_undefined() || value.is_null() => Ok(otherwise),
            value => value
                .as_f64()
                .filter(|pixels| (SVG_LEAST..=SVG_MOST).contains(pixels))
                .ok_or_else(|| bad(&format!("{name}: expected a number of pixels from {SVG_LEAST} to {SVG_MOST}"))),
        };
        let size = Size::new(side("width", SVG_SIZE.0)?, side("height", SVG_SIZE.1)?);
        let theme = theme(options)?;
        let options: ChartOptions = settings(options, &ChartOptions::NAMES)?;
        let figure = Figure::new(chart.parse()?, &from_js(trace)?, &options);
        Ok(document(&figure, size, &theme))
    };
    draw().map_err(|error| to_js(&error))
}

/// A trace as the page saves it: bytes of JSON, or of safetensors (`{ format: "safetensors" }`). docs/traces.md.
#[wasm_bindgen(js_name = writeTrace)]
pub fn write_trace(trace: &JsValue, options: &JsValue) -> Result<Uint8Array, JsValue> {
    let write = || {
        let trace = from_js(trace)?;
        match get(options, "format").as_string().as_deref() {
            None | Some("json") => file::to_json(&trace).map(String::into_bytes),
            Some("safetensors") => file::to_safetensors(&trace),
            Some(other) => Err(bad(&format!("format: \"{other}\" is neither json nor safetensors"))),
        }
    };
    write().map(|bytes| Uint8Array::from(bytes.as_slice())).map_err(|error| to_js(&error))
}

/// What [`write_trace`] wrote, or the page saved, as a trace with typed arrays again.
#[wasm_bindgen(js_name = readTrace)]
pub fn read_trace(bytes: &JsValue) -> Result<JsValue, JsValue> {
    let read = || {
        let bytes = match (bytes.as_string(), bytes.dyn_ref::<Uint8Array>()) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(bytes)) => bytes.to_vec(),
            (None, None) => return Err(bad("readTrace: expected a file's text, or its bytes as a Uint8Array")),
        };
        let json = file::read(&bytes)?.to_string();
        let value = JSON::parse(&json).map_err(|why| super::errors::from_js(&why))?;
        Ok(crate::trace::js::to_js(&from_js(&value)?))
    };
    read().map_err(|error| to_js(&error))
}

fn theme(options: &JsValue) -> Result<Theme> {
    match get(options, "theme").as_string().as_deref() {
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
    let list = value.dyn_ref::<Array>().ok_or_else(|| bad("trace: expected a list of texts"))?;
    let text = |item: JsValue| item.as_string().ok_or_else(|| bad("trace: the list holds something else than texts"));
    list.iter().map(text).collect()
}

fn read_ids(value: &JsValue) -> Result<Vec<Vec<u32>>> {
    let list = value.dyn_ref::<Array>().ok_or_else(|| bad("traceTokens: expected a list of lists of token ids"))?;
    let sequence = |item: JsValue| {
        if !item.is_object() {
            return Err(bad("traceTokens: expected a list of lists of token ids"));
        }
        // Plain and typed arrays alike.
        let ids = Array::from(&item);
        let id = |(index, id): (usize, JsValue)| {
            let message = || format!("token {index} of the sequence is {id:?}, which is no token id.");
            whole(&id).ok_or_else(|| Error::new(Code::TokenOutOfRange, message()))
        };
        ids.iter().enumerate().map(id).collect()
    };
    list.iter().map(sequence).collect()
}

fn whole(value: &JsValue) -> Option<u32> {
    value
        .as_f64()
        .filter(|number| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number))
        .map(|n| n as u32)
}

/// As plain data; what is missing is null, as in JSON.
fn plain(value: &impl Serialize) -> JsValue {
    value.serialize(&serde_wasm_bindgen::Serializer::json_compatible()).unwrap_or(JsValue::NULL)
}

fn callback(options: &JsValue, name: &str) -> Result<Option<Function>> {
    match get(options, name) {
        value if value.is_undefined() || value.is_null() => Ok(None),
        value => value.dyn_into().map(Some).map_err(|_| bad(&format!("{name}: expected a function"))),
    }
}

fn signal(options: &JsValue) -> Result<Option<AbortSignal>> {
    match get(options, "signal") {
        value if value.is_undefined() || value.is_null() => Ok(None),
        value => value.dyn_into().map(Some).map_err(|_| bad("signal: expected an AbortSignal")),
    }
}

fn get(value: &JsValue, name: &str) -> JsValue {
    if value.is_object() { Reflect::get(value, &name.into()).unwrap_or(JsValue::UNDEFINED) } else { JsValue::UNDEFINED }
}

fn bad(message: &str) -> Error {
    Error::new(Code::BadArgument, message)
}
