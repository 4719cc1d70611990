//! Logit lens: what each intermediate stream would predict, layer by token.

use super::Kind;
use super::chart::{Chart, ChartOptions, ChartSpec, Control, Needs, coverage_empty};
use super::format;
use super::geometry::Size;
use super::grid::{Grid, Ramp};
use super::legend::{LegendItem, Swatch};
use super::one_text::OneText;
use super::scene::{HitRow, Scene};
use super::surface::MeasureText;
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::summary::{Coverage, Finding, Topic};
use trace::{Sequence, Trace};

pub(super) static SPEC: ChartSpec = ChartSpec {
    name: "lens",
    title: "Logit lens",
    lead: "What would the model predict if it stopped after this layer?",
    needs: Needs::Lens,
    tab: Some("lens"),
    controls: &[Control::Tokens, Control::Lens],
    build: |trace, options| Box::new(LensChart::new(trace, options)),
};

#[derive(Debug)]
pub(super) struct LensChart {
    text: OneText,
    /// Predictions a cell, 0 where the trace was made without the lens.
    k: usize,
    coverage: Coverage,
}

impl LensChart {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let text = OneText::of(trace, options, |whole| Sequence {
            attn_norm: whole.attn_norm.clone(),
            lens: whole.lens.clone(),
            baseline: whole.baseline.clone(),
            ..Sequence::default()
        });
        let cells = (text.sequence.layer_count() + 1) * text.sequence.token_count();
        let lens = text.sequence.lens.as_ref().filter(|lens| lens.ids.len() == lens.probs.len());
        let k = lens.filter(|lens| cells > 0 && lens.ids.len() % cells == 0).map_or(0, |lens| lens.ids.len() / cells);
        // Position 0 predicts as every other does.
        LensChart { text, k, coverage: Coverage::of(trace.run(), false) }
    }

    /// The predictions of a layer (0: the embedding) at a token, most probable first: ids and probabilities.
    fn guesses(&self, layer: usize, token: usize) -> impl Iterator<Item = (u32, f64)> {
        let first = (layer * self.text.sequence.token_count() + token) * self.k;
        let of_cell = self.text.sequence.lens.iter().flat_map(move |lens| {
            let ids = lens.ids.get(first..first + self.k).unwrap_or_default();
            ids.iter().zip(lens.probs.get(first..first + self.k).unwrap_or_default())
        });
        of_cell.map(|(id, prob)| (*id, f64::from(*prob)))
    }

    /// The most probable; none where the model's numbers overflow.
    fn best(&self, layer: usize, token: usize) -> Option<(u32, f64)> {
        self.guesses(layer, token).next().filter(|(_, prob)| prob.is_finite())
    }

    /// What a predicted id reads.
    fn word(&self, id: u32) -> String {
        self.text.sequence.lens.as_ref().map_or_else(String::new, |lens| lens.text(id))
    }

    /// The token that does follow, with its rank and probability.
    fn follower(&self, layer: usize, token: usize) -> Option<HitRow> {
        let lens = self.text.sequence.lens.as_ref()?;
        let cell = layer * self.text.sequence.token_count() + token;
        let (rank, prob) = (*lens.true_rank.get(cell)?, *lens.true_prob.get(cell)?);
        let follows = self.text.sequence.tokens.get(token + 1).filter(|_| rank > 0 && prob.is_finite())?;
        let value =
            format!("rank {}, {}", format::format_grouped(f64::from(rank), 0), format::probability(f64::from(prob)));
        Some(HitRow::new(format!("follows: {}", format::quote_token(follows)), value, None))
    }

    /// Under ablation: what was predicted without.
    fn before(&self, layer: usize, token: usize) -> Option<HitRow> {
        let before = self.text.sequence.baseline.as_ref()?.lens.as_ref()?;
        let first = (layer * self.text.sequence.token_count() + token) * self.k;
        let (id, prob) = (*before.ids.get(first)?, *before.probs.get(first)?);
        let label = format!("without ablation: {}", format::quote_token(&before.text(id)));
        Some(HitRow::new(label, format::probability(f64::from(prob)), None))
    }

    fn layer_name(layer: usize) -> String {
        if layer == 0 { "embedding".to_owned() } else { format!("after layer {layer}") }
    }

    /// The layer from which on the last token's stream predicts what the model does in the end, that token's position,
    /// and the id predicted.
    fn settled(&self) -> Option<(usize, usize, u32)> {
        let (layers, token) = (self.text.sequence.layer_count(), self.text.sequence.token_count().checked_sub(1)?);
        let (last, _) = self.best(layers, token)?;
        let from = (0..=layers).rev().take_while(|layer| self.best(*layer, token).is_some_and(|best| best.0 == last));
        Some((from.last()?, token, last))
    }
}

impl Chart for LensChart {
    fn how_to_read(&self) -> String {
        "Each cell is the token that the stream at this place predicts next, through the final layer norm and the \
         unembedding; the fuller the colour, the more probable. The lowest row is the embedding, the highest the model's own \
         prediction."
            .to_owned()
    }

    fn notes(&self) -> Vec<String> {
        self.text.note().into_iter().collect()
    }

    fn legend(&self) -> Vec<LegendItem> {
        vec![LegendItem::new("most probable token", Kind::Attention, Swatch::Solid)]
    }

    fn finding(&self) -> Option<Finding> {
        let (layer, token, id) = self.settled()?;
        let word = format::quote_token(&self.word(id));
        let text = match layer {
            0 => format!("The prediction at the end of the text, {word}, leads from the embedding on."),
            _ => format!("The prediction at the end of the text, {word}, leads from layer {layer} on."),
        };
        let place = self.text.place(layer.checked_sub(1), token);
        Some(Finding { topic: Topic::Prediction, text, place })
    }

    fn description(&self) -> String {
        let (tokens, layers) = (self.text.sequence.token_count(), self.text.sequence.layer_count());
        format!("Table of the most probable next token, {tokens} tokens by {layers} layers and the embedding.")
    }

    fn table(&self) -> Table {
        let layers = self.text.sequence.layer_count();
        let names = (0..=layers).flat_map(|layer| [Self::layer_name(layer), "probability".to_owned()]);
        let cells = |token: usize| {
            let best = (0..=layers).flat_map(|layer| match self.best(layer, token) {
                Some((id, prob)) => [Cell::Text(self.word(id)), Cell::number(prob)],
                None => [Cell::Missing, Cell::Missing],
            });
            best.collect()
        };
        let caption = "The most probable next token after each token, by layer, with its probability";
        Table::by_token(caption, names, self.text.tokens(), cells)
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.coverage).or_else(|| {
            let why = "This trace was made without the logit lens: run the text again to see it.";
            (self.k == 0).then(|| why.to_owned())
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let columns = self.text.labels();
        let read_out = |layer: usize, token: usize| {
            let row = |(id, prob)| HitRow::new(format::quote_token(&self.word(id)), format::probability(prob), None);
            let after = format::quote_token(self.text.token(token));
            let title = format!("{}, after {after} (position {token})", Self::layer_name(layer));
            let mut rows: Vec<HitRow> = self.guesses(layer, token).map(row).collect();
            rows.extend(self.follower(layer, token));
            rows.extend(self.before(layer, token));
            (title, rows)
        };
        let text = |layer: usize, token: usize| {
            self.best(layer, token).map_or_else(String::new, |(id, _)| format::token_label(&self.word(id)))
        };
        Grid {
            rows: self.text.sequence.layer_count() + 1,
            row_label: &|layer| layer.to_string(),
            row_title: "layer (0 = embedding)",
            columns: &columns,
            column_title: "token",
            value: &|layer, token| self.best(layer, token).map(|(_, prob)| prob),
            ramp: Ramp::sequential(theme, theme.attn, 1.0),
            read_out: &read_out,
            place: &|layer, token| Some(self.text.place(layer.checked_sub(1), token)),
            marked: self.text.pinned,
            text: Some(&text),
            window: self.text.window,
        }
        .layout(size, top, theme, measure)
    }
}
