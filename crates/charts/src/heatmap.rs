//! Token × layer: where in the text and in the model the updates happen.

use super::Kind;
use super::chart::{Chart, ChartOptions, ChartSpec, Control, Needs, Quantity, coverage_empty, coverage_notes};
use super::format;
use super::geometry::Size;
use super::grid::{Grid, Ramp, layer_number};
use super::legend::{LegendItem, Swatch};
use super::one_text::OneText;
use super::scene::{HitRow, Scene};
use super::surface::MeasureText;
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::summary::{Coverage, Finding, Place, Topic};
use trace::{Sequence, Trace};

pub(super) static SPEC: ChartSpec = ChartSpec {
    name: "heatmap",
    title: "Token by layer",
    lead: "On which token, in which layer, are the updates written?",
    needs: Needs::Norms,
    tab: Some("heatmap"),
    controls: &[Control::Quantity, Control::Tokens],
    build: |trace, options| Box::new(Heatmap::new(trace, options)),
};

#[derive(Debug)]
pub(super) struct Heatmap {
    text: OneText,
    quantity: Quantity,
    coverage: Coverage,
    /// Largest size of a finite value that counts.
    most: f64,
}

impl Heatmap {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let text = OneText::of(trace, options, |whole| Sequence {
            attn_norm: whole.attn_norm.clone(),
            mlp_norm: whole.mlp_norm.clone(),
            resid_post_norm: whole.resid_post_norm.clone(),
            baseline: whole.baseline.clone(),
            ..Sequence::default()
        });
        let alone = std::iter::once(&text.sequence);
        let coverage = Coverage::of_sequences(alone, trace.model.n_layer, options.skip_first);
        let mut map = Heatmap { text, quantity: options.quantity, coverage, most: 0.0 };
        map.most = map.cells().map(|(_, _, value)| value.abs()).fold(0.0, f64::max);
        map
    }

    fn value(&self, layer: usize, token: usize) -> Option<f64> {
        self.quantity.of(&self.text.sequence, layer, token)
    }

    /// Finite values that count, each with its layer and token.
    fn cells(&self) -> impl Iterator<Item = (usize, usize, f64)> {
        let tokens = usize::from(self.coverage.skip_first)..self.text.sequence.token_count();
        (0..self.text.sequence.layer_count()).flat_map(move |layer| {
            tokens.clone().filter_map(move |token| {
                let value = self.value(layer, token).filter(|value| value.is_finite())?;
                Some((layer, token, value))
            })
        })
    }
}

impl Chart for Heatmap {
    fn how_to_read(&self) -> String {
        match self.quantity {
            Quantity::Difference => {
                "Each cell is the MLP's update norm less attention's, on one token in one layer: orange where the MLP \
                 writes more, blue where attention does. Choose a cell to pin its token in every view."
            }
            Quantity::Stream => {
                "Each cell is the length (L2 norm) of one token's stream after one layer, the first layer at the bottom. \
                 Choose a cell to pin its token in every view."
            }
            _ => {
                "Each cell is the length (L2 norm) of one update: one token, one layer, the first layer at the bottom. \
                 Choose a cell to pin its token in every view."
            }
        }
        .to_owned()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = coverage_notes(&Coverage { skip_first: false, ..self.coverage }, 0);
        if self.coverage.skip_first {
            notes.push("position 0 does not set the colours".to_owned());
        }
        notes.extend(self.text.note());
        let pinned = |token| format!("pinned: {}", format::quote_token(self.text.token(token)));
        notes.extend(self.text.pinned.map(pinned));
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        let item = |kind: Kind| LegendItem::of(kind, Swatch::Solid);
        match self.quantity {
            Quantity::Attention => vec![item(Kind::Attention)],
            Quantity::Mlp => vec![item(Kind::Mlp)],
            Quantity::Difference => vec![item(Kind::Attention), item(Kind::Mlp)],
            Quantity::Stream => vec![item(Kind::Stream)],
        }
    }

    fn finding(&self) -> Option<Finding> {
        let (layer, token, value) = self.cells().max_by(|a, b| a.2.abs().total_cmp(&b.2.abs()))?;
        let (what, kind) = match self.quantity {
            Quantity::Attention => ("The largest attention update", Kind::Attention),
            Quantity::Mlp => ("The largest MLP update", Kind::Mlp),
            Quantity::Difference if value < 0.0 => ("The widest gap, in favour of attention,", Kind::Attention),
            Quantity::Difference => ("The widest gap, in favour of the MLP,", Kind::Mlp),
            Quantity::Stream => ("The longest stream", Kind::Stream),
        };
        let text = format!(
            "{what} is on {} in layer {}: {}.",
            format::quote_token(self.text.token(token)),
            layer + 1,
            format::norm(value.abs())
        );
        let place = Place { kind: Some(kind), ..self.text.place(Some(layer), token) };
        Some(Finding { topic: Topic::LargestUpdate, text, place })
    }

    fn description(&self) -> String {
        let what = match self.quantity {
            Quantity::Attention => "attention's update norms",
            Quantity::Mlp => "the MLP's update norms",
            Quantity::Difference => "the MLP's update norms less attention's",
            Quantity::Stream => "the stream's norms",
        };
        let (tokens, layers) = (self.text.sequence.token_count(), self.text.sequence.layer_count());
        format!("Heatmap of {what}, {tokens} tokens by {layers} layers.")
    }

    fn table(&self) -> Table {
        let layers = self.text.sequence.layer_count();
        let names = (1..=layers).map(|layer| format!("layer {layer}"));
        let cells = |token| (0..layers).map(|layer| Cell::of(self.value(layer, token))).collect();
        let caption = match self.quantity {
            Quantity::Attention => "Attention's contribution norms in activation units, by token and layer",
            Quantity::Mlp => "The MLP's contribution norms in activation units, by token and layer",
            Quantity::Difference => "The MLP's contribution norms less attention's, in activation units",
            Quantity::Stream => "Norms of the stream after each block in activation units, by token and layer",
        };
        Table::by_token(caption, names, self.text.tokens(), cells)
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.coverage)
            .or_else(|| (self.text.sequence.layer_count() == 0).then(|| "This trace holds no updates.".to_owned()))
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let columns = self.text.labels();
        let read_out = |layer: usize, token: usize| {
            let shown =
                [(Quantity::Attention, Kind::Attention), (Quantity::Mlp, Kind::Mlp), (Quantity::Stream, Kind::Stream)];
            let rows = shown.into_iter().flat_map(|(quantity, kind)| {
                let of = |sequence: &Sequence| quantity.of(sequence, layer, token).map(format::norm);
                let row = |label, value| HitRow::new(label, value, Some(kind));
                let now = of(&self.text.sequence).map(|value| row(kind.label().to_owned(), value));
                let before = self.text.sequence.baseline.as_deref().and_then(of);
                now.into_iter().chain(before.map(|value| row(format!("{} without ablation", kind.label()), value)))
            });
            let title =
                format!("layer {}, {} (position {token})", layer + 1, format::quote_token(self.text.token(token)));
            (title, rows.collect())
        };
        Grid {
            rows: self.text.sequence.layer_count(),
            row_label: &layer_number,
            row_title: "layer",
            columns: &columns,
            column_title: "token",
            value: &|layer, token| self.value(layer, token),
            ramp: Ramp::of(self.quantity, theme, self.most),
            read_out: &read_out,
            place: &|layer, token| Some(self.text.place(Some(layer), token)),
            marked: self.text.pinned,
            text: None,
            window: self.text.window,
        }
        .layout(size, top, theme, measure)
    }
}
