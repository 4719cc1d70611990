//! Three steps for who comes here first: shown until they are dismissed, once per browser.

use web_sys::{HtmlButtonElement, HtmlElement};

use trace::Result;
use view::dom;

use super::wire::on;

/// Where the browser remembers that they were read.
const KEY: &str = "residual-stream:intro";

/// Shows the steps unless this browser has dismissed them.
pub fn show_once() -> Result<()> {
    let intro: HtmlElement = dom::by_id("intro")?;
    let done: HtmlButtonElement = dom::by_id("intro-done")?;
    // Without storage (file:// in some browsers, strict privacy settings) they are shown each time.
    let storage = dom::window()?.local_storage().ok().flatten();
    let seen = storage.as_ref().and_then(|storage| storage.get_item(KEY).ok().flatten()).is_some();
    intro.set_hidden(seen);
    on(&done, "click", move |_| {
        intro.set_hidden(true);
        if let Some(storage) = &storage {
            let _ = storage.set_item(KEY, "read");
        }
        // The button is gone with its panel; the keyboard goes on where the charts are.
        if let Ok(canvas) =
            dom::by_id::<HtmlElement>("evolution").and_then(|panel| dom::find::<HtmlElement>(&panel, "canvas"))
        {
            let _ = canvas.focus();
        }
        None
    });
    Ok(())
}
