//! Stream growth: the norm of the residual stream after each block, on a logarithmic axis.

use super::Kind;
use super::axis::{Axis, Frame, Ticks};
use super::chart::{Chart, ChartOptions, ChartSpec, Needs, coverage_empty, coverage_notes};
use super::format;
use super::geometry::{Point, Size};
use super::layer_lines::{BEFORE, dot, grown, layer_axis, layer_rect, layer_rule, pending, radius, token_lines};
use super::legend::{LegendItem, Swatch};
use super::mark::Mark;
use super::pinned::Pinned;
use super::scene::{Hit, HitRow, Scene};
use super::surface::{MeasureText, Shape, Stroke};
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::Trace;
use trace::summary::{Coverage, Finding, Growth, Place, Rate, Topic, growth};

pub(super) static SPEC: ChartSpec = ChartSpec {
    name: "growth",
    title: "Stream growth",
    lead: "How does the stream's length grow from layer to layer?",
    needs: Needs::Norms,
    tab: Some("growth"),
    controls: &[],
    build: |trace, options| Box::new(GrowthChart::new(trace, options)),
};

/// Most tokens that have a line of their own; beyond, evenly picked ones do.
const MOST_LINES: usize = 160;

#[derive(Debug)]
pub(super) struct GrowthChart {
    growth: Growth,
    /// Norms of single tokens, L each.
    tokens: Vec<Vec<f32>>,
    /// How many tokens there are in all.
    counted: usize,
    pinned: Option<Pinned>,
    /// The unchanged model's medians, under ablation.
    before: Option<Vec<Option<f64>>>,
}

impl GrowthChart {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let growth = growth(trace.run(), options.skip_first);
        let skip = usize::from(options.skip_first);
        let all = trace.sequences.iter().flat_map(|sequence| {
            (skip..sequence.token_count()).map(move |token| sequence.column(&sequence.resid_post_norm, token))
        });
        let counted = growth.coverage.counted_tokens;
        let tokens = all.step_by(counted.div_ceil(MOST_LINES).max(1)).collect();
        let before = trace.unablated().map(|before| trace::summary::growth(before, options.skip_first).median);
        GrowthChart { growth, tokens, counted, pinned: Pinned::of(trace, options), before }
    }

    /// The fitted line, where it fits.
    fn fitted(&self) -> Option<Rate> {
        self.growth.rate.filter(Rate::fits)
    }

    /// Every value that is drawn.
    fn values(&self) -> impl Iterator<Item = f64> {
        let median = self.growth.median.iter().flatten().copied();
        let tokens = self.tokens.iter().flatten().map(|&norm| f64::from(norm));
        let first = self.growth.first.iter().flatten().copied();
        let before = self.before.iter().flatten().flatten().copied();
        median.chain(tokens).chain(first).chain(before).filter(|norm| norm.is_finite() && *norm > 0.0)
    }
}

/// "1.045"; "2.50e12" where that would be long, "0.000123" where it would be 0.
fn factor(value: f64) -> String {
    if (0.1..1e4).contains(&value) { format!("{value:.3}") } else { format::norm(value) }
}

impl Chart for GrowthChart {
    fn how_to_read(&self) -> String {
        "Each thin line is one token's stream after each block (L2 norm, logarithmic axis), the thick one the median over \
         tokens. A straight line on this axis is exponential growth; where one fits the medians, it is drawn dotted."
            .to_owned()
    }

    fn notes(&self) -> Vec<String> {
        // Position 0 is drawn here, by itself.
        let drawn = Coverage { skip_first: false, ..self.growth.coverage };
        let mut notes = coverage_notes(&drawn, self.growth.non_finite);
        let first = self.growth.first.iter().any(Option::is_some);
        notes.extend(first.then(|| "dashed: position 0, by itself".to_owned()));
        if self.tokens.len() < self.counted {
            notes.push(format!(
                "{} of {} tokens drawn",
                self.tokens.len(),
                format::format_grouped(self.counted as f64, 0)
            ));
        }
        notes.extend(self.pinned.as_ref().map(|pinned| format!("blue: {}", pinned.name)));
        notes.extend(self.before.is_some().then(|| BEFORE.to_owned()));
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        vec![LegendItem::new("stream, median", Kind::Stream, Swatch::LineCircle)]
    }

    fn finding(&self) -> Option<Finding> {
        let rate = self.growth.rate?;
        let text = if rate.fits() {
            let (low, high) = rate.interval;
            let change = match (low..=high).contains(&1.0) {
                true => "neither clearly grows nor shrinks: a factor of",
                false if rate.factor > 1.0 => "grows by a factor of",
                false => "shrinks by a factor of",
            };
            format!(
                "The median stream {change} {} per layer (95 % interval {} to {}, fitted over {} layers).",
                factor(rate.factor),
                factor(low),
                factor(high),
                rate.layers
            )
        } else {
            let measured: Vec<(usize, f64)> =
                (1..).zip(&self.growth.median).filter_map(|(layer, median)| Some((layer, (*median)?))).collect();
            let ((first, from), (last, to)) = (measured.first()?, measured.last()?);
            format!(
                "The median stream has no single rate of growth: it goes from {} after layer {first} to {} after layer {last}, \
                 and a straight line on this axis fits badly (R² = {:.2}).",
                format::norm(*from),
                format::norm(*to),
                rate.r_squared
            )
        };
        let place = Place { kind: Some(Kind::Stream), ..Place::default() };
        Some(Finding { topic: Topic::StreamGrowth, text, place })
    }

    fn description(&self) -> String {
        format!(
            "Line chart with a logarithmic axis: the stream's L2 norm after each of {} layers, every token and the \
             median.",
            self.growth.coverage.layers
        )
    }

    fn table(&self) -> Table {
        let row = |block: usize| {
            let quartiles = self.growth.quartiles.get(block).copied().flatten();
            vec![
                Cell::count(block + 1),
                Cell::of(self.growth.median.get(block).copied().flatten()),
                Cell::of(quartiles.map(|quartiles| quartiles.0)),
                Cell::of(quartiles.map(|quartiles| quartiles.1)),
                Cell::of(self.growth.first.get(block).copied().flatten()),
                Cell::of(self.fitted().map(|rate| rate.at((block + 1) as f64))),
            ]
        };
        let columns = ["layer", "median", "lower quartile", "upper quartile", "position 0", "fitted"];
        Table {
            caption: "L2 norm of the stream after each block, in activation units, over tokens".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: (0..self.growth.median.len()).map(row).collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.growth.coverage).or_else(|| {
            let nothing = self.growth.median.iter().flatten().all(|median| *median <= 0.0);
            nothing.then(|| "This trace holds no stream with a finite norm.".to_owned())
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let layers = self.growth.coverage.n_layer;
        let x = layer_axis(1, layers);
        let (low, high) = self.values().fold((f64::MAX, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
        let y = Axis {
            domain: [low / 1.15, high * 1.15],
            title: "L2 norm of the stream (activation units, logarithmic)",
            short_title: "stream norm (log)",
            ticks: Ticks::Round,
            nice: false,
            log: true,
        };
        let frame = Frame::new(size, top, &x, &y, theme, measure)?;
        let mut marks = pending(&frame, &self.growth.coverage, theme, measure);
        marks.extend(frame.grid.iter().cloned());
        let thin = Stroke::solid(theme.stream.with_alpha(if self.tokens.len() > 40 { 0.14 } else { 0.24 }), 1.0);
        let mut lines: Vec<Mark> = self.tokens.iter().flat_map(|norms| token_lines(norms, &frame, thin)).collect();
        let as_line = |values: &[Option<f64>], stroke| {
            let values: Vec<f32> = values.iter().map(|value| value.map_or(f32::NAN, |value| value as f32)).collect();
            token_lines(&values, &frame, stroke)
        };
        lines.extend(as_line(&self.growth.first, Stroke::dashed(theme.mute, 1.5, 6.0, 4.0)));
        lines.extend(as_line(&self.growth.median, Stroke::solid(theme.stream, 2.5)));
        if let Some(before) = &self.before {
            lines.extend(as_line(before, Stroke::dashed(theme.stream, 1.5, 1.5, 3.0)));
        }
        if let Some(rate) = self.fitted() {
            let fitted: Vec<Option<f64>> =
                (1..=self.growth.coverage.layers).map(|layer| Some(rate.at(layer as f64))).collect();
            lines.extend(as_line(&fitted, Stroke::dashed(theme.mlp, 1.5, 2.0, 3.0)));
        }
        if let Some(pinned) = &self.pinned {
            lines.extend(token_lines(&pinned.resid, &frame, Stroke::solid(theme.attn, 2.0)));
        }
        for (layer, median) in (1..).zip(&self.growth.median) {
            let Some(median) = median else { continue };
            let at = Point::new(frame.x.map(f64::from(layer)), frame.y.map(*median));
            let outline = Some(Stroke::solid(theme.panel, 1.0));
            lines.push(Mark::Symbol { at, shape: Shape::Circle, radius: radius(&frame), fill: theme.stream, outline });
        }
        marks.extend(frame.axes.iter().cloned());
        marks.push(Mark::Clip { rect: grown(frame.plot, 6.0), marks: lines });
        let hits = (1..=self.growth.coverage.layers).filter_map(|layer| self.hit(&frame, layer, theme)).collect();
        Some(Scene::new(size, frame.plot, marks, hits))
    }
}

impl GrowthChart {
    fn hit(&self, frame: &Frame, layer: usize, theme: &Theme) -> Option<Hit> {
        let block = layer - 1;
        let median = (*self.growth.median.get(block)?)?;
        let row = |label: &str, value| HitRow::new(label, value, Some(Kind::Stream));
        let mut rows = vec![row("median", format::norm(median))];
        if let Some((low, high)) = self.growth.quartiles.get(block).copied().flatten() {
            rows.push(row("quartiles", format!("{} to {}", format::norm(low), format::norm(high))));
        }
        if let Some(first) = self.growth.first.get(block).copied().flatten() {
            rows.push(row("position 0", format::norm(first)));
        }
        if let Some(before) = self.before.as_ref().and_then(|before| *before.get(block)?) {
            rows.push(row("median without ablation", format::norm(before)));
        }
        if let Some(norm) = self.pinned.as_ref().and_then(|pinned| pinned.resid.get(block)) {
            rows.push(row("pinned token", format::norm(f64::from(*norm))));
        }
        if let Some(before) = block.checked_sub(1).and_then(|before| *self.growth.median.get(before)?) {
            rows.push(row("beside the layer before", format::times(median / before)));
        }
        let anchor = Point::new(frame.x.map(layer as f64), frame.y.map(median));
        let dot = dot(frame, anchor, Shape::Circle, theme.stream, theme);
        let highlight = vec![layer_rule(frame, layer, theme), dot];
        let title = format!("after layer {layer}");
        Some(Hit { rect: layer_rect(frame, layer), anchor, title, rows, place: None, highlight })
    }
}
