//! Relative update and direction: how much of the stream a sub-layer changes, and whether it adds, turns or erases.

use super::Kind;
use super::axis::{Axis, Frame, Ticks};
use super::chart::{Chart, ChartOptions, ChartSpec, Needs, coverage_empty, coverage_notes};
use super::format;
use super::geometry::{Point, Size};
use super::layer_lines::{BEFORE, Series, dot, grown, layer_axis, layer_rect, layer_rule, pending, token_lines};
use super::legend::{LegendItem, Swatch};
use super::mark::Mark;
use super::scene::{Hit, HitRow, Scene};
use super::surface::{MeasureText, Shape, Stroke};
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::Trace;
use trace::summary::{ByLayer, Finding, Measure, Place, Stat, Topic, by_layer};

pub(super) static RELATIVE: ChartSpec = ChartSpec {
    name: "relative",
    title: "Relative update",
    lead: "How large is each update beside the stream it joins?",
    needs: Needs::Norms,
    tab: Some("relative"),
    controls: &[],
    build: |trace, options| Box::new(LayerChart::new(Measure::Relative, trace, options)),
};

pub(super) static DIRECTION: ChartSpec = ChartSpec {
    name: "direction",
    title: "Direction of updates",
    lead: "Does a layer add to the stream, turn it, or erase from it?",
    needs: Needs::Norms,
    tab: Some("direction"),
    controls: &[],
    build: |trace, options| Box::new(LayerChart::new(Measure::Cosine, trace, options)),
};

#[derive(Debug)]
pub(super) struct LayerChart {
    measure: Measure,
    summary: ByLayer,
    /// The pinned token's own values, attention's and the MLP's, with its name.
    pinned: Option<(String, [Vec<f32>; 2])>,
    /// The same of the unchanged model, under ablation.
    before: Option<ByLayer>,
}

impl LayerChart {
    pub(super) fn new(measure: Measure, trace: &Trace, options: &ChartOptions) -> Self {
        let pinned = super::pinned::Pinned::of(trace, options).and_then(|pinned| {
            let sequence = trace.sequences.get(pinned.at.sequence)?;
            let cells = (0..sequence.layer_count()).map(|layer| layer * sequence.token_count() + pinned.at.token);
            let values = |mlp| cells.clone().map(|cell| measure.of(sequence, mlp, cell)).collect();
            Some((pinned.name, [values(false), values(true)]))
        });
        let before = trace.unablated().map(|before| by_layer(before, measure, options.skip_first));
        LayerChart { measure, summary: by_layer(trace.run(), measure, options.skip_first), pinned, before }
    }

    fn series(&self) -> [Series<'_>; 2] {
        let floor = if self.measure == Measure::Relative { self.domain()[0] } else { -1.0 };
        [
            Series { kind: Kind::Attention, shape: Shape::Circle, stats: &self.summary.attn, floor },
            Series { kind: Kind::Mlp, shape: Shape::Square, stats: &self.summary.mlp, floor },
        ]
    }

    fn at(&self, layer: usize) -> impl Iterator<Item = (Kind, Shape, &Stat)> {
        self.series().into_iter().filter_map(move |series| {
            let stat = series.stats.get(layer.checked_sub(1)?).filter(|stat| stat.n > 0)?;
            Some((series.kind, series.shape, stat))
        })
    }

    /// Whether the axis is logarithmic: ratios are, and the first layer's dwarf all others. Without a ratio above 0 there
    /// is no such axis.
    fn is_log(&self) -> bool {
        self.measure == Measure::Relative && self.domain()[0] > 0.0
    }

    /// Lowest and highest value the axis must show.
    fn domain(&self) -> [f64; 2] {
        let stats = || self.summary.attn.iter().chain(&self.summary.mlp).filter(|stat| stat.n > 0);
        let pinned = self.pinned.iter().flat_map(|(_, values)| values.iter().flatten());
        let before = self.before.iter().flat_map(|before| before.attn.iter().chain(&before.mlp));
        let single = pinned.map(|&value| f64::from(value)).chain(before.map(|stat| stat.mean));
        let single: Vec<f64> = single.filter(|value| value.is_finite()).collect();
        let shown = || single.iter().copied();
        let ends = stats().flat_map(|stat| [stat.mean - stat.std, stat.mean + stat.std]).chain(shown());
        let (low, high) = ends.fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        match self.measure {
            Measure::Relative => {
                let means = stats().map(|stat| stat.mean).chain(shown()).filter(|value| *value > 0.0);
                // A band that reaches 0 ends at the edge of the chart.
                let near = stats().map(|stat| stat.mean - stat.std).zip(stats().map(|stat| stat.mean));
                let near = near.filter(|(end, mean)| *end > mean / 4.0).map(|(end, _)| end);
                let low = means.chain(near).fold(f64::INFINITY, f64::min);
                if low.is_finite() { [low / 1.15, high * 1.15] } else { [0.0, high.max(f64::MIN_POSITIVE)] }
            }
            Measure::Cosine => [(low - 0.04).max(-1.0), (high + 0.04).min(1.0)],
        }
    }
}

impl Chart for LayerChart {
    fn how_to_read(&self) -> String {
        let text = match self.measure {
            Measure::Relative => {
                "The norm of each update divided by the norm of the stream it is added to: 1 would be an update as long \
                 as all that was written before. Lines are means over tokens, bands one standard deviation; the axis is \
                 logarithmic."
            }
            Measure::Cosine => {
                "The cosine between each update and the stream it is added to: above 0 the update lengthens what is \
                 there, at 0 it writes at a right angle to it, below 0 it erases. Lines are means over tokens, bands one \
                 standard deviation."
            }
        };
        text.to_owned()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = coverage_notes(&self.summary.coverage, self.summary.non_finite);
        notes.extend(self.pinned.as_ref().map(|(name, _)| format!("dashed: {name}")));
        notes.extend(self.before.is_some().then(|| BEFORE.to_owned()));
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        [(Kind::Attention, Swatch::LineCircle), (Kind::Mlp, Swatch::LineSquare)]
            .map(|(kind, swatch)| LegendItem::of(kind, swatch))
            .to_vec()
    }

    fn finding(&self) -> Option<Finding> {
        let all = || (1..=self.summary.coverage.layers).flat_map(|layer| self.at(layer).map(move |at| (layer, at)));
        let place = |layer: usize, kind| Place { layer: Some(layer - 1), kind: Some(kind), ..Place::default() };
        let most = all().max_by(|a, b| a.1.2.mean.total_cmp(&b.1.2.mean))?;
        let least = all().min_by(|a, b| a.1.2.mean.total_cmp(&b.1.2.mean))?;
        let name = |(layer, (kind, ..)): &(usize, (Kind, Shape, &Stat))| match kind {
            Kind::Attention => format!("layer {layer}'s attention"),
            _ => format!("layer {layer}'s MLP"),
        };
        let text = match self.measure {
            Measure::Relative => format!(
                "The largest relative update is that of {}: {} times the stream's length on average; the smallest is that \
                 of {}: {} times.",
                name(&most),
                format::norm(most.1.2.mean),
                name(&least),
                format::norm(least.1.2.mean)
            ),
            Measure::Cosine if most.1.2.mean <= 0.0 => format!(
                "On average no update adds along the stream: the highest cosine is that of {} ({}), the lowest that of {} \
                 ({}).",
                name(&most),
                format::norm(most.1.2.mean),
                name(&least),
                format::norm(least.1.2.mean)
            ),
            Measure::Cosine => format!(
                "On average {} adds most along the stream (cosine {}), and {} {} (cosine {}).",
                name(&most),
                format::norm(most.1.2.mean),
                name(&least),
                if least.1.2.mean < 0.0 { "erases most" } else { "least" },
                format::norm(least.1.2.mean)
            ),
        };
        Some(Finding { topic: Topic::Evolution, text, place: place(most.0, most.1.0) })
    }

    fn description(&self) -> String {
        let what = match self.measure {
            Measure::Relative => "update norm divided by stream norm",
            Measure::Cosine => "cosine of update and stream",
        };
        format!("Line chart of the mean {what}, attention and MLP, over {} layers.", self.summary.coverage.layers)
    }

    fn table(&self) -> Table {
        let columns = ["layer", "attention mean", "attention std", "MLP mean", "MLP std", "tokens"];
        let rows = self.summary.attn.iter().zip(&self.summary.mlp).enumerate().map(|(block, (attn, mlp))| {
            vec![
                Cell::count(block + 1),
                Cell::number(attn.mean),
                Cell::number(attn.std),
                Cell::number(mlp.mean),
                Cell::number(mlp.std),
                Cell::count(attn.n.max(mlp.n)),
            ]
        });
        let caption = match self.measure {
            Measure::Relative => {
                "Update norm divided by the norm of the stream it joins: mean and standard deviation over tokens"
            }
            Measure::Cosine => {
                "Cosine of each update with the stream it joins: mean and standard deviation over tokens"
            }
        };
        Table { caption: caption.to_owned(), columns: columns.map(str::to_owned).to_vec(), rows: rows.collect() }
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.summary.coverage).or_else(|| {
            let nothing = self.summary.attn.iter().chain(&self.summary.mlp).all(|stat| stat.n == 0);
            nothing.then(|| "This trace holds no streams to compare updates with.".to_owned())
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let layers = self.summary.coverage.n_layer;
        let x = layer_axis(1, layers);
        let (title, short_title) = match self.measure {
            Measure::Relative if self.is_log() => ("update norm / stream norm (logarithmic)", "update / stream (log)"),
            Measure::Relative => ("update norm / stream norm", "update / stream"),
            Measure::Cosine => ("cosine of update and stream", "cosine"),
        };
        let y = Axis { domain: self.domain(), title, short_title, ticks: Ticks::Round, nice: true, log: self.is_log() };
        let frame = Frame::new(size, top, &x, &y, theme, measure)?;
        let mut marks = pending(&frame, &self.summary.coverage, theme, measure);
        marks.extend(frame.grid.iter().cloned());
        if self.measure == Measure::Cosine {
            let y = frame.y.map(0.0);
            let (from, to) = (Point::new(frame.plot.x, y), Point::new(frame.plot.right(), y));
            marks.push(Mark::Rule { from, to, stroke: Stroke::solid(theme.axis, 1.0) });
        }
        let drawn = self.series();
        let bands = drawn.iter().flat_map(|series| series.bands(&frame, theme)).collect();
        let mut lines: Vec<Mark> = drawn.iter().flat_map(|series| series.line(&frame, theme)).collect();
        if let Some((_, values)) = &self.pinned {
            for (series, values) in drawn.iter().zip(values) {
                lines.extend(token_lines(values, &frame, Stroke::dashed(theme.kind(series.kind), 1.5, 5.0, 3.0)));
            }
        }
        for (series, stats) in drawn.iter().zip(self.before.iter().flat_map(|before| [&before.attn, &before.mlp])) {
            let means: Vec<f32> = stats.iter().map(|stat| stat.mean as f32).collect();
            lines.extend(token_lines(&means, &frame, Stroke::dashed(theme.kind(series.kind), 1.5, 1.5, 3.0)));
        }
        marks.push(Mark::Clip { rect: frame.plot, marks: bands });
        marks.extend(frame.axes.iter().cloned());
        marks.push(Mark::Clip { rect: grown(frame.plot, 6.0), marks: lines });
        let hits = (1..=self.summary.coverage.layers).filter_map(|layer| self.hit(&frame, layer, theme)).collect();
        Some(Scene::new(size, frame.plot, marks, hits))
    }
}

impl LayerChart {
    fn hit(&self, frame: &Frame, layer: usize, theme: &Theme) -> Option<Hit> {
        let x = frame.x.map(layer as f64);
        let mut highlight = vec![layer_rule(frame, layer, theme)];
        let (mut rows, mut anchor) = (Vec::new(), Point::new(x, frame.plot.bottom()));
        for (kind, shape, stat) in self.at(layer) {
            let value = format::mean_std(stat.mean, stat.std);
            rows.push(HitRow::new(kind.label(), value, Some(kind)));
            let at = Point::new(x, frame.y.map(stat.mean));
            anchor.y = anchor.y.min(at.y);
            highlight.push(dot(frame, at, shape, theme.kind(kind), theme));
        }
        if rows.is_empty() {
            return None;
        }
        if let Some((_, values)) = &self.pinned {
            for (kind, values) in [Kind::Attention, Kind::Mlp].into_iter().zip(values) {
                let value = values.get(layer - 1).map_or(f64::NAN, |&value| value.into());
                let label = format!("{} on the pinned token", kind.label());
                rows.push(HitRow::new(label, format::norm(value), Some(kind)));
            }
        }
        for (kind, stats) in
            [Kind::Attention, Kind::Mlp].into_iter().zip(self.before.iter().flat_map(|b| [&b.attn, &b.mlp]))
        {
            let Some(stat) = stats.get(layer - 1) else { continue };
            let label = format!("{} without ablation", kind.label());
            rows.push(HitRow::new(label, format::norm(stat.mean), Some(kind)));
        }
        let title = format!("layer {layer}");
        Some(Hit { rect: layer_rect(frame, layer), anchor, title, rows, place: None, highlight })
    }
}
