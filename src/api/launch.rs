//! Starting an engine worker: from a blob URL, with the wasm module compiled once per page.
//!
//! There are two engines: one with relaxed SIMD, and one for browsers that would refuse it as a whole for that. Which
//! this browser takes is found by asking it about a few bytes of wasm, never by its name.
//!
//! Blob workers work from any origin, under any sub-path, in sandboxed frames and from `file://`.

use std::cell::RefCell;

use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array, WebAssembly};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, BlobPropertyBag, Response, Url, Worker};

use super::source::{ModelFiles, ModelSource};
use protocol::trusted_types;
use trace::{Code, Error, Result};

/// Appended to wasm-bindgen's glue.
const BOOT: &str = include_str!("boot.js");

/// The beginning of a module with one function that returns a v128.
const FUNCTION: [u8; 20] = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10];

/// Kinds of SIMD instructions, with the code of a function that is valid only where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Simd {
    Fixed,
    Relaxed,
}

impl Simd {
    fn code(self) -> &'static [u8] {
        match self {
            // i8x16.popcnt of a splat
            Simd::Fixed => &[10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
            // i8x16.relaxed_swizzle of two splats
            Simd::Relaxed => &[15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11],
        }
    }

    /// Whether this browser has them.
    fn is_here(self) -> bool {
        let module = [&FUNCTION, self.code()].concat();
        WebAssembly::validate(&Uint8Array::from(module.as_slice())).unwrap_or(false)
    }
}

/// Where this copy keeps its files; absolute URLs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Locations {
    /// The engine that every browser with SIMD takes.
    pub engine: EngineFiles,
    /// The engine with relaxed SIMD.
    pub relaxed: EngineFiles,
    /// Folder of the demo model.
    pub demo: String,
    /// Takes one of these addresses, or a file's in the demo's folder, to a promise of a `Response`: for a copy that no
    /// server hands out, such as a page that carries its own files, or Node. Without it, they are fetched.
    /// Besides a `Response`, the engine's module may come compiled.
    pub read: Option<Function>,
    /// Takes the address of a script to something with the methods of a `Worker`: for Node, which has none.
    pub worker: Option<Function>,
}

/// An engine's two files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineFiles {
    /// wasm-bindgen's glue.
    pub script: String,
    /// The wasm.
    pub module: String,
}

/// What every engine worker of this page is started with.
#[derive(Clone)]
struct Engine {
    /// The worker's script, and its blob URL.
    script: Blob,
    url: String,
    /// The compiled module.
    module: JsValue,
}

thread_local! {
    static LOCATIONS: RefCell<Locations> = RefCell::default();
    static ENGINE: RefCell<Option<Engine>> = const { RefCell::new(None) };
}

/// Says where this copy keeps its files; once, before the first model is loaded.
pub fn configure(locations: Locations) {
    LOCATIONS.replace(locations);
}

/// The demo model: its files where this copy reads its own, its folder's address elsewhere.
pub(super) async fn demo() -> Result<ModelSource> {
    let locations = LOCATIONS.with_borrow(Clone::clone);
    if locations.read.is_none() {
        return Ok(ModelSource::Address(locations.demo));
    }
    let mut files = Vec::new();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let url = format!("{}{name}", locations.demo);
        let blob = wait(fetch(&url).await?.blob(), &url).await?;
        files.push((name.to_string(), blob.unchecked_into()));
    }
    Ok(ModelSource::Files(ModelFiles::new(files)))
}

/// A fresh engine worker, booted.
pub(super) async fn launch() -> Result<Worker> {
    let Engine { script, url, module } = engine().await?;
    let worker = start(&url).map_err(|why| refused("a worker cannot be started", &why))?;
    let message = Object::new();
    let _ = Reflect::set(&message, &"module".into(), &module);
    let _ = Reflect::set(&message, &"script".into(), &script);
    worker
        .post_message(&message)
        .map_err(|why| unsupported(&format!("a worker cannot be handed a module ({why:?})")))?;
    Ok(worker)
}

fn start(script: &str) -> std::result::Result<Worker, JsValue> {
    match LOCATIONS.with_borrow(|locations| locations.worker.clone()) {
        Some(worker) => worker.call1(&JsValue::UNDEFINED, &script.into()).map(JsCast::unchecked_into),
        None => trusted_types::worker(script, &JsValue::UNDEFINED),
    }
}

/// What the browser refused: by the page's policy, or since it cannot do it.
fn refused(what: &str, why: &JsValue) -> Error {
    if !trusted_types::is_allowed() {
        let policy = trusted_types::POLICY;
        let message = format!(
            "This page's Content-Security-Policy does not let the model's worker start: its trusted-types needs {policy}."
        );
        return Error::new(Code::UnsupportedBrowser, message);
    }
    unsupported(&format!("{what} ({})", super::errors::from_js(why).message))
}

fn unsupported(what: &str) -> Error {
    let versions = "Chrome or Edge 91, Firefox 89, Safari 16.4 and later have it.";
    Error::new(Code::UnsupportedBrowser, format!("this browser cannot run the engine: {what}. {versions}"))
}

async fn engine() -> Result<Engine> {
    if let Some(engine) = ENGINE.with_borrow(Clone::clone) {
        return Ok(engine);
    }
    if !Simd::Fixed.is_here() {
        return Err(unsupported("WebAssembly SIMD is missing"));
    }
    let locations = LOCATIONS.with_borrow(Clone::clone);
    let files = if Simd::Relaxed.is_here() { locations.relaxed } else { locations.engine };
    let script = fetch(&files.script).await?;
    let glue = wait(script.text(), &files.script).await?;
    let module = compile(&files.module).await?;

    let parts = Array::of2(&glue, &format!("\n{BOOT}").into());
    let bag = BlobPropertyBag::new();
    bag.set_type("text/javascript");
    let refused = |why| unsupported(&format!("blob URLs are refused ({why:?})"));
    let script = Blob::new_with_str_sequence_and_options(&parts, &bag).map_err(refused)?;
    let url = Url::create_object_url_with_blob(&script).map_err(refused)?;
    let engine = Engine { script, url, module };
    ENGINE.set(Some(engine.clone()));
    Ok(engine)
}

/// Compiles while the bytes arrive, and without that where the server names another type than application/wasm.
async fn compile(url: &str) -> Result<JsValue> {
    let answer = read(url).await?;
    if answer.is_instance_of::<WebAssembly::Module>() {
        return Ok(answer);
    }
    let response = checked(answer, url)?;
    let typed =
        response.headers().get("content-type").ok().flatten().is_some_and(|kind| kind.starts_with("application/wasm"));
    let failed =
        |why: JsValue| unsupported(&format!("the engine does not compile ({})", super::errors::from_js(&why).message));
    if typed {
        let response = Promise::resolve(&JsValue::from(response));
        return JsFuture::from(WebAssembly::compile_streaming(&response)).await.map_err(failed);
    }
    let bytes = wait(response.array_buffer(), url).await?;
    JsFuture::from(WebAssembly::compile(&Uint8Array::new(&bytes))).await.map_err(failed)
}

async fn fetch(url: &str) -> Result<Response> {
    checked(read(url).await?, url)
}

async fn read(url: &str) -> Result<JsValue> {
    // From the global scope, so that it does not matter whether that is a window or a worker.
    let read = LOCATIONS.with_borrow(|locations| locations.read.clone());
    let fetch = read.or_else(|| Reflect::get(&js_sys::global(), &"fetch".into()).ok().and_then(|f| f.dyn_into().ok()));
    let fetch = fetch.ok_or_else(|| unsupported("fetch is missing"))?;
    wait(fetch.call1(&JsValue::UNDEFINED, &url.into()).map(JsCast::unchecked_into), url).await
}

fn checked(answer: JsValue, url: &str) -> Result<Response> {
    let response: Response = answer.unchecked_into();
    if response.ok() {
        Ok(response)
    } else {
        Err(broken(url, &format!("the server answered with status {}", response.status())))
    }
}

async fn wait(promise: std::result::Result<Promise, JsValue>, url: &str) -> Result<JsValue> {
    let failed = |why: JsValue| broken(url, &super::errors::from_js(&why).message);
    JsFuture::from(promise.map_err(failed)?).await.map_err(failed)
}

fn broken(url: &str, why: &str) -> Error {
    Error::new(Code::Network, format!("the engine's own files cannot be read: {url}: {why}. Reload the page."))
}
