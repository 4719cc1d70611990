//! Heads: how much each attention head writes, layer by layer.

use super::Kind;
use super::figure::{Chart, ChartOptions, coverage_empty, coverage_notes};
use super::format;
use super::grid::{Grid, Ramp};
use super::legend::{LegendItem, Swatch};
use super::mark::Size;
use super::pinned::Pinned;
use super::scene::{HitRow, Scene};
use super::surface::MeasureText;
use super::table::{Cell, Table};
use super::theme::Theme;
use crate::trace::Trace;
use crate::trace::summary::{Coverage, Finding, Place, Stat, Topic, by_head};

#[derive(Debug)]
pub(super) struct Heads {
    /// `[layer][head]`; empty where the trace was made without heads.
    stats: Vec<Vec<Stat>>,
    coverage: Coverage,
    heads: usize,
    pinned: Option<Pinned>,
}

impl Heads {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let pinned = Pinned::of(trace, options);
        let place = pinned.as_ref().map(|pinned| (pinned.sequence, pinned.token));
        let stats = by_head(trace, place, options.skip_first);
        let heads = stats.first().map_or(0, Vec::len);
        Heads { stats, heads, coverage: Coverage::of(trace, options.skip_first), pinned }
    }

    fn value(&self, layer: usize, head: usize) -> Option<f64> {
        self.stats.get(layer)?.get(head).filter(|stat| stat.n > 0).map(|stat| stat.mean)
    }

    fn largest(&self) -> Option<(usize, usize, f64)> {
        let cells = (0..self.stats.len()).flat_map(|layer| (0..self.heads).map(move |head| (layer, head)));
        cells
            .filter_map(|(layer, head)| Some((layer, head, self.value(layer, head)?)))
            .max_by(|a, b| a.2.total_cmp(&b.2))
    }
}

impl Chart for Heads {
    fn title(&self) -> &'static str {
        "Heads"
    }

    fn lead(&self) -> &'static str {
        "Which heads of attention write to the stream?"
    }

    fn how_to_read(&self) -> String {
        let of = if self.pinned.is_some() { "on the pinned token" } else { "as a mean over tokens" };
        format!(
            "Each cell is the length (L2 norm) of one head's part of its layer's attention update, {of}: its values through \
             its own rows of the output projection. The parts of a layer and the projection's bias, which belongs to no \
             head and is not drawn, add up to the update; their lengths do not."
        )
    }

    fn notes(&self) -> Vec<String> {
        let skip_first = self.coverage.skip_first && self.pinned.is_none();
        let mut notes = coverage_notes(&Coverage { skip_first, ..self.coverage }, 0);
        notes.extend(self.pinned.as_ref().map(|pinned| format!("on {}", pinned.name)));
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        vec![LegendItem { label: "head".to_owned(), kind: Kind::Attention, swatch: Swatch::Solid }]
    }

    fn finding(&self) -> Option<Finding> {
        let (layer, head, value) = self.largest()?;
        let text = format!("Head {head} of layer {} writes most: {}.", layer + 1, format::norm(value));
        let place = Place { layer: Some(layer), kind: Some(Kind::Attention), ..Place::default() };
        Some(Finding { topic: Topic::LargestUpdate, text, place })
    }

    fn description(&self) -> String {
        format!("Grid of head_out norms, {} layers by {} heads.", self.stats.len(), self.heads)
    }

    fn table(&self) -> Table {
        let names = (0..self.heads).map(|head| format!("head {head}"));
        let row = |layer: usize| {
            let values = (0..self.heads).map(|head| self.value(layer, head).map_or(Cell::Missing, Cell::number));
            std::iter::once(Cell::count(layer + 1)).chain(values).collect()
        };
        let over = if self.pinned.is_some() { "of the pinned token" } else { "mean over tokens" };
        Table {
            caption: format!("L2 norm of each head's part of attn_out in activation units, {over}"),
            columns: std::iter::once("layer".to_owned()).chain(names).collect(),
            rows: (0..self.stats.len()).map(row).collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.coverage).or_else(|| {
            (self.heads == 0).then(|| "This trace was made without heads: run the text again to see them.".to_owned())
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let columns: Vec<String> = (0..self.heads).map(|head| head.to_string()).collect();
        let most = self.largest().map_or(0.0, |(_, _, value)| value);
        let read_out = |layer: usize, head: usize| {
            let stat = self.stats.get(layer).and_then(|stats| stats.get(head));
            let value = stat.map_or_else(String::new, |stat| match self.pinned {
                Some(_) => format::norm(stat.mean),
                None => format::mean_std(stat.mean, stat.std),
            });
            let row = HitRow { label: "head_out".to_owned(), value, kind: Some(Kind::Attention) };
            (format!("layer {}, head {head}", layer + 1), vec![row])
        };
        Grid {
            rows: self.stats.len(),
            row_label: &|layer| (layer + 1).to_string(),
            row_title: "layer",
            columns: &columns,
            column_title: "head",
            value: &|layer, head| self.value(layer, head),
            ramp: Ramp::sequential(theme, theme.attn, most),
            read_out: &read_out,
            place: &|_, _| None,
            marked: None,
            text: None,
        }
        .layout(size, top, theme, measure)
    }
}
