//! The next token: the model's most probable ones, and under ablation what it found before.

use super::Kind;
use super::axis;
use super::chart::{Chart, ChartOptions, ChartSpec, Control, Needs, coverage_empty};
use super::format;
use super::geometry::{Point, Rect, Size};
use super::legend::{LegendItem, Swatch, fit};
use super::mark::Mark;
use super::one_text::OneText;
use super::scene::{Hit, HitRow, Scene};
use super::surface::{Align, Font, MeasureText, Stroke};
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::summary::{Coverage, Finding, Topic};
use trace::{Next, Sequence, Trace};

pub(super) static SPEC: ChartSpec = ChartSpec {
    name: "next",
    title: "Next token",
    lead: "What does the model expect after the end of the text?",
    needs: Needs::Predictions,
    tab: Some("next"),
    controls: &[Control::Sampling],
    build: |trace, options| Box::new(NextChart::new(trace, options)),
};

/// Widest label of a token.
const WIDEST: f64 = 120.0;
/// A bar and the gap below it, at the least.
const LEAST_ROW: f64 = 16.0;
const EDGE: f64 = 4.0;

#[derive(Debug)]
pub(super) struct NextChart {
    text: OneText,
    next: Option<Next>,
    /// Under ablation: what the unchanged model says, and how far the two are apart at the last token.
    before: Option<Next>,
    kl: Option<f64>,
    coverage: Coverage,
}

/// A token that may come next.
struct Candidate {
    text: String,
    prob: f64,
    /// Its probability in the unchanged model, under ablation.
    before: Option<f64>,
}

impl NextChart {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let text = OneText::of(trace, options, |_| Sequence::default());
        let whole = trace.sequences.get(text.number());
        let next = whole.and_then(|whole| whole.next.clone()).filter(|next| next.ids.len() == next.probs.len());
        let before = whole.and_then(|whole| whole.baseline.as_ref()?.next.clone());
        let kl = whole.and_then(|whole| whole.kl.as_ref()?.last().map(|kl| f64::from(*kl)));
        let kl = kl.filter(|kl| kl.is_finite());
        NextChart { text, next, before, kl, coverage: Coverage::of(trace.run(), false) }
    }

    /// Every candidate that has a probability.
    fn candidates(&self) -> Vec<Candidate> {
        let Some(next) = &self.next else { return Vec::new() };
        let pairs = next.ids.iter().zip(&next.probs).enumerate();
        let candidate = |(index, (id, prob)): (usize, (&u32, &f32))| {
            let text = text_of(next, index);
            let before = self.before.as_ref().and_then(|before| {
                let place = before.ids.iter().position(|other| other == id)?;
                before.probs.get(place).map(|prob| f64::from(*prob))
            });
            Candidate { text, prob: f64::from(*prob), before }
        };
        pairs.filter(|(_, (_, prob))| prob.is_finite()).map(candidate).collect()
    }
}

/// The text of a candidate.
fn text_of(next: &Next, index: usize) -> String {
    let id = || next.ids.get(index).map_or_else(String::new, |id| format!("#{id}"));
    next.tokens.get(index).cloned().unwrap_or_else(id)
}

/// The most probable candidate, with its probability; none where the model's numbers overflow.
fn most_probable(next: &Next) -> Option<(String, f64)> {
    let finite = next.probs.iter().enumerate().filter(|(_, prob)| prob.is_finite());
    let (index, prob) = finite.reduce(|most, next| if next.1 > most.1 { next } else { most })?;
    Some((text_of(next, index), f64::from(*prob)))
}

impl Chart for NextChart {
    fn how_to_read(&self) -> String {
        "The most probable next tokens, of the whole vocabulary, at temperature 1. Sampling picks one by its probability, after \
         dividing the logits by the temperature and leaving out what top-k and top-p leave out."
            .to_owned()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.text.note().into_iter().collect();
        if let Some(kl) = self.kl {
            notes.push(format!("outlined: without ablation; KL divergence {} nats", format::norm(kl)));
        }
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        vec![LegendItem::new("probability", Kind::Attention, Swatch::Solid)]
    }

    fn finding(&self) -> Option<Finding> {
        let (text, prob) = self.next.as_ref().and_then(most_probable)?;
        let (word, last) = (format::quote_token(&text), self.text.sequence.token_count().checked_sub(1)?);
        let mut text = format!("Most probable after the text is {word}: {}.", format::probability(prob));
        if let Some((before, prob)) = self.before.as_ref().and_then(most_probable) {
            let before = format::quote_token(&before);
            text += &format!(" Without ablation it was {before}: {}.", format::probability(prob));
        }
        Some(Finding { topic: Topic::Prediction, text, place: self.text.place(None, last) })
    }

    fn description(&self) -> String {
        match self.candidates().len() {
            1 => "Bar chart of the most probable next token.".to_owned(),
            n => format!("Bar chart of the {n} most probable next tokens."),
        }
    }

    fn table(&self) -> Table {
        let row = |(index, candidate): (usize, Candidate)| {
            let mut cells = vec![Cell::count(index + 1), Cell::Text(candidate.text), Cell::number(candidate.prob)];
            if self.before.is_some() {
                cells.push(Cell::of(candidate.before));
            }
            cells
        };
        let mut columns = vec!["rank", "token", "probability"];
        if self.before.is_some() {
            columns.push("without ablation");
        }
        Table {
            caption: "The most probable next tokens after the end of the text".to_owned(),
            columns: columns.into_iter().map(str::to_owned).collect(),
            rows: self.candidates().into_iter().enumerate().map(row).collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.coverage).or_else(|| {
            let why = match &self.next {
                None => "This trace has no predictions: it was made without them, or the model makes none.",
                Some(_) if self.candidates().is_empty() => "Nothing is predicted: the model's numbers overflowed.",
                Some(_) => return None,
            };
            Some(why.to_owned())
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let width = |text: &str| measure.width(text, Font::SMALL);
        let (above, below) = (top + 4.0, size.height - 6.0);
        let mut candidates = self.candidates();
        candidates.truncate(((below - above) / LEAST_ROW).max(0.0) as usize);
        if candidates.is_empty() {
            return None;
        }
        let labels: Vec<String> =
            candidates.iter().map(|of| fit(&format::token_label(&of.text), WIDEST, measure)).collect();
        let left = (EDGE + labels.iter().map(|label| width(label)).fold(0.0, f64::max) + 8.0).ceil();
        let numbers: Vec<String> = candidates.iter().map(|of| format::probability(of.prob)).collect();
        let right = size.width - numbers.iter().map(|number| width(number)).fold(0.0, f64::max) - 14.0;
        if right - left < 24.0 {
            return None;
        }
        let plot = Rect { x: left, y: above, width: right - left, height: below - above };
        let row = (plot.height / candidates.len() as f64).min(30.0);
        let most = candidates.iter().flat_map(|of| [Some(of.prob), of.before]).flatten().fold(0.0, f64::max);
        let (mut marks, mut hits) = (Vec::new(), Vec::new());
        for (index, Candidate { text, prob, before }) in candidates.into_iter().enumerate() {
            let y = above + row * index as f64;
            let bar = |prob: f64| {
                let width = plot.width * (prob / most.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
                Rect { x: left, y: y + 2.0, width: if width.is_finite() { width } else { 0.0 }, height: row - 4.0 }
            };
            let rect = bar(prob);
            marks.push(Mark::Rect { rect, fill: theme.attn });
            let outline = |rect: Rect, stroke| {
                let (right, bottom) = (rect.right(), rect.bottom());
                let corners = [(rect.x, rect.y), (right, rect.y), (right, bottom), (rect.x, bottom), (rect.x, rect.y)];
                Mark::Line { points: corners.map(|(x, y)| Point::new(x, y)).to_vec(), stroke }
            };
            marks.extend(before.map(|before| outline(bar(before), Stroke::solid(theme.ink, 1.5))));
            let baseline = y + row / 2.0 + 4.0;
            marks.push(axis::text(Point::new(left - 8.0, baseline), labels[index].clone(), Align::End, theme));
            // Right of everything that is drawn, so that it lies on nothing.
            let number = Point::new(size.width - EDGE, baseline);
            marks.push(axis::text(number, numbers[index].clone(), Align::End, theme));
            let mut rows = vec![HitRow::new("probability", numbers[index].clone(), Some(Kind::Attention))];
            let earlier = before.map(format::probability);
            rows.extend(earlier.map(|value| HitRow::new("without ablation", value, None)));
            let whole = Rect { x: 0.0, y, width: size.width, height: row };
            let anchor = Point::new(rect.right(), y + row / 2.0);
            let highlight = vec![outline(rect, Stroke::solid(theme.ink, 2.0))];
            let title = format!("{}. {}", index + 1, format::quote_token(&text));
            hits.push(Hit { rect: whole, anchor, title, rows, place: None, highlight });
        }
        Some(Scene::new(size, plot, marks, hits))
    }
}
