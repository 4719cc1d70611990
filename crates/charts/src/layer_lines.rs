//! Lines over layers: means with a band of one standard deviation, layer by layer.

use super::Kind;
use super::axis::{Axis, Frame, Ticks};
use super::geometry::{Point, Rect};
use super::mark::Mark;
use super::surface::{Align, Font, Label, MeasureText, Shape, Stroke};
use super::theme::{Color, Theme};
use trace::summary::{Coverage, Stat};

/// What the dotted lines are, under ablation.
pub(super) const BEFORE: &str = "dotted: without ablation";
/// Opacity of the bands.
const BAND_ALPHA: f64 = 0.16;
/// Room to the left of the first layer and to the right of the last, in layers.
const PAD: f64 = 0.4;

/// The axis of the layers from `first` (0: the embedding) to the last.
pub(super) fn layer_axis(first: usize, last: usize) -> Axis<'static> {
    Axis {
        domain: [first as f64 - PAD, last as f64 + PAD],
        title: if first == 0 { "layer (0 = embedding)" } else { "layer" },
        short_title: "layer",
        ticks: Ticks::UpTo(last),
        nice: false,
        log: false,
    }
}

/// A data point while its layer is looked at.
pub(super) fn dot(frame: &Frame, at: Point, shape: Shape, fill: Color, theme: &Theme) -> Mark {
    let outline = Some(Stroke::solid(theme.panel, 1.5));
    Mark::Symbol { at, shape, radius: radius(frame) + 1.5, fill, outline }
}

/// Radius of the data points: smaller where layers stand close.
pub(super) fn radius(frame: &Frame) -> f64 {
    ((frame.x.map(1.0) - frame.x.map(0.0)) * 0.22).clamp(1.4, 3.5)
}

/// Data points on the edge of the plot are not cut in half.
pub(super) fn grown(rect: Rect, by: f64) -> Rect {
    Rect { x: rect.x - by, y: rect.y - by, width: rect.width + 2.0 * by, height: rect.height + 2.0 * by }
}

/// Where the pointer finds a layer.
pub(super) fn layer_rect(frame: &Frame, layer: usize) -> Rect {
    let (left, right) = (frame.x.map(layer as f64 - 0.5), frame.x.map(layer as f64 + 0.5));
    let (left, right) = (left.max(frame.plot.x), right.min(frame.plot.right()));
    Rect { x: left, y: frame.plot.y, width: right - left, height: frame.plot.height }
}

/// The line that marks a layer while it is looked at.
pub(super) fn layer_rule(frame: &Frame, layer: usize, theme: &Theme) -> Mark {
    let x = frame.x.map(layer as f64);
    let (from, to) = (Point::new(x, frame.plot.y), Point::new(x, frame.plot.bottom()));
    Mark::Rule { from, to, stroke: Stroke::dashed(theme.mute, 1.0, 2.0, 3.0) }
}

/// One kind of sub-layer's statistics: entry `i` is block `i`, drawn at layer `i + 1`.
pub(super) struct Series<'a> {
    pub kind: Kind,
    pub shape: Shape,
    pub stats: &'a [Stat],
    /// What the values are never below (0 for norms), and so neither is the band.
    pub floor: f64,
}

impl Series<'_> {
    /// Runs of neighbouring layers that have values: a layer without any interrupts the line.
    fn runs(&self) -> Vec<Vec<(f64, Stat)>> {
        let mut runs = vec![Vec::new()];
        for (layer, stat) in (1..).zip(self.stats) {
            match runs.last_mut().filter(|_| stat.n > 0) {
                Some(run) => run.push((f64::from(layer), *stat)),
                None => runs.push(Vec::new()),
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    /// One standard deviation to either side.
    pub fn bands(&self, frame: &Frame, theme: &Theme) -> Vec<Mark> {
        let fill = theme.kind(self.kind).with_alpha(BAND_ALPHA);
        let band = |run: Vec<(f64, Stat)>| {
            // A single layer's band is as wide as its data point.
            let half = if run.len() == 1 { 0.12 } else { 0.0 };
            let edge = |side: f64| {
                let point = move |layer: f64, stat: &Stat| {
                    let value = (stat.mean + side * stat.std).max(self.floor);
                    Point::new(frame.x.map(layer), frame.y.map(value))
                };
                run.iter()
                    .flat_map(|(layer, stat)| [point(layer - half, stat), point(layer + half, stat)])
                    .collect::<Vec<_>>()
            };
            let mut outline = edge(1.0);
            outline.extend(edge(-1.0).into_iter().rev());
            outline.dedup();
            Mark::Area { outline, fill }
        };
        self.runs().into_iter().map(band).collect()
    }

    /// The means, with a symbol each.
    pub fn line(&self, frame: &Frame, theme: &Theme) -> Vec<Mark> {
        let color = theme.kind(self.kind);
        let runs: Vec<Vec<Point>> = self
            .runs()
            .iter()
            .map(|run| {
                // A logarithmic axis has no 0: the line then falls to the chart's edge.
                let y = |stat: &Stat| frame.y.map(stat.mean.max(self.floor));
                run.iter().map(|(layer, stat)| Point::new(frame.x.map(*layer), y(stat))).collect()
            })
            .collect();
        let symbol = |&at: &Point| {
            let outline = Some(Stroke::solid(theme.panel, 1.0));
            Mark::Symbol { at, shape: self.shape, radius: radius(frame), fill: color, outline }
        };
        let symbols: Vec<Mark> = runs.iter().flatten().map(symbol).collect();
        let lines = runs.into_iter().map(|points| Mark::Line { points, stroke: Stroke::solid(color, 2.0) });
        lines.chain(symbols).collect()
    }
}

/// Values of single layers, each with its layer, as dashed lines: of one token. Values that are not finite interrupt them.
pub(super) fn token_lines(values: &[f32], frame: &Frame, stroke: Stroke) -> Vec<Mark> {
    let points = (1..).zip(values).map(|(layer, &value)| (f64::from(layer), f64::from(value)));
    let mut runs = vec![Vec::new()];
    for (layer, value) in points {
        match runs.last_mut().filter(|_| value.is_finite()) {
            Some(run) => run.push(Point::new(frame.x.map(layer), frame.y.map(value))),
            None => runs.push(Vec::new()),
        }
    }
    runs.into_iter().filter(|run| run.len() > 1).map(|points| Mark::Line { points, stroke }).collect()
}

/// The layers that are still arriving, as an empty shaded region with a word where it fits.
pub(super) fn pending(frame: &Frame, coverage: &Coverage, theme: &Theme, measure: &dyn MeasureText) -> Vec<Mark> {
    if !coverage.is_partial() {
        return Vec::new();
    }
    let left = frame.x.map(coverage.layers as f64 + 0.5);
    let rect = Rect { x: left, width: frame.plot.right() - left, ..frame.plot };
    let mut marks = vec![Mark::Rect { rect, fill: theme.soft }];
    let fitting =
        ["still arriving", "arriving"].into_iter().find(|text| measure.width(text, Font::SMALL) + 8.0 <= rect.width);
    if let Some(text) = fitting {
        let at = Point::new(rect.x + rect.width / 2.0, rect.y + 20.0);
        let text = text.to_owned();
        marks.push(Mark::Text(Label { at, text, align: Align::Middle, font: Font::SMALL, color: theme.mute }));
    }
    marks
}
