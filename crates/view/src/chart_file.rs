//! A chart as a file that the reader keeps. Files are for paper and for other people's pages: always dark on light.

use charts::{Figure, Size, Theme, canvas};
use trace::Result;
use wasm_bindgen::prelude::*;

use crate::{PICTURE, dom};

/// Offers a chart as "svg", "png", "csv" or "json", under this name without its ending.
pub fn offer(figure: &Figure, kind: &str, stem: &str) -> Result<()> {
    let size = Size::new(f64::from(PICTURE.0), f64::from(PICTURE.1));
    let name = format!("{stem}.{kind}");
    match kind {
        "svg" => {
            let picture = canvas::export_svg(figure, size, &Theme::light())?;
            dom::offer_file(&dom::text_blob(&picture, "image/svg+xml")?, &name)
        }
        "json" => dom::offer_file(&dom::text_blob(&figure.table().to_json(), "application/json")?, &name),
        "csv" => dom::offer_file(&dom::text_blob(&figure.table().to_csv(), "text/csv")?, &name),
        _ => {
            // Twice as many pixels each way: sharp on paper, too.
            let picture = canvas::export(figure, size, 2.0, &Theme::light())?;
            let save = Closure::once_into_js(move |blob: JsValue| {
                if let Ok(blob) = blob.dyn_into::<web_sys::Blob>() {
                    let _ = dom::offer_file(&blob, &name);
                }
            });
            let _ = picture.to_blob(save.unchecked_ref());
            Ok(())
        }
    }
}
