//! Logit lens: what each intermediate stream would predict, layer by token.

use super::Kind;
use super::figure::{Chart, ChartOptions, coverage_empty};
use super::format;
use super::grid::{Grid, Ramp};
use super::legend::{LegendItem, Swatch};
use super::mark::Size;
use super::scene::{HitRow, Scene};
use super::surface::MeasureText;
use super::table::{Cell, Table};
use super::theme::Theme;
use crate::trace::summary::{Coverage, Finding, Place, Topic};
use crate::trace::{Sequence, Trace};

/// One prediction: the token's text and its probability.
type Guess = (String, f64);

#[derive(Debug)]
pub(super) struct LensChart {
    sequence: Sequence,
    /// Which of the trace's sequences it is, and of how many.
    number: usize,
    of: usize,
    /// Predictions a cell, 0 where the trace was made without the lens.
    k: usize,
    pinned: Option<usize>,
    coverage: Coverage,
}

impl LensChart {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let number = if options.sequence < trace.sequences.len() { options.sequence } else { 0 };
        let sequence = trace.sequences.get(number).map(|whole| Sequence {
            ids: whole.ids.clone(),
            tokens: whole.tokens.clone(),
            attn_norm: whole.attn_norm.clone(),
            lens: whole.lens.clone(),
            ..Sequence::default()
        });
        let sequence = sequence.unwrap_or_default();
        let cells = (sequence.layer_count() + 1) * sequence.token_count();
        let lens = sequence.lens.as_ref().filter(|lens| lens.ids.len() == lens.probs.len());
        LensChart {
            k: lens.filter(|lens| cells > 0 && lens.ids.len() % cells == 0).map_or(0, |lens| lens.ids.len() / cells),
            pinned: options.token.filter(|token| *token < sequence.token_count()),
            // Position 0 predicts as every other does.
            coverage: Coverage::of(trace, false),
            of: trace.sequences.len(),
            sequence,
            number,
        }
    }

    /// The predictions of a layer (0: the embedding) at a token, most probable first.
    fn guesses(&self, layer: usize, token: usize) -> Vec<Guess> {
        let Some(lens) = &self.sequence.lens else { return Vec::new() };
        let first = (layer * self.sequence.token_count() + token) * self.k;
        let ids = lens.ids.get(first..first + self.k).unwrap_or_default();
        let probs = lens.probs.get(first..first + self.k).unwrap_or_default();
        ids.iter().zip(probs).map(|(id, prob)| (lens.text(*id), f64::from(*prob))).collect()
    }

    fn best(&self, layer: usize, token: usize) -> Option<Guess> {
        self.guesses(layer, token).into_iter().next()
    }

    fn layer_name(layer: usize) -> String {
        if layer == 0 { "embedding".to_owned() } else { format!("after layer {layer}") }
    }

    /// The layer from which on the last token's stream predicts what the model does in the end, and that prediction.
    fn settled(&self) -> Option<(usize, usize, String)> {
        let (layers, token) = (self.sequence.layer_count(), self.sequence.token_count().checked_sub(1)?);
        let last = self.best(layers, token)?.0;
        let from = (0..=layers).rev().take_while(|layer| self.best(*layer, token).is_some_and(|best| best.0 == last));
        Some((from.last()?, token, last))
    }
}

impl Chart for LensChart {
    fn title(&self) -> &'static str {
        "Logit lens"
    }

    fn lead(&self) -> &'static str {
        "What would the model predict if it stopped after this layer?"
    }

    fn how_to_read(&self) -> String {
        "Each cell is the token that the stream at this place predicts next, through the final layer norm and the \
         unembedding; the fuller the colour, the more probable. The lowest row is the embedding, the highest the model's own \
         prediction."
            .to_owned()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.of > 1 {
            notes.push(format!("sentence {} of {}", self.number + 1, self.of));
        }
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        vec![LegendItem { label: "most probable token".to_owned(), kind: Kind::Attention, swatch: Swatch::Solid }]
    }

    fn finding(&self) -> Option<Finding> {
        let (layer, token, word) = self.settled()?;
        let word = format::quote_token(&word);
        let text = match layer {
            0 => format!("The prediction at the end of the text, {word}, leads from the embedding on."),
            _ => format!("The prediction at the end of the text, {word}, leads from layer {layer} on."),
        };
        let place = Place { layer: layer.checked_sub(1), kind: None, sequence: Some(self.number), token: Some(token) };
        Some(Finding { topic: Topic::Prediction, text, place })
    }

    fn description(&self) -> String {
        let finding = self.finding().map(|finding| format!(" {}", finding.text)).unwrap_or_default();
        let (tokens, layers) = (self.sequence.token_count(), self.sequence.layer_count());
        format!("Table of the most probable next token, {tokens} tokens by {layers} layers and the embedding.{finding}")
    }

    fn table(&self) -> Table {
        let layers = self.sequence.layer_count();
        let names = (0..=layers).flat_map(|layer| [Self::layer_name(layer), "probability".to_owned()]);
        let row = |token: usize| {
            let cells = (0..=layers).flat_map(|layer| match self.best(layer, token) {
                Some((text, prob)) => [Cell::Text(text), Cell::number(prob)],
                None => [Cell::Missing, Cell::Missing],
            });
            let text = self.sequence.tokens.get(token).cloned().unwrap_or_default();
            [Cell::Text(text), Cell::count(token)].into_iter().chain(cells).collect()
        };
        Table {
            caption: "The most probable next token after each token, by layer, with its probability".to_owned(),
            columns: ["token".to_owned(), "position".to_owned()].into_iter().chain(names).collect(),
            rows: (0..self.sequence.token_count()).map(row).collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.coverage).or_else(|| {
            let why = "This trace was made without the logit lens: run the text again to see it.";
            (self.k == 0).then(|| why.to_owned())
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let columns: Vec<String> = self.sequence.tokens.iter().map(|token| format::token_label(token)).collect();
        let read_out = |layer: usize, token: usize| {
            let row = |(text, prob): Guess| HitRow {
                label: format::quote_token(&text),
                value: format::probability(prob),
                kind: None,
            };
            let after = self.sequence.tokens.get(token).map_or_else(String::new, |text| format::quote_token(text));
            let title = format!("{}, after {after} (position {token})", Self::layer_name(layer));
            (title, self.guesses(layer, token).into_iter().map(row).collect())
        };
        let text = |layer: usize, token: usize| {
            self.best(layer, token).map_or_else(String::new, |(text, _)| format::token_label(&text))
        };
        Grid {
            rows: self.sequence.layer_count() + 1,
            row_label: &|layer| layer.to_string(),
            row_title: "layer (0 = embedding)",
            columns: &columns,
            column_title: "token",
            value: &|layer, token| self.best(layer, token).map(|(_, prob)| prob),
            ramp: Ramp::sequential(theme, theme.attn, 1.0),
            read_out: &read_out,
            place: &|layer, token| {
                let layer = layer.checked_sub(1);
                Some(Place { layer, kind: None, sequence: Some(self.number), token: Some(token) })
            },
            marked: self.pinned,
            text: Some(&text),
        }
        .layout(size, top, theme, measure)
    }
}
