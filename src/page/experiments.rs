//! What a reader does with the model beyond reading: going on with the text, switching parts off, patching one text into
//! another.

use std::rc::Rc;

use wasm_bindgen_futures::spawn_local;
use web_sys::{Element, HtmlButtonElement, HtmlElement};

use super::app::{App, abort_controller};
use super::view_panel::Wish;
use crate::api::{Model, PatchOptions};
use charts::ChartName;
use trace::{Ablation, Code, Error, Patching, Result, Trace};
use view::advice::{Step, explain};
use view::dom::{self, Listener, listen};

/// The line that says what is switched off.
pub struct OffLine {
    root: HtmlElement,
    list: Element,
    none: HtmlButtonElement,
}

impl OffLine {
    /// Finds the line in the page.
    pub fn new() -> Result<OffLine> {
        Ok(OffLine { root: dom::by_id("off")?, list: dom::by_id("off-list")?, none: dom::by_id("off-none")? })
    }
}

/// What patching was asked for: the two texts, and the two tokens.
pub type PatchWish = ((String, String), (String, String));

impl App {
    /// Does what a view's controls ask for.
    pub(super) fn do_wish(self: &Rc<Self>, wish: Wish) {
        match wish {
            Wish::Show => {
                self.show_view_again();
                self.run_for_view();
                self.write_link();
            }
            Wish::Append(count) => self.append(count),
            Wish::Ablate(ablated) => {
                let mut ablate = self.ablate.borrow().clone();
                ablate.retain(|other| {
                    (other.layer, other.part, other.head) != (ablated.layer, ablated.part, ablated.head)
                });
                ablate.push(ablated);
                self.set_ablated(ablate);
                self.run();
            }
        }
    }

    /// Listens to the button that switches everything on again.
    pub(super) fn listen_to_off_line(self: &Rc<Self>) -> Listener {
        let weak = Rc::downgrade(self);
        listen(&self.off.none, "click", move |_| {
            if let Some(app) = weak.upgrade() {
                app.set_ablated(Vec::new());
                let _ = app.view.chart.canvas.focus();
                app.run();
            }
        })
    }

    /// Switches parts of the model off from the next run on.
    pub(super) fn set_ablated(self: &Rc<Self>, ablate: Vec<Ablation>) {
        self.off.root.set_hidden(ablate.is_empty());
        self.off.list.set_text_content(None);
        let mut listeners = Vec::new();
        for (index, ablated) in ablate.iter().enumerate() {
            let text = ablated.text();
            let Ok(button) = dom::create_with_text("button", "chip", &format!("{text} ×")) else { continue };
            dom::set_attribute(&button, "type", "button");
            dom::set_attribute(&button, "aria-label", &format!("Switch {text} on again"));
            let weak = Rc::downgrade(self);
            listeners.push(listen(&button, "click", move |_| {
                if let Some(app) = weak.upgrade() {
                    let mut rest = app.ablate.borrow().clone();
                    rest.remove(index);
                    let _ = app.view.chart.canvas.focus();
                    // Not from within the handler that this replaces.
                    spawn_local(async move {
                        app.set_ablated(rest);
                        app.run();
                    });
                }
            }));
            dom::append(&self.off.list, &button);
        }
        self.ablate.replace(ablate);
        self.off_listeners.replace(listeners);
    }

    /// The model in use; says so where there is none.
    fn model_at_hand(&self) -> Option<Model> {
        let state = self.state.borrow();
        let arriving = state.arriving.as_ref().and_then(|arriving| arriving.model.clone());
        let model = arriving.or_else(|| state.current.as_ref().map(|current| current.model.clone()));
        drop(state);
        if model.is_none() {
            self.view.controls.set_error("No model is loaded. Pick one in the model panel first.");
        }
        model
    }

    /// Goes on with the shown sentence by so many tokens, and runs the text again.
    fn append(self: &Rc<Self>, count: usize) {
        let sentences = self.text.sentences();
        let number = self.pinned.get().map_or(0, |(sequence, _)| sequence);
        let number = if number < sentences.len() { number } else { 0 };
        let (Some(sentence), Some(model)) = (sentences.get(number).cloned(), self.model_at_hand()) else { return };
        self.view.controls.set_error("");
        self.text.set_status("Writing on…");
        let options = self.view.controls.sampling(count);
        let ran = self.text.text();
        let app = self.clone();
        spawn_local(async move {
            let outcome = model.sample(sentence.clone(), options, None).await;
            if app.text.text() != ran {
                return; // The reader typed meanwhile: theirs is worth more.
            }
            app.text.set_status("");
            match outcome {
                Ok(sampled) => {
                    app.view.controls.next_seed();
                    let mut sentences = sentences;
                    sentences[number] = format!("{sentence}{}", sampled.text);
                    app.text.set_sentences(&sentences);
                    app.run();
                }
                Err(error) => app.view.controls.set_error(&explain(&error, Step::Run)),
            }
        });
    }

    /// The two texts and tokens that the patching view asks for; none where there are no two texts.
    fn patch_wish(&self) -> Option<PatchWish> {
        let (sentences, asked) = (self.text.sentences(), self.view.asked());
        let (first, second) = asked.texts;
        let texts = (sentences.get(first)?.clone(), sentences.get(second)?.clone());
        Some((texts, (asked.target, asked.against)))
    }

    /// Patches for the patching view, unless that was done.
    pub(super) fn patch_for_view(self: &Rc<Self>) {
        let asked = self.view.asked();
        let Some(wish) = self.patch_wish().filter(|_| asked.view == ChartName::Patching) else { return };
        if self.patched.borrow().as_ref().is_some_and(|(done, _)| *done == wish) || self.state.borrow().saved {
            return;
        }
        let (Some(model), Ok(abort)) = (self.model_at_hand(), abort_controller()) else { return };
        if let Some(before) = self.patching.replace(Some(abort.clone())) {
            before.abort();
        }
        self.view.controls.set_error("");
        let (answer, against) = asked.tokens();
        let (texts, signal) = (wish.0.clone(), Some(abort.signal()));
        self.patched.replace(Some((wish.clone(), None)));
        self.text.set_running(true);
        self.say_patching("Patching…");
        let app = self.clone();
        spawn_local(async move {
            let weak = Rc::downgrade(&app);
            let of = wish.clone();
            let on_partial = move |found: Patching| {
                if let Some(app) = weak.upgrade() {
                    app.show_patched(&of, found);
                }
            };
            match model.patch(texts, PatchOptions { answer, against }, signal, on_partial).await {
                Ok(found) => {
                    app.show_patched(&wish, found);
                    app.end_patching(&wish);
                }
                Err(error) => app.fail_patch(&wish, &error),
            }
        });
    }

    fn say_patching(&self, text: &str) {
        self.text.set_status(text);
        self.view.set_busy(text);
    }

    /// Patching is over, unless another has begun.
    fn end_patching(&self, wish: &PatchWish) {
        let is_last = self.patched.borrow().as_ref().is_some_and(|(last, _)| last == wish);
        if is_last && self.patching.take().is_some() && self.state.borrow().running.is_none() {
            self.end_running();
            let status = self.state.borrow().good.as_ref().map(|(_, status)| status.clone());
            self.text.set_status(&status.unwrap_or_default());
        }
    }

    /// Ends patching because the reader asked for it; what is done stays. Returns whether there was any.
    pub(super) fn stop_patching(&self) -> bool {
        let patching = self.patching.take();
        if let Some(abort) = &patching {
            abort.abort();
            self.end_running();
        }
        patching.is_some()
    }

    fn show_patched(&self, of: &PatchWish, found: Patching) {
        let is_wanted = self.patched.borrow().as_ref().is_some_and(|(wish, _)| wish == of);
        if is_wanted {
            let tokens = found.corrupted_tokens.len().max(1);
            let status = format!("Patching: layer {} is done…", found.recovered.len() / tokens);
            self.patched.replace(Some((of.clone(), Some(found))));
            self.show_view_again();
            if self.state.borrow().running.is_none() && self.patching.borrow().is_some() {
                self.say_patching(&status);
            }
        }
    }

    fn fail_patch(&self, of: &PatchWish, error: &Error) {
        let is_wanted = self.patched.borrow().as_ref().is_some_and(|(wish, _)| wish == of);
        if is_wanted && error.code != Code::Aborted {
            self.end_patching(of);
            self.view.controls.set_error(&explain(error, Step::Run));
        }
    }

    /// Forgets what was patched: by another model, or of another text.
    pub(super) fn drop_patched(&self) {
        self.stop_patching();
        self.patched.replace(None);
    }

    /// The trace with what was patched beside it.
    pub(super) fn with_patched(&self, trace: &Trace) -> Option<Trace> {
        let patched = self.patched.borrow();
        let found = patched.as_ref().and_then(|(_, found)| found.clone())?;
        Some(Trace { patching: Some(found), ..trace.clone() })
    }
}
