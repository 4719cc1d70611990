//! What a reader looks at, as one table of settings: each has one spelling in the page's address, in the attributes of an
//! embed and in the snippet that makes one.
//! Must never know: the DOM, where a setting is written.

use charts::{ChartName, ChartOptions, Control, Quantity, TokenRange};
use protocol::SampleOptions;
use trace::{Ablation, Head, TokenPosition, TokenRef};

use crate::part_names::{read_ablated, read_pair, write_ablated};

/// Most bins that a distribution is worth.
const MOST_BINS: usize = 500;

/// What is looked at, and how the next tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSettings {
    /// The chart.
    pub view: ChartName,
    /// What a heatmap shows.
    pub quantity: Quantity,
    /// Whether the true token's rank is shown rather than its probability.
    pub ranks: bool,
    /// Whose attention pattern.
    pub head: Head,
    /// Places of the two texts that are compared, or patched from the first into the second.
    pub texts: [usize; 2],
    /// A token whose logit is explained; empty for the predicted one.
    pub target: String,
    /// One whose logit is taken off; empty for none.
    pub against: String,
    /// What is switched off.
    pub ablate: Vec<Ablation>,
    /// The token that every view shows by itself.
    pub pin: Option<TokenPosition>,
    /// Whether position 0 is left out.
    pub skip_first: bool,
    /// Bins of the distribution, as typed; anything but a number from 1 to 500 leaves the choice to the rule.
    pub bins: String,
    /// How tokens are sampled, as typed.
    pub sampling: Sampling,
    /// Which tokens grids show; none for all.
    pub tokens: Option<TokenRange>,
}

/// The sampling controls, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the options are the field's")]
pub struct Sampling {
    pub temperature: String,
    pub top_k: String,
    pub top_p: String,
    pub seed: String,
}

impl Default for ViewSettings {
    fn default() -> Self {
        ViewSettings {
            view: ChartName::Heatmap,
            quantity: Quantity::default(),
            ranks: false,
            head: Head { layer: 0, head: 0 },
            texts: [0, 1],
            target: String::new(),
            against: String::new(),
            ablate: Vec::new(),
            pin: None,
            skip_first: true,
            bins: String::new(),
            sampling: Sampling {
                temperature: "1".to_owned(),
                top_k: String::new(),
                top_p: String::new(),
                seed: "1".to_owned(),
            },
            tokens: None,
        }
    }
}

/// One setting: how it is called, read and written.
pub struct Setting {
    /// Its name in the page's address.
    pub key: &'static str,
    /// Its name as an attribute of an embed; empty where embeds do not have it.
    pub attribute: &'static str,
    /// What makes sense, for the message about a value that does not.
    pub expected: &'static str,
    /// Whether a chart looks at it, so that a snippet should name it.
    pub concerns: fn(ChartName) -> bool,
    /// Whether only a model that runs can heed it; a saved run is what it is.
    pub needs_model: bool,
    /// Takes a value in; `None` where it makes no sense, and then nothing is changed.
    pub parse: fn(&mut ViewSettings, &str) -> Option<()>,
    /// The value as text; `None` where it is as on a first visit.
    pub print: fn(&ViewSettings) -> Option<String>,
}

/// Concerns every chart.
const ALL: fn(ChartName) -> bool = |_| true;
/// Concerns no snippet.
const NONE: fn(ChartName) -> bool = |_| false;
/// Concerns charts that explain a token's logit.
const EXPLAIN: fn(ChartName) -> bool = |chart| chart.spec().controls.contains(&Control::Target);

/// Every setting, in the order in which they are written.
pub const SETTINGS: [Setting; 16] = [
    Setting {
        key: "view",
        attribute: "chart",
        expected: "one of the charts",
        concerns: NONE, // A snippet always names its chart.
        needs_model: false,
        parse: |to, text| word(text).map(|view| to.view = view),
        print: |from| unless_usual(from, |s| s.view).map(|view| view.as_str().to_owned()),
    },
    Setting {
        key: "show",
        attribute: "show",
        expected: "attention, mlp, difference or stream",
        concerns: |chart| chart == ChartName::Heatmap,
        needs_model: false,
        parse: |to, text| word(text).map(|quantity| to.quantity = quantity),
        print: |from| unless_usual(from, |s| s.quantity).map(|quantity| quantity.as_str().to_owned()),
    },
    Setting {
        key: "by",
        attribute: "by",
        expected: "rank or probability",
        concerns: |chart| chart == ChartName::TrueToken,
        needs_model: false,
        parse: |to, text| one_of(text, [("rank", true), ("probability", false)]).map(|ranks| to.ranks = ranks),
        print: |from| (from.ranks && from.view == ChartName::TrueToken).then(|| "rank".to_owned()),
    },
    Setting {
        key: "head",
        attribute: "head",
        expected: "a block and a head, counted from 0, such as 2.1",
        concerns: |chart| chart.spec().controls.contains(&Control::Head),
        needs_model: false,
        parse: |to, text| read_pair(text).map(|(layer, head)| to.head = Head { layer, head }),
        print: |from| unless_usual(from, |s| s.head).map(|head| pair(head.layer, head.head)),
    },
    Setting {
        key: "texts",
        attribute: "texts",
        expected: "two lines of the text, counted from 0, such as 0.1",
        concerns: |chart| chart.spec().controls.contains(&Control::Texts),
        needs_model: false,
        parse: |to, text| read_pair(text).map(|(first, second)| to.texts = [first, second]),
        print: |from| unless_usual(from, |s| s.texts).map(|[first, second]| pair(first, second)),
    },
    Setting {
        key: "token",
        attribute: "token",
        expected: "a token",
        concerns: EXPLAIN,
        needs_model: true,
        parse: |to, text| as_typed(&mut to.target, text),
        print: |from| filled(&from.target),
    },
    Setting {
        key: "against",
        attribute: "against",
        expected: "a token",
        concerns: EXPLAIN,
        needs_model: true,
        parse: |to, text| as_typed(&mut to.against, text),
        print: |from| filled(&from.against),
    },
    Setting {
        key: "off",
        attribute: "off",
        expected: "parts such as attn.3, mlp.2.mean or head.1.4, with ~ between them",
        concerns: ALL,
        needs_model: true,
        parse: |to, text| {
            let parts: Option<Vec<Ablation>> = text.split('~').map(|part| read_ablated(part.trim())).collect();
            parts.map(|parts| to.ablate = parts)
        },
        print: |from| filled(&from.ablate.iter().map(write_ablated).collect::<Vec<_>>().join("~")),
    },
    Setting {
        key: "pin",
        attribute: "pin",
        expected: "a line of the text and a token, counted from 0, such as 0.3",
        concerns: ALL,
        needs_model: false,
        parse: |to, text| read_pair(text).map(|(sequence, token)| to.pin = Some(TokenPosition { sequence, token })),
        print: |from| from.pin.map(|pin| pair(pin.sequence, pin.token)),
    },
    Setting {
        key: "first",
        attribute: "first",
        expected: "shown or hidden",
        concerns: ALL,
        needs_model: false,
        parse: |to, text| one_of(text, [("shown", false), ("hidden", true)]).map(|skip| to.skip_first = skip),
        print: |from| (!from.skip_first).then(|| "shown".to_owned()),
    },
    Setting {
        key: "bins",
        attribute: "bins",
        expected: "a whole number from 1 to 500",
        concerns: |chart| chart == ChartName::Distribution,
        needs_model: false,
        parse: |to, text| read_bins(text).map(|bins| to.bins = bins.to_string()),
        print: |from| from.bins().map(|bins| bins.to_string()),
    },
    Setting {
        key: "temperature",
        attribute: "",
        expected: "a number",
        concerns: NONE,
        needs_model: true,
        parse: |to, text| as_typed(&mut to.sampling.temperature, text),
        print: |from| unless_usual(from, |s| s.sampling.temperature.clone()),
    },
    Setting {
        key: "top-k",
        attribute: "",
        expected: "a whole number",
        concerns: NONE,
        needs_model: true,
        parse: |to, text| as_typed(&mut to.sampling.top_k, text),
        print: |from| unless_usual(from, |s| s.sampling.top_k.clone()),
    },
    Setting {
        key: "top-p",
        attribute: "",
        expected: "a number",
        concerns: NONE,
        needs_model: true,
        parse: |to, text| as_typed(&mut to.sampling.top_p, text),
        print: |from| unless_usual(from, |s| s.sampling.top_p.clone()),
    },
    Setting {
        key: "seed",
        attribute: "",
        expected: "a whole number",
        concerns: NONE,
        needs_model: true,
        parse: |to, text| as_typed(&mut to.sampling.seed, text),
        print: |from| unless_usual(from, |s| s.sampling.seed.clone()),
    },
    Setting {
        key: "zoom",
        attribute: "",
        expected: "the first token and the one after the last, counted from 0, such as 3.9",
        concerns: NONE,
        needs_model: false,
        parse: |to, text| {
            let (from, until) = read_pair(text).filter(|(from, until)| from < until)?;
            to.tokens = Some(TokenRange { from, to: until });
            Some(())
        },
        print: |from| from.tokens.map(|tokens| pair(tokens.from, tokens.to)),
    },
];

/// What makes sense whatever it is.
fn as_typed(to: &mut String, text: &str) -> Option<()> {
    text.clone_into(to);
    Some(())
}

fn word<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}

fn one_of<T: Copy, const N: usize>(text: &str, known: [(&str, T); N]) -> Option<T> {
    known.into_iter().find(|(name, _)| *name == text.trim()).map(|(_, value)| value)
}

fn read_bins(text: &str) -> Option<usize> {
    word(text).filter(|bins| (1..=MOST_BINS).contains(bins))
}

fn pair(first: usize, second: usize) -> String {
    format!("{first}.{second}")
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn unless_usual<T: PartialEq>(settings: &ViewSettings, of: impl Fn(&ViewSettings) -> T) -> Option<T> {
    Some(of(settings)).filter(|value| *value != of(&ViewSettings::default()))
}

impl ViewSettings {
    /// Bins of the distribution; `None` where the rule decides.
    pub fn bins(&self) -> Option<usize> {
        read_bins(&self.bins)
    }

    /// The tokens that are explained.
    pub fn explained(&self) -> (Option<TokenRef>, Option<TokenRef>) {
        let token = |typed: &String| (!typed.is_empty()).then(|| TokenRef::Text(typed.clone()));
        (token(&self.target), token(&self.against))
    }

    /// How a chart draws this.
    pub fn chart_options(&self) -> ChartOptions {
        ChartOptions {
            bins: self.bins(),
            skip_first: self.skip_first,
            quantity: self.quantity,
            sequence: self.pin.map_or(0, |pin| pin.sequence),
            token: self.pin.map(|pin| pin.token),
            head: Some(self.head),
            ranks: self.ranks,
            tokens: self.tokens,
            compare: Some(self.texts),
            ..ChartOptions::default()
        }
    }

    /// How the next tokens are chosen.
    pub fn sample(&self, count: usize) -> SampleOptions {
        let Sampling { temperature, top_k, top_p, seed } = &self.sampling;
        SampleOptions {
            count,
            temperature: word(temperature).unwrap_or(1.0),
            top_k: word(top_k),
            top_p: word(top_p),
            seed: word(seed).unwrap_or_default(),
        }
    }

    /// Another seed: the same text and seed would choose the same token again.
    pub fn advance_seed(&mut self) {
        let seed: u64 = word(&self.sampling.seed).unwrap_or_default();
        self.sampling.seed = (seed + 1).to_string();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace::{AblationMode, Component};

    /// Every setting with a value that is not the usual one.
    fn unusual() -> ViewSettings {
        ViewSettings {
            view: ChartName::TrueToken,
            quantity: Quantity::Stream,
            ranks: true,
            head: Head { layer: 2, head: 1 },
            texts: [1, 0],
            target: " the".to_owned(),
            against: "~".to_owned(),
            ablate: vec![
                Ablation { layer: 3, part: Component::Attn, head: None, how: AblationMode::Zero },
                Ablation { layer: 1, part: Component::Head, head: Some(4), how: AblationMode::Mean },
            ],
            pin: Some(TokenPosition { sequence: 0, token: 3 }),
            skip_first: false,
            bins: "12".to_owned(),
            sampling: Sampling {
                temperature: "0.7".to_owned(),
                top_k: "40".to_owned(),
                top_p: "0.9".to_owned(),
                seed: "7".to_owned(),
            },
            tokens: Some(TokenRange { from: 3, to: 9 }),
        }
    }

    #[test]
    fn every_setting_is_read_as_it_was_written() {
        let mut read = ViewSettings::default();
        for setting in &SETTINGS {
            assert_eq!((setting.print)(&read), None, "settings.rs: {} is usual at first", setting.key);
            let written = (setting.print)(&unusual()).unwrap_or_else(|| panic!("settings.rs: {}", setting.key));
            assert_eq!((setting.parse)(&mut read, &written), Some(()), "settings.rs: {}={written}", setting.key);
        }
        assert_eq!(read, unusual());
    }

    #[test]
    fn each_is_spelled_as_it_ever_was() {
        let written: Vec<String> = SETTINGS
            .iter()
            .map(|setting| format!("{}={}", setting.key, (setting.print)(&unusual()).unwrap_or_default()))
            .collect();
        assert_eq!(
            written.join("&"),
            "view=true-token&show=stream&by=rank&head=2.1&texts=1.0&token= the&against=~&off=attn.3~head.1.4.mean&pin=0.3\
             &first=shown&bins=12&temperature=0.7&top-k=40&top-p=0.9&seed=7&zoom=3.9"
        );
    }

    #[test]
    fn a_value_that_makes_no_sense_changes_nothing() {
        for (key, value) in [
            ("view", "pie"),
            ("show", "all"),
            ("by", "size"),
            ("head", "2"),
            ("head", "-1.2"),
            ("texts", "1"),
            ("off", "attn"),
            ("off", "attn.1~head.1"),
            ("pin", "first"),
            ("first", "yes"),
            ("bins", "0"),
            ("bins", "501"),
            ("zoom", "9.3"),
        ] {
            let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
            let mut settings = unusual();
            assert_eq!((setting.parse)(&mut settings, value), None, "settings.rs: {key}={value}");
            assert_eq!(settings, unusual(), "settings.rs: {key}={value}");
        }
    }
}
