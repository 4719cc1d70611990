//! What a reader drops: files, the folder that a model lies in, or both.

use js_sys::{Array, Function, Promise};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{DataTransfer, File, FileList, FileSystemDirectoryEntry, FileSystemEntry, FileSystemFileEntry};

/// Names beside this one belong to a model.
const CONFIG: &str = "config.json";
/// Folders that are looked into: the hub's own cache has a model two folders below the one that bears its name.
const MOST_FOLDERS: usize = 64;
/// Files of a folder that are looked at.
const MOST_FILES: usize = 1000;

/// The files of a list, which may be missing.
pub fn listed(files: Option<FileList>) -> Vec<File> {
    files.map_or_else(Vec::new, |files| (0..files.length()).filter_map(|index| files.get(index)).collect())
}

/// What was dropped, as far as the browser tells it while the event lasts.
pub struct Dropped {
    files: Vec<File>,
    folders: Vec<FileSystemDirectoryEntry>,
}

impl Dropped {
    /// To be called while the event is handled: afterwards the browser tells nothing more.
    pub fn new(transfer: &DataTransfer) -> Dropped {
        let items = transfer.items();
        let (mut files, mut folders) = (Vec::new(), Vec::<FileSystemDirectoryEntry>::new());
        for item in (0..items.length()).filter_map(|index| items.get(index)) {
            match item.webkit_get_as_entry().ok().flatten() {
                Some(entry) if entry.is_directory() => folders.push(entry.unchecked_into()),
                _ => files.extend(item.get_as_file().ok().flatten()),
            }
        }
        // Among these, a folder would be a file too.
        let files = if folders.is_empty() { listed(transfer.files()) } else { files };
        Dropped { files, folders }
    }

    /// Whether there is nothing, as where a text was dropped.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.folders.is_empty()
    }

    /// The files; and of folders, those of the uppermost that holds a `config.json`, or else all that lie in them.
    pub async fn files(self) -> Vec<File> {
        let (mut waiting, loose, mut looked) = (self.folders, self.files, 0);
        let mut all = loose.clone();
        while !waiting.is_empty() && looked < MOST_FOLDERS {
            let mut below = Vec::new();
            for folder in waiting {
                looked += 1;
                let (files, folders) = content(&folder).await;
                if files.iter().any(|file| file.name() == CONFIG) {
                    return [loose, files].concat();
                }
                all.extend(files);
                below.extend(folders);
            }
            waiting = below;
        }
        all
    }
}

/// The files and the folders in a folder; what cannot be read is left out, and missed by its name later.
async fn content(folder: &FileSystemDirectoryEntry) -> (Vec<File>, Vec<FileSystemDirectoryEntry>) {
    let reader = folder.create_reader();
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    // Entries come by the hundred, and none at the end.
    while let Ok(some) = answer(|done, failed| reader.read_entries_with_callback_and_callback(done, failed)).await {
        let some: Array = some.unchecked_into();
        if some.length() == 0 || files.len() >= MOST_FILES {
            break;
        }
        for entry in some.iter().map(JsCast::unchecked_into::<FileSystemEntry>) {
            if entry.is_directory() {
                folders.push(entry.unchecked_into());
                continue;
            }
            let entry: FileSystemFileEntry = entry.unchecked_into();
            let file = answer(|done, failed| {
                entry.file_with_callback_and_callback(done, failed);
                Ok(())
            });
            files.extend(file.await.map(JsCast::unchecked_into::<File>));
        }
    }
    (files, folders)
}

/// What a function of the time before promises calls back with.
async fn answer(call: impl Fn(&Function, &Function) -> Result<(), JsValue>) -> Result<JsValue, JsValue> {
    JsFuture::from(Promise::new(&mut |done, failed| {
        if let Err(why) = call(&done, &failed) {
            let _ = failed.call1(&JsValue::UNDEFINED, &why);
        }
    }))
    .await
}
