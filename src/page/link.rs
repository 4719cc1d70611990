//! The page's address: text, model, view and pinned token stand behind its `#`, so that a copied link shows the same
//! picture, and back and forward undo and redo. What stands behind the `#` is never sent to a server.

use wasm_bindgen::JsValue;
use web_sys::UrlSearchParams;

use super::dom;
use crate::charts::{ChartName, Quantity};
use crate::error::Result;

/// Longest address that is written: browsers and chat programs cut longer ones.
const LONGEST: usize = 16_000;

/// What an address says.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// What is in the text box; none for the first sample.
    pub text: Option<String>,
    /// A model other than the demo: a repo id, with its revision where one was asked for.
    pub model: Option<String>,
    pub view: ChartName,
    pub quantity: Quantity,
    /// Sequence and position of the pinned token.
    pub pin: Option<(usize, usize)>,
    pub skip_first: bool,
}

impl Default for Link {
    fn default() -> Self {
        let (view, quantity) = (ChartName::Heatmap, Quantity::default());
        Link { text: None, model: None, view, quantity, pin: None, skip_first: true }
    }
}

impl Link {
    /// What the address says now; what it does not say, or says wrongly, is as on a first visit. `None` where it
    /// names a place of the page (`#how`).
    pub fn here() -> Option<Link> {
        let hash = dom::window().ok()?.location().hash().ok()?;
        let hash = hash.trim_start_matches('#');
        if !hash.is_empty() && !hash.contains('=') {
            return None;
        }
        let fields = UrlSearchParams::new_with_str(hash).ok()?;
        let pin = fields.get("pin").and_then(|pin| {
            let (sequence, token) = pin.split_once('.')?;
            Some((sequence.parse().ok()?, token.parse().ok()?))
        });
        Some(Link {
            text: fields.get("text"),
            model: fields.get("model"),
            view: fields.get("view").and_then(|name| name.parse().ok()).unwrap_or(ChartName::Heatmap),
            quantity: fields.get("show").and_then(|name| name.parse().ok()).unwrap_or_default(),
            pin,
            skip_first: fields.get("first").as_deref() != Some("shown"),
        })
    }

    /// Makes this the page's address; a step that the browser's back button undoes, unless the address said the same.
    pub fn write(&self) -> Result<()> {
        let hash = self.hash();
        if Link::here().is_some_and(|here| here.hash() == hash) {
            return Ok(());
        }
        let window = dom::window()?;
        // Without a fragment, the bare address: an empty one would stay the old one.
        let location = window.location();
        let bare = || format!("{}{}", location.pathname().unwrap_or_default(), location.search().unwrap_or_default());
        let address = if hash.is_empty() { bare() } else { format!("#{hash}") };
        if let Ok(history) = window.history() {
            // Refused from file:// in some browsers, and when called too often: the picture stays, its address is old.
            let _ = history.push_state_with_url(&JsValue::NULL, "", Some(&address));
        }
        Ok(())
    }

    fn hash(&self) -> String {
        let Ok(fields) = UrlSearchParams::new() else { return String::new() };
        let plain = Link::default();
        for (name, value) in [("text", &self.text), ("model", &self.model)] {
            if let Some(value) = value {
                fields.append(name, value);
            }
        }
        if self.view != plain.view {
            fields.append("view", self.view.as_str());
        }
        if self.quantity != plain.quantity {
            fields.append("show", self.quantity.as_str());
        }
        if let Some((sequence, token)) = self.pin {
            fields.append("pin", &format!("{sequence}.{token}"));
        }
        if !self.skip_first {
            fields.append("first", "shown");
        }
        let hash = String::from(fields.to_string());
        match self.text {
            Some(_) if hash.len() > LONGEST => Link { text: None, pin: None, ..self.clone() }.hash(),
            _ => hash,
        }
    }
}
