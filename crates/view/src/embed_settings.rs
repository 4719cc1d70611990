//! What the element's attributes ask for. A value that makes no sense is an error that names the attribute: an author
//! should see it at once, not wonder about a chart of something else.
//! Must never know: the DOM, where attributes come from.

use crate::asked::Asked;
use crate::part_names::{read_ablated, read_pair};
use crate::text_lines::decode_attribute;
use charts::ChartName;
use protocol::RunOptions;
use trace::{Ablation, Code, Error, Head, Result};

/// Every attribute that is read; embed.js watches these.
pub const ATTRIBUTES: [&str; 19] = [
    "text", "chart", "model", "src", "height", "theme", "controls", "hub", "show", "by", "head", "texts", "token",
    "against", "off", "pin", "first", "bins", "workers",
];

/// Smallest and largest height of a chart, in CSS pixels.
const HEIGHTS: (u32, u32) = (120, 4000);
/// Most bins that a distribution is worth.
const MOST_BINS: usize = 500;
/// Most workers that the engine takes.
const MOST_WORKERS: usize = 64;

/// Knows the attributes that are there.
type Get<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colours {
    /// As the page is.
    #[default]
    Auto,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// Where the numbers come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A saved run's address, or `#id` of an element that holds one.
    Recorded(String),
    /// A trace that a script gave.
    Given,
    /// A model that runs on the reader's machine.
    Live(Live),
}

/// A model and texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// "demo", a repo id, or a folder's address.
    pub model: String,
    /// Instead of the hub.
    pub hub: Option<String>,
    /// Workers to compute with; the engine chooses if none are named.
    pub workers: Option<usize>,
    /// Sentences.
    pub texts: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the numbers come from.
    pub from: Source,
    /// The chart and its own options.
    pub asked: Asked,
    /// What is switched off.
    pub ablate: Vec<Ablation>,
    /// Sequence and position of the pinned token.
    pub pin: Option<(usize, usize)>,
    /// Whether position 0 is left out.
    pub skip_first: bool,
    /// Bins of the distribution.
    pub bins: Option<usize>,
    /// Of the chart, in CSS pixels.
    pub height: Option<u32>,
    /// Colours.
    pub colours: Colours,
    /// Whether the reader may choose chart and text, and take files.
    pub controls: bool,
}

impl Settings {
    /// Reads attributes; `get` knows those that are there. `given`: a script gave a trace, which wins over all others.
    ///
    /// # Errors
    /// `BadArgument` names the first attribute that makes no sense, `EmptyInput` an element without text and trace.
    pub fn read(get: Get<'_>, given_trace: bool) -> Result<Settings> {
        let plain = Asked::default();
        let controls = get("controls").is_some();
        let asked = Asked {
            view: given(get, "chart", "", |name| name.parse().ok())?.unwrap_or(ChartName::Evolution),
            quantity: given(get, "show", "attention, mlp, difference or stream", |name| name.parse().ok())?
                .unwrap_or_default(),
            ranks: given(get, "by", "rank or probability", |by| match by {
                "rank" => Some(true),
                "probability" => Some(false),
                _ => None,
            })?
            .unwrap_or_default(),
            head: given(get, "head", "a block and a head, counted from 0, such as 2.1", |text| {
                read_pair(text).map(|(layer, head)| Head { layer, head })
            })?
            .unwrap_or(plain.head),
            texts: given(get, "texts", "two lines of the text, counted from 0, such as 0.1", read_pair)?
                .unwrap_or(plain.texts),
            target: get("token").unwrap_or_default(),
            against: get("against").unwrap_or_default(),
        };
        let parts = "parts such as attn.3, mlp.2.mean or head.1.4, with ~ between them";
        let ablate = given(get, "off", parts, |text| text.split('~').map(|part| read_ablated(part.trim())).collect())?;
        let number = |most: usize| move |text: &str| text.parse().ok().filter(|n| (1..=most).contains(n));
        Ok(Settings {
            from: if given_trace { Source::Given } else { Self::from(get, controls)? },
            asked,
            ablate: ablate.unwrap_or_default(),
            pin: given(get, "pin", "a line of the text and a token, counted from 0, such as 0.3", read_pair)?,
            skip_first: given(get, "first", "shown or hidden", |first| match first {
                "shown" => Some(false),
                "hidden" => Some(true),
                _ => None,
            })?
            .unwrap_or(true),
            bins: given(get, "bins", "a whole number from 1 to 500", number(MOST_BINS))?,
            height: given(get, "height", "whole pixels, from 120 to 4000", |text| {
                let pixels: u32 = text.strip_suffix("px").unwrap_or(text).trim().parse().ok()?;
                (HEIGHTS.0..=HEIGHTS.1).contains(&pixels).then_some(pixels)
            })?,
            colours: given(get, "theme", "auto, light or dark", |theme| match theme {
                "auto" => Some(Colours::Auto),
                "light" => Some(Colours::Light),
                "dark" => Some(Colours::Dark),
                _ => None,
            })?
            .unwrap_or_default(),
            controls,
        })
    }

    /// What a trace must record for all of this.
    pub fn record(&self) -> RunOptions {
        RunOptions {
            ablate: self.ablate.clone(),
            // The trace is handed to scripts, which expect what the package's `trace` gives.
            predictions: true,
            ..self.asked.record(self.pin.map(|(_, token)| token))
        }
    }

    fn from(get: Get<'_>, controls: bool) -> Result<Source> {
        if let Some(src) = get("src").map(|src| src.trim().to_owned()).filter(|src| !src.is_empty()) {
            return Ok(Source::Recorded(src));
        }
        let texts = decode_attribute(&get("text").unwrap_or_default());
        // With controls, the reader writes one.
        if texts.is_empty() && !controls {
            let message = "There is nothing to show: give this element a text, or a saved run's address as src.";
            return Err(Error::new(Code::EmptyInput, message));
        }
        let filled = |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let most = "a whole number from 1 to 64";
        Ok(Source::Live(Live {
            model: filled("model").unwrap_or_else(|| "demo".to_owned()),
            hub: filled("hub"),
            workers: given(get, "workers", most, |text| text.parse().ok().filter(|n| (1..=MOST_WORKERS).contains(n)))?,
            texts,
        }))
    }
}

/// An attribute's value; `expected` says what makes sense.
fn given<T>(get: Get<'_>, name: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
    let Some(value) = get(name).filter(|value| !value.trim().is_empty()) else { return Ok(None) };
    match read(value.trim()) {
        Some(read) => Ok(Some(read)),
        None => {
            let known = || ChartName::ALL.map(ChartName::as_str).join(", ");
            let expected = if name == "chart" { format!("one of {}", known()) } else { expected.to_owned() };
            let value: String = value.chars().take(60).collect();
            Err(Error::new(Code::BadArgument, format!("The attribute {name}=\"{value}\" is not {expected}.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use charts::Quantity;
    use trace::Component;

    fn read(attributes: &[(&str, &str)]) -> Result<Settings> {
        let get = |name: &str| {
            assert!(ATTRIBUTES.contains(&name), "settings.rs: ATTRIBUTES does not list {name}");
            attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::read(&get, false)
    }

    #[test]
    fn a_text_alone_runs_the_demo_model_and_shows_the_evolution() {
        let settings = read(&[("text", " One line. \n\n Two. ")]).unwrap();
        let Source::Live(live) = &settings.from else { panic!("settings.rs: {:?} is not live", settings.from) };
        assert_eq!((live.model.as_str(), live.texts.as_slice()), ("demo", &["One line. ".into(), "Two. ".into()][..]));
        assert_eq!(settings.asked.view, ChartName::Evolution);
        assert_eq!((settings.skip_first, settings.controls, settings.height), (true, false, None));
    }

    #[test]
    fn a_trace_needs_no_text_and_wins_over_one() {
        let settings =
            read(&[("src", " run.json "), ("text", "x"), ("chart", "heatmap"), ("show", "attention")]).unwrap();
        assert_eq!(settings.from, Source::Recorded("run.json".into()));
        assert_eq!((settings.asked.view, settings.asked.quantity), (ChartName::Heatmap, Quantity::Attention));
    }

    #[test]
    fn options_are_spelled_as_in_the_pages_address() {
        let settings = read(&[
            ("text", "x"),
            ("head", "2.1"),
            ("pin", "0.3"),
            ("off", "attn.3~head.1.4.mean"),
            ("first", "shown"),
            ("height", "300px"),
            ("theme", "dark"),
            ("controls", ""),
            ("by", "rank"),
            ("texts", "1.0"),
            ("bins", "12"),
        ])
        .unwrap();
        assert_eq!(settings.asked.head, Head { layer: 2, head: 1 });
        assert_eq!((settings.pin, settings.asked.texts), (Some((0, 3)), (1, 0)));
        assert_eq!(settings.ablate.iter().map(|off| off.part).collect::<Vec<_>>(), [Component::Attn, Component::Head]);
        assert_eq!((settings.height, settings.colours, settings.bins), (Some(300), Colours::Dark, Some(12)));
        assert!(settings.controls && !settings.skip_first && settings.asked.ranks);
    }

    #[test]
    fn every_chart_has_its_name() {
        for chart in ChartName::ALL {
            assert_eq!(read(&[("text", "x"), ("chart", chart.as_str())]).unwrap().asked.view, chart);
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (name, value) in [
            ("chart", "pie"),
            ("height", "tall"),
            ("height", "3"),
            ("theme", "blue"),
            ("head", "2"),
            ("head", "-1.2"),
            ("pin", "first"),
            ("off", "attn"),
            ("off", "head.1"),
            ("first", "yes"),
            ("bins", "0"),
            ("bins", "many"),
            ("show", "all"),
            ("by", "size"),
            ("texts", "1"),
            ("workers", "0"),
            ("workers", "65"),
            ("height", "NaN"),
        ] {
            let error = read(&[("text", "x"), (name, value)]).unwrap_err();
            assert_eq!(error.code, Code::BadArgument, "settings.rs: {name}={value}: {error}");
            assert!(error.message.contains(&format!("{name}=\"{value}\"")), "settings.rs: {error}");
        }
        assert_eq!(read(&[]).unwrap_err().code, Code::EmptyInput);
        assert_eq!(read(&[("text", " \n ")]).unwrap_err().code, Code::EmptyInput);
        assert!(read(&[("controls", "")]).is_ok(), "settings.rs: with controls, the reader writes the text");
    }

    #[test]
    fn embed_js_watches_every_attribute() {
        let script = include_str!("../../../embed/embed.js");
        for name in ATTRIBUTES {
            assert!(script.contains(&format!("\"{name}\"")), "embed/embed.js does not watch {name}");
        }
    }
}
