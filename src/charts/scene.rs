//! A scene: a chart laid out for one size, ready to paint, with the places a reader can point at.

use serde::Serialize;

use super::Kind;
use super::mark::{Mark, Point, Rect, Size};
use super::surface::Surface;
use crate::trace::summary::Place;

/// A line of a read-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HitRow {
    /// What was measured.
    pub label: String,
    /// The value with its unit where it has one.
    pub value: String,
    /// Whose value it is, for a colour beside it.
    pub kind: Option<Kind>,
}

/// A place in the chart with something to read: a bin, a layer. Hits are in reading order, so that arrow keys walk them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// Where the pointer finds it, in CSS pixels.
    pub rect: Rect,
    /// What a read-out should point to, in CSS pixels.
    pub anchor: Point,
    /// Headline of the read-out: "12–14", "layer 4".
    pub title: String,
    /// Its lines.
    pub rows: Vec<HitRow>,
    /// The token it speaks of; choosing the hit pins that token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What is drawn over the chart while the hit is looked at.
    #[serde(skip)]
    pub highlight: Vec<Mark>,
}

impl Hit {
    /// The read-out as one sentence, for screen readers: "12–14: attention 14, MLP 9".
    pub fn text(&self) -> String {
        let rows: Vec<String> = self.rows.iter().map(|row| format!("{} {}", row.label, row.value)).collect();
        format!("{}: {}", self.title, rows.join(", "))
    }
}

/// A chart laid out for one size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// Size it is laid out for, in CSS pixels.
    pub size: Size,
    /// Where the data is drawn, without axes; empty when there is nothing to draw.
    pub plot: Rect,
    /// What to draw, from back to front.
    pub marks: Vec<Mark>,
    /// What can be pointed at.
    pub hits: Vec<Hit>,
    /// Hits of a row, where they form a grid: up and down move by as many. Otherwise 1.
    pub hits_in_a_row: usize,
}

impl Scene {
    /// A scene of these marks. A mark with a coordinate that is not finite is left out: canvas and SVG would refuse it.
    pub fn new(size: Size, plot: Rect, mut marks: Vec<Mark>, hits: Vec<Hit>) -> Self {
        debug_assert!(marks.iter().all(Mark::is_finite), "a chart made a mark with a coordinate that is not finite");
        marks.retain(Mark::is_finite);
        Scene { size, plot, marks, hits, hits_in_a_row: 1 }
    }

    /// Draws everything, and the highlight of one hit on top. An index without a hit highlights nothing.
    pub fn paint(&self, surface: &mut dyn Surface, highlight: Option<usize>) {
        let highlighted = highlight.and_then(|index| self.hits.get(index));
        for mark in self.marks.iter().chain(highlighted.into_iter().flat_map(|hit| &hit.highlight)) {
            mark.paint(surface);
        }
    }

    /// The index of the hit at a place in CSS pixels from the scene's top left corner.
    pub fn hit_at(&self, x: f64, y: f64) -> Option<usize> {
        self.hits.iter().position(|hit| hit.rect.contains(x, y))
    }
}
