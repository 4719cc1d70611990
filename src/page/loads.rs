//! Loading a model: the new one arrives beside the one in use, and takes over when it is all there.

use std::rc::Rc;

use wasm_bindgen_futures::spawn_local;
use web_sys::AbortSignal;

use super::app::{App, Arriving, Loaded, abort_controller};
use super::wish::{Origin, Wish};
use crate::api::{self, LoadOptions, Model, ModelFiles, Notice, NoticeKind, Phase, Progress, Source};
use trace::{Code, Error, Result};
use view::advice::{Step, ends_engine, explain};
use view::dom;
use view::hub_size::weights_size;
use view::progress::{Stage, format_count};

/// For more than this, the browser is asked not to throw away what is kept.
const PERSIST_ABOVE_BYTES: f64 = 50e6;

impl App {
    /// Starts loading; a load under way is ended.
    pub fn load(self: &Rc<Self>, wish: Wish) {
        self.drop_arriving();
        let abort = match abort_controller() {
            Ok(abort) => abort,
            Err(error) => return self.models.set_failed(&wish, &error.message),
        };
        let number = self.state.borrow_mut().next_number();
        let signal = abort.signal();
        let arriving = Arriving { number, wish: wish.clone(), model: None, runs: true, traced: false, abort };
        {
            let mut state = self.state.borrow_mut();
            state.arriving = Some(arriving);
            state.blocks_at = None;
        }
        self.models.set_loading(&wish);
        let app = self.clone();
        spawn_local(async move {
            let outcome = app.arrive(number, &wish, signal).await;
            if app.is_arriving(number) {
                match outcome {
                    Ok(model) => app.take_over(wish, model),
                    Err(error) => app.fail_load(&wish, &error),
                }
            }
        });
    }

    async fn arrive(self: &Rc<Self>, number: u64, wish: &Wish, signal: AbortSignal) -> Result<Model> {
        let source = match &wish.from {
            Origin::Address(address) => Source::Address(address.clone()),
            Origin::Files(files) => Source::Files(ModelFiles::from_picked(files)?),
        };
        let weak = Rc::downgrade(self);
        let on_progress: Rc<dyn Fn(Progress)> = Rc::new(move |progress| {
            if let Some(app) = weak.upgrade().filter(|app| app.is_arriving(number)) {
                app.show_progress(&progress);
            }
        });
        let weak = Rc::downgrade(self);
        let small = wish.is_near();
        let on_notice: Rc<dyn Fn(Notice)> = Rc::new(move |notice| {
            // What comes in a moment may come in any order.
            if small && notice.kind == NoticeKind::NoRanges {
                return;
            }
            if let Some(app) = weak.upgrade().filter(|app| app.is_arriving(number)) {
                app.models.add_notice(&notice.message, notice.kind == NoticeKind::Retrying);
            }
        });
        let options = LoadOptions {
            on_progress: Some(on_progress),
            on_notice: Some(on_notice),
            signal: Some(signal),
            ..Default::default()
        };
        let model = Model::load(source, options).await?;
        if !self.models.is_at_hand(wish) && model.weights_bytes() > PERSIST_ABOVE_BYTES {
            api::ask_to_persist();
        }
        let mut runs = false;
        if let Some(arriving) = self.state.borrow_mut().arriving.as_mut().filter(|arriving| arriving.number == number) {
            arriving.model = Some(model.clone());
            runs = arriving.runs;
        }
        if runs {
            // The charts fill block by block while the rest is on its way.
            self.run();
        }
        // The rows of the text are asked for before everything else is.
        dom::next_task().await;
        model.ready().await?;
        Ok(model)
    }

    fn is_arriving(&self, number: u64) -> bool {
        self.state.borrow().arriving.as_ref().is_some_and(|arriving| arriving.number == number)
    }

    fn show_progress(&self, progress: &Progress) {
        match progress.phase {
            Phase::Config => return self.models.set_step("Reading its settings…"),
            Phase::Tokenizer => return self.models.set_step("Reading its tokenizer…"),
            Phase::Weights | Phase::Build => {}
        }
        let stage = {
            let mut state = self.state.borrow_mut();
            let arriving = state.arriving.as_ref();
            let Some(model) = arriving.and_then(|arriving| arriving.model.as_ref()) else { return };
            let stage = Stage {
                layers: model.info().n_layer,
                ready: progress.blocks_ready,
                computed: state.running.as_ref().filter(|run| run.on_arriving).map(|run| run.computed),
                traced: arriving.is_some_and(|arriving| arriving.traced),
            };
            if stage.ready >= stage.layers {
                state.blocks_at.get_or_insert_with(dom::now);
            }
            stage
        };
        self.models.set_progress((progress.loaded, progress.total, progress.cached), &stage);
    }

    /// The model is complete: it replaces the one in use, whose memory is given back.
    fn take_over(self: &Rc<Self>, wish: Wish, model: Model) {
        self.models.set_ready(&wish, &describe(&model));
        let mut state = self.state.borrow_mut();
        let traced = state.arriving.take().is_some_and(|arriving| arriving.traced) && state.running.is_none();
        // Its line said that something was still arriving.
        let status = state.good.as_ref().filter(|_| traced).map(|(_, status)| status.clone());
        if !traced {
            state.made_by = None; // The model that ends here.
        }
        state.lost = None;
        state.blocks_at.get_or_insert_with(dom::now);
        let before = state.current.replace(Loaded { wish, model });
        drop(state);
        if let Some(before) = before {
            before.model.close();
        }
        if let Some(status) = status {
            self.text.set_status(&status);
        }
        // A trace of this model may have been shown before its last byte came.
        if traced {
            self.write_link();
            self.find_leads();
        }
        self.refresh_kept();
        super::offline_copy::keep_site();
    }

    fn fail_load(self: &Rc<Self>, wish: &Wish, error: &Error) {
        self.drop_arriving();
        let step = match wish.from {
            Origin::Address(_) => Step::Load,
            Origin::Files(_) => Step::Open,
        };
        let message = if error.code == Code::Aborted { String::new() } else { explain(error, step) };
        self.models.set_failed(wish, &message);
        self.after_lost_load(&wish.name.title);
    }

    /// Ends the load under way because the reader asked for it.
    pub fn cancel_load(self: &Rc<Self>) {
        let wish = self.state.borrow().arriving.as_ref().map(|arriving| arriving.wish.clone());
        self.drop_arriving();
        if let Some(wish) = wish {
            self.models.set_failed(&wish, "");
            self.after_lost_load(&wish.name.title);
        }
    }

    /// Ends the load under way and whatever ran on its model.
    fn drop_arriving(&self) {
        let arriving = self.state.borrow_mut().arriving.take();
        if let Some(arriving) = arriving {
            if arriving.model.is_some() {
                self.drop_run();
            }
            arriving.abort.abort();
            if let Some(model) = arriving.model {
                model.close();
                if arriving.traced {
                    self.state.borrow_mut().made_by = None;
                }
            }
        }
    }

    fn after_lost_load(self: &Rc<Self>, title: &str) {
        self.show_last_good();
        let (good, current, of_lost) = {
            let mut state = self.state.borrow_mut();
            state.run_when_ready = false;
            let source = state.current.as_ref().map(|current| current.model.info().source);
            let of_lost = state.good.as_ref().is_some_and(|(good, _)| Some(&good.model.source) != source.as_ref());
            (state.good.clone(), state.current.as_ref().map(|current| current.wish.name.title.clone()), of_lost)
        };
        if of_lost {
            self.set_stale(&format!("What is shown below was computed by {title}, which is not loaded any more."));
        }
        self.refresh_kept();
        let status = match (good, current) {
            (_, None) => "No model is loaded: pick one in the model panel.".to_owned(),
            (Some(_), Some(current)) => format!("{title} was not loaded; {current} is in use."),
            (None, Some(current)) => format!("{current} is in use."),
        };
        self.text.set_status(&status);
    }

    /// The engine of the model in use is gone.
    pub fn lose_current(&self, error: &Error) {
        if ends_engine(error.code) {
            let lost = self.state.borrow_mut().current.take();
            if let Some(lost) = lost {
                lost.model.close();
                let mut state = self.state.borrow_mut();
                (state.lost, state.made_by) = (Some(lost.wish), None);
                drop(state);
                self.models.set_lost(&explain(error, Step::Run));
            }
        }
    }

    /// Asks the hub for a repo's size, for the button that downloads it.
    pub fn ask_size(self: &Rc<Self>, id: String) {
        let app = self.clone();
        spawn_local(async move {
            let answer = weights_size(&id).await;
            app.models.set_size(&id, answer);
        });
    }
}

/// What a loaded model is: "2.9 M parameters · 12 layers · 4 heads · 128 wide · context 256".
fn describe(model: &Model) -> String {
    let info = model.info();
    let tokenizer = if model.has_tokenizer() { "" } else { " · no tokenizer" };
    format!(
        "{} parameters · {} layers · {} heads · {} wide · context {}{tokenizer}",
        format_count(model.parameters() as f64),
        info.n_layer,
        info.n_head,
        info.n_embd,
        info.n_positions
    )
}
