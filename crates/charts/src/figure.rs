//! A figure: one chart of one trace, with everything a page shows around it.

use std::fmt::{self, Debug, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::attribution::AttributionChart;
use super::by_layer::LayerChart;
use super::change::{Between, ChangeChart};
use super::distribution::Distribution;
use super::evolution::EvolutionChart;
use super::growth::GrowthChart;
use super::heads::Heads;
use super::heatmap::Heatmap;
use super::legend::{self, LegendItem};
use super::lens::LensChart;
use super::mark::{Align, Label, Mark, Point, Rect, Size};
use super::next::NextChart;
use super::patching::PatchingChart;
use super::pattern::PatternChart;
use super::scene::Scene;
use super::surface::{Font, MeasureText};
use super::table::Table;
use super::theme::Theme;
use super::true_token::TrueToken;
use trace::Trace;
use trace::closer::Head;
use trace::summary::{Coverage, Finding, Measure, Overflow, overflow};
use trace::{Code, Error, Result};

/// The charts there are, by the names the JavaScript contract uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChartName {
    /// Residual distribution: a histogram of contribution norms, attention against MLP.
    Distribution,
    /// Layer-wise evolution: the mean contribution norm per layer, from the embedding to the last block.
    Evolution,
    /// Token × layer: a contribution norm a cell.
    Heatmap,
    /// Stream growth: resid_post norms per layer on a logarithmic axis, with the rate of growth.
    Growth,
    /// Relative update: contribution norm divided by stream norm, per layer.
    Relative,
    /// Direction: cosine of contribution and stream, per layer.
    Direction,
    /// Heads: head_out norms, layer by head.
    Heads,
    /// Logit lens: the most probable token after each layer, layer by token.
    Lens,
    /// True next token: what the logit lens makes, layer by layer, of the token that does follow.
    TrueToken,
    /// Attention pattern of one head, query by key.
    Pattern,
    /// Direct logit attribution: a waterfall over contributions.
    Attribution,
    /// The same by heads, layer by head.
    AttributionHeads,
    /// The most probable next tokens.
    Next,
    /// Token × layer: norms of an ablated run less those of the unchanged one.
    Change,
    /// Token × layer: norms of one text less those of another.
    Compare,
    /// Activation patching, token × layer.
    Patching,
}

impl ChartName {
    /// Every chart, in the order a page shows them.
    pub const ALL: [ChartName; 16] = [
        ChartName::Distribution,
        ChartName::Evolution,
        ChartName::Heatmap,
        ChartName::Growth,
        ChartName::Relative,
        ChartName::Direction,
        ChartName::Heads,
        ChartName::Lens,
        ChartName::TrueToken,
        ChartName::Pattern,
        ChartName::Attribution,
        ChartName::AttributionHeads,
        ChartName::Next,
        ChartName::Change,
        ChartName::Compare,
        ChartName::Patching,
    ];

    /// The name as programs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            ChartName::Distribution => "distribution",
            ChartName::Evolution => "evolution",
            ChartName::Heatmap => "heatmap",
            ChartName::Growth => "growth",
            ChartName::Relative => "relative",
            ChartName::Direction => "direction",
            ChartName::Heads => "heads",
            ChartName::Lens => "lens",
            ChartName::TrueToken => "true-token",
            ChartName::Pattern => "pattern",
            ChartName::Attribution => "attribution",
            ChartName::AttributionHeads => "attribution-heads",
            ChartName::Next => "next",
            ChartName::Change => "change",
            ChartName::Compare => "compare",
            ChartName::Patching => "patching",
        }
    }

    fn build(self, trace: &Trace, options: &ChartOptions) -> Box<dyn Chart> {
        match self {
            ChartName::Distribution => Box::new(Distribution::new(trace, options)),
            ChartName::Evolution => Box::new(EvolutionChart::new(trace, options)),
            ChartName::Heatmap => Box::new(Heatmap::new(trace, options)),
            ChartName::Growth => Box::new(GrowthChart::new(trace, options)),
            ChartName::Relative => Box::new(LayerChart::new(Measure::Relative, trace, options)),
            ChartName::Direction => Box::new(LayerChart::new(Measure::Cosine, trace, options)),
            ChartName::Heads => Box::new(Heads::new(trace, options)),
            ChartName::Lens => Box::new(LensChart::new(trace, options)),
            ChartName::TrueToken => Box::new(TrueToken::new(trace, options)),
            ChartName::Pattern => Box::new(PatternChart::new(trace, options)),
            ChartName::Attribution => Box::new(AttributionChart::new(false, trace, options)),
            ChartName::AttributionHeads => Box::new(AttributionChart::new(true, trace, options)),
            ChartName::Next => Box::new(NextChart::new(trace, options)),
            ChartName::Change => Box::new(ChangeChart::new(Between::Ablation, trace, options)),
            ChartName::Compare => Box::new(ChangeChart::new(Between::Texts, trace, options)),
            ChartName::Patching => Box::new(PatchingChart::new(trace, options)),
        }
    }
}

impl FromStr for ChartName {
    type Err = Error;

    /// The chart of this name. An unknown name is an error that lists the known ones.
    fn from_str(name: &str) -> Result<Self> {
        ChartName::ALL.into_iter().find(|chart| chart.as_str() == name).ok_or_else(|| {
            let known = ChartName::ALL.map(|chart| format!("\"{}\"", chart.as_str())).join(", ");
            Error::new(Code::BadArgument, format!("There is no chart named \"{name}\". The charts are: {known}."))
        })
    }
}

/// What a cell of the heatmap shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantity {
    /// Attention's contribution norm.
    Attention,
    /// The MLP's contribution norm.
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
    /// Which tokens grids show, `[from, to)`; all if none are named.
    pub tokens: Option<(usize, usize)>,
    /// Which two sequences are compared: the second less the first.
    pub compare: Option<(usize, usize)>,
}

impl ChartOptions {
    /// What JavaScript calls them.
    pub const NAMES: [&str; 10] =
        ["bins", "skipFirst", "legend", "quantity", "sequence", "token", "head", "ranks", "tokens", "compare"];
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

/// What each kind of chart brings along; `Figure` does the rest.
pub(super) trait Chart {
    fn title(&self) -> &'static str;
    fn lead(&self) -> &'static str;
    fn how_to_read(&self) -> String;
    fn notes(&self) -> Vec<String>;
    fn legend(&self) -> Vec<LegendItem>;
    fn finding(&self) -> Option<Finding>;
    /// What the chart is; the finding is added to it.
    fn description(&self) -> String;
    fn table(&self) -> Table;
    /// Why there is nothing to draw and what to do about it; `None` when there is something.
    fn empty(&self) -> Option<String>;
    /// Lays the chart out below `top`; `None` when there is no room.
    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene>;
}

/// One chart of one trace. Owns its summary: laying it out again for another size computes nothing.
pub struct Figure {
    name: ChartName,
    options: ChartOptions,
    chart: Box<dyn Chart>,
    overflow: Option<Overflow>,
}

impl Debug for Figure {
    // The charts' own would be a tenth of what a page downloads.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figure").field("name", &self.name.as_str()).finish_non_exhaustive()
    }
}

impl Figure {
    /// Summarises the trace for this chart.
    pub fn new(name: ChartName, trace: &Trace, options: &ChartOptions) -> Figure {
        let overflow = overflow(&trace.sequences);
        Figure { name, options: *options, chart: name.build(trace, options), overflow }
    }

    /// Which chart it is.
    pub fn name(&self) -> ChartName {
        self.name
    }

    /// The chart's title: "Residual distribution".
    pub fn title(&self) -> &'static str {
        self.chart.title()
    }

    /// The question it answers, one short sentence.
    pub fn lead(&self) -> &'static str {
        self.chart.lead()
    }

    /// What it shows and how to read it, one or two sentences.
    pub fn how_to_read(&self) -> String {
        self.chart.how_to_read()
    }

    /// What a reader must know beside the legend: "position 0 left out", "5 of 12 layers so far".
    pub fn notes(&self) -> Vec<String> {
        let overflow = self.overflow.map(Overflow::note);
        self.chart.notes().into_iter().chain(overflow).collect()
    }

    /// What stands for what.
    pub fn legend(&self) -> Vec<LegendItem> {
        self.chart.legend()
    }

    /// What this trace shows in this chart; `None` when there is nothing to say.
    pub fn finding(&self) -> Option<Finding> {
        self.chart.finding()
    }

    /// The chart in words, for screen readers: what it is, and what it shows of this trace.
    pub fn description(&self) -> String {
        self.chart.empty().unwrap_or_else(|| match self.chart.finding() {
            Some(finding) => format!("{} {}", self.chart.description(), finding.text),
            None => self.chart.description(),
        })
    }

    /// The numbers behind it.
    pub fn table(&self) -> Table {
        self.chart.table()
    }

    /// Why there is nothing to draw and what to do about it; `None` when there is something.
    pub fn empty(&self) -> Option<String> {
        self.chart.empty()
    }

    /// Lays the chart out for a size in CSS pixels, on a transparent ground.
    pub fn scene(&self, size: Size, theme: &Theme, measure: &dyn MeasureText) -> Scene {
        let header = if self.options.legend { self.legend_marks(size, 0.0, theme, measure) } else { (Vec::new(), 0.0) };
        self.compose(size, Vec::new(), header, theme, measure)
    }

    /// Lays the chart out to stand alone, as in a file: a ground, margins, the title and the legend belong to it.
    /// It has no hits.
    pub fn standalone_scene(&self, size: Size, theme: &Theme, measure: &dyn MeasureText) -> Scene {
        let inner = Size::new(size.width - 2.0 * PAGE_MARGIN, size.height - 2.0 * PAGE_MARGIN);
        let at = Point::new(MARGIN, 12.0);
        let (text, font) = (self.title().to_owned(), Font::TITLE);
        let title = Mark::Text(Label { at, text, align: Align::Start, font, color: theme.ink });
        let (legend, bottom) = self.legend_marks(inner, TITLE_HEIGHT, theme, measure);
        let header = (legend, bottom.max(TITLE_HEIGHT));
        let mut scene = self.compose(inner, vec![title], header, theme, measure);
        scene.marks.iter_mut().for_each(|mark| mark.shift(PAGE_MARGIN, PAGE_MARGIN));
        let ground = Rect { x: 0.0, y: 0.0, width: size.width, height: size.height };
        scene.marks.insert(0, Mark::Rect { rect: ground, fill: theme.panel });
        let plot = Rect { x: scene.plot.x + PAGE_MARGIN, y: scene.plot.y + PAGE_MARGIN, ..scene.plot };
        Scene::new(size, plot, scene.marks, Vec::new())
    }

    fn legend_marks(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> (Vec<Mark>, f64) {
        if self.chart.empty().is_some() {
            return (Vec::new(), 0.0);
        }
        let room = (MARGIN, size.width - MARGIN, top);
        let (marks, height) = legend::layout(&self.legend(), &self.notes(), room, theme, measure);
        (marks, top + height + 6.0)
    }

    fn compose(
        &self,
        size: Size,
        mut marks: Vec<Mark>,
        (header, top): (Vec<Mark>, f64),
        theme: &Theme,
        measure: &dyn MeasureText,
    ) -> Scene {
        if let Some(message) = self.chart.empty() {
            marks.extend(message_marks(&message, size, theme, measure));
            return Scene::new(size, Rect::default(), marks, Vec::new());
        }
        // Data before legend, where there is no room for both.
        let body = match self.chart.layout(size, top, theme, measure) {
            Some(body) => {
                marks.extend(header);
                Some(body)
            }
            None => self.chart.layout(size, 0.0, theme, measure),
        };
        let body = body.unwrap_or_default();
        marks.extend(body.marks);
        let (hits_in_a_row, columns) = (body.hits_in_a_row.max(1), body.columns);
        Scene { hits_in_a_row, columns, ..Scene::new(size, body.plot, marks, body.hits) }
    }
}

const MARGIN: f64 = 4.0;
/// Around a chart that stands alone.
const PAGE_MARGIN: f64 = 14.0;
/// The title of a chart that stands alone, and the gap below it.
const TITLE_HEIGHT: f64 = 24.0;

/// A sentence in the middle of an empty chart, in lines that fit.
fn message_marks(message: &str, size: Size, theme: &Theme, measure: &dyn MeasureText) -> Vec<Mark> {
    const LINE: f64 = 18.0;
    let room = (size.width - 32.0).min(420.0);
    let mut lines = vec![String::new()];
    for word in message.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if line.is_empty() || measure.width(&longer, Font::SMALL) <= room {
            *line = longer;
        } else {
            lines.push(word.to_owned());
        }
    }
    let first = size.height / 2.0 - LINE * (lines.len() as f64 - 1.0) / 2.0 + 4.0;
    let label = |(index, text): (usize, String)| {
        let at = Point::new(size.width / 2.0, first + LINE * index as f64);
        Mark::Text(Label { at, text, align: Align::Middle, font: Font::SMALL, color: theme.mute })
    };
    lines.into_iter().enumerate().map(label).collect()
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
