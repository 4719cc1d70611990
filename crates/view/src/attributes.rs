//! What an embed's attributes ask for. A value that makes no sense is an error that names the attribute: an author
//! should see it at once, not wonder about a chart of something else.
//! Must never know: the DOM, where attributes come from.

use crate::settings::{SETTINGS, ViewSettings};
use crate::text_lines::decode_attribute;
use charts::ChartName;
use protocol::RunOptions;
use trace::{Code, Error, Result};

/// Every attribute that is read; embed.js watches these.
pub const ATTRIBUTES: [&str; 19] = [
    "text", "chart", "model", "src", "height", "theme", "controls", "hub", "show", "by", "head", "texts", "token",
    "against", "off", "pin", "first", "bins", "workers",
];

/// Smallest and largest height of a chart, in CSS pixels.
const HEIGHTS: (u32, u32) = (120, 4000);
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
pub enum TraceSource {
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
    pub from: TraceSource,
    /// What is looked at.
    pub view: ViewSettings,
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
        let controls = get("controls").is_some();
        let mut view = ViewSettings { view: ChartName::Evolution, ..ViewSettings::default() };
        for setting in SETTINGS.iter().filter(|setting| !setting.attribute.is_empty()) {
            let Some(value) = get(setting.attribute) else { continue };
            let is_read = (setting.parse)(&mut view, &value).is_some();
            if !is_read && !value.trim().is_empty() {
                return Err(no_sense(setting.attribute, &value, setting.expected));
            }
        }
        Ok(Settings {
            from: if given_trace { TraceSource::Given } else { Self::from(get, controls)? },
            view,
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
            // The trace is handed to scripts, which expect what the package's `trace` gives.
            predictions: true,
            ..self.view.record()
        }
    }

    fn from(get: Get<'_>, controls: bool) -> Result<TraceSource> {
        if let Some(src) = get("src").map(|src| src.trim().to_owned()).filter(|src| !src.is_empty()) {
            return Ok(TraceSource::Recorded(src));
        }
        let texts = decode_attribute(&get("text").unwrap_or_default());
        // With controls, the reader writes one.
        if texts.is_empty() && !controls {
            let message = "There is nothing to show: give this element a text, or a saved run's address as src.";
            return Err(Error::new(Code::EmptyInput, message));
        }
        let filled = |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let most = "a whole number from 1 to 64";
        Ok(TraceSource::Live(Live {
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
    read(value.trim()).map(Some).ok_or_else(|| no_sense(name, &value, expected))
}

fn no_sense(name: &str, value: &str, expected: &str) -> Error {
    let known = || ChartName::ALL.map(ChartName::as_str).join(", ");
    let expected = if name == "chart" { format!("one of {}", known()) } else { expected.to_owned() };
    let value: String = value.trim().chars().take(60).collect();
    Error::new(Code::BadArgument, format!("The attribute {name}=\"{value}\" is not {expected}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use charts::Quantity;
    use trace::{Component, Head, TokenPosition};

    fn read(attributes: &[(&str, &str)]) -> Result<Settings> {
        let get = |name: &str| {
            assert!(ATTRIBUTES.contains(&name), "attributes.rs: ATTRIBUTES does not list {name}");
            attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::read(&get, false)
    }

    #[test]
    fn a_text_alone_runs_the_demo_model_and_shows_the_evolution() {
        let settings = read(&[("text", " One line. \n\n Two. ")]).unwrap();
        let TraceSource::Live(live) = &settings.from else { panic!("attributes.rs: {:?} is not live", settings.from) };
        assert_eq!((live.model.as_str(), live.texts.as_slice()), ("demo", &["One line. ".into(), "Two. ".into()][..]));
        assert_eq!(settings.view.view, ChartName::Evolution);
        assert_eq!((settings.view.skip_first, settings.controls, settings.height), (true, false, None));
    }

    #[test]
    fn a_trace_needs_no_text_and_wins_over_one() {
        let settings =
            read(&[("src", " run.json "), ("text", "x"), ("chart", "heatmap"), ("show", "attention")]).unwrap();
        assert_eq!(settings.from, TraceSource::Recorded("run.json".into()));
        assert_eq!((settings.view.view, settings.view.quantity), (ChartName::Heatmap, Quantity::Attention));
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
        assert_eq!(settings.view.head, Head { layer: 2, head: 1 });
        assert_eq!((settings.view.pin, settings.view.texts), (Some(TokenPosition { sequence: 0, token: 3 }), [1, 0]));
        assert_eq!(
            settings.view.ablate.iter().map(|off| off.part).collect::<Vec<_>>(),
            [Component::Attn, Component::Head]
        );
        assert_eq!((settings.height, settings.colours, settings.view.bins()), (Some(300), Colours::Dark, Some(12)));
        assert!(settings.controls && !settings.view.skip_first && settings.view.ranks);
    }

    #[test]
    fn every_chart_has_its_name() {
        for chart in ChartName::ALL {
            assert_eq!(read(&[("text", "x"), ("chart", chart.as_str())]).unwrap().view.view, chart);
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
            assert_eq!(error.code, Code::BadArgument, "attributes.rs: {name}={value}: {error}");
            assert!(error.message.contains(&format!("{name}=\"{value}\"")), "attributes.rs: {error}");
        }
        assert_eq!(read(&[]).unwrap_err().code, Code::EmptyInput);
        assert_eq!(read(&[("text", " \n ")]).unwrap_err().code, Code::EmptyInput);
        assert!(read(&[("controls", "")]).is_ok(), "attributes.rs: with controls, the reader writes the text");
    }

    #[test]
    fn embed_js_watches_every_attribute() {
        let script = include_str!("../../../embed/embed.js");
        for name in ATTRIBUTES {
            assert!(script.contains(&format!("\"{name}\"")), "embed/embed.js does not watch {name}");
        }
    }
}
