//! The lines of HTML that put a chart on somebody else's page.
//! Must never know: where they are shown.

use super::asked::Asked;
use super::part_names::write_ablated;
use crate::charts::{ChartName, Quantity};
use crate::trace::closer::{Ablated, Head};

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
    /// The chart and its options.
    pub asked: &'a Asked,
    /// What is switched off.
    pub ablate: &'a [Ablated],
    /// Sequence and position of the pinned token.
    pub pin: Option<(usize, usize)>,
    /// Whether position 0 is left out.
    pub skip_first: bool,
    /// The picture's file, and what it shows in words.
    pub picture: (&'a str, &'a str),
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
        let asked = self.asked;
        add("chart", asked.view.as_str());
        match asked.view {
            ChartName::Heatmap if asked.quantity != Quantity::default() => add("show", asked.quantity.as_str()),
            ChartName::TrueToken if asked.ranks => add("by", "rank"),
            ChartName::Pattern if asked.head != (Head { layer: 0, head: 0 }) => {
                add("head", &format!("{}.{}", asked.head.layer, asked.head.head));
            }
            ChartName::Compare | ChartName::Patching if asked.texts != (0, 1) => {
                add("texts", &format!("{}.{}", asked.texts.0, asked.texts.1));
            }
            _ => {}
        }
        let explains = matches!(asked.view, ChartName::Attribution | ChartName::AttributionHeads | ChartName::Patching);
        for (name, token) in [("token", &asked.target), ("against", &asked.against)] {
            if is_live && explains && !token.is_empty() {
                add(name, token);
            }
        }
        if is_live && !self.ablate.is_empty() {
            add("off", &self.ablate.iter().map(write_ablated).collect::<Vec<_>>().join("~"));
        }
        if let Some((sequence, token)) = self.pin {
            add("pin", &format!("{sequence}.{token}"));
        }
        if !self.skip_first {
            add("first", "shown");
        }
        let (file, words) = (escaped(self.picture.0), escaped(self.picture.1));
        format!(
            "<script src=\"{}\" async></script>\n<residual-stream{attributes}>\n  <img src=\"{file}\" alt=\"{words}\">\n</residual-stream>\n",
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
    use crate::trace::closer::{Instead, Switched};

    fn snippet(asked: &Asked, numbers: Numbers) -> String {
        let ablate = [Ablated { layer: 3, part: Switched::Mlp, head: None, how: Instead::Mean }];
        let picture = ("run.svg", "A \"chart\".");
        Snippet {
            script: "https://a.b/embed.js",
            numbers,
            asked,
            ablate: &ablate,
            pin: Some((0, 2)),
            skip_first: false,
            picture,
        }
        .html()
    }

    #[test]
    fn a_saved_run_names_its_file_and_what_is_looked_at() {
        let asked = Asked { view: ChartName::Heatmap, quantity: Quantity::Attention, ..Asked::default() };
        assert_eq!(
            snippet(&asked, Numbers::Saved("run.json".into())),
            "<script src=\"https://a.b/embed.js\" async></script>\n<residual-stream src=\"run.json\" chart=\"heatmap\" \
             show=\"attention\" pin=\"0.2\" first=\"shown\">\n  <img src=\"run.svg\" alt=\"A &quot;chart&quot;.\">\n\
             </residual-stream>\n"
        );
    }

    #[test]
    fn a_text_is_one_attribute_whatever_it_holds() {
        let asked = Asked { view: ChartName::Attribution, target: " <b>".into(), ..Asked::default() };
        let html = snippet(&asked, Numbers::Live { text: "\"a\" & b\n\n<c>".into(), model: Some("x/y".into()) });
        assert!(html.contains("text=\"&quot;a&quot; &amp; b&#10;&#10;&lt;c&gt;\" model=\"x/y\""), "snippet.rs: {html}");
        assert!(html.contains("token=\" &lt;b&gt;\" off=\"mlp.3.mean\""), "snippet.rs: {html}");
        assert!(!html.contains("\n\n"), "snippet.rs: an empty line ends a block of Markdown: {html}");
    }
}
