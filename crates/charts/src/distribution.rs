//! Residual distribution: how many updates are how large, attention against MLP in shared bins.

use super::Kind;
use super::axis::{Axis, Frame, Ticks};
use super::chart::{Chart, ChartOptions, ChartSpec, Needs, coverage_empty, coverage_notes};
use super::format;
use super::geometry::{Point, Rect, Size};
use super::legend::{AREA_ALPHA, HATCH_ALPHA, HATCH_SPACING, HATCHED_ALPHA, LegendItem, Swatch};
use super::mark::{Mark, hatch};
use super::scene::{Hit, HitRow, Scene};
use super::surface::{MeasureText, Stroke};
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::Trace;
use trace::summary::{BinRule, Finding, Histogram, HistogramOptions, histogram, histogram_finding, histograms};

pub(super) static SPEC: ChartSpec = ChartSpec {
    name: "distribution",
    title: "Residual distribution",
    lead: "How large are the updates that sub-layers write?",
    needs: Needs::Norms,
    tab: None,
    controls: &[],
    build: |trace, options| Box::new(Distribution::new(trace, options)),
};

/// One bin, in f64 that prints as the f32 does.
struct Bin {
    from: f64,
    to: f64,
    attn: u32,
    mlp: u32,
}

#[derive(Debug)]
pub(super) struct Distribution {
    histogram: Histogram,
    /// D, for the text; 0 when unknown.
    n_embd: usize,
    /// Counts of the unchanged model in the same bins, under ablation: attention's and the MLP's.
    before: Option<(Vec<u32>, Vec<u32>)>,
}

impl Distribution {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let binning = HistogramOptions { bins: options.bins, skip_first: options.skip_first };
        let n_embd = trace.model.n_embd;
        let Some(unablated) = trace.unablated() else {
            return Distribution { histogram: histogram(trace.run(), &binning), n_embd, before: None };
        };
        let [histogram, before] = histograms([trace.run(), unablated], &binning);
        Distribution { histogram, n_embd, before: Some((before.attn, before.mlp)) }
    }

    fn bins(&self) -> Vec<Bin> {
        let edges = self.histogram.edges.iter().zip(self.histogram.edges.iter().skip(1));
        let counts = self.histogram.attn.iter().zip(&self.histogram.mlp);
        edges
            .zip(counts)
            .map(|((&from, &to), (&attn, &mlp))| Bin {
                from: format::shortest(from),
                to: format::shortest(to),
                attn,
                mlp,
            })
            .collect()
    }

    /// The unchanged model's bins.
    fn bins_before(&self) -> Vec<Bin> {
        let Some((attn, mlp)) = &self.before else { return Vec::new() };
        let counts = attn.iter().zip(mlp);
        self.bins().into_iter().zip(counts).map(|(bin, (&attn, &mlp))| Bin { attn, mlp, ..bin }).collect()
    }

    fn total(&self) -> u64 {
        self.histogram.attn.iter().chain(&self.histogram.mlp).map(|&n| u64::from(n)).sum()
    }
}

impl Chart for Distribution {
    fn how_to_read(&self) -> String {
        let vector = match self.n_embd {
            0 => "Each update is a vector".to_owned(),
            n => format!("Each update is a vector of {} numbers", format::format_grouped(n as f64, 0)),
        };
        format!(
            "{vector}; its length (L2 norm) is counted once per layer and token. \
             Where one colour lies further right, that kind of sub-layer writes larger updates."
        )
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = coverage_notes(&self.histogram.coverage, self.histogram.non_finite);
        let width = format::width(format::shortest(self.histogram.bin_width));
        let held = if self.histogram.capped { ", held to 5 to 80 bins" } else { "" };
        match self.histogram.rule {
            BinRule::FreedmanDiaconis => notes.push(format!("bins {width} wide (Freedman-Diaconis{held})")),
            BinRule::Sturges => notes.push(format!("bins {width} wide (Sturges{held})")),
            BinRule::Given => notes.push(format!("bins {width} wide")),
            BinRule::SingleValue => notes.push("all updates are of the same size".to_owned()),
            BinRule::Empty => {}
        }
        notes.extend(self.before.is_some().then(|| super::layer_lines::BEFORE.to_owned()));
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        let item = |kind: Kind, swatch| LegendItem::of(kind, swatch);
        vec![item(Kind::Attention, Swatch::Solid), item(Kind::Mlp, Swatch::Hatched)]
    }

    fn finding(&self) -> Option<Finding> {
        histogram_finding(&self.histogram)
    }

    fn description(&self) -> String {
        let updates = match self.total() {
            1 => "1 update".to_owned(),
            n => format!("{} updates", format::format_grouped(n as f64, 0)),
        };
        let bins = self.bins();
        let span = match (bins.first(), bins.last()) {
            (Some(first), Some(last)) => format!(" from {} to {}", format::norm(first.from), format::norm(last.to)),
            _ => String::new(),
        };
        format!("Histogram of the L2 norms of {updates}{span} activation units, attention against MLP.")
    }

    fn table(&self) -> Table {
        let columns = ["from", "to", "attention", "MLP"].map(str::to_owned).to_vec();
        let row =
            |bin: Bin| vec![Cell::number(bin.from), Cell::number(bin.to), Cell::count(bin.attn), Cell::count(bin.mlp)];
        Table {
            caption: "Number of updates (layer × token) by L2 norm in activation units".to_owned(),
            columns,
            rows: self.bins().into_iter().map(row).collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        let coverage = &self.histogram.coverage;
        coverage_empty(coverage).or_else(|| {
            let message = match (self.histogram.rule == BinRule::Empty, coverage.layers, self.histogram.non_finite) {
                (false, ..) => return None,
                (true, 0, _) => "No layer is computed yet: the first one is still arriving.",
                (true, _, 0) => "This trace holds no updates.",
                (true, ..) => "No update has a finite norm: the model's numbers overflowed.",
            };
            Some(message.to_owned())
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let bins = self.bins();
        let (low, high) = (bins.first()?.from, bins.last()?.to);
        let most = bins.iter().chain(&self.bins_before()).map(|bin| bin.attn.max(bin.mlp)).max().unwrap_or(0).max(1);
        // Norms start at 0: show it where that costs little room.
        let low = if low > 0.0 && low < 0.3 * high { 0.0 } else { low };
        let x = Axis {
            domain: [low, high],
            title: "L2 norm of the update (activation units)",
            short_title: "L2 norm (activation units)",
            ticks: Ticks::Round,
            nice: false,
            log: false,
        };
        let y = Axis {
            domain: [0.0, f64::from(most) * 1.04],
            title: "number of updates (layer × token)",
            short_title: "number of updates",
            ticks: Ticks::Whole,
            nice: true,
            log: false,
        };
        let frame = Frame::new(size, top, &x, &y, theme, measure)?;

        let mut marks = frame.grid.clone();
        marks.extend(area(&frame, &bins, Kind::Attention, theme));
        marks.extend(area(&frame, &bins, Kind::Mlp, theme));
        marks.push(outline(&frame, &bins, Kind::Attention, theme));
        marks.push(outline(&frame, &bins, Kind::Mlp, theme));
        let before: Vec<Bin> = self.bins_before();
        for kind in [Kind::Attention, Kind::Mlp].into_iter().filter(|_| !before.is_empty()) {
            let (points, color) = (steps(&frame, &before, kind), theme.kind(kind));
            marks.push(Mark::Line { points, stroke: Stroke::dashed(color, 1.25, 1.5, 3.0) });
        }
        marks.extend(frame.axes.iter().cloned());
        let hit = |(index, bin): (usize, &Bin)| {
            let mut hit = hit(&frame, bin, theme);
            for kind in [Kind::Attention, Kind::Mlp] {
                let label = format!("{} without ablation", kind.label());
                let value = before.get(index).map(|bin| format::format_grouped(count(bin, kind), 0));
                hit.rows.extend(value.map(|value| HitRow::new(label, value, Some(kind))));
            }
            hit
        };
        let hits = bins.iter().enumerate().map(hit).collect();
        Some(Scene::new(size, frame.plot, marks, hits))
    }
}

fn count(bin: &Bin, kind: Kind) -> f64 {
    f64::from(if kind == Kind::Attention { bin.attn } else { bin.mlp })
}

/// The outline of a histogram, from the baseline and back to it.
fn steps(frame: &Frame, bins: &[Bin], kind: Kind) -> Vec<Point> {
    let floor = frame.y.map(0.0);
    let mut points = Vec::with_capacity(2 * bins.len() + 2);
    points.extend(bins.first().map(|bin| Point::new(frame.x.map(bin.from), floor)));
    for bin in bins {
        let y = frame.y.map(count(bin, kind));
        points.push(Point::new(frame.x.map(bin.from), y));
        points.push(Point::new(frame.x.map(bin.to), y));
    }
    points.extend(bins.last().map(|bin| Point::new(frame.x.map(bin.to), floor)));
    points.dedup();
    points
}

fn outline(frame: &Frame, bins: &[Bin], kind: Kind, theme: &Theme) -> Mark {
    Mark::Line { points: steps(frame, bins, kind), stroke: Stroke::solid(theme.kind(kind), 1.75) }
}

/// Attention is a plain tint, the MLP hatched: where both lie, both stay readable, also without colour.
fn area(frame: &Frame, bins: &[Bin], kind: Kind, theme: &Theme) -> Vec<Mark> {
    let color = theme.kind(kind);
    let outline = steps(frame, bins, kind);
    if kind == Kind::Attention {
        return vec![Mark::Area { outline, fill: color.with_alpha(AREA_ALPHA) }];
    }
    let mut segments = Vec::new();
    for bin in bins {
        let rect = Rect::between(
            Point::new(frame.x.map(bin.from), frame.y.map(count(bin, kind))),
            Point::new(frame.x.map(bin.to), frame.y.map(0.0)),
        );
        hatch(rect, HATCH_SPACING, &mut segments);
    }
    vec![
        Mark::Area { outline, fill: color.with_alpha(HATCHED_ALPHA) },
        Mark::Segments { segments, stroke: Stroke::solid(color.with_alpha(HATCH_ALPHA), 1.0) },
    ]
}

fn hit(frame: &Frame, bin: &Bin, theme: &Theme) -> Hit {
    let (left, right) = (frame.x.map(bin.from), frame.x.map(bin.to));
    let rect = Rect { x: left, y: frame.plot.y, width: right - left, height: frame.plot.height };
    let row = |kind: Kind| HitRow {
        label: kind.label().to_owned(),
        value: format::format_grouped(count(bin, kind), 0),
        kind: Some(kind),
    };
    let top = |kind| {
        let y = frame.y.map(count(bin, kind));
        Mark::Rule { from: Point::new(left, y), to: Point::new(right, y), stroke: Stroke::solid(theme.kind(kind), 3.0) }
    };
    Hit {
        rect,
        anchor: Point::new((left + right) / 2.0, frame.y.map(f64::from(bin.attn.max(bin.mlp)))),
        title: format::range(bin.from, bin.to),
        rows: vec![row(Kind::Attention), row(Kind::Mlp)],
        place: None,
        highlight: vec![Mark::Rect { rect, fill: theme.ink.with_alpha(0.08) }, top(Kind::Attention), top(Kind::Mlp)],
    }
}
