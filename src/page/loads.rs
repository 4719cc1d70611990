//! Loading a model: the new one arrives beside the one in use, and takes over when it is all there.

use std::rc::Rc;

use wasm_bindgen_futures::spawn_local;
use web_sys::AbortSignal;

use super::advice::{Step, ends_engine, explain};
use super::app::{App, Arriving, Loaded, abort_controller};
use super::dom;
use super::hub_size::weights_size;
use super::model_panel::{Origin, Wish};
use super::progress::format_count;
use crate::api::{LoadOptions, Model, ModelFiles, Phase, Progress, Source};
use crate::error::{Code, Error, Result};

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
        let arriving = Arriving { number, wish: wish.clone(), model: None, abort };
        self.state.borrow_mut().arriving = Some(arriving);
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
        let options = LoadOptions { on_progress: Some(on_progress), signal: Some(signal), ..Default::default() };
        let model = Model::load(source, options).await?;
        if let Some(arriving) = self.state.borrow_mut().arriving.as_mut().filter(|arriving| arriving.number == number) {
            arriving.model = Some(model.clone());
        }
        if self.is_arriving(number) {
            // The charts fill block by block while the rest is on its way.
            self.run();
        }
        model.ready().await?;
        Ok(model)
    }

    fn is_arriving(&self, number: u64) -> bool {
        self.state.borrow().arriving.as_ref().is_some_and(|arriving| arriving.number == number)
    }

    fn show_progress(&self, progress: &Progress) {
        let layers =
            self.state.borrow().arriving.as_ref().and_then(|a| a.model.as_ref()).map(|model| model.info().n_layer);
        let rest = match (progress.phase, layers) {
            (Phase::Config, _) => "settings".to_owned(),
            (Phase::Tokenizer, _) => "tokenizer".to_owned(),
            (Phase::Weights, Some(layers)) => format!("block {} of {layers}", progress.blocks_ready.min(layers)),
            (Phase::Weights, None) => "weights".to_owned(),
            (Phase::Build, _) => "building".to_owned(),
        };
        self.models.set_progress(progress.loaded, progress.total, &rest);
    }

    /// The model is complete: it replaces the one in use, whose memory is given back.
    fn take_over(&self, wish: Wish, model: Model) {
        self.models.set_ready(&wish, &describe(&model));
        let mut state = self.state.borrow_mut();
        state.arriving = None;
        state.lost = None;
        state.complete_at = dom::now();
        let before = state.current.replace(Loaded { wish, model });
        drop(state);
        if let Some(before) = before {
            before.model.close();
        }
    }

    fn fail_load(&self, wish: &Wish, error: &Error) {
        self.drop_arriving();
        let message = if error.code == Code::Aborted { String::new() } else { explain(error, Step::Load) };
        self.models.set_failed(wish, &message);
        self.after_lost_load(&wish.name.title);
    }

    /// Ends the load under way because the reader asked for it.
    pub fn cancel_load(&self) {
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
            }
        }
    }

    fn after_lost_load(&self, title: &str) {
        self.show_last_good();
        let (good, current) = {
            let mut state = self.state.borrow_mut();
            state.run_when_ready = false;
            (state.good.clone(), state.current.as_ref().map(|current| current.wish.name.title.clone()))
        };
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
                self.state.borrow_mut().lost = Some(lost.wish);
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
