//! A surface that writes down what is drawn, one line a mark, rounded to three decimals: for snapshots in tests.

use super::geometry::{Point, Rect};
use super::surface::{Align, Label, Shape, Stroke, Surface};
use super::theme::Color;

/// Records drawing as text.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    lines: Vec<String>,
    depth: usize,
}

impl Recorder {
    /// Everything drawn so far.
    pub fn into_text(self) -> String {
        self.lines.join("\n") + "\n"
    }

    fn push(&mut self, line: String) {
        self.lines.push("  ".repeat(self.depth) + &line);
    }
}

/// A coordinate with at most three decimals; -0 is 0.
pub(super) fn round(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0 + 0.0;
    debug_assert!(rounded.is_finite(), "a coordinate that is not finite reached a surface");
    rounded.to_string()
}

fn points(points: &[Point]) -> String {
    points.iter().map(|p| format!("{},{}", round(p.x), round(p.y))).collect::<Vec<_>>().join(" ")
}

fn stroke(stroke: Stroke) -> String {
    let dash = stroke.dash.map(|(dash, gap)| format!(" dash {} {}", round(dash), round(gap))).unwrap_or_default();
    format!("{} {}{dash}", stroke.color.to_css(), round(stroke.width))
}

fn rectangle(rect: Rect) -> String {
    format!("{},{} {}x{}", round(rect.x), round(rect.y), round(rect.width), round(rect.height))
}

impl Surface for Recorder {
    fn area(&mut self, outline: &[Point], fill: Color) {
        self.push(format!("area {} | {}", fill.to_css(), points(outline)));
    }
    fn line(&mut self, through: &[Point], with: Stroke) {
        self.push(format!("line {} | {}", stroke(with), points(through)));
    }
    fn rule(&mut self, from: Point, to: Point, with: Stroke) {
        self.push(format!("rule {} | {}", stroke(with), points(&[from, to])));
    }
    fn segments(&mut self, segments: &[(Point, Point)], with: Stroke) {
        let ends: Vec<String> = segments.iter().map(|(a, b)| points(&[*a, *b])).collect();
        self.push(format!("segments {} | {}", stroke(with), ends.join("; ")));
    }
    fn rect(&mut self, rect: Rect, fill: Color) {
        self.push(format!("rect {} | {}", fill.to_css(), rectangle(rect)));
    }
    fn symbol(&mut self, at: Point, shape: Shape, radius: f64, fill: Color, outline: Option<Stroke>) {
        let outline = outline.map(|with| format!(" outline {}", stroke(with))).unwrap_or_default();
        self.push(format!("{shape:?} {}{outline} | {} r {}", fill.to_css(), points(&[at]), round(radius)));
    }
    fn text(&mut self, label: &Label) {
        self.write("text", label);
    }
    fn turned(&mut self, label: &Label) {
        self.write("turned", label);
    }
    fn cells(&mut self, rect: Rect, columns: usize, colors: &[Color]) {
        self.push(format!("cells {} | {columns} columns", rectangle(rect)));
        for row in colors.chunks(columns.max(1)) {
            self.push(format!("  {}", row.iter().map(|color| color.to_css()).collect::<Vec<_>>().join(" ")));
        }
    }
    fn clip(&mut self, rect: Rect) {
        self.push(format!("clip {}", rectangle(rect)));
        self.depth += 1;
    }
    fn unclip(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

impl Recorder {
    fn write(&mut self, what: &str, label: &Label) {
        let align = match label.align {
            Align::Start => "start",
            Align::Middle => "middle",
            Align::End => "end",
        };
        let bold = if label.font.bold { " bold" } else { "" };
        let head = format!("{what} {} {}{bold} {align}", label.color.to_css(), round(label.font.size));
        self.push(format!("{head} | {} {:?}", points(&[label.at]), label.text));
    }
}
