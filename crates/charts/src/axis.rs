//! Axes: the frame around the data. Chooses as many ticks as there is room for, so that labels never collide or leave the
//! chart, and tells how much room is left for the data.

use super::format;
use super::geometry::{Point, Rect, Size};
use super::legend::fit;
use super::mark::Mark;
use super::scale::Scale;
use super::surface::{Align, Font, Label, MeasureText, Stroke};
use super::theme::Theme;
use trace::summary::order::sort;

/// Which values may carry a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticks {
    /// At 1, 2 or 5 times a power of ten.
    Round,
    /// Whole round numbers, for counts.
    Whole,
    /// 0 to n, the last one labelled if the step allows, for layers.
    UpTo(usize),
}

/// What an axis shows.
#[derive(Clone, Copy, Debug)]
pub struct Axis<'a> {
    /// Lowest and highest value.
    pub domain: [f64; 2],
    /// What is measured, with its unit.
    pub title: &'a str,
    /// The title where there is no room for the long one.
    pub short_title: &'a str,
    /// Which values may carry a tick.
    pub ticks: Ticks,
    /// Whether the domain may grow to round numbers, where that costs little room (y axes only).
    pub nice: bool,
    /// Whether the axis is logarithmic (y axes over positive values only).
    pub log: bool,
}

/// The frame: where data goes and what stands around it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where the data is drawn.
    pub plot: Rect,
    /// From data to x.
    pub x: Scale,
    /// From data to y; larger values are higher up.
    pub y: Scale,
    /// Grid lines, to draw before the data.
    pub grid: Vec<Mark>,
    /// Baseline, ticks, labels and titles, to draw after the data.
    pub axes: Vec<Mark>,
}

const EDGE: f64 = 4.0;
const TICK: f64 = 4.0;
const LABEL_GAP: f64 = 10.0;
const TITLE_BAND: f64 = 22.0;
const BOTTOM: f64 = 42.0;
/// A domain may grow this much to end on a round number; beyond, the room is better spent on data.
const MOST_WASTE: f64 = 1.12;
/// Below this a plot says nothing.
const SMALLEST: f64 = 24.0;

impl Frame {
    /// Lays out two axes below `top`. `None` when the size leaves no room for data.
    pub fn new(size: Size, top: f64, x: &Axis, y: &Axis, theme: &Theme, measure: &dyn MeasureText) -> Option<Frame> {
        let plot_top = top + TITLE_BAND;
        let plot_bottom = size.height - BOTTOM;
        let plot_height = plot_bottom - plot_top;
        if plot_height < SMALLEST {
            return None;
        }
        let y_count = ((plot_height / 22.0) as usize).clamp(2, 6);
        let pixels = [plot_bottom, plot_top];
        let y_scale = y.log.then(|| Scale::log(y.domain, pixels)).flatten();
        let y_scale = y_scale.unwrap_or_else(|| Scale::linear(y.domain, pixels));
        let rounded = y_scale.nice(y_count);
        let height = |scale: &Scale| scale.domain()[1] - scale.domain()[0];
        let y_scale = if y.nice && height(&rounded) <= MOST_WASTE * height(&y_scale) { rounded } else { y_scale };
        let (y_ticks, y_step) = match y.ticks {
            Ticks::Round => y_scale.ticks(y_count),
            Ticks::Whole | Ticks::UpTo(_) => y_scale.integer_ticks(y_count),
        };
        let y_labels = labelled(&y_ticks, y_step, measure);
        let widest = y_labels.iter().map(|tick| tick.width).fold(0.0, f64::max);
        let left = (EDGE + widest + TICK + 4.0).ceil();

        // The last label stands half beyond the plot; how wide it is depends on the ticks that fit.
        let mut right = 12.0;
        let mut x_scale = Scale::linear(x.domain, [left, size.width - right]);
        let mut x_labels = Vec::new();
        for _ in 0..2 {
            if size.width - right - left < SMALLEST {
                return None;
            }
            x_scale = x_scale.with_range([left, size.width - right]);
            x_labels = x_ticks(&x_scale, x.ticks, size.width - right - left, measure);
            let beyond = x_labels.iter().map(|tick| x_scale.map(tick.value) + tick.width / 2.0).fold(0.0, f64::max);
            right = right.max((right + beyond - size.width + EDGE).ceil());
        }
        let plot = Rect::between(Point::new(left, plot_top), Point::new(size.width - right, plot_bottom));
        let mut frame = Frame { plot, x: x_scale, y: y_scale, grid: Vec::new(), axes: Vec::new() };
        frame.draw_y(&y_labels, y, size, theme, measure);
        frame.draw_x(&x_labels, x, size, theme, measure);
        Some(frame)
    }

    fn draw_y(&mut self, ticks: &[TickLabel], axis: &Axis, size: Size, theme: &Theme, measure: &dyn MeasureText) {
        let Rect { x: left, y: top, .. } = self.plot;
        for tick in ticks {
            let y = self.y.map(tick.value);
            let (from, to) = (Point::new(left, y), Point::new(self.plot.right(), y));
            self.grid.push(Mark::Rule { from, to, stroke: Stroke::solid(theme.line, 1.0) });
            // Four pixels below the line puts the middle of 12-pixel digits on it.
            self.axes.push(text(Point::new(left - TICK - 4.0, y + 4.0), tick.text.clone(), Align::End, theme));
        }
        let title = fit_title(axis, size.width - 2.0 * EDGE, measure);
        self.axes.push(text(Point::new(EDGE, top - 10.0), title, Align::Start, theme));
    }

    fn draw_x(&mut self, ticks: &[TickLabel], axis: &Axis, size: Size, theme: &Theme, measure: &dyn MeasureText) {
        let bottom = self.plot.bottom();
        let (from, to) = (Point::new(self.plot.x, bottom), Point::new(self.plot.right(), bottom));
        self.axes.push(Mark::Rule { from, to, stroke: Stroke::solid(theme.axis, 1.0) });
        for tick in ticks {
            let x = self.x.map(tick.value);
            let (from, to) = (Point::new(x, bottom), Point::new(x, bottom + TICK));
            self.axes.push(Mark::Rule { from, to, stroke: Stroke::solid(theme.axis, 1.0) });
            self.axes.push(text(Point::new(x, bottom + 17.0), tick.text.clone(), Align::Middle, theme));
        }
        // Centred below the plot, moved inwards where it would leave the chart.
        let title = fit_title(axis, size.width - 2.0 * EDGE, measure);
        let half = measure.width(&title, Font::SMALL) / 2.0;
        let middle = (self.plot.x + self.plot.width / 2.0).min(size.width - EDGE - half).max(EDGE + half);
        self.axes.push(text(Point::new(middle, bottom + 36.0), title, Align::Middle, theme));
    }
}

/// A label beside the data.
pub(super) fn text(at: Point, text: String, align: Align, theme: &Theme) -> Mark {
    Mark::Text(Label { at, text, align, font: Font::SMALL, color: theme.mute })
}

fn fit_title(axis: &Axis, width: f64, measure: &dyn MeasureText) -> String {
    let fits = measure.width(axis.title, Font::SMALL) <= width;
    fit(if fits { axis.title } else { axis.short_title }, width, measure)
}

/// A tick and its label.
#[derive(Clone, Debug)]
struct TickLabel {
    value: f64,
    text: String,
    width: f64,
}

fn labelled(ticks: &[f64], step: f64, measure: &dyn MeasureText) -> Vec<TickLabel> {
    ticks
        .iter()
        .map(|&value| {
            let text = format::tick(value, step);
            TickLabel { value, width: measure.width(&text, Font::SMALL), text }
        })
        .collect()
}

/// The most ticks whose labels stay apart.
fn x_ticks(scale: &Scale, ticks: Ticks, width: f64, measure: &dyn MeasureText) -> Vec<TickLabel> {
    let most = ((width / 56.0) as usize).clamp(2, 12);
    let candidates: Vec<(Vec<f64>, f64)> = match ticks {
        Ticks::Round => (1..=most).rev().map(|count| scale.ticks(count)).collect(),
        Ticks::Whole => (1..=most).rev().map(|count| scale.integer_ticks(count)).collect(),
        Ticks::UpTo(last) => layer_steps(last)
            .into_iter()
            // Where the gaps alone would fill the axis, nothing needs to be measured.
            .filter(|step| (last / step) as f64 * LABEL_GAP <= width || *step >= last)
            .map(|step| {
                let layers = (0..=last).step_by(step).map(|layer| layer as f64);
                (layers.filter(|layer| *layer >= scale.domain()[0]).collect(), 1.0)
            })
            .collect(),
    };
    let mut fewest = Vec::new();
    for (values, step) in candidates {
        let labels = labelled(&values, step, measure);
        let apart = labels.windows(2).all(|pair| match pair {
            [a, b] => scale.map(b.value) - scale.map(a.value) >= (a.width + b.width) / 2.0 + LABEL_GAP,
            _ => true,
        });
        if apart {
            return labels;
        }
        fewest = labels;
    }
    // Not even the fewest fit: the first alone always does.
    fewest.truncate(1);
    fewest
}

/// Steps between labelled layers, from every layer to the last alone; those that end on the last layer first.
fn layer_steps(last: usize) -> Vec<usize> {
    let divides = |step: &usize| last.is_multiple_of(*step);
    let mut steps: Vec<usize> =
        (1..=last.max(1)).filter(|step| divides(step) || [5, 10, 20, 50].contains(step)).collect();
    // A prime number of layers has no divisors; 5, 10, ... would still leave gaps above, so halve as well.
    steps.push(last.max(1).div_ceil(2));
    steps.push(last.max(1));
    sort(&mut steps, |a, b| a < b);
    steps.dedup();
    steps
}
