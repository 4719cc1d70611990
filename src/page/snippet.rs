//! The lines of HTML that put a chart on somebody else's page.
//! Must never know: where they are shown.

use std::rc::Rc;

use trace::Trace;
use view::PICTURE;
use view::settings::{SETTINGS, ViewSettings};

/// What the dialog about embeds speaks of, from opening to closing.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The run that is shown.
    pub trace: Rc<Trace>,
    /// What is looked at; what is switched off is the trace's own.
    pub settings: ViewSettings,
    /// The model that made the run: "demo" or a repo id; none where it came from the reader's own files, or is gone.
    pub model: Option<String>,
}

/// Where an embed takes its numbers from.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// A file of this name beside the page.
    Saved(String),
    /// Texts that a model runs on, the demo model if none is named.
    Live {
        /// One a line.
        text: String,
        /// A repo id.
        model: Option<String>,
    },
}

/// What an embed is to show.
#[derive(Clone, Debug)]
pub struct Snippet<'a> {
    /// Address of embed.js.
    pub script: &'a str,
    /// Where its numbers come from.
    pub numbers: Numbers,
    /// What is looked at.
    pub settings: &'a ViewSettings,
    /// The picture's file, and what it shows in words.
    pub picture: (&'a str, &'a str),
}

/// Room that is kept for the chart while the picture stands there, so that what is below does not move: as high as the
/// picture is at its widest.
const ROOM: u32 = PICTURE.1;
/// Letters of a run's text that its file's name begins with, at most.
const NAME_LETTERS: usize = 24;

/// What the files of a run are called, without their endings: by its first text's first words, and by what is in it, so
/// that the files of two runs never have one name.
pub fn file_stem(text: &str, run: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = "residual-stream".to_owned();
    let most = name.len() + NAME_LETTERS;
    for word in words.take_while(|word| word.len() < NAME_LETTERS) {
        if name.len() + 1 + word.len() > most {
            break;
        }
        name = format!("{name}-{}", word.to_ascii_lowercase());
    }
    // FNV-1a: tells files apart, no more.
    let hash = run.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{name}-{:06x}", (hash >> 24) ^ (hash & 0x00ff_ffff))
}

impl Snippet<'_> {
    /// As HTML: no empty line, so that Markdown takes it for one block.
    pub fn html(&self) -> String {
        let mut attributes = String::new();
        let mut add = |name: &str, value: &str| attributes += &format!(" {name}=\"{}\"", escaped(value));
        let is_live = match &self.numbers {
            Numbers::Saved(file) => {
                add("src", file);
                false
            }
            Numbers::Live { text, model } => {
                add("text", text);
                if let Some(model) = model {
                    add("model", model);
                }
                true
            }
        };
        let chart = self.settings.view;
        add("chart", chart.as_str());
        for setting in SETTINGS.iter().filter(|setting| (setting.concerns)(chart) && (is_live || !setting.needs_model))
        {
            if let Some(value) = (setting.print)(self.settings) {
                add(setting.attribute, &value);
            }
        }
        add("style", &format!("display:block;min-height:{ROOM}px"));
        let (file, words) = (escaped(self.picture.0), escaped(self.picture.1));
        let (width, height) = PICTURE;
        let size = format!("width=\"{width}\" height=\"{height}\" style=\"max-width:100%;height:auto\"");
        format!(
            "<script src=\"{}\" async></script>\n<residual-stream{attributes}>\n  <img src=\"{file}\" {size} alt=\"{words}\">\n</residual-stream>\n",
            escaped(self.script)
        )
    }
}

/// Text as an attribute's value; a line's end as a reference, since Markdown breaks at empty lines.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '\n' => out += "&#10;",
            '\r' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use charts::{ChartName, Quantity, TokenRange};
    use trace::{Ablation, AblationMode, Component, TokenPosition};

    fn snippet(settings: ViewSettings, numbers: Numbers) -> String {
        let settings = ViewSettings {
            ablate: vec![Ablation { layer: 3, part: Component::Mlp, head: None, how: AblationMode::Mean }],
            pin: Some(TokenPosition { sequence: 0, token: 2 }),
            skip_first: false,
            ..settings
        };
        let picture = ("run.svg", "A \"chart\".");
        Snippet { script: "https://a.b/embed.js", numbers, settings: &settings, picture }.html()
    }

    #[test]
    fn a_saved_run_names_its_file_and_what_is_looked_at() {
        let settings =
            ViewSettings { view: ChartName::Heatmap, quantity: Quantity::Attention, ..ViewSettings::default() };
        assert_eq!(
            snippet(settings, Numbers::Saved("run.json".into())),
            "<script src=\"https://a.b/embed.js\" async></script>\n<residual-stream src=\"run.json\" chart=\"heatmap\" \
             show=\"attention\" pin=\"0.2\" first=\"shown\" style=\"display:block;min-height:540px\">\n  \
             <img src=\"run.svg\" width=\"960\" height=\"540\" style=\"max-width:100%;height:auto\" \
             alt=\"A &quot;chart&quot;.\">\n</residual-stream>\n"
        );
    }

    #[test]
    fn a_chart_is_given_what_it_looks_at_and_nothing_else() {
        let all = ViewSettings {
            quantity: Quantity::Stream,
            ranks: true,
            head: trace::Head { layer: 1, head: 2 },
            texts: [1, 0],
            target: " a".into(),
            bins: "12".into(),
            tokens: Some(TokenRange { from: 1, to: 3 }),
            ..ViewSettings::default()
        };
        for (view, own) in [
            (ChartName::Heatmap, " show=\"stream\""),
            (ChartName::TrueToken, " by=\"rank\""),
            (ChartName::Pattern, " head=\"1.2\""),
            (ChartName::Compare, " texts=\"1.0\""),
            (ChartName::Patching, " texts=\"1.0\""),
            (ChartName::Change, ""),
            (ChartName::Attribution, ""),
        ] {
            let html = snippet(ViewSettings { view, ..all.clone() }, Numbers::Saved("run.json".into()));
            let name = view.as_str();
            let tag = format!("src=\"run.json\" chart=\"{name}\"{own} pin=\"0.2\" first=\"shown\" style=");
            assert!(html.contains(&tag), "snippet.rs: {name}: {html}");
        }
        let html = snippet(ViewSettings { view: ChartName::Distribution, ..all }, Numbers::Saved("run.json".into()));
        assert!(html.contains("first=\"shown\" bins=\"12\" style="), "snippet.rs: {html}");
    }

    #[test]
    fn files_are_named_by_their_text_and_by_what_is_in_them() {
        let stem = file_stem("Once upon a time, there was a little girl.", "{}");
        assert!(stem.starts_with("residual-stream-once-upon-a-time-there-"), "snippet.rs: {stem}");
        assert_ne!(stem, file_stem("Once upon a time, there was a little girl.", "{ }"));
        assert_ne!(stem, file_stem("Once upon a time, there was a little boy.", "{  }"));
        for text in ["", "日本", "../../etc/passwd", "a\\b:c*?\"<>|\n", &"x".repeat(500)] {
            let stem = file_stem(text, "{}");
            let is_plain = stem.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            assert!(is_plain && stem.len() < 60, "snippet.rs: {text:?} gives {stem}");
        }
    }

    #[test]
    fn a_text_is_one_attribute_whatever_it_holds() {
        let settings = ViewSettings { view: ChartName::Attribution, target: " <b>".into(), ..ViewSettings::default() };
        let html = snippet(settings, Numbers::Live { text: "\"a\" & b\n\n<c>".into(), model: Some("x/y".into()) });
        assert!(html.contains("text=\"&quot;a&quot; &amp; b&#10;&#10;&lt;c&gt;\" model=\"x/y\""), "snippet.rs: {html}");
        assert!(html.contains("token=\" &lt;b&gt;\" off=\"mlp.3.mean\""), "snippet.rs: {html}");
        assert!(!html.contains("\n\n"), "snippet.rs: an empty line ends a block of Markdown: {html}");
    }
}
