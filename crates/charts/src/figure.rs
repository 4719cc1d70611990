//! A figure: one chart of one trace, with everything a page shows around it.

use std::fmt::{self, Debug, Formatter};

use super::chart::{Chart, ChartOptions, ChartSpec};
use super::geometry::{Point, Rect, Size};
use super::legend::{self, LegendItem, Room};
use super::mark::Mark;
use super::registry::ChartName;
use super::scene::Scene;
use super::surface::{Align, Font, Label, MeasureText};
use super::table::Table;
use super::theme::Theme;
use trace::Trace;
use trace::summary::{Finding, Overflow, overflow};

/// One chart of one trace. Owns its summary: laying it out again for another size computes nothing.
pub struct Figure {
    spec: &'static ChartSpec,
    options: ChartOptions,
    chart: Box<dyn Chart>,
    overflow: Option<Overflow>,
}

impl Debug for Figure {
    // The charts' own would be a tenth of what a page downloads.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figure").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

impl Figure {
    /// Summarises the trace for this chart.
    pub fn new(name: ChartName, trace: &Trace, options: &ChartOptions) -> Figure {
        Figure::of(name.spec(), trace, options)
    }

    /// The same of a chart that need not be in the registry.
    pub fn of(spec: &'static ChartSpec, trace: &Trace, options: &ChartOptions) -> Figure {
        let overflow = overflow(&trace.sequences);
        Figure { spec, options: *options, chart: (spec.build)(trace, options), overflow }
    }

    /// The chart's title: "Residual distribution".
    pub fn title(&self) -> &'static str {
        self.spec.title
    }

    /// The question it answers, one short sentence.
    pub fn lead(&self) -> &'static str {
        self.spec.lead
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
        let header = if self.options.legend { self.header(size, 0.0, theme, measure) } else { Header::default() };
        self.compose(size, Vec::new(), header, theme, measure)
    }

    /// Lays the chart out to stand alone, as in a file: a ground, margins, the title and the legend belong to it.
    /// It has no hits.
    pub fn standalone_scene(&self, size: Size, theme: &Theme, measure: &dyn MeasureText) -> Scene {
        let inner = Size::new(size.width - 2.0 * PAGE_MARGIN, size.height - 2.0 * PAGE_MARGIN);
        let at = Point::new(MARGIN, 12.0);
        let (text, font) = (self.title().to_owned(), Font::TITLE);
        let title = Mark::Text(Label { at, text, align: Align::Start, font, color: theme.ink });
        let mut header = self.header(inner, TITLE_HEIGHT, theme, measure);
        header.bottom = header.bottom.max(TITLE_HEIGHT);
        let mut scene = self.compose(inner, vec![title], header, theme, measure);
        scene.marks.iter_mut().for_each(|mark| mark.shift(PAGE_MARGIN, PAGE_MARGIN));
        let ground = Rect { x: 0.0, y: 0.0, width: size.width, height: size.height };
        scene.marks.insert(0, Mark::Rect { rect: ground, fill: theme.panel });
        let plot = Rect { x: scene.plot.x + PAGE_MARGIN, y: scene.plot.y + PAGE_MARGIN, ..scene.plot };
        Scene::new(size, plot, scene.marks, Vec::new())
    }

    fn header(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Header {
        if self.chart.empty().is_some() {
            return Header::default();
        }
        let room = Room { left: MARGIN, right: size.width - MARGIN, top };
        let (marks, height) = legend::layout(&self.legend(), &self.notes(), room, theme, measure);
        Header { marks, bottom: top + height + 6.0 }
    }

    fn compose(
        &self,
        size: Size,
        mut marks: Vec<Mark>,
        header: Header,
        theme: &Theme,
        measure: &dyn MeasureText,
    ) -> Scene {
        if let Some(message) = self.chart.empty() {
            marks.extend(message_marks(&message, size, theme, measure));
            return Scene::new(size, Rect::default(), marks, Vec::new());
        }
        // Data before legend, where there is no room for both.
        let body = match self.chart.layout(size, header.bottom, theme, measure) {
            Some(body) => {
                marks.extend(header.marks);
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

/// Legend and notes above a chart.
#[derive(Default)]
struct Header {
    marks: Vec<Mark>,
    /// Where the chart below begins.
    bottom: f64,
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
