//! Has the browser keep the site itself, so that it opens without a network: registers the service worker (www/sw.js).

use std::cell::Cell;

use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::HtmlMetaElement;

use protocol::trusted_types::script_url;
use view::dom;

thread_local! {
    static DONE: Cell<bool> = const { Cell::new(false) };
}

/// To be called once the page has everything that it will ask its server for: what follows then takes nothing from the
/// first visit, and the worker may forget older versions. Where there is no worker to register (a copy from a disk, an
/// insecure address, a private window) the page simply needs its server on every visit.
pub fn keep_site() {
    if !DONE.replace(true) {
        spawn_local(async {
            let _ = register().await;
        });
    }
}

async fn register() -> Result<(), JsValue> {
    let meta = dom::document().ok().and_then(|document| {
        let found = document.query_selector("meta[name=residual-stream-service-worker]").ok().flatten()?;
        found.dyn_into::<HtmlMetaElement>().ok()
    });
    let meta = meta.filter(|meta| !meta.content().is_empty());
    let (Some(meta), Ok(window)) = (meta, dom::window()) else { return Ok(()) };
    // Not by web-sys: where browsers hide it, it is undefined.
    let container = Reflect::get(&window.navigator(), &"serviceWorker".into())?;
    if container.is_undefined() {
        return Ok(());
    }
    let registration = call(&container, "register", &script_url(&meta.content())?).await?;
    let active = Reflect::get(&registration, &"active".into())?;
    if active.is_object() {
        method(&active, "postMessage")?.call1(&active, &"settled".into())?;
    }
    Ok(())
}

fn method(object: &JsValue, name: &str) -> Result<Function, JsValue> {
    Reflect::get(object, &name.into())?.dyn_into()
}

async fn call(object: &JsValue, name: &str, argument: &JsValue) -> Result<JsValue, JsValue> {
    let promise: Promise = method(object, name)?.call1(object, argument)?.dyn_into()?;
    JsFuture::from(promise).await
}
