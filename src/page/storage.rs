//! What this browser keeps of models: looked at when it may have changed, and deleted on the reader's word.

use std::rc::Rc;

use wasm_bindgen_futures::spawn_local;

use super::app::App;
use super::kept::{Kept, KeptModels, key_of};
use super::wish::{Origin, Wish};
use crate::api;
use view::dom;
use view::progress::format_bytes;

/// Between two looks that nobody asked for, in milliseconds.
const LOOK_EVERY_MS: i32 = 500;
/// How long a kept model's row stays ticked before it is loaded: arrow keys pass over rows.
const TICKED_MS: i32 = 400;

impl App {
    /// Looks again, soon but not at every step of the keyboard: another tab may have loaded or deleted a model.
    pub fn look_at_kept(self: &Rc<Self>) {
        if dom::document().is_ok_and(|document| document.hidden()) {
            return;
        }
        let (number, at) = self.looked.get();
        if dom::now() - at > f64::from(LOOK_EVERY_MS) {
            return self.refresh_kept();
        }
        let app = self.clone();
        spawn_local(async move {
            dom::sleep(LOOK_EVERY_MS).await;
            if app.looked.get().0 == number {
                app.refresh_kept();
            }
        });
    }

    /// Lists what is kept.
    pub fn refresh_kept(self: &Rc<Self>) {
        let app = self.clone();
        spawn_local(async move { app.list_kept().await });
    }

    async fn list_kept(self: &Rc<Self>) {
        let number = self.looked.get().0 + 1;
        self.looked.set((number, dom::now()));
        let found = api::cached_models().await;
        let room = api::storage_room().await;
        // A later look knows better.
        if self.looked.get().0 != number {
            return;
        }
        let arriving = self.state.borrow().arriving.as_ref().and_then(|arriving| match &arriving.wish.from {
            Origin::Address(address) => Some(key_of(address)),
            Origin::Files(_) => None,
        });
        let available = found.is_some();
        let models = found.unwrap_or_default().into_iter().map(|model| Kept {
            arriving: arriving.as_deref() == Some(model.key()),
            folder: model.folder,
            bytes: model.bytes,
            about: model.about,
        });
        // The browser's whole estimate says little where nothing can be kept.
        let room = room.filter(|_| available);
        self.models.set_kept(KeptModels { models: models.collect(), room, available });
        self.load_asked();
    }

    /// Deletes folders, and says how that went.
    pub fn delete_kept(self: &Rc<Self>, folders: Vec<String>) {
        let app = self.clone();
        spawn_local(async move {
            let named: Vec<(String, String, f64)> = {
                let kept = app.models.kept_models();
                let named = |folder: &String| kept.models.iter().find(|model| model.folder == *folder).cloned();
                folders.iter().filter_map(named).map(|m| (m.folder.clone(), m.title(), m.bytes)).collect()
            };
            let (mut gone, mut freed, mut said) = (Vec::new(), 0.0, Vec::new());
            for (folder, title, bytes) in named {
                match api::remove_folder(&folder).await {
                    Ok(()) => {
                        gone.push(title);
                        freed += bytes;
                    }
                    Err(error) => said.push(format!("{title} stays: {}", error.message)),
                }
            }
            match gone.as_slice() {
                [] => {}
                [title] => said.insert(0, format!("{title} is deleted: {} are free again.", format_bytes(freed))),
                all => {
                    said.insert(0, format!("{} models are deleted: {} are free again.", all.len(), format_bytes(freed)))
                }
            }
            app.list_kept().await;
            app.models.kept.say(&said.join(" "));
        });
    }

    /// Loads a kept model whose row the reader ticked, unless another was ticked meanwhile.
    pub fn load_if_still_ticked(self: &Rc<Self>, wish: Wish) {
        let app = self.clone();
        spawn_local(async move {
            dom::sleep(TICKED_MS).await;
            if app.models.still_wants(&wish) {
                app.load(wish);
            }
        });
    }
}
