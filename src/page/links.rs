//! The page follows its address, and writes it: what `link` reads and spells out.

use std::rc::Rc;

use super::app::{App, Loaded};
use super::link::Link;
use super::wish::Origin;
use view::repo::KNOWN_MODELS;

/// What a link can say of a model: files are the reader's own.
fn address_of(loaded: &Loaded) -> Option<String> {
    match &loaded.wish.from {
        Origin::Address(address) => Some(address.clone()),
        Origin::Files(_) => None,
    }
}

impl App {
    /// Makes the page's address say what the page shows.
    pub fn write_link(&self) {
        let state = self.state.borrow();
        if state.good.is_none() {
            return; // Nothing is shown yet, and the address may say what is to be.
        }
        let current = state.current.as_ref().and_then(address_of);
        let link = Link {
            text: state.ran.clone(),
            model: state.asked_model.clone().or(current).filter(|address| address != KNOWN_MODELS[0].address),
            asked: self.view.asked(),
            ablate: self.ablate.borrow().clone(),
            pin: self.pinned.get(),
            skip_first: self.skip_first.checked(),
            bins: self.bins.value().trim().to_owned(),
            sampling: self.view.controls.sampling_typed(),
            tokens: self.view.window(),
        };
        drop(state);
        self.report(link.write());
    }

    /// Shows what an address says: on opening the page, and after back and forward.
    pub fn follow(self: &Rc<Self>, link: &Link) {
        self.skip_first.set_checked(link.skip_first);
        self.bins.set_value(&link.bins);
        self.view.set_asked(&link.asked);
        self.view.controls.set_sampling(&link.sampling);
        self.view.set_window(link.tokens);
        self.set_ablated(link.ablate.clone());
        let current = self.state.borrow().current.as_ref().and_then(address_of);
        let model = link.model.clone().unwrap_or_else(|| KNOWN_MODELS[0].address.to_owned());
        if current.as_ref() != Some(&model) && (link.model.is_some() || current.is_some()) {
            self.state.borrow_mut().asked_model = link.model.clone();
            self.models.propose(&model);
        }
        let (ran, shown) = {
            let state = self.state.borrow();
            (state.ran.clone(), state.good.is_some())
        };
        if shown && ran == link.text {
            self.pinned.set(link.pin);
            self.show_again();
            return self.run_for_view();
        }
        self.text.set_text(link.text.as_deref());
        self.state.borrow_mut().asked_pin = link.pin;
        // The first model's arrival runs the text by itself.
        if shown {
            self.run();
        }
    }

    /// Loads the model that a link asked for, where this browser keeps it: that needs no question.
    pub fn load_asked(self: &Rc<Self>) {
        let asked = self.state.borrow().asked_model.clone();
        if let Some(wish) = asked.and_then(|address| self.models.ready_to_load(&address)) {
            self.state.borrow_mut().asked_model = None;
            self.load(wish);
        }
    }
}
