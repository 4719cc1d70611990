//! A scene: a chart laid out for one size, ready to paint, with the places a reader can point at.

use serde::{Deserialize, Serialize};

use super::Kind;
use super::geometry::{Point, Rect, Size};
use super::mark::Mark;
use super::surface::Surface;
use trace::summary::Place;

/// A line of a read-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HitRow {
    /// What was measured: "attention", "rank".
    pub label: String,
    /// The value with its unit where it has one.
    pub value: String,
    /// Whose value it is, for a colour beside it.
    pub kind: Option<Kind>,
}

impl HitRow {
    /// A line of its own words.
    pub fn new(label: impl Into<String>, value: String, kind: Option<Kind>) -> HitRow {
        HitRow { label: label.into(), value, kind }
    }
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
    /// What it says below the headline.
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
    /// Of a grid: which of its columns are shown, and how many there are.
    pub columns: Option<Columns>,
}

/// Which of a grid's columns are to be shown. In JavaScript and in files: `[from, to]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(usize, usize)", into = "(usize, usize)")]
pub struct TokenRange {
    /// The first that is shown.
    pub from: usize,
    /// The first that is not.
    pub to: usize,
}

impl From<(usize, usize)> for TokenRange {
    fn from((from, to): (usize, usize)) -> TokenRange {
        TokenRange { from, to }
    }
}

impl From<TokenRange> for (usize, usize) {
    fn from(TokenRange { from, to }: TokenRange) -> (usize, usize) {
        (from, to)
    }
}

/// A part of a grid's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The first that is shown.
    pub from: usize,
    /// The first that is not.
    pub to: usize,
    /// How many there are.
    pub of: usize,
}

impl Columns {
    /// Fewest columns that are worth a look.
    const FEWEST: usize = 4;

    /// A window, kept within the columns there are.
    pub fn new(window: Option<TokenRange>, of: usize) -> Columns {
        match window {
            Some(TokenRange { from, to }) if from < to.min(of) => Columns { from, to: to.min(of), of },
            _ => Columns { from: 0, to: of, of },
        }
    }

    /// Half as many around a column, or twice as many.
    pub fn zoomed(self, closer: bool, about: Option<usize>) -> Columns {
        let shown = self.to - self.from;
        let wanted = if closer { shown.div_ceil(2).max(Columns::FEWEST) } else { shown * 2 }.min(self.of);
        let about = about.unwrap_or((self.from + self.to) / 2);
        // What is looked at stays where it is, as far as that goes.
        let before = (about.saturating_sub(self.from)) * wanted / shown.max(1);
        let from = about.saturating_sub(before).min(self.of - wanted);
        Columns { from, to: from + wanted, ..self }
    }

    /// Moved by so many columns, as far as there are any.
    pub fn moved(self, by: isize) -> Columns {
        let shown = self.to - self.from;
        let from = self.from.saturating_add_signed(by).min(self.of - shown);
        Columns { from, to: from + shown, ..self }
    }

    /// The window; none where all are shown.
    pub fn window(self) -> Option<TokenRange> {
        (self.to - self.from < self.of).then_some(TokenRange { from: self.from, to: self.to })
    }
}

impl Scene {
    /// A scene of these marks. A mark with a coordinate that is not finite is left out: canvas and SVG would refuse it.
    pub fn new(size: Size, plot: Rect, mut marks: Vec<Mark>, hits: Vec<Hit>) -> Self {
        debug_assert!(marks.iter().all(Mark::is_finite), "a chart made a mark with a coordinate that is not finite");
        marks.retain(Mark::is_finite);
        Scene { size, plot, marks, hits, hits_in_a_row: 1, columns: None }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_window_stays_within_the_columns_and_keeps_what_is_looked_at(
            of in 1usize..400,
            steps in proptest::collection::vec((any::<bool>(), any::<bool>(), 0usize..400, -50isize..50), 0..12),
        ) {
            let mut columns = Columns::new(None, of);
            for (zooms, closer, about, by) in steps {
                let about = columns.from + about % (columns.to - columns.from);
                columns = if zooms { columns.zoomed(closer, Some(about)) } else { columns.moved(by) };
                prop_assert!(columns.from < columns.to && columns.to <= of, "scene.rs: {columns:?} of {of}");
                prop_assert!(!zooms || (columns.from..columns.to).contains(&about), "scene.rs: {about} left {columns:?}");
                prop_assert!(columns.to - columns.from >= Columns::FEWEST.min(of), "scene.rs: too narrow: {columns:?}");
                prop_assert_eq!(Columns::new(columns.window(), of), columns, "scene.rs: window and back");
            }
        }
    }
}
