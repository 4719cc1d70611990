//! The true next token, layer by layer: how probable the logit lens finds the token that does follow, or its rank.

use super::Kind;
use super::axis::{Axis, Frame, Ticks};
use super::figure::{Chart, ChartOptions, coverage_empty, coverage_notes};
use super::format;
use super::layer_lines::{dot, grown, layer_rect, layer_rule, radius};
use super::legend::{LegendItem, Swatch};
use super::mark::{Mark, Point, Shape, Size, Stroke};
use super::scene::{Hit, HitRow, Scene};
use super::surface::MeasureText;
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::Trace;
use trace::summary::order::sort_f64;
use trace::summary::{Coverage, Finding, Place, Topic};

/// Most tokens that have a line of their own; beyond, evenly picked ones do.
const MOST_LINES: usize = 160;

#[derive(Debug)]
pub(super) struct TrueToken {
    coverage: Coverage,
    /// Whether ranks are drawn rather than probabilities.
    ranks: bool,
    /// Of every token that another follows, L + 1 values: the embedding first.
    lines: Vec<Vec<f64>>,
    /// Whether the trace was made with a lens that says what follows.
    known: bool,
    /// The pinned token's own values, and what follows it.
    pinned: Option<(String, Vec<f64>)>,
    /// L + 1 medians over tokens, and the share of tokens of which the true one leads; `NaN` where no number is finite.
    medians: Vec<f64>,
    leading: Vec<f64>,
    /// The unchanged model's medians, under ablation.
    before: Vec<f64>,
}

impl TrueToken {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let coverage = Coverage::of(trace, options.skip_first);
        let (mut lines, mut ranks_of, mut known, mut pinned) = (Vec::new(), Vec::new(), false, None);
        for (number, sequence) in trace.sequences.iter().enumerate() {
            let (t, rows) = (sequence.token_count(), sequence.layer_count() + 1);
            let Some(lens) = sequence.lens.as_ref().filter(|lens| lens.true_rank.len() == rows * t) else { continue };
            if lens.true_prob.len() != rows * t {
                continue;
            }
            known = true;
            for token in 0..t.saturating_sub(1) {
                let probs: Vec<f64> = (0..rows).map(|row| f64::from(lens.true_prob[row * t + token])).collect();
                // Where the model's numbers overflow, nothing has a rank.
                let rank = |row: usize| match lens.true_rank[row * t + token] {
                    rank if rank > 0 && probs[row].is_finite() => f64::from(rank),
                    _ => f64::NAN,
                };
                let ranks: Vec<f64> = (0..rows).map(rank).collect();
                let values = if options.ranks { ranks.clone() } else { probs };
                if options.token == Some(token) && options.sequence == number {
                    let text = |at: usize| sequence.tokens.get(at).map_or_else(String::new, |t| format::quote_token(t));
                    pinned = Some((format!("{} after {}", text(token + 1), text(token)), values.clone()));
                }
                if token > 0 || !options.skip_first {
                    lines.push(values);
                    ranks_of.push(ranks);
                }
            }
        }
        let column = |of: &[Vec<f64>], row: usize| {
            of.iter().filter_map(|line| line.get(row).copied().filter(|v| v.is_finite())).collect::<Vec<_>>()
        };
        let rows = if lines.is_empty() { 0 } else { coverage.layers + 1 };
        let medians = (0..rows).map(|row| median(column(&lines, row))).collect();
        let leading = (0..rows).map(|row| {
            let ranks = column(&ranks_of, row);
            ranks.iter().filter(|rank| **rank == 1.0).count() as f64 / ranks.len() as f64
        });
        let leading = leading.collect();
        let before = trace.unablated().map(|trace| TrueToken::new(&trace, options).medians).unwrap_or_default();
        TrueToken { coverage, ranks: options.ranks, lines, known, pinned, medians, leading, before }
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
    fn title(&self) -> &'static str {
        "True next token"
    }

    fn lead(&self) -> &'static str {
        "From which layer on does the stream know what comes next in the text?"
    }

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
        if self.lines.len() > MOST_LINES {
            notes.push(format!("{MOST_LINES} of {} lines drawn", format::format_grouped(self.lines.len() as f64, 0)));
        }
        notes.extend(self.pinned.as_ref().map(|(name, _)| format!("orange: {name}")));
        notes.extend((!self.before.is_empty()).then(|| super::layer_lines::BEFORE.to_owned()));
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        vec![LegendItem { label: "median".to_owned(), kind: Kind::Attention, swatch: Swatch::LineCircle }]
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
            let leading = self.leading.get(layer).map_or(Cell::Missing, |share| Cell::number(*share));
            let pinned = self.pinned.as_ref().and_then(|(_, values)| values.get(layer));
            vec![Cell::count(layer), Cell::number(*median), leading, pinned.map_or(Cell::Missing, |v| Cell::number(*v))]
        };
        let what = if self.ranks { "rank" } else { "probability" };
        Table {
            caption: format!("The token that does follow, by the logit lens after each layer: {what}"),
            columns: ["layer", "median", "share of places where it leads", "pinned token"].map(str::to_owned).to_vec(),
            rows: self.medians.iter().enumerate().map(row).collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.coverage).or_else(|| match (self.known, self.lines.is_empty()) {
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
        let largest = self.lines.iter().flatten().copied().fold(1.0, f64::max);
        let y = Axis {
            // Ranks go downwards: the axis is of 1 / rank.
            domain: if self.ranks { (1.0 / (largest * 1.3), 1.25) } else { (0.0, 1.0) },
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
        let thin = Stroke::solid(theme.stream.with_alpha(if self.lines.len() > 40 { 0.14 } else { 0.24 }), 1.0);
        let step = self.lines.len().div_ceil(MOST_LINES).max(1);
        let mut lines: Vec<Mark> = self.lines.iter().step_by(step).map(|values| line(values, thin)).collect();
        lines.push(line(&self.medians, Stroke::solid(theme.attn, 2.5)));
        lines.push(line(&self.before, Stroke::dashed(theme.attn, 1.5, 1.5, 3.0)));
        if let Some((_, values)) = &self.pinned {
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
            let row = |label: &str, value: String| HitRow { label: label.to_owned(), value, kind: None };
            let mut rows = vec![row("median", self.value(median))];
            rows.extend(self.before.get(layer).map(|before| row("without ablation", self.value(*before))));
            rows.extend(self.leading.get(layer).map(|share| row("places where it leads", format::percent(*share))));
            let pinned = self.pinned.as_ref().and_then(|(name, values)| Some((name, values.get(layer)?)));
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
