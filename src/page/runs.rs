//! Tracing what is in the text box. A new run replaces the one under way.

use std::rc::Rc;

use wasm_bindgen_futures::spawn_local;
use web_sys::AbortController;

use super::app::{App, Running, abort_controller};
use super::view_panel::{lacking, serves};
use crate::api::{Model, RunOptions, TraceOptions};
use trace::{Code, Error, Head, Trace};
use view::advice::{Step, ends_engine, explain};
use view::dom;
use view::progress::format_milliseconds;

/// Said after a run on a model whose token table is not all there.
const REST: &str = "The charts are complete; predictions wait for the rest.";
const STALE: &str = "What is shown below belongs to the text that ran last.";

impl App {
    /// Traces the text in the box on the newest model there is.
    pub fn run(self: &Rc<Self>) {
        self.run_recording(self.record());
    }

    fn run_recording(self: &Rc<Self>, record: RunOptions) {
        self.drop_run();
        let texts = self.text.sentences();
        if texts.is_empty() {
            self.text.set_status("");
            return self.refuse("There is nothing to trace. Type a sentence, or pick a sample.");
        }
        let (model, arriving, on_arriving) = {
            let mut state = self.state.borrow_mut();
            let arriving = state.arriving.as_ref().and_then(|arriving| arriving.model.clone());
            let on_arriving = arriving.is_some();
            let model = arriving.or_else(|| state.current.as_ref().map(|current| current.model.clone()));
            state.run_when_ready = model.is_none() && state.arriving.is_some();
            (model, state.arriving.is_some(), on_arriving)
        };
        let Some(model) = model else {
            if arriving {
                self.set_arrival_runs(true);
                return self.text.set_status("Waiting for the model…");
            }
            let lost = self.state.borrow_mut().lost.take_if(|wish| self.models.is_at_hand(wish));
            return match lost {
                // Its arrival runs the text.
                Some(wish) => {
                    self.text.set_error("");
                    self.text.set_status("Loading the model again…");
                    self.load(wish);
                }
                None => self.refuse("No model is loaded. Pick one in the model panel, then run again."),
            };
        };
        let abort = match abort_controller() {
            Ok(abort) => abort,
            Err(error) => return self.refuse(&error.message),
        };
        let signal = abort.signal();
        self.drop_patched();
        let running = Running { on_arriving, record: record.clone(), ..self.running(abort) };
        let number = self.begin(running);
        self.state.borrow_mut().ran = self.text.text();
        self.text.set_error("");
        self.text.set_status(if arriving { "Waiting for the model’s first layers…" } else { "Running…" });
        let weak = Rc::downgrade(self);
        let on_partial: Rc<dyn Fn(Trace)> = Rc::new(move |trace| {
            if let Some(app) = weak.upgrade().filter(|app| app.is_running(number)) {
                app.show_partial(trace);
            }
        });
        // A model that is still arriving tells of its blocks.
        let on_share = (!arriving).then(|| self.telling(number, "Running"));
        let options = TraceOptions { record, signal: Some(signal), on_partial: Some(on_partial), on_share };
        let app = self.clone();
        spawn_local(async move {
            let started = dom::now();
            let outcome = model.trace(texts, options).await;
            let ended = dom::now();
            // Reading the trace was work enough for one task.
            dom::next_task().await;
            // Another run may have replaced this one meanwhile.
            if app.is_running(number) {
                match outcome {
                    Ok(trace) => app.show_complete(trace, &model, started, ended),
                    Err(error) => app.fail_run(&model, &error),
                }
            }
        });
    }

    /// A run that is about to begin.
    fn running(&self, abort: AbortController) -> Running {
        let number = self.state.borrow_mut().next_number();
        let record = RunOptions::default();
        Running { number, on_arriving: false, computed: 0, record, completes: false, abort }
    }

    fn begin(&self, running: Running) -> u64 {
        let number = running.number;
        self.state.borrow_mut().running = Some(running);
        self.text.set_running(true);
        number
    }

    pub(super) fn end_running(&self) {
        self.text.set_running(false);
        self.view.set_busy("");
    }

    /// Tells the reader how far a run is, once that is worth telling.
    fn telling(self: &Rc<Self>, number: u64, what: &'static str) -> Rc<dyn Fn(f64)> {
        /// Milliseconds after which a reader wonders.
        const SOON: f64 = 400.0;
        let (weak, began) = (Rc::downgrade(self), dom::now());
        Rc::new(move |share| {
            let app = weak.upgrade().filter(|app| app.is_running(number) && dom::now() - began > SOON);
            if let Some(app) = app {
                let text = format!("{what}, {:.0} %…", share * 100.0);
                app.text.set_status(&text);
                app.view.set_busy(&text);
            }
        })
    }

    /// Adds to the trace that is shown what the chosen view needs: the texts run again for just that, and all that is
    /// there stays.
    pub fn complete(self: &Rc<Self>, wanted: RunOptions) {
        self.drop_run();
        // The engine does one thing after the other, and patching may take minutes.
        if self.patching.borrow().is_some() {
            self.drop_patched();
        }
        let (made_by, good) = {
            let state = self.state.borrow();
            (state.made_by.clone(), state.good.as_ref().map(|(trace, _)| trace.clone()))
        };
        let (Some(model), Some(good), Ok(abort)) = (made_by, good, abort_controller()) else { return self.run() };
        let texts: Option<Vec<String>> = good.sequences.iter().map(|sequence| sequence.text.clone()).collect();
        let Some(texts) = texts else { return self.run() };
        let signal = abort.signal();
        let (lacking, record) = lacking(&self.state.borrow().recorded, wanted);
        let number = self.begin(Running { record: record.clone(), completes: true, ..self.running(abort) });
        let what = match (&lacking, lacking.patterns.first()) {
            (lacking, _) if lacking.lens > 0 => "Computing the logit lens",
            (_, Some(_)) => "Computing the pattern",
            (lacking, _) if lacking.attribution.is_some() => "Computing the attribution",
            _ => "Computing",
        };
        self.text.set_status(&format!("{what}…"));
        self.view.set_busy(&format!("{what}…"));
        let on_share = Some(self.telling(number, what));
        let options = TraceOptions { record: lacking, signal: Some(signal), on_partial: None, on_share };
        let app = self.clone();
        spawn_local(async move {
            let outcome = model.trace(texts, options).await;
            dom::next_task().await;
            if !app.is_running(number) {
                return;
            }
            match outcome {
                Ok(more) => {
                    app.state.borrow_mut().running = None;
                    app.end_running();
                    app.add_to_good(&good, more, Some(record));
                    app.write_link();
                    app.find_leads();
                }
                Err(error) => app.fail_run(&model, &error),
            }
        });
    }

    /// Puts what a later run recorded beside what is shown, unless something else is shown by now.
    fn add_to_good(&self, good: &Rc<Trace>, more: Trace, record: Option<RunOptions>) {
        let mut state = self.state.borrow_mut();
        let Some((_, status)) = state.good.take_if(|(shown, _)| Rc::ptr_eq(shown, good)) else { return };
        let mut whole = (**good).clone();
        whole.merge(more);
        let whole = Rc::new(whole);
        state.good = Some((whole.clone(), status.clone()));
        if let Some(mut record) = record {
            let kept = whole.sequences.first().and_then(|sequence| sequence.patterns.as_ref());
            record.patterns = kept.into_iter().flatten().map(|p| Head { layer: p.layer, head: p.head }).collect();
            state.recorded = record;
            state.shown = Some(whole);
            drop(state);
            self.text.set_status(&status);
            // No norm has changed: the other charts are as they were.
            self.show_view_again();
        } else {
            state.shown = Some(whole.clone());
            drop(state);
            self.report(self.findings.show(&whole, self.skip_first.checked()));
        }
    }

    /// Whether the model that is on its way, if one is, runs the text when it can.
    pub fn set_arrival_runs(&self, runs: bool) {
        if let Some(arriving) = self.state.borrow_mut().arriving.as_mut() {
            arriving.runs = runs;
        }
    }

    fn is_running(&self, number: u64) -> bool {
        self.state.borrow().running.as_ref().is_some_and(|running| running.number == number)
    }

    /// Ends the run under way because the reader asked for it.
    pub fn stop(&self) {
        let waited = std::mem::take(&mut self.state.borrow_mut().run_when_ready);
        if self.stop_patching() | self.drop_run() || waited {
            self.text.set_status("Stopped.");
            self.show_last_good();
        }
    }

    /// Ends the run under way, if there is one.
    pub fn drop_run(&self) -> bool {
        let running = self.state.borrow_mut().running.take();
        let ran = running.is_some();
        if let Some(running) = running {
            running.abort.abort();
            self.end_running();
        }
        ran
    }

    fn show_partial(&self, trace: Trace) {
        let (done, layers) = (trace.layer_count(), trace.model.n_layer);
        if let Some(running) = self.state.borrow_mut().running.as_mut() {
            running.computed = done;
        }
        self.set_stale("");
        self.report(self.show(&Rc::new(trace)));
        self.text.set_status(&match layers.saturating_sub(done) {
            0 => "Finishing…".to_owned(),
            1 => format!("Block {done} of {layers} computed; the charts still lack the last layer."),
            lacking => format!("Block {done} of {layers} computed; the charts still lack {lacking} layers."),
        });
    }

    fn show_complete(self: &Rc<Self>, trace: Trace, model: &Model, started: f64, ended: f64) {
        let (blocks_at, arriving) = {
            let mut state = self.state.borrow_mut();
            let running = state.running.take();
            state.made_by = Some(model.clone());
            let on_arriving = running.as_ref().is_some_and(|running| running.on_arriving);
            state.recorded = running.map_or_else(RunOptions::default, |running| running.record);
            state.saved = false;
            let arriving = state.arriving.as_mut().filter(|_| on_arriving);
            let is_arriving = arriving.map(|arriving| arriving.traced = true).is_some();
            (state.blocks_at.unwrap_or(0.0), is_arriving)
        };
        self.end_running();
        let tokens: usize = trace.sequences.iter().map(|sequence| sequence.token_count()).sum();
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        // A run that waited for bytes says nothing of the engine's speed.
        let time = match blocks_at > started {
            true => format!("{} after the last block", format_milliseconds(ended - blocks_at)),
            false => format_milliseconds(ended - started),
        };
        let brief = format!("{} · {time}", count(tokens, "token"));
        let status = format!("{brief} · {} · {}", count(model.workers(), "core"), model.simd());
        let trace = Rc::new(trace);
        self.set_stale("");
        let asked = self.state.borrow_mut().asked_pin.take();
        self.report(self.show(&trace));
        match arriving {
            true => self.text.set_status(&format!("{brief}. {REST}")),
            false => self.text.set_status(&status),
        }
        self.state.borrow_mut().good = Some((trace, status));
        match asked {
            Some(pin) => self.set_pinned(Some(pin)),
            None => {
                self.write_link();
                // Another view may have been chosen meanwhile.
                self.run_for_view();
            }
        }
        self.find_leads();
    }

    /// Asks, once the run is shown, since when the prediction leads: that needs the whole token table, and waits for it.
    pub fn find_leads(self: &Rc<Self>) {
        let (current, good) = {
            let state = self.state.borrow();
            let current = state.current.as_ref().map(|current| current.model.clone());
            let still = !state.saved && state.arriving.is_none() && state.running.is_none();
            (current, state.good.as_ref().filter(|_| still).cloned())
        };
        let (Some(model), Some((trace, _))) = (current, good) else { return };
        let texts: Vec<String> = trace.sequences.iter().take(1).filter_map(|sequence| sequence.text.clone()).collect();
        if texts.is_empty() || trace.sequences.iter().any(|sequence| sequence.leads.is_some()) {
            return;
        }
        let mut record = RunOptions::new(false, 0, false);
        (record.leads, record.ablate) = (true, trace.ablate.clone());
        let app = self.clone();
        spawn_local(async move {
            let asked = TraceOptions { record, ..TraceOptions::default() };
            let Ok(found) = model.trace(texts, asked).await else { return };
            if app.state.borrow().running.is_none() {
                app.add_to_good(&trace, found, None);
            }
        });
    }

    fn fail_run(self: &Rc<Self>, model: &Model, error: &Error) {
        let running = self.state.borrow_mut().running.take();
        let completes = running.as_ref().is_some_and(|running| running.completes);
        self.end_running();
        // A load that fails says so in the model panel; a run on its model has nothing to add.
        // What a control of a view asked for and the model has not: the view says so, the rest stays as it is.
        if error.code == Code::BadArgument {
            self.text.set_status("");
            self.show_last_good();
            // A new text is worth its norms whatever the view wants.
            let plain = RunOptions { ablate: self.ablate.borrow().clone(), ..RunOptions::new(false, 0, false) };
            if running.is_some_and(|running| !running.completes && !serves(&plain, &running.record)) {
                self.run_recording(plain);
            }
            return self.view.controls.set_error(&error.message);
        }
        let of_the_text =
            matches!(error.code, Code::TooLong | Code::EmptyInput | Code::NoTokenizer | Code::TokenOutOfRange);
        let arriving = self.state.borrow().arriving.as_ref().is_some_and(|arriving| arriving.model.is_some());
        if error.code == Code::Aborted || arriving && !of_the_text {
            self.text.set_status("");
            return self.show_last_good();
        }
        if ends_engine(error.code) {
            model.close();
            self.lose_current(error);
        }
        self.text.set_status("");
        if completes {
            // What is shown is as good as before.
            return self.view.controls.set_error(&explain(error, Step::Run));
        }
        self.refuse(&explain(error, Step::Run));
    }

    /// Says why there is no new result; the last one stays, marked as such.
    fn refuse(&self, message: &str) {
        self.text.set_error(message);
        self.show_last_good();
        self.set_stale(STALE);
    }
}
