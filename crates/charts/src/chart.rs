//! What a chart is: the trait, the data that the page and the package need about it, and what a caller may choose.
//! Must never know: which charts there are (`registry.rs`), and what owns one (`figure.rs`).

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::geometry::Size;
use super::legend::LegendItem;
use super::scene::{Scene, TokenRange};
use super::surface::MeasureText;
use super::table::Table;
use super::theme::Theme;
use trace::summary::{Coverage, Finding};
use trace::{Code, Error, Head, Result, Sequence, TokenPosition, Trace};

/// What others know of a chart before it is built. Serialized (`charts()` in JavaScript), it is what a reader may see.
#[derive(Serialize)]
pub struct ChartSpec {
    /// The name as programs write it.
    pub name: &'static str,
    /// The chart's title: "Residual distribution".
    pub title: &'static str,
    /// The question it answers, one short sentence.
    pub lead: &'static str,
    /// What a trace must hold.
    #[serde(skip)]
    pub needs: Needs,
    /// The page's tab that shows it, by the name of the tab's first chart; `None` where it has a panel of its own.
    #[serde(skip)]
    pub tab: Option<&'static str>,
    /// The page's controls that change it.
    #[serde(skip)]
    pub controls: &'static [Control],
    /// Summarises a trace, once per figure.
    #[serde(skip)]
    pub build: fn(&Trace, &ChartOptions) -> Box<dyn Chart>,
}

/// What a trace must hold for a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// What every trace holds.
    Norms,
    /// Norms of heads, in all texts.
    Heads,
    /// The logit lens of the text that is shown.
    Lens,
    /// The logit lens of any text.
    LensOfAny,
    /// The attention pattern of the head that is shown.
    Pattern,
    /// Direct logit attribution of the text that is shown.
    Attribution,
    /// Predictions of the next token.
    Predictions,
    /// A part of the model switched off.
    Ablation,
    /// Two different texts.
    TwoTexts,
    /// Activation patching, which `Model.patch` adds.
    Patching,
}

/// Controls of the page that some charts have: `data-control` in `index.html`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Which norm a cell shows.
    Quantity,
    /// Which tokens a grid shows.
    Tokens,
    /// What of the logit lens is shown.
    Lens,
    /// Whose attention pattern is shown: layer and head.
    Head,
    /// Which two texts are compared or patched.
    Texts,
    /// Which token's logit is explained, less which.
    Target,
    /// Whether contributions or heads are explained.
    Parts,
    /// How the next token is chosen.
    Sampling,
    /// What is switched off.
    Ablation,
}

impl Control {
    /// The value of `data-control`.
    pub fn as_str(self) -> &'static str {
        match self {
            Control::Quantity => "quantity",
            Control::Tokens => "tokens",
            Control::Lens => "lens",
            Control::Head => "head",
            Control::Texts => "texts",
            Control::Target => "target",
            Control::Parts => "parts",
            Control::Sampling => "sampling",
            Control::Ablation => "ablation",
        }
    }
}

/// What each kind of chart brings along; `Figure` does the rest.
pub trait Chart {
    /// What it shows and how to read it, one or two sentences.
    fn how_to_read(&self) -> String;
    /// What a reader must know beside the legend.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
    /// What stands for what.
    fn legend(&self) -> Vec<LegendItem>;
    /// What this trace shows in this chart.
    fn finding(&self) -> Option<Finding> {
        None
    }
    /// What the chart is; the finding is added to it.
    fn description(&self) -> String;
    /// The numbers behind it.
    fn table(&self) -> Table;
    /// Why there is nothing to draw and what to do about it; `None` when there is something.
    fn empty(&self) -> Option<String>;
    /// Lays the chart out below `top`; `None` when there is no room.
    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene>;
}

/// What a cell of the heatmap shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantity {
    /// The norm of attention's contribution.
    Attention,
    /// The norm of the MLP's contribution.
    #[default]
    Mlp,
    /// The MLP's less attention's.
    Difference,
    /// The norm of the stream after the block.
    Stream,
}

impl Quantity {
    /// The name as programs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Quantity::Attention => "attention",
            Quantity::Mlp => "mlp",
            Quantity::Difference => "difference",
            Quantity::Stream => "stream",
        }
    }

    /// Its value on one token, of the block `layer`; none where the sequence does not have it.
    pub(super) fn of(self, sequence: &Sequence, layer: usize, token: usize) -> Option<f64> {
        let at = |values: &[f32]| sequence.layer(values, layer).get(token).map(|&value| f64::from(value));
        match self {
            Quantity::Attention => at(&sequence.attn_norm),
            Quantity::Mlp => at(&sequence.mlp_norm),
            Quantity::Difference => Some(at(&sequence.mlp_norm)? - at(&sequence.attn_norm)?),
            Quantity::Stream => at(&sequence.resid_post_norm),
        }
    }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "attention" => Ok(Quantity::Attention),
            "mlp" => Ok(Quantity::Mlp),
            "difference" => Ok(Quantity::Difference),
            "stream" => Ok(Quantity::Stream),
            _ => Err(Error::new(
                Code::BadArgument,
                format!("A heatmap shows attention, mlp, difference or stream, not \"{name}\"."),
            )),
        }
    }
}

/// What a caller may choose about a chart. In JavaScript: `{ bins, skipFirst, legend, quantity, sequence,
/// token, head, ranks, tokens, compare }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChartOptions {
    /// Number of bins of the distribution; `None` lets the rule decide.
    pub bins: Option<usize>,
    /// Leave position 0 of every sequence out.
    pub skip_first: bool,
    /// Draw legend and notes above the data. Off where the page shows them itself.
    pub legend: bool,
    /// What the heatmap shows.
    pub quantity: Quantity,
    /// The sequence that charts of a single one show, and that the pinned token belongs to.
    pub sequence: usize,
    /// The pinned token: its own values are drawn beside the statistics.
    pub token: Option<usize>,
    /// Whose attention pattern is shown; the first of the trace if none is given.
    pub head: Option<Head>,
    /// Whether the true token's ranks are drawn rather than its probabilities.
    pub ranks: bool,
    /// Which tokens grids show; all if none are named.
    pub tokens: Option<TokenRange>,
    /// Which two sequences are compared: the second less the first.
    pub compare: Option<[usize; 2]>,
}

impl ChartOptions {
    /// What JavaScript calls them.
    pub const NAMES: [&str; 10] =
        ["bins", "skipFirst", "legend", "quantity", "sequence", "token", "head", "ranks", "tokens", "compare"];

    /// The pinned token, whether or not the trace has it.
    pub(super) fn pinned(&self) -> Option<TokenPosition> {
        self.token.map(|token| TokenPosition { sequence: self.sequence, token })
    }

    /// The two sequences that are compared: the first and the second if none are named.
    pub(super) fn compared(&self) -> [usize; 2] {
        self.compare.unwrap_or([0, 1])
    }
}

impl Default for ChartOptions {
    fn default() -> Self {
        ChartOptions {
            bins: None,
            skip_first: true,
            legend: true,
            quantity: Quantity::default(),
            sequence: 0,
            token: None,
            head: None,
            ranks: false,
            tokens: None,
            compare: None,
        }
    }
}

/// Notes that every chart over tokens shares.
pub(super) fn coverage_notes(coverage: &Coverage, non_finite: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if coverage.skip_first {
        notes.push("position 0 left out".to_owned());
    }
    if coverage.is_partial() {
        notes.push(format!("{} of {} layers so far", coverage.layers, coverage.n_layer));
    }
    match non_finite {
        0 => {}
        1 => notes.push("1 value that is not finite left out".to_owned()),
        n => notes.push(format!("{n} values that are not finite left out")),
    }
    notes
}

/// Why a chart over tokens has nothing to draw; `None` when there are tokens to count.
pub(super) fn coverage_empty(coverage: &Coverage) -> Option<String> {
    if coverage.sequences == 0 {
        Some("Nothing to show yet: type a sentence and run it.".to_owned())
    } else if coverage.counted_tokens == 0 {
        Some(
            "Every sequence is a single token, and position 0 is left out. Write longer sentences, or count position 0 too."
                .to_owned(),
        )
    } else {
        None
    }
}
