//! What the browser keeps of models, from the page's side: listed, measured, removed. The engine's workers write it.
//!
//! Everything here may be missing (no secure context, a private window), torn (a tab closed in the middle of writing)
//! or foreign (another version's folder): what cannot be read is still listed, so that it can be removed.

use std::cell::Cell;

use js_sys::{Function, Promise, Reflect};
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    Blob, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemHandle, FileSystemRemoveOptions, StorageEstimate,
    StorageManager,
};

use protocol::cache::{MANIFEST, Manifest, ROOT, VERSION};
use trace::{Code, Error, Result};

/// A worker that was ended a moment ago still holds its files: pauses between attempts to remove them, in milliseconds.
const REMOVAL_PAUSES: [i32; 3] = [100, 300, 600];

/// A model's folder in the browser's storage.
#[derive(Clone, Debug)]
pub struct CachedModel {
    /// The folder's name.
    pub folder: String,
    /// Bytes of the files in it.
    pub bytes: f64,
    /// What it says of itself; `None` where that is torn, or of another version of this program.
    pub manifest: Option<Manifest>,
}

/// What JavaScript sees of a [`CachedModel`].
#[derive(Serialize)]
pub(super) struct CachedModelJs {
    key: String,
    source: String,
    bytes: f64,
    complete: bool,
    used: f64,
}

impl CachedModel {
    /// By what it is removed: the model's address, or the folder's name where it does not tell.
    pub fn key(&self) -> &str {
        self.manifest.as_ref().map_or(&self.folder, |manifest| &manifest.key)
    }

    /// As JavaScript has it.
    pub(super) fn to_js(&self) -> CachedModelJs {
        let manifest = self.manifest.clone().unwrap_or_default();
        let (source, complete, used) = (manifest.source, manifest.complete, manifest.used);
        CachedModelJs { key: self.key().to_owned(), source, bytes: self.bytes, complete, used }
    }
}

/// The models in the browser's storage, the last used first; `None` where there is no such storage.
pub async fn cached_models() -> Option<Vec<CachedModel>> {
    let root = match root().await? {
        Ok(root) => root,
        Err(why) => return (error_name(&why) == "NotFoundError").then(Vec::new),
    };
    let mut models = Vec::new();
    for handle in children(&root).await {
        if let Ok(folder) = handle.dyn_into() {
            models.push(look_into(folder).await);
        }
    }
    let used = |model: &CachedModel| model.manifest.as_ref().map_or(0.0, |manifest| manifest.used);
    models.sort_by(|a, b| used(b).total_cmp(&used(a)));
    Some(models)
}

/// Removes the model of this key, as [`cached_models`] lists it; one that is not there is removed already.
///
/// # Errors
/// `BadArgument` while a worker, of this tab or another, is still writing it; `UnsupportedBrowser`.
pub async fn remove_cached_model(key: &str) -> Result<()> {
    for model in cached_models().await.unwrap_or_default() {
        if model.key() == key {
            let named = |error: Error| Error::new(error.code, format!("{key}: {}", error.message));
            remove_folder(&model.folder).await.map_err(named)?;
        }
    }
    Ok(())
}

/// Removes one folder.
///
/// # Errors
/// Those of [`remove_cached_model`].
pub async fn remove_folder(folder: &str) -> Result<()> {
    let Some(Ok(root)) = root().await else { return Ok(()) };
    let options = FileSystemRemoveOptions::new();
    options.set_recursive(true);
    let mut pauses = REMOVAL_PAUSES.iter();
    loop {
        let Err(why) = JsFuture::from(root.remove_entry_with_options(folder, &options)).await else { return Ok(()) };
        match error_name(&why).as_str() {
            "NotFoundError" => return Ok(()),
            "NoModificationAllowedError" | "InvalidStateError" => match pauses.next() {
                Some(&pause) => sleep(pause).await,
                None => {
                    let message =
                        "it is being loaded, here or in another tab. Cancel that, or wait until it is all there.";
                    return Err(Error::new(Code::BadArgument, message));
                }
            },
            _ => {
                let message = format!("the browser would not remove it: {}", super::errors::from_js(&why).message);
                return Err(Error::new(Code::UnsupportedBrowser, message));
            }
        }
    }
}

/// Bytes that this origin uses of the browser's storage, and may use; an estimate by the browser.
pub async fn storage_room() -> Option<(f64, f64)> {
    let estimate: StorageEstimate = JsFuture::from(storage()?.estimate().ok()?).await.ok()?.unchecked_into();
    Some((estimate.get_usage()?, estimate.get_quota()?))
}

thread_local! {
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

/// Asks the browser, once per page, not to remove what is kept when its disk runs full. Some browsers ask the reader:
/// nothing waits for the answer, and nothing depends on it.
pub fn ask_to_persist() {
    if ASKED.replace(true) {
        return;
    }
    if let Some(Ok(answer)) = storage().map(|storage| storage.persist()) {
        spawn_local(async move {
            let _ = JsFuture::from(answer).await;
        });
    }
}

/// The browser's storage; missing where the page is not in a secure context.
fn storage() -> Option<StorageManager> {
    // From the global scope, so that it does not matter whether that is a window or a worker.
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).ok()?;
    let storage = Reflect::get(&navigator, &"storage".into()).ok()?;
    storage.is_object().then(|| storage.unchecked_into())
}

/// The folder of all models' folders; `None` where there is no file system for pages, an error where there is no folder.
async fn root() -> Option<std::result::Result<FileSystemDirectoryHandle, JsValue>> {
    let storage = storage()?;
    if !Reflect::has(&storage, &"getDirectory".into()).unwrap_or(false) {
        return None;
    }
    // Refused in private windows of some browsers, in sandboxed frames and on file:.
    let top: FileSystemDirectoryHandle = JsFuture::from(storage.get_directory()).await.ok()?.unchecked_into();
    Some(JsFuture::from(top.get_directory_handle(ROOT)).await.map(JsCast::unchecked_into))
}

async fn children(folder: &FileSystemDirectoryHandle) -> Vec<FileSystemHandle> {
    let mut found = Vec::new();
    if !Reflect::has(folder, &"values".into()).unwrap_or(false) {
        return found;
    }
    let all = folder.values();
    while let Ok(step) = all.next() {
        // A folder that another tab removes meanwhile ends here.
        let Ok(step) = JsFuture::from(step).await else { break };
        let value = Reflect::get(&step, &"value".into()).unwrap_or(JsValue::UNDEFINED);
        if !value.is_object() {
            break;
        }
        found.push(value.unchecked_into());
    }
    found
}

async fn look_into(folder: FileSystemDirectoryHandle) -> CachedModel {
    let mut model = CachedModel { folder: folder.name(), bytes: 0.0, manifest: None };
    for handle in children(&folder).await {
        let Some(file) = handle.dyn_ref::<FileSystemFileHandle>() else { continue };
        let Ok(file) = JsFuture::from(file.get_file()).await else { continue };
        let file: Blob = file.unchecked_into();
        model.bytes += file.size();
        if handle.name() == MANIFEST {
            model.manifest = read_manifest(&file).await;
        }
    }
    model
}

async fn read_manifest(file: &Blob) -> Option<Manifest> {
    /// Longer is nothing that this program wrote.
    const LONGEST: f64 = 1e6;
    if file.size() > LONGEST {
        return None;
    }
    let text = JsFuture::from(file.text()).await.ok()?.as_string()?;
    // A checksum may follow the object.
    let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Manifest>();
    values.next()?.ok().filter(|manifest| manifest.version == VERSION && !manifest.key.is_empty())
}

fn error_name(why: &JsValue) -> String {
    Reflect::get(why, &"name".into()).ok().and_then(|name| name.as_string()).unwrap_or_default()
}

async fn sleep(milliseconds: i32) {
    let timer = Reflect::get(&js_sys::global(), &"setTimeout".into()).ok().and_then(|f| f.dyn_into::<Function>().ok());
    let mut wait = |resolve: Function, _: Function| {
        let started =
            timer.as_ref().and_then(|timer| timer.call2(&JsValue::UNDEFINED, &resolve, &milliseconds.into()).ok());
        if started.is_none() {
            let _ = resolve.call0(&JsValue::UNDEFINED);
        }
    };
    let _ = JsFuture::from(Promise::new(&mut wait)).await;
}
