//! What a chart is drawn on: a canvas, an SVG file, or a recorder for tests.

use super::geometry::{Point, Rect};
use super::theme::Color;

/// Size and weight of text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Font {
    /// Height of the font in CSS pixels.
    pub size: f64,
    /// Semi-bold instead of regular.
    pub bold: bool,
}

impl Font {
    /// Ticks, axis titles, legends: 12 CSS pixels, on a phone as on a wall.
    pub const SMALL: Font = Font { size: 12.0, bold: false };
    /// The title of an exported chart.
    pub const TITLE: Font = Font { size: 15.0, bold: true };
}

/// The font of every text in a chart: the reader's own interface font.
pub const FONT_FAMILY: &str = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    /// May be translucent.
    pub color: Color,
    /// Width in CSS pixels.
    pub width: f64,
    /// Lengths of dash and gap in CSS pixels; `None` for a solid line.
    pub dash: Option<(f64, f64)>,
}

impl Stroke {
    /// Without gaps, `width` CSS pixels wide.
    pub fn solid(color: Color, width: f64) -> Self {
        Stroke { color, width, dash: None }
    }

    /// With dashes and gaps of these lengths, all in CSS pixels.
    pub fn dashed(color: Color, width: f64, dash: f64, gap: f64) -> Self {
        Stroke { color, width, dash: Some((dash, gap)) }
    }
}

/// The shape of a data point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A disc.
    Circle,
    /// A square standing on a side.
    Square,
    /// A square standing on a corner.
    Diamond,
}

impl Shape {
    /// Corners of the shape with about the area of a disc of this radius; empty for a circle.
    pub fn corners(self, at: Point, radius: f64) -> Vec<Point> {
        let offsets: &[(f64, f64)] = match self {
            Shape::Circle => &[],
            Shape::Square => &[(-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89)],
            Shape::Diamond => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
        };
        offsets.iter().map(|(dx, dy)| Point::new(at.x + dx * radius, at.y + dy * radius)).collect()
    }
}

/// Where a text's anchor lies along its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// The text begins at the anchor.
    Start,
    /// The text is centred on the anchor.
    Middle,
    /// The text ends at the anchor.
    End,
}

/// A line of text. `at` lies on its baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The anchor, on the baseline.
    pub at: Point,
    /// What it reads; a surface escapes what it must.
    pub text: String,
    /// Which part of the text the anchor holds.
    pub align: Align,
    /// Its size and weight.
    pub font: Font,
    /// Stands out from its ground by 4.5:1 (`theme.rs`).
    pub color: Color,
}

/// Knows how wide a text will be.
pub trait MeasureText {
    /// Width in CSS pixels.
    fn width(&self, text: &str, font: Font) -> f64;
}

/// Draws marks. Coordinates are CSS pixels; a surface deals with device pixels by itself.
pub trait Surface {
    /// Fills a polygon.
    fn area(&mut self, outline: &[Point], fill: Color);
    /// Draws a line through points.
    fn line(&mut self, points: &[Point], stroke: Stroke);
    /// Draws a horizontal or vertical line, crisply.
    fn rule(&mut self, from: Point, to: Point, stroke: Stroke);
    /// Draws separate straight lines.
    fn segments(&mut self, segments: &[(Point, Point)], stroke: Stroke);
    /// Fills a rectangle.
    fn rect(&mut self, rect: Rect, fill: Color);
    /// Draws a data point.
    fn symbol(&mut self, at: Point, shape: Shape, radius: f64, fill: Color, outline: Option<Stroke>);
    /// Writes a line of text.
    fn text(&mut self, label: &Label);
    /// Writes a line of text upwards.
    fn turned(&mut self, label: &Label);
    /// Fills the cells of a grid, row by row.
    fn cells(&mut self, rect: Rect, columns: usize, colors: &[Color]);
    /// From here on, only what lies inside the rectangle shows, until [`Surface::unclip`].
    fn clip(&mut self, rect: Rect);
    /// Ends the latest [`Surface::clip`].
    fn unclip(&mut self);
}

/// Text widths without a browser: advance widths of Arial, a little generous, since the reader's font may be wider.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApproximateText;

impl MeasureText for ApproximateText {
    fn width(&self, text: &str, font: Font) -> f64 {
        const GENEROUS: f64 = 1.06;
        let weight = if font.bold { 1.06 } else { 1.0 };
        text.chars().map(advance).sum::<f64>() * font.size * GENEROUS * weight
    }
}

/// Advance width of a character in em.
fn advance(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' => 0.222,
        ' ' | '.' | ',' | ':' | ';' | '/' | 'I' | '!' | 'f' | 't' | '[' | ']' | '|' => 0.278,
        '(' | ')' | 'r' | '-' => 0.333,
        'c' | 'k' | 's' | 'v' | 'x' | 'y' | 'z' | 'J' => 0.5,
        'm' | 'M' => 0.833,
        'w' | 'C' | 'D' | 'H' | 'N' | 'R' | 'U' => 0.722,
        'G' | 'O' | 'Q' => 0.778,
        'W' | '@' | '%' => 0.95,
        'A' | 'B' | 'E' | 'K' | 'P' | 'S' | 'V' | 'X' | 'Y' => 0.667,
        '\u{0}'..='\u{2fff}' => 0.6,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_width_grows_with_size_and_is_near_arial() {
        let digits = ApproximateText.width("1,234", Font::SMALL);
        // Arial: four digits of 0.556 em and a comma of 0.278 em.
        let arial = (4.0 * 0.556 + 0.278) * 12.0;
        assert!((arial..arial * 1.2).contains(&digits), "surface.rs: {digits} against Arial's {arial}");
        assert!(ApproximateText.width("1,234", Font::TITLE) > digits);
    }
}
