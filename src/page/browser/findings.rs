//! "What this text shows": sentences computed from the trace, each a way to what it speaks of.

use std::cell::RefCell;
use std::rc::Rc;

use trace::summary::{self, Finding, Topic};
use trace::{Result, Trace};
use view::dom;
use web_sys::{Element, HtmlElement};

use super::super::msg::Msg;
use super::wire::{closest, on};

/// The list in the page.
pub struct FindingsList {
    root: HtmlElement,
    list: Element,
    shown: Rc<RefCell<Vec<Finding>>>,
}

impl FindingsList {
    /// Finds the list in the page.
    pub fn new() -> Result<FindingsList> {
        let list: Element = dom::by_id("findings-list")?;
        let shown: Rc<RefCell<Vec<Finding>>> = Rc::default();
        let of_list = shown.clone();
        on(&list, "click", move |event| {
            let index: usize = closest(event, "[data-finding]")?.get_attribute("data-finding")?.parse().ok()?;
            of_list.borrow().get(index).cloned().map(Msg::Finding)
        });
        Ok(FindingsList { root: dom::by_id("findings")?, list, shown })
    }

    /// Shows what a trace allows to say.
    pub fn show(&self, trace: &Trace, skip_first: bool) -> Result<()> {
        // What compares the two histograms speaks of no place, and stands under them.
        let found = summary::findings(trace, skip_first).into_iter();
        let found = found.filter(|finding| finding.topic != Topic::Distribution);
        let found: Vec<Finding> = found.collect();
        if *self.shown.borrow() == found {
            return Ok(());
        }
        self.list.set_text_content(None);
        for (index, finding) in found.iter().enumerate() {
            let item: Element = dom::create("li", "")?;
            let button = dom::create_with_text("button", "finding-link", &finding.text)?;
            dom::set_attribute(&button, "type", "button");
            dom::set_attribute(&button, "data-finding", &index.to_string());
            dom::append(&item, &button);
            dom::append(&self.list, &item);
        }
        self.shown.replace(found);
        Ok(())
    }

    /// Marks the list as belonging to an earlier text.
    pub fn set_stale(&self, stale: bool) {
        dom::set_class(&self.root, "stale-data", stale);
    }
}
