//! A model's folder in the origin's private file system, through the access handles that only workers have.
//! <https://fs.spec.whatwg.org/>

use std::cell::RefCell;

use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    Blob, DedicatedWorkerGlobalScope, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions,
    FileSystemGetFileOptions, FileSystemReadWriteOptions, FileSystemRemoveOptions, FileSystemSyncAccessHandle,
    StorageEstimate,
};

use super::{CacheError, CacheStore, CachedFile, ChunkLog, Disk, Identity, Manifest};
use protocol::cache::{MANIFEST, ROOT, VERSION, folder_name};

/// One model's folder in the origin's private file system.
pub struct OpfsCache {
    root: FileSystemDirectoryHandle,
    folder: String,
    key: String,
    source: String,
}

impl OpfsCache {
    /// The folder of this key, made if need be. `source` is what the reader called the model.
    ///
    /// # Errors
    /// `Broken` where there is no such storage: in Firefox' private windows, on `file://`, in sandboxed frames.
    pub async fn open(key: &str, source: &str) -> Result<OpfsCache, CacheError> {
        let storage = scope().navigator().storage();
        if storage.is_undefined() || !Reflect::has(&storage, &"getDirectory".into()).unwrap_or(false) {
            return Err(CacheError::Broken("this browser has no file system for pages".into()));
        }
        let top: FileSystemDirectoryHandle = wait(storage.get_directory()).await?;
        let root = directory(&top, ROOT).await?;
        Ok(OpfsCache { root, folder: folder_name(key), key: key.into(), source: source.into() })
    }

    /// The folder, which another tab may have deleted meanwhile.
    async fn folder(&self) -> Result<FileSystemDirectoryHandle, CacheError> {
        directory(&self.root, &self.folder).await
    }

    async fn file(&self, name: &str) -> Option<FileSystemFileHandle> {
        wait(self.folder().await.ok()?.get_file_handle(name)).await.ok()
    }

    async fn read(&self, name: &str) -> Option<Vec<u8>> {
        bytes_of(&self.file(name).await?).await
    }

    async fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let disk = self.disk(name).await?;
        disk.truncate(0)?;
        disk.write(0, bytes)?;
        disk.flush()?;
        drop(disk);
        close_dropped().await;
        Ok(())
    }

    async fn disk(&self, name: &str) -> Result<OpfsDisk, CacheError> {
        close_dropped().await;
        let options = FileSystemGetFileOptions::new();
        options.set_create(true);
        let folder = self.folder().await?;
        let file: FileSystemFileHandle = wait(folder.get_file_handle_with_options(name, &options)).await?;
        if !Reflect::has(&file, &"createSyncAccessHandle".into()).unwrap_or(false) {
            return Err(CacheError::Broken("this browser has no access handles".into()));
        }
        let access = wait(file.create_sync_access_handle()).await?;
        Ok(OpfsDisk { file, access })
    }
}

impl CacheStore for OpfsCache {
    type Disk = OpfsDisk;

    async fn manifest(&self) -> Option<Manifest> {
        // What was torn in writing is no JSON, and so nothing is cached.
        let manifest: Manifest = serde_json::from_slice(&self.read(MANIFEST).await?).ok()?;
        (manifest.version == VERSION && manifest.key == self.key).then_some(manifest)
    }

    async fn write_manifest(&self, manifest: Manifest) -> Result<(), CacheError> {
        let (key, source) = (self.key.clone(), self.source.clone());
        let manifest = Manifest { version: VERSION, key, source, used: js_sys::Date::now(), ..manifest };
        let json = serde_json::to_vec(&manifest).map_err(|why| CacheError::Broken(why.to_string()))?;
        self.write(MANIFEST, &json).await
    }

    async fn small(&self, name: &str) -> CachedFile {
        let Some(file) = self.file(name).await else { return CachedFile::Missing };
        let mut bytes = bytes_of(&file).await.unwrap_or_default();
        // With the checksum of what was written: a file torn in writing must not be believed.
        let sum = bytes.split_off(bytes.len().saturating_sub(8));
        let intact = twox_hash::XxHash64::oneshot(0, &bytes).to_le_bytes() == *sum;
        if intact { CachedFile::Intact(bytes) } else { CachedFile::Damaged }
    }

    async fn store_small(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let mut all = bytes.to_vec();
        all.extend(twox_hash::XxHash64::oneshot(0, bytes).to_le_bytes());
        self.write(name, &all).await
    }

    async fn chunk_log(&self, name: &str, identity: &Identity) -> Result<ChunkLog<OpfsDisk>, CacheError> {
        let data = self.disk(&format!("{name}.data")).await?;
        let journal = self.disk(&format!("{name}.journal")).await?;
        ChunkLog::open(data, journal, identity)
    }

    async fn clear(&self) {
        close_dropped().await;
        let options = FileSystemRemoveOptions::new();
        options.set_recursive(true);
        // Fails where another tab has a file open, whose chunks then lose their identity on the next opening.
        let _: Result<JsValue, _> = wait(self.root.remove_entry_with_options(&self.folder, &options)).await;
    }

    async fn room(&self) -> Option<(f64, f64)> {
        let estimate: StorageEstimate = wait(scope().navigator().storage().estimate().ok()?).await.ok()?;
        let number = |name: &str| Reflect::get(&estimate, &name.into()).ok()?.as_f64();
        Some((number("usage")?, number("quota")?))
    }
}

/// An open file; closed soon after it is dropped.
pub struct OpfsDisk {
    file: FileSystemFileHandle,
    access: FileSystemSyncAccessHandle,
}

impl Disk for OpfsDisk {
    fn size(&self) -> Result<u64, CacheError> {
        self.access.get_size().map(|size| size as u64).map_err(|why| error_of(&why))
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, CacheError> {
        let read = self.access.read_with_u8_array_and_options(into, &place(at));
        read.map(|count| count as usize).map_err(|why| error_of(&why))
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), CacheError> {
        let written = self.access.write_with_u8_array_and_options(bytes, &place(at)).map_err(|why| error_of(&why))?;
        if written as usize == bytes.len() { Ok(()) } else { Err(CacheError::Full) }
    }

    fn truncate(&self, size: u64) -> Result<(), CacheError> {
        self.access.truncate_with_f64(size as f64).map_err(|why| error_of(&why))
    }

    fn flush(&self) -> Result<(), CacheError> {
        self.access.flush().map_err(|why| error_of(&why))
    }
}

impl Drop for OpfsDisk {
    fn drop(&mut self) {
        let open = (self.file.clone(), self.access.clone());
        DROPPED.with_borrow_mut(|dropped| dropped.push(open));
        spawn_local(close_dropped());
    }
}

thread_local! {
    /// Files that nobody uses any more, and that are not closed yet.
    static DROPPED: RefCell<Vec<(FileSystemFileHandle, FileSystemSyncAccessHandle)>> = const { RefCell::new(Vec::new()) };
}

/// Closes them, but for those that are gone: where a reader has cleared the site's data, Chromium's `close` never comes
/// back. Such a handle is left to the garbage collector.
async fn close_dropped() {
    while let Some((file, access)) = DROPPED.with_borrow(|dropped| dropped.first().cloned()) {
        let is_there = wait::<Blob>(file.get_file()).await.is_ok();
        let place = |dropped: &Vec<(_, FileSystemSyncAccessHandle)>| dropped.iter().position(|(_, of)| *of == access);
        // Whoever waits beside this one may have been faster.
        let is_mine = DROPPED.with_borrow_mut(|dropped| place(dropped).map(|at| dropped.remove(at))).is_some();
        if is_there && is_mine {
            access.close();
        }
    }
}

async fn bytes_of(file: &FileSystemFileHandle) -> Option<Vec<u8>> {
    let blob: Blob = wait(file.get_file()).await.ok()?;
    let bytes: JsValue = wait(blob.array_buffer()).await.ok()?;
    Some(Uint8Array::new(&bytes).to_vec())
}

fn place(at: u64) -> FileSystemReadWriteOptions {
    let options = FileSystemReadWriteOptions::new();
    options.set_at(at as f64);
    options
}

async fn directory(parent: &FileSystemDirectoryHandle, name: &str) -> Result<FileSystemDirectoryHandle, CacheError> {
    let options = FileSystemGetDirectoryOptions::new();
    options.set_create(true);
    wait(parent.get_directory_handle_with_options(name, &options)).await
}

async fn wait<T: JsCast>(promise: Promise) -> Result<T, CacheError> {
    JsFuture::from(promise).await.map(JsCast::unchecked_into).map_err(|why| error_of(&why))
}

fn error_of(why: &JsValue) -> CacheError {
    let text = |name: &str| Reflect::get(why, &name.into()).ok().and_then(|text| text.as_string()).unwrap_or_default();
    match text("name").as_str() {
        "QuotaExceededError" => CacheError::Full,
        "NoModificationAllowedError" | "InvalidStateError" => CacheError::Busy,
        name => CacheError::Broken(format!("{name}: {}", text("message"))),
    }
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}
