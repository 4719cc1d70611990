//! What is common to all charts: position 0, bins, what is switched off, the pinned token, and whether they are stale.

use std::cell::RefCell;

use view::dom;
use web_sys::{Element, HtmlElement, HtmlInputElement};

use super::super::msg::Msg;
use super::super::view::View;
use super::wire::{Field, closest, on, on_id};
use trace::Result;

/// Handles to the elements.
pub struct CommonBar {
    skip_first: HtmlInputElement,
    bins: Field,
    off: HtmlElement,
    off_list: Element,
    off_written: RefCell<Vec<String>>,
    stale: HtmlElement,
    unpin: HtmlElement,
}

impl CommonBar {
    /// Finds them in the page.
    pub fn new() -> Result<CommonBar> {
        let bar = CommonBar {
            skip_first: dom::by_id("skip-first")?,
            bins: Field::new("bins")?,
            off: dom::by_id("off")?,
            off_list: dom::by_id("off-list")?,
            off_written: RefCell::default(),
            stale: dom::by_id("stale")?,
            unpin: dom::by_id("unpin")?,
        };
        let skip_first = bar.skip_first.clone();
        on(&bar.skip_first, "change", move |_| Some(Msg::SkipFirst(skip_first.checked())));
        // While bins are typed the chart follows; once they are, the address does.
        let bins: HtmlInputElement = dom::by_id("bins")?;
        let typed = bins.clone();
        on(&bins, "input", move |_| Some(Msg::Bins(typed.value())));
        let typed = bins.clone();
        on(&bins, "change", move |_| Some(Msg::BinsDone(typed.value())));
        on(&bar.off_list, "click", |event| {
            let index = closest(event, "[data-off]")?.get_attribute("data-off")?;
            Some(Msg::SwitchOn(index.parse().ok()?))
        });
        on_id("off-none", "click", |_| Some(Msg::AllOn))?;
        on(&bar.unpin, "click", |_| Some(Msg::Unpin));
        Ok(bar)
    }

    /// Writes what differs.
    pub fn write(&self, view: &View<'_>) {
        let common = &view.common;
        self.skip_first.set_checked(common.skip_first);
        self.bins.write(common.bins);
        dom::set_attribute(self.bins.element(), "aria-invalid", if common.bins_invalid { "true" } else { "false" });
        dom::set_text(&self.stale, view.stale.as_deref().unwrap_or_default());
        self.stale.set_hidden(view.stale.is_none());
        self.unpin.set_hidden(common.pin.is_none());
        if let Some((_, words)) = &common.pin {
            dom::set_text(&self.unpin, words);
        }
        if *self.off_written.borrow() != common.off {
            self.off_written.borrow_mut().clone_from(&common.off);
            self.off.set_hidden(common.off.is_empty());
            self.off_list.set_text_content(None);
            for (index, part) in common.off.iter().enumerate() {
                // An element that cannot be made is left out; the rest still works.
                let _ = self.add_chip(index, part);
            }
        }
    }

    fn add_chip(&self, index: usize, part: &str) -> Result<()> {
        let button = dom::create_with_text("button", "chip", &format!("{part} ×"))?;
        dom::set_attribute(&button, "type", "button");
        dom::set_attribute(&button, "data-off", &index.to_string());
        dom::set_attribute(&button, "aria-label", &format!("Switch {part} on again"));
        dom::append(&self.off_list, &button);
        Ok(())
    }
}
