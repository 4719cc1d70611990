//! The few things the page asks of the DOM, typed, with errors that name what is missing.

use std::rc::Rc;

use js_sys::Function;
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Document, Element, Event, EventTarget, HtmlElement, Window};

use trace::{Code, Error, Result};

/// The browser window.
pub fn window() -> Result<Window> {
    web_sys::window().ok_or_else(|| Error::new(Code::UnsupportedBrowser, "There is no window: the page runs in a tab."))
}

/// The page's document.
pub fn document() -> Result<Document> {
    window()?.document().ok_or_else(|| Error::new(Code::UnsupportedBrowser, "The window holds no document."))
}

fn missing(what: &str) -> Error {
    Error::new(Code::UnsupportedBrowser, format!("index.html has no {what}, or it is of another kind than expected."))
}

/// The element of this id, of this kind.
pub fn by_id<T: JsCast>(id: &str) -> Result<T> {
    let element = document()?.get_element_by_id(id).ok_or_else(|| missing(&format!("#{id}")))?;
    element.dyn_into().map_err(|_| missing(&format!("#{id}")))
}

/// The first element below `root` that fits.
pub fn find<T: JsCast>(root: &Element, selector: &str) -> Result<T> {
    let name = || missing(&format!("“{selector}” in #{}", root.id()));
    root.query_selector(selector).ok().flatten().ok_or_else(name)?.dyn_into().map_err(|_| name())
}

/// All elements below `root` that fit.
pub fn find_all<T: JsCast>(root: &Element, selector: &str) -> Vec<T> {
    let Ok(list) = root.query_selector_all(selector) else { return Vec::new() };
    (0..list.length()).filter_map(|index| list.item(index)?.dyn_into().ok()).collect()
}

/// A new element that belongs nowhere yet.
pub fn create<T: JsCast>(tag: &str, class: &str) -> Result<T> {
    let element = document()?.create_element(tag).map_err(|_| missing(tag))?;
    if !class.is_empty() {
        element.set_class_name(class);
    }
    element.dyn_into().map_err(|_| missing(tag))
}

/// A new element with text in it.
pub fn create_with_text(tag: &str, class: &str, text: &str) -> Result<HtmlElement> {
    let element: HtmlElement = create(tag, class)?;
    element.set_text_content(Some(text));
    Ok(element)
}

/// Sets text only where it differs: live regions speak again on every write.
pub fn set_text(element: &Element, text: &str) {
    if element.text_content().as_deref() != Some(text) {
        element.set_text_content(Some(text));
    }
}

/// Sets an attribute; the name is always ours, so that it cannot fail.
pub fn set_attribute(element: &Element, name: &str, value: &str) {
    if element.get_attribute(name).as_deref() != Some(value) {
        let _ = element.set_attribute(name, value);
    }
}

/// Tells translators of pages to leave this as it is: a token in another language is another token.
pub fn keep_untranslated(element: &Element) {
    set_attribute(element, "translate", "no");
}

/// Adds or takes away a class.
pub fn set_class(element: &Element, class: &str, on: bool) {
    let _ = element.class_list().toggle_with_force(class, on);
}

/// Appends a child; it fails only for a node that holds its parent, which ours never do.
pub fn append(parent: &Element, child: &Element) {
    let _ = parent.append_child(child);
}

/// Whether the system prefers light on dark.
pub fn prefers_dark() -> bool {
    let query = web_sys::window().and_then(|window| window.match_media("(prefers-color-scheme: dark)").ok().flatten());
    query.is_some_and(|query| query.matches())
}

/// Milliseconds since the page was opened.
pub fn now() -> f64 {
    web_sys::window().and_then(|window| window.performance()).map_or(0.0, |performance| performance.now())
}

/// Lets the browser do what else is due, such as drawing a frame. Long work in the page pauses here.
pub async fn next_task() {
    sleep(0).await;
}

/// Waits for so many milliseconds.
pub async fn sleep(milliseconds: i32) {
    let mut wait = |resolve: Function, _: Function| {
        if let Some(window) = web_sys::window() {
            let _ = window.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, milliseconds);
        }
    };
    let _ = JsFuture::from(Promise::new(&mut wait)).await;
}

/// An event handler that ends when this value is dropped.
pub struct Listener {
    target: EventTarget,
    event: &'static str,
    closure: Closure<dyn FnMut(Event)>,
}

/// Calls `handler` on every such event, for as long as the listener is kept.
pub fn listen(target: &EventTarget, event: &'static str, handler: impl FnMut(Event) + 'static) -> Listener {
    let closure = Closure::<dyn FnMut(Event)>::new(handler);
    let function: &Function = closure.as_ref().unchecked_ref();
    let _ = target.add_event_listener_with_callback(event, function);
    Listener { target: target.clone(), event, closure }
}

/// The same for what belongs to `owner`, who may keep the listener: a handler that held its owner would keep it forever.
pub fn listen_for<T: 'static>(
    owner: &Rc<T>,
    target: &EventTarget,
    event: &'static str,
    handler: impl Fn(&Rc<T>, &Event) + 'static,
) -> Listener {
    let owner = Rc::downgrade(owner);
    listen(target, event, move |event| {
        if let Some(owner) = owner.upgrade() {
            handler(&owner, &event);
        }
    })
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.target.remove_event_listener_with_callback(self.event, self.closure.as_ref().unchecked_ref());
    }
}

/// Offers bytes to the reader as a file.
pub fn offer_file(blob: &web_sys::Blob, name: &str) -> Result<()> {
    let failed = |_| Error::new(Code::UnsupportedBrowser, format!("The browser would not save {name}."));
    let address = web_sys::Url::create_object_url_with_blob(blob).map_err(failed)?;
    let anchor: web_sys::HtmlAnchorElement = create("a", "")?;
    anchor.set_href(&address);
    anchor.set_download(name);
    anchor.click();
    // The click has taken its own hold on the blob by the time the next task runs.
    let release = Closure::once_into_js(move || {
        let _ = web_sys::Url::revoke_object_url(&address);
    });
    let _ = window()?.set_timeout_with_callback_and_timeout_and_arguments_0(release.unchecked_ref(), 10_000);
    Ok(())
}

/// Text as a blob of this type.
pub fn text_blob(text: &str, media_type: &str) -> Result<web_sys::Blob> {
    let parts = js_sys::Array::of1(&JsValue::from_str(text));
    let options = web_sys::BlobPropertyBag::new();
    options.set_type(media_type);
    web_sys::Blob::new_with_str_sequence_and_options(&parts, &options)
        .map_err(|_| Error::new(Code::OutOfMemory, "The browser has no room for the file."))
}

/// Bytes as a blob.
pub fn bytes_blob(bytes: &[u8]) -> Result<web_sys::Blob> {
    let parts = js_sys::Array::of1(&js_sys::Uint8Array::from(bytes));
    web_sys::Blob::new_with_u8_array_sequence(&parts)
        .map_err(|_| Error::new(Code::OutOfMemory, "The browser has no room for the file."))
}
