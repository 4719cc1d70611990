//! Activation patching: how much of the clean text's answer each layer and token brings back.

use super::Kind;
use super::chart::{Chart, ChartOptions, ChartSpec, Control, Needs};
use super::format;
use super::geometry::Size;
use super::grid::{Grid, Ramp, layer_number};
use super::legend::{LegendItem, Swatch};
use super::scene::{HitRow, Scene, TokenRange};
use super::surface::MeasureText;
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::summary::{Finding, Place, Topic};
use trace::{Patching, Trace};

pub(super) static SPEC: ChartSpec = ChartSpec {
    name: "patching",
    title: "Activation patching",
    lead: "Which layer and token carry what sets the two texts apart?",
    needs: Needs::Patching,
    tab: Some("patching"),
    controls: &[Control::Tokens, Control::Texts, Control::Target],
    build: |trace, options| Box::new(PatchingChart::new(trace, options)),
};

#[derive(Debug)]
pub(super) struct PatchingChart {
    found: Option<Patching>,
    n_layer: usize,
    /// Which tokens are shown.
    window: Option<TokenRange>,
}

impl PatchingChart {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        PatchingChart { found: trace.patching.clone(), n_layer: trace.model.n_layer, window: options.tokens }
    }

    fn tokens(&self) -> usize {
        self.found.as_ref().map_or(0, |found| found.corrupted_tokens.len())
    }

    fn layers(&self) -> usize {
        self.found.as_ref().map_or(0, |found| found.recovered.len().checked_div(self.tokens()).unwrap_or(0))
    }

    fn value(&self, layer: usize, token: usize) -> Option<f64> {
        let recovered = self.found.as_ref()?.recovered.get(layer * self.tokens() + token)?;
        Some(f64::from(*recovered))
    }

    /// The same where it is a number.
    fn finite(&self, layer: usize, token: usize) -> Option<f64> {
        self.value(layer, token).filter(|value| value.is_finite())
    }

    /// Whether both texts have one difference, so that there is nothing to bring back.
    fn is_level(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.clean_difference == found.corrupted_difference)
    }

    /// A token as both texts have it.
    fn token(&self, token: usize) -> String {
        let Some(found) = &self.found else { return String::new() };
        let text = |tokens: &[String]| tokens.get(token).map_or_else(String::new, |text| format::quote_token(text));
        let (clean, corrupted) = (text(&found.clean_tokens), text(&found.corrupted_tokens));
        if clean == corrupted { clean } else { format!("{clean} for {corrupted}") }
    }
}

/// "2.50", "−1.25".
fn logit(value: f32) -> String {
    format!("{value:.2}").replace('-', "\u{2212}")
}

impl Chart for PatchingChart {
    fn how_to_read(&self) -> String {
        "Both texts run; then, for each cell, the second text runs again with the first one's stream (before that layer, at \
         that token) put in the place of its own. The colour is the part of the difference between the two answers' logits \
         that this brings back: 100 % makes the second text answer like the first."
            .to_owned()
    }

    fn notes(&self) -> Vec<String> {
        let Some(found) = &self.found else { return Vec::new() };
        let (answer, against) = (format::quote_token(&found.answer_text), format::quote_token(&found.against_text));
        let mut notes = vec![
            format!("logit of {answer} less {against}"),
            format!("first text {}, second {}", logit(found.clean_difference), logit(found.corrupted_difference)),
        ];
        if self.is_level() {
            notes.push("both differences are equal: nothing to bring back".to_owned());
        }
        if self.layers() < self.n_layer {
            notes.push(format!("{} of {} layers so far", self.layers(), self.n_layer));
        }
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        let item = |kind: Kind, label: &str| LegendItem::new(label, kind, Swatch::Solid);
        vec![item(Kind::Mlp, "towards the first text"), item(Kind::Attention, "away from it")]
    }

    fn finding(&self) -> Option<Finding> {
        let cells = (0..self.layers()).flat_map(|layer| (0..self.tokens()).map(move |token| (layer, token)));
        // The first layer brings back everything at the tokens that differ, the last one at the last token: what lies
        // between says more.
        let half = |token: usize| {
            (0..self.layers()).rev().find(|&layer| self.finite(layer, token).is_some_and(|value| value >= 0.5))
        };
        let last = self.tokens().checked_sub(1)?;
        let changed = (0..last).filter_map(|token| Some((half(token)?, token))).max();
        let (layer, token, value) = cells
            .filter_map(|(layer, token)| Some((layer, token, self.finite(layer, token)?)))
            .max_by(|a, b| a.2.total_cmp(&b.2))?;
        let text = match changed {
            Some((layer, token)) => format!(
                "As late as before layer {}, half of the answer or more can be brought back at {}.",
                layer + 1,
                self.token(token)
            ),
            None => format!(
                "The most is brought back before layer {}, at {}: {}.",
                layer + 1,
                self.token(token),
                format::percent(value)
            ),
        };
        let layer = changed.map_or(layer, |(layer, _)| layer);
        Some(Finding { topic: Topic::Change, text, place: Place { layer: Some(layer), ..Place::default() } })
    }

    fn description(&self) -> String {
        format!("Grid of {} tokens by {} layers: recovered logit difference.", self.tokens(), self.layers())
    }

    fn table(&self) -> Table {
        let names = (0..self.layers()).map(|layer| format!("before layer {}", layer + 1));
        let cells = |token| (0..self.layers()).map(|layer| Cell::of(self.value(layer, token))).collect();
        let tokens = (0..self.tokens()).map(|token| self.token(token));
        Table::by_token("Recovered logit difference: 0 nothing, 1 all of it", names, tokens, cells)
    }

    fn empty(&self) -> Option<String> {
        let why = "Nothing to show yet: write two sentences of as many tokens, one a line, and choose them above.";
        (self.layers() == 0).then(|| why.to_owned())
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let found = self.found.as_ref()?;
        let columns: Vec<String> = found.corrupted_tokens.iter().map(|token| format::token_label(token)).collect();
        let read_out = |layer: usize, token: usize| {
            let value =
                self.finite(layer, token).map_or_else(|| "–".to_owned(), |value| format!("{:.1} %", value * 100.0));
            let row = HitRow::new("brought back", value, None);
            (format!("before layer {}, {} (position {token})", layer + 1, self.token(token)), vec![row])
        };
        let finite = found.recovered.iter().map(|value| f64::from(value.abs())).filter(|value| value.is_finite());
        Grid {
            rows: self.layers(),
            row_label: &layer_number,
            row_title: "before layer",
            columns: &columns,
            column_title: "token of the second text",
            value: &|layer, token| self.value(layer, token),
            ramp: Ramp::diverging(theme, finite.fold(1.0, f64::max).min(2.0)),
            read_out: &read_out,
            place: &|_, _| None,
            marked: None,
            text: None,
            window: self.window,
        }
        .layout(size, top, theme, measure)
    }
}
