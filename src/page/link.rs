//! The page's address: text, model, view and pinned token stand behind its `#`, so that a copied link shows the same
//! picture, and back and forward undo and redo. What stands behind the `#` is never sent to a server.

use wasm_bindgen::JsValue;
use web_sys::UrlSearchParams;

use super::view_panel::Asked;
use charts::ChartName;
use trace::{Ablation, Head, Result};
use view::dom;
use view::part_names::{read_ablated, read_pair, write_ablated};

/// Longest address that is written: browsers and chat programs cut longer ones.
const LONGEST: usize = 16_000;

/// What an address says.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// What is in the text box; none for the first sample.
    pub text: Option<String>,
    /// A model other than the demo: a repo id, with its revision where one was asked for.
    pub model: Option<String>,
    /// The view and its options.
    pub asked: Asked,
    /// What is switched off.
    pub ablate: Vec<Ablation>,
    /// Sequence and position of the pinned token.
    pub pin: Option<(usize, usize)>,
    pub skip_first: bool,
    /// How many bins the distribution has, as typed; empty for the rule's choice.
    pub bins: String,
    /// How tokens are sampled, as typed: [`SAMPLING`] has their names and what they are at first.
    pub sampling: [String; 4],
    /// Which tokens grids show.
    pub tokens: Option<(usize, usize)>,
}

/// The sampling controls: their names in an address, and what they say at first.
pub const SAMPLING: [(&str, &str); 4] = [("temperature", "1"), ("top-k", ""), ("top-p", ""), ("seed", "1")];

impl Default for Link {
    fn default() -> Self {
        Link {
            text: None,
            model: None,
            asked: Asked::default(),
            ablate: Vec::new(),
            pin: None,
            skip_first: true,
            bins: String::new(),
            sampling: SAMPLING.map(|(_, value)| value.to_owned()),
            tokens: None,
        }
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
        let pair = |name: &str| read_pair(&fields.get(name)?);
        let plain = Asked::default();
        let asked = Asked {
            view: fields.get("view").and_then(|name| name.parse().ok()).unwrap_or(plain.view),
            quantity: fields.get("show").and_then(|name| name.parse().ok()).unwrap_or_default(),
            ranks: fields.get("by").as_deref() == Some("rank"),
            head: pair("head").map_or(plain.head, |(layer, head)| Head { layer, head }),
            texts: pair("texts").unwrap_or(plain.texts),
            target: fields.get("token").unwrap_or_default(),
            against: fields.get("against").unwrap_or_default(),
        };
        Some(Link {
            text: fields.get("text"),
            model: fields.get("model"),
            asked,
            ablate: fields.get("off").map(|off| off.split('~').filter_map(read_ablated).collect()).unwrap_or_default(),
            pin: pair("pin"),
            skip_first: fields.get("first").as_deref() != Some("shown"),
            bins: fields.get("bins").unwrap_or_default(),
            sampling: SAMPLING.map(|(name, usual)| fields.get(name).unwrap_or_else(|| usual.to_owned())),
            tokens: pair("zoom"),
        })
    }

    /// Makes this the page's address; a step that the browser's back button undoes, unless the address said the same or
    /// only another part of the tokens is looked at.
    pub fn write(&self) -> Result<()> {
        let hash = self.hash();
        let here = Link::here();
        if here.as_ref().is_some_and(|here| here.hash() == hash) {
            return Ok(());
        }
        let is_step = here.is_none_or(|here| here.hash() != Link { tokens: here.tokens, ..self.clone() }.hash());
        let window = dom::window()?;
        // Without a fragment, the bare address: an empty one would stay the old one.
        let location = window.location();
        let bare = || format!("{}{}", location.pathname().unwrap_or_default(), location.search().unwrap_or_default());
        let address = if hash.is_empty() { bare() } else { format!("#{hash}") };
        if let Ok(history) = window.history() {
            // Refused from file:// in some browsers, and when called too often: the picture stays, its address is old.
            let _ = match is_step {
                true => history.push_state_with_url(&JsValue::NULL, "", Some(&address)),
                false => history.replace_state_with_url(&JsValue::NULL, "", Some(&address)),
            };
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
        let (asked, usual) = (&self.asked, &plain.asked);
        if asked.view != usual.view {
            fields.append("view", asked.view.as_str());
        }
        if asked.quantity != usual.quantity {
            fields.append("show", asked.quantity.as_str());
        }
        if asked.ranks && asked.view == ChartName::TrueToken {
            fields.append("by", "rank");
        }
        if asked.head != usual.head {
            fields.append("head", &format!("{}.{}", asked.head.layer, asked.head.head));
        }
        if asked.texts != usual.texts {
            fields.append("texts", &format!("{}.{}", asked.texts.0, asked.texts.1));
        }
        for (name, value) in [("token", &asked.target), ("against", &asked.against)] {
            if !value.is_empty() {
                fields.append(name, value);
            }
        }
        if !self.ablate.is_empty() {
            fields.append("off", &self.ablate.iter().map(write_ablated).collect::<Vec<_>>().join("~"));
        }
        if let Some((sequence, token)) = self.pin {
            fields.append("pin", &format!("{sequence}.{token}"));
        }
        if !self.skip_first {
            fields.append("first", "shown");
        }
        if !self.bins.is_empty() {
            fields.append("bins", &self.bins);
        }
        for ((name, usual), value) in SAMPLING.iter().zip(&self.sampling) {
            if usual != value {
                fields.append(name, value);
            }
        }
        if let Some((from, to)) = self.tokens {
            fields.append("zoom", &format!("{from}.{to}"));
        }
        let hash = String::from(fields.to_string());
        match self.text {
            Some(_) if hash.len() > LONGEST => Link { text: None, pin: None, tokens: None, ..self.clone() }.hash(),
            _ => hash,
        }
    }
}
