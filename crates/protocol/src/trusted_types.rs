//! Addresses of scripts where the page's Content-Security-Policy has `require-trusted-types-for 'script'`: there, workers
//! and service workers start only from addresses that came out of a policy that `trusted-types` names.

use js_sys::{Function, Object, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};

/// What `trusted-types` has to name.
pub const POLICY: &str = "residual-stream";

thread_local! {
    static TRUST: std::cell::RefCell<Option<JsValue>> = const { std::cell::RefCell::new(None) };
}

/// An address of a script of our own, as `Worker` and `register` take it. Where `trusted-types` does not let us have our
/// policy, that is the address as it is: a browser refuses it only where the page requires more.
///
/// # Errors
/// What the browser says.
pub fn script_url(address: &str) -> Result<JsValue, JsValue> {
    let factory = Reflect::get(&js_sys::global(), &"trustedTypes".into())?;
    if !factory.is_object() {
        return Ok(address.into());
    }
    let known = TRUST.with_borrow(Clone::clone);
    let policy = match known {
        Some(policy) => policy,
        None => {
            let Ok(policy) = create(&factory) else { return Ok(address.into()) };
            TRUST.replace(Some(policy.clone()));
            policy
        }
    };
    call(&policy, "createScriptURL", &[address.into()])
}

/// Whether the page lets us have our policy, or needs none.
pub fn is_allowed() -> bool {
    script_url("").is_ok_and(|address| {
        let factory = Reflect::get(&js_sys::global(), &"trustedTypes".into());
        !factory.is_ok_and(|factory| factory.is_object()) || !address.is_string()
    })
}

/// Starts a worker from an address of our own.
///
/// # Errors
/// What the browser says.
pub fn worker(address: &str, options: &JsValue) -> Result<web_sys::Worker, JsValue> {
    let class = Reflect::get(&js_sys::global(), &"Worker".into())?;
    let class: Function = class.dyn_into().map_err(|_| js_sys::Error::new("Web Workers are missing"))?;
    let arguments = [script_url(address)?, options.clone()].iter().collect::<js_sys::Array>();
    Reflect::construct(&class, &arguments).map(JsCast::unchecked_into)
}

fn create(factory: &JsValue) -> Result<JsValue, JsValue> {
    let rules = Object::new();
    let same = Closure::<dyn Fn(String) -> String>::new(|address: String| address).into_js_value();
    Reflect::set(&rules, &"createScriptURL".into(), &same)?;
    call(factory, "createPolicy", &[POLICY.into(), rules.into()])
}

fn call(object: &JsValue, name: &str, arguments: &[JsValue]) -> Result<JsValue, JsValue> {
    let method: Function = Reflect::get(object, &name.into())?.dyn_into()?;
    method.apply(object, &arguments.iter().collect())
}
