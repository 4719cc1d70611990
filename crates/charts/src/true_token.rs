//! The true next token, layer by layer: how probable the logit lens finds the token that does follow, or its rank.

use super::Kind;
use super::axis::{Axis, Frame, Ticks};
use super::chart::{Chart, ChartOptions, ChartSpec, Control, Needs, coverage_empty, coverage_notes};
use super::format;
use super::geometry::{Point, Size};
use super::layer_lines::{dot, grown, layer_rect, layer_rule, radius};
use super::legend::{LegendItem, Swatch};
use super::mark::Mark;
use super::scene::{Hit, HitRow, Scene};
use super::surface::{MeasureText, Shape, Stroke};
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::summary::order::sort_f64;
use trace::summary::{Coverage, Finding, Place, Topic};
use trace::{Lens, Run, Trace};

pub(super) static SPEC: ChartSpec = ChartSpec {
    name: "true-token",
    title: "True next token",
    lead: "From which layer on does the stream know what comes next in the text?",
    needs: Needs::LensOfAny,
    tab: Some("lens"),
    controls: &[Control::Lens],
    build: |trace, options| Box::new(TrueToken::new(trace, options)),
};

/// Most tokens that have a line of their own; beyond, evenly picked ones do.
const MOST_LINES: usize = 160;

#[derive(Debug)]
pub(super) struct TrueToken {
    coverage: Coverage,
    /// Whether ranks are drawn rather than probabilities.
    ranks: bool,
    places: Places,
    /// L + 1 medians over places, and the share of places where the true token leads; `NaN` where no number is finite.
    medians: Vec<f64>,
    leading: Vec<f64>,
    /// The unchanged model's medians, under ablation.
    before: Vec<f64>,
}

/// What the lens makes of every token that another follows: L + 1 values a place, the embedding first.
#[derive(Debug, Default)]
struct Places {
    /// What is drawn: probabilities, or ranks.
    lines: Vec<Vec<f64>>,
    /// Ranks, `NaN` where the model's numbers overflow: nothing has a rank there.
    ranks: Vec<Vec<f64>>,
    /// Whether any text has a lens that says what follows.
    known: bool,
    /// The pinned token's line, and what follows it.
    pinned: Option<(String, Vec<f64>)>,
}

impl Places {
    fn of(run: Run, options: &ChartOptions) -> Places {
        let mut places = Places::default();
        for (number, sequence) in run.sequences().enumerate() {
            let (t, rows) = (sequence.token_count(), sequence.layer_count() + 1);
            let is_whole = |lens: &&Lens| lens.true_rank.len() == rows * t && lens.true_prob.len() == rows * t;
            let Some(lens) = sequence.lens.as_ref().filter(is_whole) else { continue };
            places.known = true;
            for token in 0..t.saturating_sub(1) {
                let probs: Vec<f64> = (0..rows).map(|row| f64::from(lens.true_prob[row * t + token])).collect();
                let rank = |row: usize| match lens.true_rank[row * t + token] {
                    rank if rank > 0 && probs[row].is_finite() => f64::from(rank),
                    _ => f64::NAN,
                };
                let ranks: Vec<f64> = (0..rows).map(rank).collect();
                let line = if options.ranks { ranks.clone() } else { probs };
                if options.token == Some(token) && options.sequence == number {
                    let text = |at: usize| sequence.tokens.get(at).map_or_else(String::new, |t| format::quote_token(t));
                    places.pinned = Some((format!("{} after {}", text(token + 1), text(token)), line.clone()));
                }
                if token > 0 || !options.skip_first {
                    places.lines.push(line);
                    places.ranks.push(ranks);
                }
            }
        }
        places
    }

    /// Rows that every place has; none without places.
    fn rows(&self, coverage: &Coverage) -> std::ops::Range<usize> {
        if self.lines.is_empty() { 0..0 } else { 0..coverage.layers + 1 }
    }

    fn medians(&self, coverage: &Coverage) -> Vec<f64> {
        self.rows(coverage).map(|row| median(finite(&self.lines, row))).collect()
    }

    fn leading(&self, coverage: &Coverage) -> Vec<f64> {
        let share = |row| {
            let ranks = finite(&self.ranks, row);
            ranks.iter().filter(|rank| **rank == 1.0).count() as f64 / ranks.len() as f64
        };
        self.rows(coverage).map(share).collect()
    }
}

/// The finite values of one row.
fn finite(of: &[Vec<f64>], row: usize) -> Vec<f64> {
    of.iter().filter_map(|line| line.get(row).copied()).filter(|value| value.is_finite()).collect()
}

impl TrueToken {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let coverage = Coverage::of(trace.run(), options.skip_first);
        let places = Places::of(trace.run(), options);
        let medians_of = |run| Places::of(run, options).medians(&Coverage::of(run, options.skip_first));
        TrueToken {
            ranks: options.ranks,
            medians: places.medians(&coverage),
            leading: places.leading(&coverage),
            before: trace.unablated().map(medians_of).unwrap_or_default(),
            coverage,
            places,
        }
    }

    fn value(&self, value: f64) -> String {
        if self.ranks { format::format_grouped(value, 0) } else { format::probability(value) }
    }
}

/// The middle of some values; the lower of the two middles, so that a rank stays one.
fn median(mut values: Vec<f64>) -> f64 {
    sort_f64(&mut values);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

impl Chart for TrueToken {
    fn how_to_read(&self) -> String {
        let what = match self.ranks {
            true => {
                "the rank of the token that does follow among all tokens (1: it leads; logarithmic axis, best at the top)"
            }
            false => "the probability of the token that does follow",
        };
        format!(
            "Through the logit lens, each thin line is one place in the text: {what}, after each layer. The thick line is \
             the median over places. Choose a token to see its own."
        )
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = coverage_notes(&self.coverage, 0);
        if self.places.lines.len() > MOST_LINES {
            notes.push(format!(
                "{MOST_LINES} of {} lines drawn",
                format::format_grouped(self.places.lines.len() as f64, 0)
            ));
        }
        notes.extend(self.places.pinned.as_ref().map(|(name, _)| format!("orange: {name}")));
        notes.extend((!self.before.is_empty()).then(|| super::layer_lines::BEFORE.to_owned()));
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        vec![LegendItem::new("median", Kind::Attention, Swatch::LineCircle)]
    }

    fn finding(&self) -> Option<Finding> {
        let (last, layer) = (self.leading.last().copied().filter(|share| share.is_finite())?, self.leading.len() - 1);
        let half = self.leading.iter().position(|share| last > 0.0 && *share >= last / 2.0);
        let after = if layer == self.coverage.n_layer { "the last layer".to_owned() } else { format!("layer {layer}") };
        let mut text = format!("After {after} the true token leads in {} of places", format::percent(last));
        if let Some(half) = half.filter(|half| *half > 0 && *half < layer) {
            text += &format!("; in at least half as many already after layer {half}");
        }
        let place = Place { layer: half.and_then(|half| half.checked_sub(1)), ..Place::default() };
        Some(Finding { topic: Topic::Prediction, text: text + ".", place })
    }

    fn description(&self) -> String {
        let what = if self.ranks { "rank" } else { "probability" };
        format!(
            "Line chart of the {what} of the true next token over {} layers and the embedding.",
            self.coverage.layers
        )
    }

    fn table(&self) -> Table {
        let row = |(layer, median): (usize, &f64)| {
            let leading = Cell::of(self.leading.get(layer).copied());
            let pinned = self.places.pinned.as_ref().and_then(|(_, values)| values.get(layer));
            vec![Cell::count(layer), Cell::number(*median), leading, Cell::of(pinned.copied())]
        };
        let what = if self.ranks { "rank" } else { "probability" };
        Table {
            caption: format!("The token that does follow, by the logit lens after each layer: {what}"),
            columns: ["layer", "median", "share of places where it leads", "pinned token"].map(str::to_owned).to_vec(),
            rows: self.medians.iter().enumerate().map(row).collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.coverage).or_else(|| match (self.places.known, self.places.lines.is_empty()) {
            (false, _) => Some("This trace was made without the logit lens: run the text again to see it.".to_owned()),
            (true, true) => Some("No token that counts is followed by another. Write longer sentences.".to_owned()),
            _ if self.medians.iter().all(|median| !median.is_finite()) => {
                Some("Nothing is predicted: the model's numbers overflowed.".to_owned())
            }
            _ => None,
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let x = super::layer_lines::layer_axis(0, self.coverage.n_layer);
        let largest = self.places.lines.iter().flatten().copied().fold(1.0, f64::max);
        let y = Axis {
            // Ranks go downwards: the axis is of 1 / rank.
            domain: if self.ranks { [1.0 / (largest * 1.3), 1.25] } else { [0.0, 1.0] },
            title: if self.ranks { "1 / rank (logarithmic)" } else { "probability" },
            short_title: if self.ranks { "1 / rank (log)" } else { "probability" },
            ticks: Ticks::Round,
            nice: false,
            log: self.ranks,
        };
        let frame = Frame::new(size, top, &x, &y, theme, measure)?;
        let at = |layer: usize, value: f64| {
            let height = if self.ranks { 1.0 / value.max(1.0) } else { value };
            Point::new(frame.x.map(layer as f64), frame.y.map(height))
        };
        let line = |values: &[f64], stroke| {
            let points = values.iter().enumerate().filter(|(_, v)| v.is_finite()).map(|(layer, &v)| at(layer, v));
            Mark::Line { points: points.collect(), stroke }
        };
        let thin = Stroke::solid(theme.stream.with_alpha(if self.places.lines.len() > 40 { 0.14 } else { 0.24 }), 1.0);
        let step = self.places.lines.len().div_ceil(MOST_LINES).max(1);
        let mut lines: Vec<Mark> = self.places.lines.iter().step_by(step).map(|values| line(values, thin)).collect();
        lines.push(line(&self.medians, Stroke::solid(theme.attn, 2.5)));
        lines.push(line(&self.before, Stroke::dashed(theme.attn, 1.5, 1.5, 3.0)));
        if let Some((_, values)) = &self.places.pinned {
            lines.push(line(values, Stroke::solid(theme.mlp, 2.0)));
        }
        let outline = Some(Stroke::solid(theme.panel, 1.0));
        for (layer, &median) in self.medians.iter().enumerate().filter(|(_, median)| median.is_finite()) {
            let (at, shape, radius) = (at(layer, median), Shape::Circle, radius(&frame));
            lines.push(Mark::Symbol { at, shape, radius, fill: theme.attn, outline });
        }
        let mut marks = super::layer_lines::pending(&frame, &self.coverage, theme, measure);
        marks.extend(frame.grid.iter().cloned());
        marks.extend(frame.axes.iter().cloned());
        marks.push(Mark::Clip { rect: grown(frame.plot, 6.0), marks: lines });
        let hits = self.medians.iter().enumerate().filter(|(_, median)| median.is_finite()).map(|(layer, &median)| {
            let row = |label: &str, value| HitRow::new(label, value, None);
            let mut rows = vec![row("median", self.value(median))];
            rows.extend(self.before.get(layer).map(|before| row("without ablation", self.value(*before))));
            rows.extend(self.leading.get(layer).map(|share| row("places where it leads", format::percent(*share))));
            let pinned = self.places.pinned.as_ref().and_then(|(name, values)| Some((name, values.get(layer)?)));
            rows.extend(pinned.map(|(name, value)| row(name, self.value(*value))));
            let anchor = at(layer, median);
            let dot = dot(&frame, anchor, Shape::Circle, theme.attn, theme);
            let title = if layer == 0 { "embedding".to_owned() } else { format!("after layer {layer}") };
            let highlight = vec![layer_rule(&frame, layer, theme), dot];
            Hit { rect: layer_rect(&frame, layer), anchor, title, rows, place: None, highlight }
        });
        let hits = hits.collect();
        Some(Scene::new(size, frame.plot, marks, hits))
    }
}
