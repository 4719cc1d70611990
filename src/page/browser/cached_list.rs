//! The list "Kept in this browser": shows what is kept, and asks before it deletes.

use std::cell::RefCell;

use view::dom;
use wasm_bindgen::JsCast;
use web_sys::{Element, Event, HtmlButtonElement, HtmlElement, KeyboardEvent};

use super::super::cached::{Asking, Cached, CachedModels};
use super::super::msg::Msg;
use super::super::view::ModelsView;
use super::wire::{closest, on};
use trace::Result;

/// What was written last.
struct Written {
    cached: CachedModels,
    asking: Option<Asking>,
}

/// Handles to the list's elements.
pub struct CachedList {
    root: HtmlElement,
    summary: HtmlElement,
    sum: Element,
    list: HtmlElement,
    foot: HtmlElement,
    status: Element,
    /// None before there was anything to tell: the list opens by itself only at the start of a visit.
    written: RefCell<Option<Written>>,
}

impl CachedList {
    /// Finds the list in the page.
    pub fn new() -> Result<CachedList> {
        let root: HtmlElement = dom::by_id("kept")?;
        on(&root, "click", read_click);
        on(&root, "keydown", |event| (event.dyn_ref::<KeyboardEvent>()?.key() == "Escape").then_some(Msg::DoNotDelete));
        Ok(CachedList {
            summary: dom::find(&root, "summary")?,
            sum: dom::by_id("kept-sum")?,
            list: dom::by_id("kept-list")?,
            foot: dom::by_id("kept-foot")?,
            status: dom::by_id("kept-status")?,
            root,
            written: RefCell::default(),
        })
    }

    /// Writes what differs.
    pub fn write(&self, view: &ModelsView<'_>) {
        dom::set_text(&self.status, view.deleted);
        let is_first = self.written.borrow().is_none();
        if is_first && view.cached.is_hidden() {
            return;
        }
        self.root.set_hidden(view.cached.is_hidden());
        dom::set_text(&self.sum, &view.cached.summary());
        if is_first && !view.cached.models.is_empty() {
            dom::set_attribute(&self.root, "open", "");
        }
        let same = |written: &Written| written.cached == *view.cached && written.asking.as_ref() == view.asking;
        // Written anew, the list would lose the keyboard's place.
        if self.written.borrow().as_ref().is_some_and(same) {
            return;
        }
        let now = Written { cached: view.cached.clone(), asking: view.asking.cloned() };
        let before = self.written.replace(Some(now)).and_then(|before| before.asking);
        let had_focus = self.has_focus();
        self.write_list(view.cached, view.asking);
        if had_focus && !self.has_focus() {
            self.focus(before.as_ref(), view.asking);
        }
    }

    fn has_focus(&self) -> bool {
        let active = dom::document().ok().and_then(|document| document.active_element());
        active.is_some_and(|active| self.root.contains(Some(&active)))
    }

    /// The keyboard follows a question and the way back from it; where there is neither, it stays with the list.
    fn focus(&self, before: Option<&Asking>, now: Option<&Asking>) {
        let selector = match (now, before) {
            // The safe answer, so that a key pressed twice deletes nothing.
            (Some(_), _) => "[data-act=keep]".to_owned(),
            (None, Some(Asking::All)) => "[data-act=ask-all]".to_owned(),
            (None, Some(Asking::One(folder))) => format!("[data-act=ask][data-folder=\"{folder}\"]"),
            (None, None) => "summary".to_owned(),
        };
        let place = dom::find::<HtmlElement>(&self.root, &selector);
        let _ = place.as_ref().unwrap_or(&self.summary).focus();
    }

    fn write_list(&self, cached: &CachedModels, asking: Option<&Asking>) {
        self.list.set_text_content(None);
        self.foot.set_text_content(None);
        self.list.set_hidden(cached.models.is_empty());
        // An element that cannot be made is left out; the rest still works.
        for model in &cached.models {
            let _ = self.add_row(model, asking == Some(&Asking::One(model.folder.clone())));
        }
        let _ = self.fill_foot(cached, asking == Some(&Asking::All));
    }

    fn add_row(&self, model: &Cached, asked: bool) -> Result<()> {
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

    fn fill_foot(&self, cached: &CachedModels, asked: bool) -> Result<()> {
        dom::set_class(&self.foot, "asking", asked);
        if asked {
            return add_question(&self.foot, &cached.question());
        }
        dom::append(&self.foot, dom::create_with_text("p", "quiet", cached.note())?.as_ref());
        if cached.models.len() > 1 {
            let delete = button("Delete all", "ask-all")?;
            dom::set_attribute(&delete, "aria-label", "Delete all models kept in this browser");
            dom::append(&self.foot, &delete);
        }
        Ok(())
    }
}

/// What a click in the list asks for.
fn read_click(event: &Event) -> Option<Msg> {
    let button = closest(event, "[data-act]")?;
    let folder = || button.get_attribute("data-folder").unwrap_or_default();
    Some(match button.get_attribute("data-act")?.as_str() {
        "ask" => Msg::AskToDelete(Asking::One(folder())),
        "ask-all" => Msg::AskToDelete(Asking::All),
        "keep" => Msg::DoNotDelete,
        _ => Msg::Delete,
    })
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
