//! Reading files that the reader picked or dropped: by slices, never a whole file at a time.

use std::ops::Range;

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, ReadableStreamDefaultReader};

use super::fetch::text_of;
use super::retry::Failure;
use super::{Attempt, Body, FileResponse, Files, Validator};
use crate::loading::WeightsError;
use crate::time;

/// Files from the reader's disk, by the names that checkpoints give them.
pub struct Picked(pub Vec<(String, Blob)>);

impl Files for Picked {
    type Body = BlobBody;

    async fn ask(&self, name: &str, bytes: Option<Range<u64>>) -> Attempt<Option<FileResponse<BlobBody>>> {
        let Some((_, blob)) = self.0.iter().find(|(known, _)| known == name) else { return Ok(None) };
        let broken = |why: JsValue| unreadable(name, &why);
        let slice = match &bytes {
            Some(bytes) => blob.slice_with_f64_and_f64(bytes.start as f64, bytes.end as f64).map_err(broken)?,
            None => blob.clone(),
        };
        let reader = slice.stream().get_reader().dyn_into().map_err(|_| unreadable(name, &"no stream".into()))?;
        let validator = Validator { etag: None, size: Some(blob.size() as u64) };
        let body = BlobBody { reader, name: name.to_string() };
        Ok(Some(FileResponse { body, is_whole: false, begin: bytes.map_or(0, |bytes| bytes.start), validator }))
    }

    async fn wait(&self, milliseconds: f64) {
        time::sleep(milliseconds).await;
    }

    async fn turn(&self) {
        time::next_task().await;
    }

    fn memory(&self) -> f64 {
        time::memory()
    }

    fn weight_files(&self) -> Option<Vec<String>> {
        let names = self.0.iter().map(|(name, _)| name);
        Some(names.filter(|name| name.ends_with(".safetensors")).cloned().collect())
    }

    fn is_local(&self) -> bool {
        true
    }

    fn place(&self) -> String {
        "the files given".into()
    }
}

/// The bytes of a slice.
pub struct BlobBody {
    reader: ReadableStreamDefaultReader,
    name: String,
}

impl Body for BlobBody {
    async fn next(&mut self) -> Attempt<Option<Vec<u8>>> {
        let broken = |why: JsValue| unreadable(&self.name, &why);
        let answer = JsFuture::from(self.reader.read()).await.map_err(broken)?;
        if Reflect::get(&answer, &"done".into()).is_ok_and(|done| done.is_truthy()) {
            return Ok(None);
        }
        let piece = Reflect::get(&answer, &"value".into()).map(JsCast::unchecked_into::<Uint8Array>).map_err(broken)?;
        Ok(Some(piece.to_vec()))
    }
}

/// A file that cannot be read: it was moved, changed or deleted since it was picked.
fn unreadable(name: &str, why: &JsValue) -> Failure {
    let why = format!("the file cannot be read any more ({}). Pick it again.", text_of(why));
    Failure::lasting(WeightsError::Network { url: name.into(), why })
}
