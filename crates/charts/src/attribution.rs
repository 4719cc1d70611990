//! Direct logit attribution: what every contribution adds to one logit, as a waterfall; or the same by heads.

use super::Kind;
use super::axis::{Axis, Frame, Ticks};
use super::chart::{Chart, ChartOptions, ChartSpec, Control, Needs, coverage_empty};
use super::format;
use super::geometry::{Point, Rect, Size};
use super::grid::{Grid, Ramp, layer_number};
use super::legend::{LegendItem, Swatch};
use super::mark::Mark;
use super::one_text::OneText;
use super::scene::{Hit, HitRow, Scene};
use super::surface::{MeasureText, Stroke};
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::summary::{Coverage, Finding, Place, Topic};
use trace::{Attribution, Sequence, Trace};

pub(super) static CONTRIBUTIONS: ChartSpec = ChartSpec {
    name: "attribution",
    title: "Direct logit attribution",
    lead: "Which contributions make the model say this token?",
    needs: Needs::Attribution,
    tab: Some("attribution"),
    controls: &[Control::Target, Control::Parts],
    build: |trace, options| Box::new(AttributionChart::new(false, trace, options)),
};

pub(super) static HEADS: ChartSpec = ChartSpec {
    name: "attribution-heads",
    title: "Attribution by head",
    lead: "Which heads speak for this token?",
    needs: Needs::Attribution,
    tab: Some("attribution"),
    controls: &[Control::Target, Control::Parts],
    build: |trace, options| Box::new(AttributionChart::new(true, trace, options)),
};

/// How far the sum of the parts may be from the logit: rounding of F32 streams with a few very large coordinates.
const SUM_TOLERANCE: f64 = 1e-3;

/// What a bar stands for.
struct Contribution {
    name: String,
    kind: Kind,
    /// Block, from 0; none for the embedding and the bias.
    layer: Option<usize>,
    value: f64,
    /// What all parts up to this one add up to.
    sum: f64,
    /// The middle of its bar, along the axis of layers.
    middle: f64,
    /// How wide the bar is, in layers.
    width: f64,
}

#[derive(Debug)]
pub(super) struct AttributionChart {
    text: OneText,
    found: Option<Attribution>,
    /// Under ablation: the same of the unchanged model.
    before: Option<Attribution>,
    by_head: bool,
    heads: usize,
    coverage: Coverage,
}

impl AttributionChart {
    pub(super) fn new(by_head: bool, trace: &Trace, options: &ChartOptions) -> Self {
        let text = OneText::of(trace, options, |_| Sequence::default());
        let whole = trace.sequences.get(text.number());
        let found = whole.and_then(|whole| whole.attribution.clone());
        // Of the same token: the unchanged model may have predicted another.
        let before = whole.and_then(|whole| whole.baseline.as_ref()?.attribution.clone());
        let before = before.filter(|before| found.as_ref().is_some_and(|found| found.target == before.target));
        let layers = found.as_ref().map_or(0, |found| found.attn.len());
        let heads = found.as_ref().map_or(0, |found| found.heads.len().checked_div(layers).unwrap_or(0));
        AttributionChart { text, found, before, by_head, heads, coverage: Coverage::of(trace.run(), false) }
    }

    fn layers(&self) -> usize {
        self.found.as_ref().map_or(0, |found| found.attn.len())
    }

    fn parts(&self) -> Vec<Contribution> {
        self.found.as_ref().map_or_else(Vec::new, parts_of)
    }

    /// "“ Paris”", "“ Paris” less “ London”".
    fn what(&self) -> String {
        let Some(found) = &self.found else { return String::new() };
        let target = format::quote_token(&found.target_text);
        match &found.against_text {
            Some(against) => format!("{target} less {}", format::quote_token(against)),
            None => target,
        }
    }

    fn head(&self, layer: usize, head: usize) -> Option<f64> {
        self.found.as_ref()?.heads.get(layer * self.heads + head).map(|part| f64::from(*part))
    }

    fn bias_of(&self, layer: usize) -> Option<f64> {
        self.found.as_ref()?.attn_bias.get(layer).map(|part| f64::from(*part))
    }

    /// Heads, and the bias as the column after the last.
    fn cell(&self, layer: usize, column: usize) -> Option<f64> {
        if column == self.heads { self.bias_of(layer) } else { self.head(layer, column) }
    }
}

/// The bars of an attribution, in order.
fn parts_of(found: &Attribution) -> Vec<Contribution> {
    let mut parts: Vec<Contribution> = Vec::new();
    let mut add = |name: String, kind, layer, value: f32, middle, width| {
        let value = f64::from(value);
        let sum = parts.last().map_or(0.0, |last| last.sum) + value;
        parts.push(Contribution { name, kind, layer, value, sum, middle, width });
    };
    add("embedding".to_owned(), Kind::Embedding, None, found.embed, 0.0, 0.5);
    for (block, (&attn, &mlp)) in found.attn.iter().zip(&found.mlp).enumerate() {
        let (layer, x) = (block + 1, (block + 1) as f64);
        add(format!("layer {layer}, attention"), Kind::Attention, Some(block), attn, x - 0.22, 0.4);
        add(format!("layer {layer}, MLP"), Kind::Mlp, Some(block), mlp, x + 0.22, 0.4);
    }
    let end = (found.attn.len() + 1) as f64;
    add("bias of the final layer norm".to_owned(), Kind::Stream, None, found.bias, end, 0.5);
    parts
}

/// "+1.23", "−0.40".
fn signed(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let sign = if value < 0.0 { "\u{2212}" } else { "+" };
    format!("{sign}{:.2}", value.abs())
}

impl Chart for AttributionChart {
    fn how_to_read(&self) -> String {
        match self.by_head {
            true => {
                "Each cell is what one head's part of attention adds to the logit, the final layer norm's scale frozen: \
                 orange raises it, blue lowers it. The last column is the bias of the output projection; a row adds up to its \
                 layer's attention."
            }
            false => {
                "A logit is a sum: each bar begins where the one before ended, and is what the embedding, one attention, one \
                 MLP or the final bias adds, with the final layer norm's scale frozen at what it is. The last bar ends at the \
                 logit, the dashed line."
            }
        }
        .to_owned()
    }

    fn notes(&self) -> Vec<String> {
        let Some(found) = &self.found else { return Vec::new() };
        let logit = f64::from(found.logit);
        let off = (found.sum() - logit).abs();
        let check = match off <= SUM_TOLERANCE * logit.abs().max(1.0) {
            _ if !off.is_finite() => "some parts are not finite: the model's numbers overflowed".to_owned(),
            true => format!("the parts add up to the logit, {logit:.3}"),
            false => format!("the parts add up to {:.3}, the logit is {logit:.3}", found.sum()),
        };
        let after = format!("logit of {} after {}", self.what(), format::quote_token(self.text.token(found.position)));
        let scale = format!("final scale frozen at {}", format::norm(f64::from(found.scale)));
        [after, scale, check].into_iter().chain(self.text.note()).collect()
    }

    fn legend(&self) -> Vec<LegendItem> {
        let item = |kind: Kind, label: &str| LegendItem::new(label, kind, Swatch::Solid);
        match self.by_head {
            true => vec![item(Kind::Mlp, "raises the logit"), item(Kind::Attention, "lowers it")],
            false => vec![
                item(Kind::Attention, "attention"),
                item(Kind::Mlp, "MLP"),
                item(Kind::Stream, "embedding, final bias"),
            ],
        }
    }

    fn finding(&self) -> Option<Finding> {
        let place = |layer, kind| Place {
            kind: Some(kind),
            ..self.text.place(layer, self.found.as_ref().map_or(0, |found| found.position))
        };
        let (name, value, place) = if self.by_head {
            let all = (0..self.layers()).flat_map(|layer| (0..self.heads).map(move |head| (layer, head)));
            let values = all.filter_map(|(layer, head)| Some((layer, head, self.head(layer, head)?)));
            let finite = values.filter(|(.., value)| value.is_finite());
            let (layer, head, value) = finite.max_by(|a, b| a.2.total_cmp(&b.2))?;
            let place = Place { head: Some(head), ..place(Some(layer), Kind::Attention) };
            (format!("head {head} of layer {}", layer + 1), value, place)
        } else {
            let parts = self.parts();
            let finite = parts.iter().filter(|part| part.value.is_finite());
            let most = finite.max_by(|a, b| a.value.total_cmp(&b.value))?;
            let article = if most.layer.is_none() { "the " } else { "" };
            (format!("{article}{}", most.name), most.value, place(most.layer, most.kind))
        };
        let (what, value_text) = (self.what(), signed(value));
        let text = match value > 0.0 {
            true => format!("Most for {what} is added by {name}: {value_text}."),
            false => format!("Nothing here adds to {what}; {name} takes least from it: {value_text}."),
        };
        Some(Finding { topic: Topic::Attribution, text, place })
    }

    fn description(&self) -> String {
        match self.by_head {
            true => format!(
                "Grid of {} layers by {} heads: what each adds to the logit of {}.",
                self.layers(),
                self.heads,
                self.what()
            ),
            false => format!("Waterfall of {} contributions to the logit of {}.", 2 * self.layers() + 2, self.what()),
        }
    }

    fn table(&self) -> Table {
        if self.by_head {
            let caption = format!("What each head adds to the logit of {}", self.what());
            return Table::by_head(caption, self.layers(), self.heads, true, |layer, column| self.cell(layer, column));
        }
        let row =
            |part: &Contribution| vec![Cell::Text(part.name.clone()), Cell::number(part.value), Cell::number(part.sum)];
        Table {
            caption: format!("What each contribution adds to the logit of {}", self.what()),
            columns: ["contribution", "adds", "sum so far"].map(str::to_owned).to_vec(),
            rows: self.parts().iter().map(row).collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.coverage).or_else(|| match &self.found {
            Some(found) if !found.logit.is_finite() => {
                Some("The logit is not a finite number: the model's numbers overflowed.".to_owned())
            }
            Some(_) if self.layers() > 0 => None,
            _ => Some("This trace was made without attribution: run the text again to see it.".to_owned()),
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        if self.by_head { self.grid(size, top, theme, measure) } else { self.waterfall(size, top, theme, measure) }
    }
}

impl AttributionChart {
    fn grid(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let columns: Vec<String> = (0..self.heads).map(|head| head.to_string()).chain(["bias".to_owned()]).collect();
        let cells = (0..self.layers()).flat_map(|layer| (0..=self.heads).map(move |column| (layer, column)));
        let values = cells.filter_map(|(layer, column)| self.cell(layer, column)).filter(|value| value.is_finite());
        let most = values.fold(0.0, |most: f64, value| most.max(value.abs()));
        let read_out = |layer: usize, column: usize| {
            let name = if column == self.heads { "bias".to_owned() } else { format!("head {column}") };
            let value = self.cell(layer, column).map_or_else(|| "–".to_owned(), signed);
            let row = |label: &str, value| HitRow::new(label, value, None);
            let before = self.before.as_ref().filter(|_| column < self.heads);
            let before = before.and_then(|before| before.heads.get(layer * self.heads + column));
            let before = before.map(|part| row("added without ablation", signed(f64::from(*part))));
            (format!("layer {}, {name}", layer + 1), [row("adds", value)].into_iter().chain(before).collect())
        };
        let place = |layer: usize, column: usize| {
            let head = (column < self.heads).then_some(column);
            Some(Place { layer: Some(layer), head, ..Place::default() })
        };
        Grid {
            rows: self.layers(),
            row_label: &layer_number,
            row_title: "layer",
            columns: &columns,
            column_title: "head",
            value: &|layer, column| self.cell(layer, column),
            ramp: Ramp::diverging(theme, most),
            read_out: &read_out,
            place: &place,
            marked: None,
            text: None,
            window: None,
        }
        .layout(size, top, theme, measure)
    }

    fn waterfall(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let parts = self.parts();
        let logit = f64::from(self.found.as_ref()?.logit);
        let finite = parts.iter().map(|part| part.sum).chain([0.0, logit]).filter(|value| value.is_finite());
        let (low, high) = finite.fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let pad = ((high - low) * 0.05).max(f64::MIN_POSITIVE);
        let x = Axis {
            domain: [-0.6, self.layers() as f64 + 1.6],
            title: "layer (0 = embedding; after the last: the final layer norm's bias)",
            short_title: "layer (0 = embedding)",
            ticks: Ticks::UpTo(self.layers()),
            nice: false,
            log: false,
        };
        let y = Axis {
            domain: [low - if low < 0.0 { pad } else { 0.0 }, high + pad],
            title: "logit",
            short_title: "logit",
            ticks: Ticks::Round,
            nice: true,
            log: false,
        };
        let frame = Frame::new(size, top, &x, &y, theme, measure)?;
        let mut marks: Vec<Mark> = frame.grid.to_vec();
        let across = |value: f64, stroke| {
            let y = frame.y.map(value);
            Mark::Rule { from: Point::new(frame.plot.x, y), to: Point::new(frame.plot.right(), y), stroke }
        };
        marks.push(across(0.0, Stroke::solid(theme.axis, 1.0)));
        let (mut bars, mut hits) = (Vec::new(), Vec::new());
        let mut before_parts = self.before.iter().flat_map(parts_of);
        let mut before = 0.0;
        for part in parts {
            let unchanged = before_parts.next();
            if !part.sum.is_finite() {
                continue;
            }
            let half = part.width / 2.0;
            let (left, right) = (frame.x.map(part.middle - half), frame.x.map(part.middle + half));
            let (from, to) = (Point::new(left, frame.y.map(before)), Point::new(right, frame.y.map(part.sum)));
            let mut rect = Rect::between(from, to);
            // What adds nearly nothing is a line.
            rect.height = rect.height.max(1.0);
            bars.push(Mark::Rect { rect, fill: theme.kind(part.kind) });
            let anchor = Point::new((left + right) / 2.0, rect.y);
            let row = |label: &str, value| HitRow::new(label, value, Some(part.kind));
            let mut rows = vec![row("adds", signed(part.value)), row("sum so far", signed(part.sum))];
            rows.extend(unchanged.map(|before| row("added without ablation", signed(before.value))));
            let edge = |x: f64| Point::new(x, rect.y - 2.0);
            let highlight = vec![Mark::Line {
                points: vec![
                    edge(left - 2.0),
                    edge(right + 2.0),
                    Point::new(right + 2.0, rect.bottom() + 2.0),
                    Point::new(left - 2.0, rect.bottom() + 2.0),
                    edge(left - 2.0),
                ],
                stroke: Stroke::solid(theme.ink, 1.5),
            }];
            let column = Rect { x: left, y: frame.plot.y, width: (right - left).max(1.0), height: frame.plot.height };
            hits.push(Hit { rect: column, anchor, title: part.name, rows, place: None, highlight });
            before = part.sum;
        }
        marks.push(Mark::Clip { rect: frame.plot, marks: bars });
        if logit.is_finite() {
            marks.push(across(logit, Stroke::dashed(theme.ink, 1.5, 6.0, 4.0)));
        }
        marks.extend(frame.axes.iter().cloned());
        Some(Scene::new(size, frame.plot, marks, hits))
    }
}
