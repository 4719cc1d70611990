//! The browser's address and history.

use view::dom;
use wasm_bindgen::JsValue;

use super::super::link::Link;

/// What the address says now; `None` where it names a place of the page.
pub fn here() -> Option<Link> {
    Link::read(&dom::window().ok()?.location().hash().ok()?)
}

/// Makes this the page's address.
pub fn write(link: &Link) {
    let (here, hash) = (here(), link.hash());
    if here.as_ref().is_some_and(|here| here.hash() == hash) {
        return;
    }
    let Ok(window) = dom::window() else { return };
    // Without a fragment, the bare address: an empty one would stay the old one.
    let location = window.location();
    let bare = || format!("{}{}", location.pathname().unwrap_or_default(), location.search().unwrap_or_default());
    let address = if hash.is_empty() { bare() } else { format!("#{hash}") };
    if let Ok(history) = window.history() {
        // Refused from file:// in some browsers, and when called too often: the picture stays, its address is old.
        let _ = match link.is_step_from(here.as_ref()) {
            true => history.push_state_with_url(&JsValue::NULL, "", Some(&address)),
            false => history.replace_state_with_url(&JsValue::NULL, "", Some(&address)),
        };
    }
}
