//! Marks: the few shapes every chart is made of. Coordinates are CSS pixels from the scene's top left corner.

use super::geometry::{Point, Rect};
use super::surface::{Label, Shape, Stroke, Surface};
use super::theme::Color;

/// One thing to draw.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// A filled polygon.
    Area {
        /// Its corners; closed by itself.
        outline: Vec<Point>,
        /// The colour inside.
        fill: Color,
    },
    /// A line through points.
    Line {
        /// The points; fewer than two draw nothing.
        points: Vec<Point>,
        /// How it is drawn.
        stroke: Stroke,
    },
    /// A horizontal or vertical line that a surface may move by less than a pixel to draw it crisply.
    Rule {
        /// Where it begins.
        from: Point,
        /// Where it ends: at the same x, or the same y.
        to: Point,
        /// How it is drawn.
        stroke: Stroke,
    },
    /// Many separate straight lines of one kind (hatching).
    Segments {
        /// Both ends of each.
        segments: Vec<(Point, Point)>,
        /// How they are drawn.
        stroke: Stroke,
    },
    /// A filled rectangle.
    Rect {
        /// Its edges; a surface may move them to whole device pixels.
        rect: Rect,
        /// The colour inside.
        fill: Color,
    },
    /// A data point.
    Symbol {
        /// Where its centre lies.
        at: Point,
        /// Tells kinds apart without colour.
        shape: Shape,
        /// Radius in CSS pixels.
        radius: f64,
        /// The colour inside.
        fill: Color,
        /// Outline, drawn around the fill.
        outline: Option<Stroke>,
    },
    /// A line of text.
    Text(Label),
    /// A line of text that reads upwards, turned about its anchor.
    Turned(Label),
    /// Rectangles of one size that fill a larger one, row by row from the top: one picture, however many they are.
    Cells {
        /// What all cells together fill.
        rect: Rect,
        /// How many cells a row has.
        columns: usize,
        /// A colour per cell, row by row from the top.
        colors: Vec<Color>,
    },
    /// Marks of which only the part inside the rectangle shows.
    Clip {
        /// What is visible.
        rect: Rect,
        /// What is cut at its edges, from back to front.
        marks: Vec<Mark>,
    },
}

impl Mark {
    /// Draws the mark on a surface, over what is there.
    pub fn paint(&self, surface: &mut dyn Surface) {
        debug_assert!(self.is_finite(), "a mark with a coordinate that is not finite: {self:?}");
        match self {
            Mark::Area { outline, fill } => surface.area(outline, *fill),
            Mark::Line { points, stroke } => surface.line(points, *stroke),
            Mark::Rule { from, to, stroke } => surface.rule(*from, *to, *stroke),
            Mark::Segments { segments, stroke } => surface.segments(segments, *stroke),
            Mark::Rect { rect, fill } => surface.rect(*rect, *fill),
            Mark::Symbol { at, shape, radius, fill, outline } => surface.symbol(*at, *shape, *radius, *fill, *outline),
            Mark::Text(label) => surface.text(label),
            Mark::Turned(label) => surface.turned(label),
            Mark::Cells { rect, columns, colors } => surface.cells(*rect, *columns, colors),
            Mark::Clip { rect, marks } => {
                surface.clip(*rect);
                marks.iter().for_each(|mark| mark.paint(surface));
                surface.unclip();
            }
        }
    }

    /// Moves the mark, by CSS pixels to the right and down.
    pub fn shift(&mut self, dx: f64, dy: f64) {
        let point = |p: &mut Point| *p = Point::new(p.x + dx, p.y + dy);
        let rectangle = |r: &mut Rect| *r = Rect { x: r.x + dx, y: r.y + dy, ..*r };
        match self {
            Mark::Area { outline: points, .. } | Mark::Line { points, .. } => points.iter_mut().for_each(point),
            Mark::Rule { from, to, .. } => [from, to].into_iter().for_each(point),
            Mark::Segments { segments, .. } => {
                segments.iter_mut().for_each(|(a, b)| [a, b].into_iter().for_each(point))
            }
            Mark::Rect { rect, .. } | Mark::Cells { rect, .. } => rectangle(rect),
            Mark::Symbol { at, .. } => point(at),
            Mark::Text(label) | Mark::Turned(label) => point(&mut label.at),
            Mark::Clip { rect, marks } => {
                rectangle(rect);
                marks.iter_mut().for_each(|mark| mark.shift(dx, dy));
            }
        }
    }

    /// Whether every coordinate is finite. A scene drops marks of which this is not true.
    pub fn is_finite(&self) -> bool {
        match self {
            Mark::Area { outline: points, .. } | Mark::Line { points, .. } => points.iter().all(|p| p.is_finite()),
            Mark::Rule { from, to, .. } => from.is_finite() && to.is_finite(),
            Mark::Segments { segments, .. } => segments.iter().all(|(a, b)| a.is_finite() && b.is_finite()),
            Mark::Rect { rect, .. } | Mark::Cells { rect, .. } => rect.is_finite(),
            Mark::Symbol { at, radius, .. } => at.is_finite() && radius.is_finite(),
            Mark::Text(label) | Mark::Turned(label) => label.at.is_finite(),
            Mark::Clip { rect, marks } => rect.is_finite() && marks.iter().all(Mark::is_finite),
        }
    }
}

/// Diagonal lines (rising to the right) across a rectangle, `spacing` apart along x, in phase with every other
/// rectangle hatched with the same spacing.
pub fn hatch(rect: Rect, spacing: f64, into: &mut Vec<(Point, Point)>) {
    if rect.width <= 0.0 || rect.height <= 0.0 || spacing <= 0.0 || !rect.is_finite() {
        return;
    }
    // Lines x + y = c.
    let first = ((rect.x + rect.y) / spacing).floor() as i64 + 1;
    let last = ((rect.right() + rect.bottom()) / spacing).ceil() as i64 - 1;
    for index in first..=last {
        let c = index as f64 * spacing;
        let from_x = (c - rect.bottom()).max(rect.x);
        let to_x = (c - rect.y).min(rect.right());
        if to_x > from_x {
            into.push((Point::new(from_x, c - from_x), Point::new(to_x, c - to_x)));
        }
    }
}

/// The rectangles of so many cells, row by row.
pub(super) fn cells(rect: Rect, columns: usize, count: usize) -> impl Iterator<Item = Rect> {
    let columns = columns.max(1);
    let (width, height) = (rect.width / columns as f64, rect.height / count.div_ceil(columns).max(1) as f64);
    (0..count).map(move |index| Rect {
        x: rect.x + width * (index % columns) as f64,
        y: rect.y + height * (index / columns) as f64,
        width,
        height,
    })
}
