//! The page's address: text, model and settings stand behind its `#`, so that a copied link shows the same picture, and
//! back and forward undo and redo. What stands behind the `#` is never sent to a server.
//! Must never know: the browser's history.

use form_urlencoded::{Serializer, parse};
use view::settings::{SETTINGS, ViewSettings};

/// Longest address that is written: browsers and chat programs cut longer ones.
const LONGEST: usize = 16_000;

/// What an address says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    /// What is in the text box; none for the first sample.
    pub text: Option<String>,
    /// A model other than the demo: a repo id, with its revision where one was asked for.
    pub model: Option<String>,
    /// What is looked at.
    pub settings: ViewSettings,
}

impl Link {
    /// Reads what stands behind the `#`; what it does not say, or says wrongly, is as on a first visit. `None` where it
    /// names a place of the page (`#how`).
    pub fn read(hash: &str) -> Option<Link> {
        let hash = hash.trim_start_matches('#');
        if !hash.is_empty() && !hash.contains('=') {
            return None;
        }
        let mut link = Link::default();
        let mut seen = Vec::new();
        for (key, value) in parse(hash.as_bytes()) {
            // Of two values for one key, the first counts.
            if seen.contains(&key) {
                continue;
            }
            match key.as_ref() {
                "text" => link.text = Some(value.into_owned()),
                "model" => link.model = Some(value.into_owned()),
                _ => {
                    if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
                        let _ = (setting.parse)(&mut link.settings, &value);
                    }
                }
            }
            seen.push(key);
        }
        Some(link)
    }

    /// What stands behind the `#`; empty for what a first visit shows.
    pub fn hash(&self) -> String {
        let mut fields = Serializer::new(String::new());
        for (key, value) in [("text", &self.text), ("model", &self.model)] {
            if let Some(value) = value {
                fields.append_pair(key, value);
            }
        }
        for setting in &SETTINGS {
            if let Some(value) = (setting.print)(&self.settings) {
                fields.append_pair(setting.key, &value);
            }
        }
        let hash = fields.finish();
        match self.text {
            Some(_) if hash.len() > LONGEST => {
                let settings = ViewSettings { pin: None, tokens: None, ..self.settings.clone() };
                Link { text: None, model: self.model.clone(), settings }.hash()
            }
            _ => hash,
        }
    }

    /// Whether going from another address to this one is a step that the back button undoes: looking at other tokens of
    /// the same picture is none.
    pub fn is_step_from(&self, before: Option<&Link>) -> bool {
        before.is_none_or(|before| {
            let settings = ViewSettings { tokens: before.settings.tokens, ..self.settings.clone() };
            before.hash() != Link { settings, ..self.clone() }.hash()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use charts::{ChartName, Quantity, TokenRange};
    use proptest::prelude::*;
    use trace::{Head, TokenPosition};

    #[test]
    fn addresses_are_spelled_as_they_ever_were() {
        let settings = ViewSettings {
            view: ChartName::Pattern,
            quantity: Quantity::Stream,
            head: Head { layer: 3, head: 1 },
            target: " Paris & Rome".to_owned(),
            pin: Some(TokenPosition { sequence: 0, token: 4 }),
            skip_first: false,
            ..ViewSettings::default()
        };
        let link = Link { text: Some("Ä b\nc+d".to_owned()), model: Some("a/b@v1".to_owned()), settings };
        let hash = "text=%C3%84+b%0Ac%2Bd&model=a%2Fb%40v1&view=pattern&show=stream&head=3.1&token=+Paris+%26+Rome&pin=0.4\
                    &first=shown";
        assert_eq!(link.hash(), hash);
        assert_eq!(Link::read(&format!("#{hash}")), Some(link));
        assert_eq!(Link::default().hash(), "");
    }

    #[test]
    fn what_an_address_says_wrongly_is_as_on_a_first_visit() {
        assert_eq!(Link::read("#how"), None, "link.rs: the name of a place");
        assert_eq!(Link::read(""), Some(Link::default()));
        assert_eq!(Link::read("#view=pie&head=x&pin=1&zoom=9.3&nothing=1&="), Some(Link::default()));
        let first = Link::read("view=lens&view=heads").unwrap();
        assert_eq!(first.settings.view, ChartName::Lens, "link.rs: of two values the first counts");
    }

    #[test]
    fn a_text_that_is_too_long_is_left_out_with_what_points_into_it() {
        let settings = ViewSettings {
            pin: Some(TokenPosition { sequence: 0, token: 4 }),
            view: ChartName::Lens,
            ..ViewSettings::default()
        };
        let link = Link { text: Some("long ".repeat(5000)), model: None, settings };
        assert_eq!(link.hash(), "view=lens");
    }

    #[test]
    fn other_tokens_of_the_same_picture_are_no_step() {
        let whole = Link::default();
        let part = |view| Link {
            settings: ViewSettings { tokens: Some(TokenRange { from: 3, to: 9 }), view, ..ViewSettings::default() },
            ..Link::default()
        };
        assert!(!part(ChartName::Heatmap).is_step_from(Some(&whole)));
        assert!(part(ChartName::Lens).is_step_from(Some(&whole)) && whole.is_step_from(None));
    }

    proptest! {
        #[test]
        fn an_address_is_read_as_it_was_written(text in ".{0,40}", target in ".{0,8}", sequence: usize, token: usize) {
            let pin = TokenPosition { sequence, token };
            let settings = ViewSettings { target, pin: Some(pin), ..ViewSettings::default() };
            let link = Link { text: Some(text), model: None, settings };
            prop_assert_eq!(Link::read(&link.hash()), Some(link));
        }

        #[test]
        fn no_address_is_too_strange_to_be_read(hash in ".{0,200}") {
            if let Some(link) = Link::read(&hash) {
                let again = Link::read(&link.hash());
                prop_assert_eq!(again, Some(link));
            }
        }
    }
}
