//! "What this text shows": sentences computed from the trace, each a way to what it speaks of.

use std::cell::RefCell;

use trace::summary::{self, Finding, Topic};
use trace::{Result, Trace};
use view::dom;
use web_sys::{Element, HtmlElement};

use super::super::msg::Msg;
use super::wire::on;

/// The list in the page.
pub struct FindingsList {
    root: HtmlElement,
    list: Element,
    shown: RefCell<Vec<Finding>>,
}

impl FindingsList {
    /// Finds the list in the page.
    pub fn new() -> Result<FindingsList> {
        Ok(FindingsList {
            root: dom::by_id("findings")?,
            list: dom::by_id("findings-list")?,
            shown: RefCell::default(),
        })
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
        for finding in &found {
            let item: Element = dom::create("li", "")?;
            let button = dom::create_with_text("button", "finding-link", &finding.text)?;
            dom::set_attribute(&button, "type", "button");
            let finding = finding.clone();
            on(&button, "click", move |_| Some(Msg::Finding(finding.clone())));
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
