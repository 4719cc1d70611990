//! Saving the run that is shown, and showing one that was saved: that needs no model.

use std::rc::Rc;

use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Element, HtmlElement, HtmlInputElement};

use super::app::App;
use protocol::js;
use trace::{Code, Error, Result, Trace, file};
use view::dom::{self, Listener, listen};

impl App {
    /// Wires the buttons below the findings.
    pub(super) fn listen_to_files(self: &Rc<Self>) -> Vec<Listener> {
        let mut listeners = Vec::new();
        for (id, kind) in [("save-json", "json"), ("save-safetensors", "safetensors")] {
            let Ok(button) = dom::by_id::<HtmlElement>(id) else { continue };
            let weak = Rc::downgrade(self);
            listeners.push(listen(&button, "click", move |_| {
                if let Some(app) = weak.upgrade() {
                    say(app.save(kind));
                }
            }));
        }
        if let Ok(input) = dom::by_id::<HtmlInputElement>("open-trace") {
            let (weak, picked) = (Rc::downgrade(self), input.clone());
            listeners.push(listen(&input, "change", move |_| {
                let file = picked.files().and_then(|files| files.item(0));
                if let (Some(app), Some(file)) = (weak.upgrade(), file) {
                    // The same file may be opened again.
                    picked.set_value("");
                    spawn_local(async move {
                        let opened = read(&file).await;
                        say(opened.map(|trace| app.show_saved(trace, &file.name())));
                    });
                }
            }));
        }
        listeners
    }

    fn save(&self, kind: &str) -> Result<()> {
        let good = self.state.borrow().good.clone();
        let (trace, _) = good.ok_or_else(|| Error::new(Code::BadArgument, "There is no run to save yet."))?;
        let trace = self.with_patched(&trace).map_or(trace, Rc::new);
        let name = format!("residual-stream.{kind}");
        match kind {
            "json" => dom::offer_file(&dom::text_blob(&file::to_json(&trace)?, "application/json")?, &name),
            _ => dom::offer_file(&dom::bytes_blob(&file::to_safetensors(&trace)?)?, &name),
        }
    }

    fn show_saved(self: &Rc<Self>, trace: Trace, name: &str) {
        self.drop_run();
        self.set_arrival_runs(false);
        self.drop_patched();
        let texts =
            trace.sequences.iter().map(|sequence| sequence.text.clone().unwrap_or_else(|| sequence.tokens.concat()));
        self.set_ablated(trace.ablate.clone());
        self.text.set_sentences(texts);
        self.text.set_error("");
        self.set_stale("");
        let again = match trace.sequences.iter().all(|sequence| sequence.text.is_some()) {
            true => "Run computes it anew.",
            false => "It was made from token ids, and its texts here may have others.",
        };
        let status = format!("Saved run of {} from {name}. {again}", trace.model.source);
        self.text.set_status(&status);
        let trace = Rc::new(trace);
        self.report(self.show(&trace));
        let ran = self.text.text();
        let mut state = self.state.borrow_mut();
        state.good = Some((trace, status));
        (state.saved, state.ran, state.made_by) = (true, ran, None);
        drop(state);
        // Back undoes it; forward, and whoever is sent the link, runs the text.
        self.write_link();
    }
}

async fn read(file: &web_sys::File) -> Result<Trace> {
    file::check_size(file.size() as usize)?;
    let unreadable = |_| Error::new(Code::BadArgument, "The browser could not read this file.");
    let buffer = JsFuture::from(file.array_buffer()).await.map_err(unreadable)?;
    file::read(&js::bytes(&js_sys::Uint8Array::new(&buffer))?)
}

fn say(outcome: Result<()>) {
    let message = outcome.err().map_or_else(String::new, |error| error.message);
    if let Ok(place) = dom::by_id::<Element>("trace-error") {
        dom::set_text(&place, &message);
    }
}
