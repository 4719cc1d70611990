//! "What this text shows": sentences computed from the trace.

use web_sys::{Element, HtmlElement};

use super::dom;
use crate::error::Result;
use crate::trace::Trace;
use crate::trace::summary::{self, Topic};

/// The list in the page.
pub struct FindingsList {
    root: HtmlElement,
    list: Element,
}

impl FindingsList {
    /// Finds the list in the page.
    pub fn new() -> Result<FindingsList> {
        Ok(FindingsList { root: dom::by_id("findings")?, list: dom::by_id("findings-list")? })
    }

    /// Shows what a trace allows to say.
    pub fn show(&self, trace: &Trace, skip_first: bool) -> Result<()> {
        // These two stand under their charts.
        let elsewhere = |topic| matches!(topic, Topic::Evolution | Topic::Distribution);
        let found = summary::findings(trace, skip_first).into_iter().filter(|finding| !elsewhere(finding.topic));
        let sentences: Vec<String> = found.map(|finding| finding.text).collect();
        let shown: Vec<String> =
            dom::find_all::<Element>(&self.list, "li").iter().filter_map(|item| item.text_content()).collect();
        if shown != sentences {
            self.list.set_text_content(None);
            for sentence in &sentences {
                dom::append(&self.list, dom::create_with_text("li", "", sentence)?.as_ref());
            }
        }
        Ok(())
    }

    /// Marks the list as belonging to an earlier text.
    pub fn set_stale(&self, stale: bool) {
        dom::set_class(&self.root, "stale-data", stale);
    }
}
