//! A surface that writes SVG: real vectors and text, one file that needs nothing else.

use std::fmt::Write;

use super::figure::Figure;
use super::geometry::{Point, Rect, Size};
use super::recorder::round;
use super::scene::Scene;
use super::surface::{Align, ApproximateText, FONT_FAMILY, Label, MeasureText, Shape, Stroke, Surface};
use super::theme::{Color, Theme};

/// The figure as a complete SVG file with title, legend, a ground, and its description for screen readers.
pub fn document(figure: &Figure, size: Size, theme: &Theme) -> String {
    document_measured(figure, size, theme, &ApproximateText)
}

/// Like [`document`], with text widths from elsewhere (the browser knows the reader's font).
pub fn document_measured(figure: &Figure, size: Size, theme: &Theme, measure: &dyn MeasureText) -> String {
    let scene = figure.standalone_scene(size, theme, measure);
    render(&scene, figure.title(), &figure.description())
}

/// A scene as a complete SVG file.
pub fn render(scene: &Scene, title: &str, description: &str) -> String {
    let mut svg = Svg { body: String::new() };
    scene.paint(&mut svg, None);
    let (width, height) = (round(scene.size.width), round(scene.size.height));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"{FONT_FAMILY}\">\n\
         <title>{}</title>\n<desc>{}</desc>\n{}</svg>\n",
        escape(title),
        escape(description),
        svg.body
    )
}

/// Text and attribute values: markup characters escaped, characters that XML 1.0 forbids replaced by U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

struct Svg {
    body: String,
}

impl Svg {
    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }
}

fn path(points: &[Point]) -> String {
    let mut out = String::new();
    for (index, point) in points.iter().enumerate() {
        out.push(if index == 0 { 'M' } else { 'L' });
        out += &format!("{},{}", round(point.x), round(point.y));
    }
    out
}

fn fill(color: Color) -> String {
    let opacity = if color.alpha < 1.0 { format!(" fill-opacity=\"{}\"", round(color.alpha)) } else { String::new() };
    format!("fill=\"{}\"{opacity}", color.to_hex())
}

fn stroke(stroke: Stroke) -> String {
    let mut out = format!("stroke=\"{}\" stroke-width=\"{}\"", stroke.color.to_hex(), round(stroke.width));
    if stroke.color.alpha < 1.0 {
        out += &format!(" stroke-opacity=\"{}\"", round(stroke.color.alpha));
    }
    if let Some((dash, gap)) = stroke.dash {
        out += &format!(" stroke-dasharray=\"{} {}\"", round(dash), round(gap));
    }
    out
}

impl Surface for Svg {
    fn area(&mut self, outline: &[Point], color: Color) {
        if outline.len() > 2 {
            self.push(format_args!("<path d=\"{}Z\" {}/>", path(outline), fill(color)));
        }
    }
    fn line(&mut self, points: &[Point], with: Stroke) {
        if points.len() > 1 {
            let (d, with) = (path(points), stroke(with));
            self.push(format_args!("<path d=\"{d}\" fill=\"none\" {with} stroke-linejoin=\"round\"/>"));
        }
    }
    fn rule(&mut self, from: Point, to: Point, with: Stroke) {
        let (d, with) = (path(&[from, to]), stroke(with));
        self.push(format_args!("<path d=\"{d}\" fill=\"none\" {with} shape-rendering=\"crispEdges\"/>"));
    }
    fn segments(&mut self, segments: &[(Point, Point)], with: Stroke) {
        if !segments.is_empty() {
            let d: String = segments.iter().map(|(a, b)| path(&[*a, *b])).collect();
            self.push(format_args!("<path d=\"{d}\" fill=\"none\" {}/>", stroke(with)));
        }
    }
    fn rect(&mut self, rect: Rect, color: Color) {
        let [x, y, width, height] = [rect.x, rect.y, rect.width, rect.height].map(round);
        self.push(format_args!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" {}/>", fill(color)));
    }
    fn symbol(&mut self, at: Point, shape: Shape, radius: f64, color: Color, outline: Option<Stroke>) {
        let outline = outline.map(|with| format!(" {}", stroke(with))).unwrap_or_default();
        let (x, y, r, color) = (round(at.x), round(at.y), round(radius), fill(color));
        match shape {
            Shape::Circle => self.push(format_args!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" {color}{outline}/>")),
            _ => self.push(format_args!("<path d=\"{}Z\" {color}{outline}/>", path(&shape.corners(at, radius)))),
        }
    }
    fn text(&mut self, label: &Label) {
        self.write(label, "");
    }
    fn turned(&mut self, label: &Label) {
        let (x, y) = (round(label.at.x), round(label.at.y));
        self.write(label, &format!(" transform=\"rotate(-90 {x} {y})\""));
    }
    fn cells(&mut self, rect: Rect, columns: usize, colors: &[Color]) {
        self.push(format_args!("<g shape-rendering=\"crispEdges\">"));
        for (cell, color) in super::mark::cells(rect, columns, colors.len()).zip(colors) {
            self.rect(cell, *color);
        }
        self.push(format_args!("</g>"));
    }
    fn clip(&mut self, rect: Rect) {
        // A nested svg cuts what lies outside it without an id, which could clash with another chart on the page.
        let [x, y, width, height] = [rect.x, rect.y, rect.width, rect.height].map(round);
        self.push(format_args!(
            "<svg x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"{x} {y} {width} {height}\" overflow=\"hidden\">"
        ));
    }
    fn unclip(&mut self) {
        self.push(format_args!("</svg>"));
    }
}

impl Svg {
    fn write(&mut self, label: &Label, more: &str) {
        let anchor = match label.align {
            Align::Start => "",
            Align::Middle => " text-anchor=\"middle\"",
            Align::End => " text-anchor=\"end\"",
        };
        let weight = if label.font.bold { " font-weight=\"600\"" } else { "" };
        let (x, y, size) = (round(label.at.x), round(label.at.y), round(label.font.size));
        let (color, text) = (fill(label.color), escape(&label.text));
        self.push(format_args!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\"{weight}{anchor}{more} {color}>{text}</text>"
        ));
    }
}
