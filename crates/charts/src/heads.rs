//! Heads: how much each attention head writes, layer by layer.

use super::Kind;
use super::chart::{Chart, ChartOptions, ChartSpec, Needs, coverage_empty, coverage_notes};
use super::format;
use super::geometry::Size;
use super::grid::{Grid, Ramp, layer_number};
use super::legend::{LegendItem, Swatch};
use super::pinned::Pinned;
use super::scene::{HitRow, Scene};
use super::surface::MeasureText;
use super::table::Table;
use super::theme::Theme;
use trace::Trace;
use trace::summary::{Coverage, Finding, Place, Stat, Topic, by_head};

pub(super) static SPEC: ChartSpec = ChartSpec {
    name: "heads",
    title: "Heads",
    lead: "Which heads of attention write to the stream?",
    needs: Needs::Heads,
    tab: Some("heads"),
    controls: &[],
    build: |trace, options| Box::new(Heads::new(trace, options)),
};

#[derive(Debug)]
pub(super) struct Heads {
    /// `[layer][head]`; empty where the trace was made without heads.
    stats: Vec<Vec<Stat>>,
    coverage: Coverage,
    heads: usize,
    pinned: Option<Pinned>,
    /// The same of the unchanged model, under ablation.
    before: Vec<Vec<Stat>>,
    /// L: norm of the projection's bias, where the trace says it.
    bias: Vec<f32>,
}

impl Heads {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let pinned = Pinned::of(trace, options);
        let token = pinned.as_ref().map(|pinned| pinned.at);
        let stats = by_head(trace.run(), token, options.skip_first);
        let heads = stats.first().map_or(0, Vec::len);
        let before = trace.unablated().map(|before| by_head(before, token, options.skip_first)).unwrap_or_default();
        let bias = trace.sequences.first().and_then(|sequence| sequence.attn_bias_norm.clone());
        let bias = bias.filter(|bias| bias.len() == stats.len()).unwrap_or_default();
        Heads { stats, heads, coverage: Coverage::of(trace.run(), options.skip_first), pinned, before, bias }
    }

    /// Heads, and the bias as the column after the last.
    fn cell(&self, layer: usize, column: usize) -> Option<f64> {
        match column == self.heads {
            true => self.bias.get(layer).map(|norm| f64::from(*norm)),
            false => self.value(layer, column),
        }
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
    fn how_to_read(&self) -> String {
        let of = if self.pinned.is_some() { "on the pinned token" } else { "as a mean over tokens" };
        format!(
            "Each cell is the length (L2 norm) of one head's part of its layer's attention update, {of}: its values through \
             its own rows of the output projection. The parts of a layer and the projection's bias (the last column: it \
             belongs to no head) add up to the update; their lengths do not. Choose a head to see its attention pattern."
        )
    }

    fn notes(&self) -> Vec<String> {
        let skip_first = self.coverage.skip_first && self.pinned.is_none();
        let mut notes = coverage_notes(&Coverage { skip_first, ..self.coverage }, 0);
        notes.extend(self.pinned.as_ref().map(|pinned| format!("on {}", pinned.name)));
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        vec![LegendItem::new("head", Kind::Attention, Swatch::Solid)]
    }

    fn finding(&self) -> Option<Finding> {
        let (layer, head, value) = self.largest()?;
        let text = format!("Head {head} of layer {} writes most: {}.", layer + 1, format::norm(value));
        let place = Place { layer: Some(layer), head: Some(head), kind: Some(Kind::Attention), ..Place::default() };
        Some(Finding { topic: Topic::LargestUpdate, text, place })
    }

    fn description(&self) -> String {
        format!("Grid of head_out norms, {} layers by {} heads.", self.stats.len(), self.heads)
    }

    fn table(&self) -> Table {
        let over = if self.pinned.is_some() { "of the pinned token" } else { "mean over tokens" };
        let caption = format!("L2 norm of each head's part of attn_out in activation units, {over}");
        let cell = |layer, column| self.cell(layer, column);
        Table::by_head(caption, self.stats.len(), self.heads, !self.bias.is_empty(), cell)
    }

    fn empty(&self) -> Option<String> {
        // A pinned token counts wherever it stands.
        coverage_empty(&self.coverage).filter(|_| self.pinned.is_none()).or_else(|| {
            (self.heads == 0).then(|| "This trace was made without heads: run the text again to see them.".to_owned())
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let bias = (!self.bias.is_empty()).then(|| "bias".to_owned());
        let columns: Vec<String> = (0..self.heads).map(|head| head.to_string()).chain(bias).collect();
        let most = self.bias.iter().map(|norm| f64::from(*norm)).filter(|norm| norm.is_finite());
        let most = most.fold(self.largest().map_or(0.0, |(_, _, value)| value), f64::max);
        let read_out = |layer: usize, head: usize| {
            let row = |label: &str, value| HitRow::new(label, value, Some(Kind::Attention));
            if head == self.heads {
                let value = self.cell(layer, head).map_or_else(String::new, format::norm);
                return (format!("layer {}, bias of the projection", layer + 1), vec![row("norm", value)]);
            }
            let stat = self.stats.get(layer).and_then(|stats| stats.get(head));
            let value = stat.map_or_else(String::new, |stat| match self.pinned {
                Some(_) => format::norm(stat.mean),
                None => format::mean_std(stat.mean, stat.std),
            });
            let before = self.before.get(layer).and_then(|stats| stats.get(head));
            let before = before.map(|stat| row("without ablation", format::norm(stat.mean)));
            let rows = [row("head_out", value)].into_iter().chain(before).collect();
            (format!("layer {}, head {head}", layer + 1), rows)
        };
        let place = |layer: usize, head: usize| {
            (head < self.heads).then_some(Place { layer: Some(layer), head: Some(head), ..Place::default() })
        };
        Grid {
            rows: self.stats.len(),
            row_label: &layer_number,
            row_title: "layer",
            columns: &columns,
            column_title: "head",
            value: &|layer, column| self.cell(layer, column),
            ramp: Ramp::sequential(theme, theme.attn, most),
            read_out: &read_out,
            place: &place,
            marked: None,
            text: None,
            window: None,
        }
        .layout(size, top, theme, measure)
    }
}
