//! Layer-wise evolution: the mean update size per layer, from the embedding (layer 0) to the last block.

use super::Kind;
use super::axis::{Axis, Frame, Ticks};
use super::chart::{Chart, ChartOptions, ChartSpec, Needs, coverage_empty, coverage_notes};
use super::format;
use super::geometry::{Point, Size};
use super::layer_lines::{
    BEFORE, Series, dot, grown, layer_axis, layer_rect, layer_rule, pending, radius, token_lines,
};
use super::legend::{LegendItem, Swatch};
use super::mark::Mark;
use super::pinned::Pinned;
use super::scene::{Hit, HitRow, Scene};
use super::surface::{MeasureText, Shape, Stroke};
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::Trace;
use trace::summary::{Evolution, EvolutionOptions, Finding, Stat, evolution, evolution_finding};

pub(super) static SPEC: ChartSpec = ChartSpec {
    name: "evolution",
    title: "Layer-wise evolution",
    lead: "How does the mean update change from the embedding to the last block?",
    needs: Needs::Norms,
    tab: None,
    controls: &[],
    build: |trace, options| Box::new(EvolutionChart::new(trace, options)),
};

/// A band may stretch the axis to this many times the largest mean; beyond, it is cut at the top.
const BAND_ROOM: f64 = 1.6;

#[derive(Debug)]
pub(super) struct EvolutionChart {
    evolution: Evolution,
    pinned: Option<Pinned>,
    /// The same of the unchanged model, under ablation.
    before: Option<Evolution>,
}

impl EvolutionChart {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let of = |run| evolution(run, &EvolutionOptions { skip_first: options.skip_first });
        let before = trace.unablated().map(of);
        EvolutionChart { evolution: of(trace.run()), pinned: Pinned::of(trace, options), before }
    }

    fn stats(&self, kind: Kind) -> &[Stat] {
        match kind {
            Kind::Attention => &self.evolution.attn,
            Kind::Mlp => &self.evolution.mlp,
            Kind::Embedding => std::slice::from_ref(&self.evolution.embed_stat),
            Kind::Stream => &self.evolution.resid,
        }
    }

    /// The statistic shown at a layer as readers count: 0 is the embedding, `i + 1` block `i`.
    fn at(&self, kind: Kind, layer: usize) -> Option<&Stat> {
        let stat = match kind {
            Kind::Embedding => (layer == 0).then_some(&self.evolution.embed_stat),
            _ => self.stats(kind).get(layer.checked_sub(1)?),
        };
        stat.filter(|stat| stat.n > 0)
    }

    /// Highest value the axis must show.
    fn top(&self) -> f64 {
        let shown = [Kind::Attention, Kind::Mlp, Kind::Embedding];
        let stats = || shown.iter().flat_map(|&kind| self.stats(kind)).filter(|stat| stat.n > 0);
        let mean = stats().map(|stat| stat.mean).fold(0.0, f64::max);
        let band = stats().map(|stat| stat.mean + stat.std).fold(0.0, f64::max);
        let pinned = self.pinned.iter().flat_map(|pinned| pinned.attn.iter().chain(&pinned.mlp));
        let pinned = pinned.filter(|norm| norm.is_finite()).fold(0.0, |most, &norm| f64::max(most, norm.into()));
        let before = self.before.iter().flat_map(|before| before.attn.iter().chain(&before.mlp));
        let before = before.map(|stat| stat.mean).filter(|mean| mean.is_finite()).fold(0.0, f64::max);
        band.min(mean * BAND_ROOM).max(pinned).max(before)
    }

    /// The unchanged model's means of a kind.
    fn means_before(&self, kind: Kind) -> Option<Vec<f32>> {
        let before = self.before.as_ref()?;
        let stats = if kind == Kind::Attention { &before.attn } else { &before.mlp };
        Some(stats.iter().map(|stat| if stat.n > 0 { stat.mean as f32 } else { f32::NAN }).collect())
    }
}

impl Chart for EvolutionChart {
    fn how_to_read(&self) -> String {
        let coverage = &self.evolution.coverage;
        let missing = match (coverage.layers + 1, coverage.n_layer) {
            _ if !coverage.is_partial() => String::new(),
            (from, to) if from == to => {
                format!(" Layer {to} is still arriving and stays empty until it is computed.")
            }
            (from, to) => {
                format!(" Layers {from} to {to} are still arriving and stay empty until they are computed.")
            }
        };
        format!("Lines are means over tokens, bands one standard deviation to either side.{missing}")
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = coverage_notes(&self.evolution.coverage, self.evolution.non_finite);
        notes.extend(self.pinned.as_ref().map(|pinned| format!("dashed: {}", pinned.name)));
        notes.extend(self.before.is_some().then(|| BEFORE.to_owned()));
        notes
    }

    fn legend(&self) -> Vec<LegendItem> {
        let item = |kind: Kind, swatch| LegendItem::of(kind, swatch);
        vec![
            item(Kind::Attention, Swatch::LineCircle),
            item(Kind::Mlp, Swatch::LineSquare),
            item(Kind::Embedding, Swatch::Diamond),
        ]
    }

    fn finding(&self) -> Option<Finding> {
        evolution_finding(&self.evolution)
    }

    fn description(&self) -> String {
        let coverage = &self.evolution.coverage;
        let layers = match (coverage.layers, coverage.is_partial()) {
            (n, true) => format!("{n} of {} layers so far", coverage.n_layer),
            (1, false) => "1 layer".to_owned(),
            (n, false) => format!("{n} layers"),
        };
        let embed = match self.evolution.embed_stat.n {
            0 => String::new(),
            _ => format!(" The embedding's mean norm is {}.", format::norm(self.evolution.embed)),
        };
        format!("Line chart of the mean L2 norm of attention's and the MLP's updates over {layers}.{embed}")
    }

    fn table(&self) -> Table {
        let kinds = [Kind::Attention, Kind::Mlp, Kind::Embedding, Kind::Stream];
        let mut columns = vec!["layer".to_owned()];
        for kind in kinds {
            columns.extend([format!("{} mean", kind.label()), format!("{} std", kind.label())]);
        }
        columns.push("tokens".to_owned());
        let row = |layer: usize| {
            let mut cells = vec![Cell::count(layer)];
            for kind in kinds {
                let stat = self.at(kind, layer);
                cells.extend([Cell::of(stat.map(|stat| stat.mean)), Cell::of(stat.map(|stat| stat.std))]);
            }
            let counted = kinds.iter().filter_map(|&kind| self.at(kind, layer)).map(|stat| stat.n).max();
            cells.push(counted.map_or(Cell::Missing, Cell::count));
            cells
        };
        Table {
            caption: "L2 norm per layer in activation units: mean and standard deviation over tokens \
                      (layer 0 is the embedding; the stream is measured after each block)"
                .to_owned(),
            columns,
            rows: (0..=self.evolution.coverage.layers).map(row).collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        let shown = [Kind::Attention, Kind::Mlp, Kind::Embedding];
        coverage_empty(&self.evolution.coverage).or_else(|| {
            let nothing = shown.iter().flat_map(|&kind| self.stats(kind)).all(|stat| stat.n == 0);
            nothing.then(|| match self.evolution.non_finite {
                0 => "This trace holds no updates.".to_owned(),
                _ => "No update has a finite norm: the model's numbers overflowed.".to_owned(),
            })
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let layers = self.evolution.coverage.n_layer;
        let x = layer_axis(0, layers);
        let y = Axis {
            domain: [0.0, (self.top() * 1.04).max(f64::MIN_POSITIVE)],
            title: "mean L2 norm (activation units)",
            short_title: "mean L2 norm",
            ticks: Ticks::Round,
            nice: true,
            log: false,
        };
        let frame = Frame::new(size, top, &x, &y, theme, measure)?;
        let mut marks = pending(&frame, &self.evolution.coverage, theme, measure);
        marks.extend(frame.grid.iter().cloned());
        let drawn = self.series();
        let bands = drawn.iter().flat_map(|series| series.bands(&frame, theme)).collect();
        let mut lines: Vec<Mark> = drawn.iter().flat_map(|series| series.line(&frame, theme)).collect();
        if let Some(pinned) = &self.pinned {
            for (kind, values) in [(Kind::Attention, &pinned.attn), (Kind::Mlp, &pinned.mlp)] {
                lines.extend(token_lines(values, &frame, Stroke::dashed(theme.kind(kind), 1.5, 5.0, 3.0)));
            }
        }
        for kind in [Kind::Attention, Kind::Mlp] {
            let before = self.means_before(kind).unwrap_or_default();
            lines.extend(token_lines(&before, &frame, Stroke::dashed(theme.kind(kind), 1.5, 1.5, 3.0)));
        }
        marks.push(Mark::Clip { rect: frame.plot, marks: bands });
        marks.extend(frame.axes.iter().cloned());
        marks.push(Mark::Clip { rect: grown(frame.plot, 6.0), marks: lines });
        marks.extend(self.embedding(&frame, theme));
        let hits = (0..=self.evolution.coverage.layers).filter_map(|layer| self.hit(&frame, layer, theme)).collect();
        Some(Scene::new(size, frame.plot, marks, hits))
    }
}

impl EvolutionChart {
    fn series(&self) -> [Series<'_>; 2] {
        [(Kind::Attention, Shape::Circle), (Kind::Mlp, Shape::Square)].map(|(kind, shape)| Series {
            kind,
            shape,
            stats: self.stats(kind),
            floor: 0.0,
        })
    }

    fn embedding(&self, frame: &Frame, theme: &Theme) -> Option<Mark> {
        let stat = self.at(Kind::Embedding, 0)?;
        let at = Point::new(frame.x.map(0.0), frame.y.map(stat.mean));
        let radius = radius(frame).max(2.5) + 0.5;
        let outline = Some(Stroke::solid(theme.panel, 1.0));
        Some(Mark::Symbol { at, shape: Shape::Diamond, radius, fill: theme.stream, outline })
    }

    fn hit(&self, frame: &Frame, layer: usize, theme: &Theme) -> Option<Hit> {
        let kinds = [
            (Kind::Mlp, "MLP", Shape::Square),
            (Kind::Attention, "attention", Shape::Circle),
            (Kind::Embedding, "embedding", Shape::Diamond),
            (Kind::Stream, "stream after", Shape::Circle),
        ];
        let x = frame.x.map(layer as f64);
        let mut rows = Vec::new();
        let mut highlight = vec![layer_rule(frame, layer, theme)];
        let mut anchor = Point::new(x, frame.plot.bottom());
        for (kind, label, shape) in kinds {
            let Some(stat) = self.at(kind, layer) else { continue };
            let value = format::mean_std(stat.mean, stat.std);
            rows.push(HitRow::new(label, value, Some(kind)));
            if kind == Kind::Stream {
                continue; // Tens of times larger: told, not drawn.
            }
            let at = Point::new(x, frame.y.map(stat.mean));
            anchor.y = anchor.y.min(at.y);
            highlight.push(dot(frame, at, shape, theme.kind(kind), theme));
        }
        if rows.is_empty() {
            return None;
        }
        // Larger value first, as the lines lie above each other.
        if let (Some(mlp), Some(attn)) = (self.at(Kind::Mlp, layer), self.at(Kind::Attention, layer))
            && attn.mean > mlp.mean
        {
            rows.swap(0, 1);
        }
        let title = if layer == 0 { "layer 0 (embedding)".to_owned() } else { format!("layer {layer}") };
        for (kind, value) in self.pinned.iter().flat_map(|pinned| pinned.at(layer)) {
            let label = format!("{} on the pinned token", kind.label());
            rows.push(HitRow::new(label, format::norm(value), Some(kind)));
        }
        for kind in [Kind::Attention, Kind::Mlp] {
            let before = layer.checked_sub(1).and_then(|block| self.means_before(kind)?.get(block).copied());
            let label = format!("{} without ablation", kind.label());
            rows.extend(before.map(|value| HitRow::new(label, format::norm(f64::from(value)), Some(kind))));
        }
        let rect = layer_rect(frame, layer);
        Some(Hit { rect, anchor, title, rows, place: None, highlight })
    }
}
