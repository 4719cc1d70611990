//! How large a model is that is not here yet, and where it lies.
//! Must never know: whether the reader wants it.

use web_sys::Request;

use protocol::hub::HUB;
use trace::{Code, Error, Result};
use view::attributes::Live;
use view::hub_size::weights_size_in;
use view::repo::{KNOWN_MODELS, folder_on, parse_repo_id};

/// A model as the element names it: a folder's address made absolute, a repo id checked.
///
/// # Errors
/// `BadArgument`.
pub fn checked(model: &str) -> Result<String> {
    let bad = |why: String| Error::new(Code::BadArgument, format!("The attribute model=\"{model}\": {why}"));
    if model == "demo" {
        return Ok(model.to_owned());
    }
    if model.contains("://") || model.starts_with(['/', '.']) {
        // Relative to the page, by the browser's own rule.
        let folder = Request::new_with_str(model).map_err(|_| bad("this is no address.".to_owned()))?;
        return Ok(format!("{}/", folder.url().trim_end_matches('/')));
    }
    parse_repo_id(model).map_err(bad)
}

/// The name that readers see.
pub fn title(model: &str) -> String {
    let known = KNOWN_MODELS.iter().find(|known| known.address == model);
    known.map_or_else(|| model.trim_end_matches('/').to_owned(), |known| known.title.to_owned())
}

/// Bytes to download; 0 where nobody says.
///
/// # Errors
/// `NotFound` or `Network`, in the host's name.
pub async fn size(live: &Live) -> Result<u64> {
    let usual_hub = live.hub.as_deref().is_none_or(|hub| hub.trim_end_matches('/') == HUB);
    if let Some(known) = KNOWN_MODELS.iter().find(|known| known.address == live.model).filter(|_| usual_hub) {
        return Ok(known.bytes);
    }
    let folder = folder_on(live.hub.as_deref().unwrap_or(HUB), &live.model);
    weights_size_in(&live.model, &folder).await.map_err(|why| Error::new(Code::NotFound, why))
}
