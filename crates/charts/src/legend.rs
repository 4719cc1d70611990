//! Legends: what stands for what, as data for the page and as marks for a chart that stands alone.

use serde::Serialize;

use super::Kind;
use super::geometry::{Point, Rect};
use super::mark::{Mark, hatch};
use super::surface::{Align, Font, Label, MeasureText, Shape, Stroke};
use super::theme::Theme;

/// How a kind is drawn, so that a legend shows the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Swatch {
    /// A plain area with an outline.
    Solid,
    /// A hatched area with an outline.
    Hatched,
    /// A line with discs.
    LineCircle,
    /// A line with squares.
    LineSquare,
    /// A single diamond.
    Diamond,
}

/// One entry of a legend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LegendItem {
    /// The words beside the swatch.
    pub label: String,
    /// Its colour is that of this kind.
    pub kind: Kind,
    /// How the kind is drawn in the chart.
    pub swatch: Swatch,
}

impl LegendItem {
    /// An entry of its own words.
    pub fn new(label: &str, kind: Kind, swatch: Swatch) -> LegendItem {
        LegendItem { label: label.to_owned(), kind, swatch }
    }

    /// An entry that is called as its kind is.
    pub fn of(kind: Kind, swatch: Swatch) -> LegendItem {
        LegendItem::new(kind.label(), kind, swatch)
    }
}

/// Opacity of attention's plain area.
pub(super) const AREA_ALPHA: f64 = 0.28;
/// Opacity of the hatched area below its lines.
pub(super) const HATCHED_ALPHA: f64 = 0.10;
/// Opacity of hatching.
pub(super) const HATCH_ALPHA: f64 = 0.75;
/// Distance of hatch lines along x, in CSS pixels.
pub(super) const HATCH_SPACING: f64 = 6.0;

const ROW: f64 = 18.0;
const SWATCH: f64 = 22.0;
const GAP: f64 = 16.0;

/// Where rows above a plot may lie, in CSS pixels.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub left: f64,
    pub right: f64,
    /// The first row's top.
    pub top: f64,
}

/// Draws items and notes in as many rows as they need. Returns the marks and the height used.
pub(super) fn layout(
    items: &[LegendItem],
    notes: &[String],
    room: Room,
    theme: &Theme,
    measure: &dyn MeasureText,
) -> (Vec<Mark>, f64) {
    let Room { left, right, top } = room;
    let entries =
        items.iter().map(|item| (item.label.as_str(), Some(item))).chain(notes.iter().map(|n| (n.as_str(), None)));
    let mut marks = Vec::new();
    let (mut x, mut y) = (left, top);
    let mut rows = 0.0;
    for (text, item) in entries {
        let swatch = if item.is_some() { SWATCH + 6.0 } else { 0.0 };
        let text = fit(text, right - left - swatch, measure);
        let width = swatch + measure.width(&text, Font::SMALL);
        if x > left && x + width > right {
            (x, y) = (left, y + ROW);
        }
        rows = (y - top) / ROW + 1.0;
        if let Some(item) = item {
            marks.extend(swatch_marks(item, Rect { x, y: y + 3.0, width: SWATCH, height: 12.0 }, theme));
        }
        let color = if item.is_some() { theme.ink } else { theme.mute };
        let at = Point::new(x + swatch, y + 13.0);
        marks.push(Mark::Text(Label { at, text, align: Align::Start, font: Font::SMALL, color }));
        x += width + GAP;
    }
    (marks, rows * ROW)
}

/// The text, cut with an ellipsis where it would be wider than `width`.
pub(super) fn fit(text: &str, width: f64, measure: &dyn MeasureText) -> String {
    let start = start_of(text, width);
    if start.len() == text.len() && measure.width(text, Font::SMALL) <= width {
        return text.to_owned();
    }
    let cut = |end: usize| format!("{}…", start.get(..end).unwrap_or_default().trim_end());
    // Where the last letter may end: the more letters, the wider.
    let ends: Vec<usize> = start.char_indices().map(|(at, _)| at).collect();
    let fitting = ends.partition_point(|&end| measure.width(&cut(end), Font::SMALL) <= width);
    fitting.checked_sub(1).and_then(|last| ends.get(last)).map(|&end| cut(end)).unwrap_or_default()
}

/// How wide a text is, up to what is surely wider than `most`: a token may be as long as a book.
pub(super) fn width_up_to(most: f64, text: &str, measure: &dyn MeasureText) -> f64 {
    measure.width(start_of(text, most), Font::SMALL)
}

/// The beginning of a text: whatever is longer does not fit into `width`.
fn start_of(text: &str, width: f64) -> &str {
    /// Letters are at least a pixel wide. Of those without any width, as many are drawn as would have to fit.
    const LEAST: usize = 64;
    let letters = LEAST + width.clamp(0.0, 1e5) as usize;
    text.char_indices().nth(letters).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

fn swatch_marks(item: &LegendItem, rect: Rect, theme: &Theme) -> Vec<Mark> {
    let color = theme.kind(item.kind);
    let middle = Point::new(rect.x + rect.width / 2.0, rect.y + rect.height / 2.0);
    let corners = vec![
        Point::new(rect.x, rect.bottom()),
        Point::new(rect.x, rect.y),
        Point::new(rect.right(), rect.y),
        Point::new(rect.right(), rect.bottom()),
        Point::new(rect.x, rect.bottom()),
    ];
    let line = |shape| {
        let (from, to) = (Point::new(rect.x, middle.y), Point::new(rect.right(), middle.y));
        vec![
            Mark::Line { points: vec![from, to], stroke: Stroke::solid(color, 2.0) },
            Mark::Symbol { at: middle, shape, radius: 3.5, fill: color, outline: None },
        ]
    };
    let outline = Mark::Line { points: corners, stroke: Stroke::solid(color, 1.5) };
    match item.swatch {
        Swatch::Solid => vec![Mark::Rect { rect, fill: color.with_alpha(AREA_ALPHA) }, outline],
        Swatch::Hatched => {
            let mut segments = Vec::new();
            hatch(rect, HATCH_SPACING, &mut segments);
            vec![
                Mark::Rect { rect, fill: color.with_alpha(HATCHED_ALPHA) },
                Mark::Segments { segments, stroke: Stroke::solid(color.with_alpha(HATCH_ALPHA), 1.0) },
                outline,
            ]
        }
        Swatch::LineCircle => line(Shape::Circle),
        Swatch::LineSquare => line(Shape::Square),
        Swatch::Diamond => {
            vec![Mark::Symbol { at: middle, shape: Shape::Diamond, radius: 4.0, fill: color, outline: None }]
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::surface::ApproximateText;
    use proptest::prelude::*;

    /// Counts the letters that were measured.
    struct Counting(Cell<usize>);

    impl MeasureText for Counting {
        fn width(&self, text: &str, font: Font) -> f64 {
            self.0.set(self.0.get() + text.len());
            ApproximateText.width(text, font)
        }
    }

    /// The text cut letter by letter.
    fn fit_slowly(text: &str, width: f64) -> String {
        let fits = |text: &str| ApproximateText.width(text, Font::SMALL) <= width;
        let mut cut = text.to_owned();
        let mut shown = text.to_owned();
        while !fits(&shown) {
            if cut.pop().is_none() {
                return String::new();
            }
            shown = format!("{}…", cut.trim_end());
        }
        shown
    }

    proptest! {
        #[test]
        fn a_text_is_cut_where_it_stops_fitting(text in "[ a-zA-Zé中]{0,40}", width in 0.0f64..160.0) {
            prop_assert_eq!(fit(&text, width, &ApproximateText), fit_slowly(&text, width));
        }
    }

    #[test]
    fn a_long_text_is_measured_in_part() {
        let measure = Counting(Cell::new(0));
        let shown = fit(&"word ".repeat(40_000), 90.0, &measure);
        assert!(shown.ends_with('…') && shown.len() < 40, "legend.rs: {shown}");
        assert!(measure.0.get() < 4000, "legend.rs: {} letters of 200,000 were measured", measure.0.get());
        assert!(width_up_to(90.0, &"word ".repeat(40_000), &measure) > 90.0);
    }
}
