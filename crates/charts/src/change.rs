//! Change: one run less another, token by token and layer by layer: an ablated model less the unchanged one, or one text
//! less another, aligned by their tokens.

use super::Kind;
use super::chart::{Chart, ChartOptions, ChartSpec, Control, Needs, Quantity, coverage_empty, coverage_notes};
use super::format;
use super::geometry::Size;
use super::grid::{Grid, Ramp, layer_number};
use super::legend::{LegendItem, Swatch};
use super::scene::{HitRow, Scene, TokenRange};
use super::surface::MeasureText;
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::summary::{Coverage, Finding, Place, Stat, Topic, aligned};
use trace::{Sequence, TokenPosition, Trace};

pub(super) static ABLATION: ChartSpec = ChartSpec {
    name: "change",
    title: "Change by ablation",
    lead: "What changes when a part of the model is switched off?",
    needs: Needs::Ablation,
    tab: Some("change"),
    controls: &[Control::Quantity, Control::Tokens, Control::Ablation],
    build: |trace, options| Box::new(ChangeChart::new(Between::Ablation, trace, options)),
};

pub(super) static TEXTS: ChartSpec = ChartSpec {
    name: "compare",
    title: "Two texts compared",
    lead: "Where do two texts part inside the model?",
    needs: Needs::TwoTexts,
    tab: Some("compare"),
    controls: &[Control::Quantity, Control::Tokens, Control::Texts],
    build: |trace, options| Box::new(ChangeChart::new(Between::Texts, trace, options)),
};

/// Which two runs are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// A text with parts of the model switched off, less the same text without.
    Ablation,
    /// A text less another of the trace.
    Texts,
}

#[derive(Debug)]
pub(super) struct ChangeChart {
    between: Between,
    quantity: Quantity,
    /// The run that is subtracted, and the run it is subtracted from.
    before: Sequence,
    after: Sequence,
    /// Positions of the tokens in either, where they have one.
    columns: Vec<(Option<usize>, Option<usize>)>,
    /// Places of the two in the trace.
    numbers: [usize; 2],
    coverage: Coverage,
    most: f64,
    /// Under ablation: what was switched off, in words.
    ablated: Vec<String>,
    /// Mean of the divergences over tokens.
    kl: Option<f64>,
    pinned: Option<TokenPosition>,
    /// Which columns are shown.
    window: Option<TokenRange>,
}

impl ChangeChart {
    pub(super) fn new(between: Between, trace: &Trace, options: &ChartOptions) -> Self {
        let of = |sequence: &Sequence| Sequence {
            ids: sequence.ids.clone(),
            tokens: sequence.tokens.clone(),
            attn_norm: sequence.attn_norm.clone(),
            mlp_norm: sequence.mlp_norm.clone(),
            resid_post_norm: sequence.resid_post_norm.clone(),
            ..Sequence::default()
        };
        let at = |number: usize| trace.sequences.get(number);
        let number = if options.sequence < trace.sequences.len() { options.sequence } else { 0 };
        let (pair, numbers) = match between {
            Between::Ablation => {
                (at(number).and_then(|after| Some((after.baseline.as_deref()?, after))), [number, number])
            }
            Between::Texts => {
                let [first, second] = options.compared();
                let pair = if first == second { None } else { at(first).zip(at(second)) };
                (pair, [first, second])
            }
        };
        let (before, after) = pair.map_or_else(Default::default, |(before, after)| (of(before), of(after)));
        let kl = at(number).filter(|_| between == Between::Ablation).and_then(|sequence| sequence.kl.as_ref());
        let kl = kl.map(|kl| Stat::of(kl.iter().copied())).filter(|kl| kl.n > 0).map(|kl| kl.mean);
        let mut chart = ChangeChart {
            between,
            quantity: options.quantity,
            columns: aligned(&before.ids, &after.ids),
            before,
            after,
            numbers,
            coverage: Coverage::of(trace.run(), options.skip_first),
            most: 0.0,
            ablated: trace.ablate.iter().map(|ablated| ablated.text()).collect(),
            kl,
            pinned: options.pinned(),
            window: options.tokens,
        };
        chart.most = chart.cells().map(|(_, _, value)| value.abs()).fold(0.0, f64::max);
        chart
    }

    fn layers(&self) -> usize {
        self.before.layer_count().min(self.after.layer_count())
    }

    fn of(&self, sequence: &Sequence, layer: usize, token: usize) -> Option<f64> {
        self.quantity.of(sequence, layer, token)
    }

    fn pair(&self, layer: usize, column: usize) -> Option<(f64, f64)> {
        let (before, after) = self.columns.get(column)?;
        Some((self.of(&self.before, layer, (*before)?)?, self.of(&self.after, layer, (*after)?)?))
    }

    fn value(&self, layer: usize, column: usize) -> Option<f64> {
        self.pair(layer, column).map(|(before, after)| after - before)
    }

    /// The value of one of the two runs: the first, or the second.
    fn single(&self, second: bool, layer: usize, column: usize) -> Option<f64> {
        let (before, after) = *self.columns.get(column)?;
        if second { self.of(&self.after, layer, after?) } else { self.of(&self.before, layer, before?) }
    }

    /// The largest size of a value of either run that counts.
    fn most_of_both(&self) -> f64 {
        let columns = (0..self.columns.len()).filter(|column| self.counts(*column));
        let cells = columns.flat_map(|column| (0..self.layers()).map(move |layer| (layer, column)));
        let both = cells.flat_map(|(layer, column)| [false, true].map(|second| self.single(second, layer, column)));
        both.flatten().filter(|value| value.is_finite()).fold(0.0, |most: f64, value| most.max(value.abs()))
    }

    /// Whether a column sets the colours.
    fn counts(&self, column: usize) -> bool {
        let first = self.columns.get(column).is_some_and(|pair| pair.0 == Some(0) || pair.1 == Some(0));
        !(self.coverage.skip_first && first)
    }

    /// Finite differences that count.
    fn cells(&self) -> impl Iterator<Item = (usize, usize, f64)> {
        (0..self.layers()).flat_map(move |layer| {
            (0..self.columns.len()).filter(|column| self.counts(*column)).filter_map(move |column| {
                let value = self.value(layer, column).filter(|value| value.is_finite())?;
                Some((layer, column, value))
            })
        })
    }

    fn token(&self, column: usize) -> &str {
        let (before, after) = self.columns.get(column).copied().unwrap_or_default();
        let of = |sequence: &'_ Sequence, token: Option<usize>| token.filter(|t| *t < sequence.tokens.len());
        match (of(&self.after, after), of(&self.before, before)) {
            (Some(token), _) => &self.after.tokens[token],
            (None, Some(token)) => &self.before.tokens[token],
            _ => "",
        }
    }

    fn what(&self) -> &'static str {
        match self.quantity {
            Quantity::Attention => "attention's update",
            Quantity::Mlp => "the MLP's update",
            Quantity::Difference => "the MLP's update less attention's",
            Quantity::Stream => "the stream after the block",
        }
    }

    fn names(&self) -> (String, String) {
        match self.between {
            Between::Ablation => ("without ablation".to_owned(), "with ablation".to_owned()),
            Between::Texts => {
                let name = |number: usize| format!("sentence {}", number.saturating_add(1));
                (name(self.numbers[0]), name(self.numbers[1]))
            }
        }
    }
}

impl Chart for ChangeChart {
    fn how_to_read(&self) -> String {
        let what = self.what();
        match self.between {
            Between::Ablation => format!(
                "Each cell is the norm of {what} with the part switched off, less its norm without: orange where it grew, blue \
                 where it shrank. Layers below the first one that is switched off cannot change."
            ),
            Between::Texts => format!(
                "Both texts and, below them, the second less the first, aligned by the tokens they share; a token that only \
                 one text has is empty in the other. Each cell is the norm of {what}. Up to the first difference nothing can \
                 differ by more than rounding: attention only looks back."
            ),
        }
    }

    fn notes(&self) -> Vec<String> {
        if self.layers() == 0 {
            return Vec::new();
        }
        let mut notes = coverage_notes(&Coverage { skip_first: false, ..self.coverage }, 0);
        if self.between == Between::Ablation {
            notes.push(format!("switched off: {}", self.ablated.join(", ")));
            notes.extend(self.kl.map(|kl| format!("mean KL divergence of the predictions: {} nats", format::norm(kl))));
        } else {
            let (before, after) = self.names();
            notes.push(format!("{after} less {before}"));
        }
        if self.coverage.skip_first {
            notes.push("position 0 does not set the colours".to_owned());
        }
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        let item = |kind: Kind, label: &str| LegendItem::new(label, kind, Swatch::Solid);
        vec![item(Kind::Mlp, "larger"), item(Kind::Attention, "smaller")]
    }

    fn finding(&self) -> Option<Finding> {
        let (layer, column, value) = self.cells().max_by(|a, b| a.2.abs().total_cmp(&b.2.abs()))?;
        if value == 0.0 {
            let text = "Nothing changes that is counted.".to_owned();
            return Some(Finding { topic: Topic::Change, text, place: Place::default() });
        }
        let (before, after) = self.pair(layer, column)?;
        let text = format!(
            "The widest change of {} is on {} in layer {}: from {} to {}.",
            self.what(),
            format::quote_token(self.token(column)),
            layer + 1,
            format::norm(before),
            format::norm(after)
        );
        let token = self.columns.get(column).and_then(|pair| pair.1);
        let place = Place { layer: Some(layer), sequence: Some(self.numbers[1]), token, ..Place::default() };
        Some(Finding { topic: Topic::Change, text, place })
    }

    fn description(&self) -> String {
        let (before, after) = self.names();
        format!(
            "Grid of {} tokens by {} layers: the norm of {}, {after} less {before}.",
            self.columns.len(),
            self.layers(),
            self.what()
        )
    }

    fn table(&self) -> Table {
        let (before, after) = self.names();
        let rows = (0..self.columns.len()).flat_map(|column| {
            (0..self.layers()).map(move |layer| {
                let pair = self.pair(layer, column);
                vec![
                    Cell::Text(self.token(column).to_owned()),
                    Cell::count(layer + 1),
                    Cell::of(pair.map(|pair| pair.0)),
                    Cell::of(pair.map(|pair| pair.1)),
                    Cell::of(pair.map(|pair| pair.1 - pair.0)),
                ]
            })
        });
        Table {
            caption: format!("L2 norm of {} in activation units", self.what()),
            columns: vec!["token".to_owned(), "layer".to_owned(), before, after, "change".to_owned()],
            rows: rows.collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.coverage).or_else(|| {
            let why = match self.between {
                Between::Ablation => "Nothing is switched off: choose a layer and a part above.",
                Between::Texts => {
                    "There is nothing to compare: write two sentences, one a line, and choose them above."
                }
            };
            (self.layers() == 0).then(|| why.to_owned())
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let label = |column: usize| match self.columns.get(column) {
            Some((Some(_), None)) => format!("\u{2212}{}", format::token_label(self.token(column))),
            Some((None, Some(_))) if self.between == Between::Texts => {
                format!("+{}", format::token_label(self.token(column)))
            }
            _ => format::token_label(self.token(column)),
        };
        let columns: Vec<String> = (0..self.columns.len()).map(label).collect();
        let (before, after) = self.names();
        let read_out = |layer: usize, column: usize| {
            let row = |label: &str, value| HitRow::new(label, value, None);
            let rows = match self.pair(layer, column) {
                None => [(false, &before), (true, &after)]
                    .into_iter()
                    .filter_map(|(second, name)| {
                        Some(row(&format!("only in {name}"), format::norm(self.single(second, layer, column)?)))
                    })
                    .collect(),
                Some((a, b)) => {
                    let change = format!("{}{}", if b < a { "\u{2212}" } else { "+" }, format::norm((b - a).abs()));
                    vec![row(&before, format::norm(a)), row(&after, format::norm(b)), row("change", change)]
                }
            };
            (format!("layer {}, {}", layer + 1, format::quote_token(self.token(column))), rows)
        };
        let place = |layer: usize, sequence: usize, token: usize| Place {
            layer: Some(layer),
            sequence: Some(sequence),
            token: Some(token),
            ..Place::default()
        };
        let [first_number, second_number] = self.numbers;
        let of_first = |layer: usize, column: usize| Some(place(layer, first_number, self.columns.get(column)?.0?));
        let of_second = |layer: usize, column: usize| Some(place(layer, second_number, self.columns.get(column)?.1?));
        let marked = self.pinned.and_then(|TokenPosition { sequence, token }| {
            self.columns.iter().position(|&(first, second)| {
                sequence == second_number && second == Some(token) || sequence == first_number && first == Some(token)
            })
        });
        let change = Grid {
            rows: self.layers(),
            row_label: &layer_number,
            row_title: if self.between == Between::Texts { "layer, second less first" } else { "layer" },
            columns: &columns,
            column_title: "token",
            value: &|layer, column| self.value(layer, column),
            ramp: Ramp::diverging(theme, self.most),
            read_out: &read_out,
            place: &|layer, column| of_second(layer, column).or_else(|| of_first(layer, column)),
            marked,
            text: None,
            window: self.window,
        };
        if self.between == Between::Ablation {
            return change.layout(size, top, theme, measure);
        }
        let first = Grid {
            row_title: "layer, first text",
            value: &|layer, column| self.single(false, layer, column),
            ramp: Ramp::of(self.quantity, theme, self.most_of_both()),
            place: &of_first,
            ..change
        };
        let second = Grid {
            row_title: "layer, second text",
            value: &|layer, column| self.single(true, layer, column),
            place: &of_second,
            ..first
        };
        // Where three have no room, the difference says most.
        Grid::stack(&[first, second, change], size, top, theme, measure)
            .or_else(|| change.layout(size, top, theme, measure))
    }
}
