//! The list "Kept in this browser": shows what is kept, and asks before it deletes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlButtonElement, HtmlElement, KeyboardEvent};

use super::kept::{Kept, KeptModels};
use trace::Result;
use view::dom::{self, Listener, listen};

/// What the reader is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asking {
    /// This folder.
    One(String),
    /// All of them.
    All,
}

/// Handles to the list's elements, and what it shows.
pub struct KeptList {
    root: HtmlElement,
    summary: HtmlElement,
    sum: Element,
    list: HtmlElement,
    foot: HtmlElement,
    status: Element,
    kept: RefCell<KeptModels>,
    asking: RefCell<Option<Asking>>,
    /// Whether the list was shown before: it opens by itself only at the start of a visit.
    shown: Cell<bool>,
    listeners: RefCell<Vec<Listener>>,
}

impl KeptList {
    /// Finds the list in the page.
    pub fn new() -> Result<Rc<KeptList>> {
        let root: HtmlElement = dom::by_id("kept")?;
        Ok(Rc::new(KeptList {
            summary: dom::find(&root, "summary")?,
            sum: dom::by_id("kept-sum")?,
            list: dom::by_id("kept-list")?,
            foot: dom::by_id("kept-foot")?,
            status: dom::by_id("kept-status")?,
            root,
            kept: RefCell::default(),
            asking: RefCell::default(),
            shown: Cell::new(false),
            listeners: RefCell::default(),
        }))
    }

    /// Calls `delete` with the folders that the reader wants to be rid of.
    pub fn on_delete(self: &Rc<Self>, delete: impl Fn(Vec<String>) + 'static) {
        let weak = Rc::downgrade(self);
        let clicks = listen(&self.root, "click", move |event| {
            let button = event.target().and_then(|target| target.dyn_into::<Element>().ok());
            let button = button.and_then(|target| target.closest("[data-act]").ok().flatten());
            if let (Some(list), Some(button)) = (weak.upgrade(), button) {
                let folder = button.get_attribute("data-folder").unwrap_or_default();
                match button.get_attribute("data-act").as_deref() {
                    Some("ask") => list.ask(Some(Asking::One(folder))),
                    Some("ask-all") => list.ask(Some(Asking::All)),
                    Some("keep") => list.ask(None),
                    _ => delete(list.confirmed()),
                }
            }
        });
        let weak = Rc::downgrade(self);
        let keys = listen(&self.root, "keydown", move |event| {
            let escapes = event.dyn_ref::<KeyboardEvent>().is_some_and(|key| key.key() == "Escape");
            if let Some(list) = weak.upgrade().filter(|list| escapes && list.asking.borrow().is_some()) {
                list.ask(None);
            }
        });
        self.listeners.replace(vec![clicks, keys]);
    }

    /// The list as a whole, which the reader opens and closes.
    pub fn element(&self) -> &HtmlElement {
        &self.root
    }

    /// Shows what is kept.
    pub fn show(&self, kept: &KeptModels) {
        self.root.set_hidden(kept.is_hidden());
        dom::set_text(&self.sum, &kept.summary());
        let first = !self.shown.replace(true);
        if first && !kept.models.is_empty() {
            dom::set_attribute(&self.root, "open", "");
        }
        // Written anew, the list would lose the keyboard's place.
        if !first && *self.kept.borrow() == *kept {
            return;
        }
        let had_focus = self.has_focus();
        self.kept.replace(kept.clone());
        let gone = |asking: &mut Asking| match asking {
            Asking::One(folder) => !kept.models.iter().any(|model| model.folder == *folder),
            Asking::All => kept.models.len() < 2,
        };
        self.asking.borrow_mut().take_if(gone);
        self.render();
        if had_focus && !self.has_focus() {
            let _ = self.summary.focus();
        }
    }

    /// Tells how a deletion went.
    pub fn say(&self, words: &str) {
        dom::set_text(&self.status, words);
    }

    fn has_focus(&self) -> bool {
        let active = dom::document().ok().and_then(|document| document.active_element());
        active.is_some_and(|active| self.root.contains(Some(&active)))
    }

    /// Asks, or takes the question back; the keyboard follows.
    fn ask(&self, asking: Option<Asking>) {
        let before = self.asking.replace(asking.clone());
        self.say("");
        self.render();
        let selector = match (&asking, &before) {
            // The safe answer, so that a key pressed twice deletes nothing.
            (Some(_), _) => "[data-act=keep]".to_owned(),
            (None, Some(Asking::All)) => "[data-act=ask-all]".to_owned(),
            (None, Some(Asking::One(folder))) => format!("[data-act=ask][data-folder=\"{folder}\"]"),
            (None, None) => return,
        };
        if let Ok(button) = dom::find::<HtmlElement>(&self.root, &selector) {
            let _ = button.focus();
        }
    }

    /// The folders of the question that was just answered with yes.
    fn confirmed(&self) -> Vec<String> {
        let folders = match self.asking.take() {
            Some(Asking::One(folder)) => vec![folder],
            Some(Asking::All) => self.kept.borrow().models.iter().map(|model| model.folder.clone()).collect(),
            None => Vec::new(),
        };
        self.say("Deleting…");
        self.render();
        let _ = self.summary.focus();
        folders
    }

    fn render(&self) {
        let kept = self.kept.borrow();
        let asking = self.asking.borrow();
        self.list.set_text_content(None);
        self.foot.set_text_content(None);
        self.list.set_hidden(kept.models.is_empty());
        // An element that cannot be made is left out; the rest still works.
        for model in &kept.models {
            let _ = self.add_row(model, *asking == Some(Asking::One(model.folder.clone())));
        }
        let _ = self.fill_foot(&kept, *asking == Some(Asking::All));
    }

    fn add_row(&self, model: &Kept, asked: bool) -> Result<()> {
        let row: Element = dom::create("li", if asked { "asking" } else { "" })?;
        if asked {
            add_question(&row, &model.question())?;
        } else {
            let name = dom::create_with_text("span", "kept-name", &model.title())?;
            dom::append(&name, dom::create_with_text("small", "", &model.detail(js_sys::Date::now()))?.as_ref());
            dom::append(&row, &name);
            if !model.arriving {
                let delete = button("Delete", "ask")?;
                dom::set_attribute(&delete, "data-folder", &model.folder);
                dom::set_attribute(&delete, "aria-label", &format!("Delete {} from this browser", model.title()));
                dom::append(&row, &delete);
            }
        }
        dom::append(&self.list, &row);
        Ok(())
    }

    fn fill_foot(&self, kept: &KeptModels, asked: bool) -> Result<()> {
        dom::set_class(&self.foot, "asking", asked);
        if asked {
            return add_question(&self.foot, &kept.question());
        }
        dom::append(&self.foot, dom::create_with_text("p", "quiet", kept.note())?.as_ref());
        if kept.models.len() > 1 {
            let delete = button("Delete all", "ask-all")?;
            dom::set_attribute(&delete, "aria-label", "Delete all models kept in this browser");
            dom::append(&self.foot, &delete);
        }
        Ok(())
    }
}

/// A question with its two answers.
fn add_question(place: &Element, question: &str) -> Result<()> {
    let words = dom::create_with_text("span", "kept-question", question)?;
    words.set_id("kept-question");
    dom::append(place, &words);
    for (text, act) in [("Delete", "delete"), ("Keep", "keep")] {
        let answer = button(text, act)?;
        dom::set_attribute(&answer, "aria-describedby", "kept-question");
        dom::append(place, &answer);
    }
    Ok(())
}

fn button(text: &str, act: &str) -> Result<HtmlButtonElement> {
    let button: HtmlButtonElement = dom::create("button", "")?;
    button.set_type("button");
    button.set_text_content(Some(text));
    dom::set_attribute(&button, "data-act", act);
    Ok(button)
}
