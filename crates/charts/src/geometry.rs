//! Points, sizes and rectangles, in CSS pixels from the scene's top left corner. Depends on nothing here.

use serde::Serialize;

/// A place, in CSS pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Distance from the left edge, growing to the right.
    pub x: f64,
    /// Distance from the top edge, growing downwards.
    pub y: f64,
}

impl Point {
    /// The point at (x, y).
    pub fn new(x: f64, y: f64) -> Self {
        Point { x, y }
    }

    pub(super) fn is_finite(self) -> bool {
        self.x.is_finite() && self.y.is_finite()
    }
}

/// Width and height in CSS pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Size {
    /// Never negative.
    pub width: f64,
    /// Never negative.
    pub height: f64,
}

impl Size {
    /// A size; what is not finite or negative becomes 0.
    pub fn new(width: f64, height: f64) -> Self {
        let clean = |side: f64| if side.is_finite() { side.max(0.0) } else { 0.0 };
        Size { width: clean(width), height: clean(height) }
    }
}

/// A rectangle, in CSS pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rect {
    /// The left edge.
    pub x: f64,
    /// The top edge.
    pub y: f64,
    /// Never negative.
    pub width: f64,
    /// Never negative.
    pub height: f64,
}

impl Rect {
    /// The rectangle between two corners.
    pub fn between(a: Point, b: Point) -> Self {
        Rect { x: a.x.min(b.x), y: a.y.min(b.y), width: (a.x - b.x).abs(), height: (a.y - b.y).abs() }
    }

    /// The right edge's x.
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    /// The bottom edge's y.
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    /// Whether the point lies inside or on the left or top edge.
    pub fn contains(&self, x: f64, y: f64) -> bool {
        x >= self.x && x < self.right() && y >= self.y && y < self.bottom()
    }

    pub(super) fn is_finite(&self) -> bool {
        [self.x, self.y, self.width, self.height].into_iter().all(f64::is_finite)
    }
}
