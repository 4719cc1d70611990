//! "What this text shows": sentences computed from the trace, each a way to what it speaks of.

use std::cell::RefCell;
use std::rc::Rc;

use web_sys::{Element, HtmlElement};

use trace::summary::{self, Finding, Topic};
use trace::{Result, Trace};
use view::dom::{self, Listener, listen};

/// Told of the finding that the reader chose.
type OnChoose = Rc<dyn Fn(Finding)>;

/// The list in the page.
pub struct FindingsList {
    root: HtmlElement,
    list: Element,
    shown: RefCell<Vec<Finding>>,
    choose: RefCell<Option<OnChoose>>,
    listeners: RefCell<Vec<Listener>>,
}

impl FindingsList {
    /// Finds the list in the page.
    pub fn new() -> Result<FindingsList> {
        Ok(FindingsList {
            root: dom::by_id("findings")?,
            list: dom::by_id("findings-list")?,
            shown: RefCell::default(),
            choose: RefCell::default(),
            listeners: RefCell::default(),
        })
    }

    /// Calls `handler` with the finding that the reader chose.
    pub fn on_choose(&self, handler: impl Fn(Finding) + 'static) {
        self.choose.replace(Some(Rc::new(handler)));
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
        let mut listeners = Vec::new();
        for finding in &found {
            let item: Element = dom::create("li", "")?;
            let button = dom::create_with_text("button", "finding-link", &finding.text)?;
            dom::set_attribute(&button, "type", "button");
            let (handler, finding) = (self.choose.borrow().clone(), finding.clone());
            listeners.push(listen(&button, "click", move |_| {
                if let Some(handler) = &handler {
                    handler(finding.clone());
                }
            }));
            dom::append(&item, &button);
            dom::append(&self.list, &item);
        }
        self.listeners.replace(listeners);
        self.shown.replace(found);
        Ok(())
    }

    /// Marks the list as belonging to an earlier text.
    pub fn set_stale(&self, stale: bool) {
        dom::set_class(&self.root, "stale-data", stale);
    }
}
