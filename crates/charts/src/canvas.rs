//! The canvas surface: the only place in `charts` that knows a browser.
//!
//! Sharp on every screen: the backing store has as many pixels as the screen shows, hairlines and rectangle edges lie on them.

use js_sys::{Array, Reflect};
use wasm_bindgen::{Clamped, JsCast, JsValue};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData};

use super::figure::Figure;
use super::geometry::{Point, Rect, Size};
use super::scene::Scene;
use super::surface::{Align, FONT_FAMILY, Font, Label, MeasureText, Shape, Stroke, Surface};
use super::theme::{Color, Theme};
use trace::{Code, Error, Result};

/// Pixels per CSS pixel of a canvas that is to be printed: 96 times so many dots per inch.
const PRINT_RATIO: f64 = 3.0;
/// Most pixels of a canvas; Safari shows nothing above.
const MOST_PIXELS: f64 = 16_777_216.0;
/// A canvas that a transform makes smaller than this is drawn for this: it may grow again unseen.
const LEAST_SCALE: f64 = 0.5;
/// A canvas that is transformed does not lie on the screen's pixels: it is sharp with more of its own, where the screen's
/// are large.
const OVERSAMPLING: f64 = 2.0;
/// From so many pixels per CSS pixel on they are small enough.
const FINE_RATIO: f64 = 2.0;

/// Lays the figure out for the canvas' CSS size and draws it, the highlight of one hit on top. Call again after a
/// resize, a change of theme, or when the window moves to a screen of another `devicePixelRatio`.
///
/// The size is the canvas' own, before any transform or `zoom` of what it stands in; the pixels are as many as it takes
/// up on the screen after them.
///
/// A canvas that no style sheet gives a size gets its present size written into its style, since a canvas is
/// otherwise as large as its backing store and would grow with every call.
pub fn draw(canvas: &HtmlCanvasElement, figure: &Figure, theme: &Theme, highlight: Option<usize>) -> Result<Scene> {
    let size = layout_size(canvas);
    draw_at(canvas, figure, theme, highlight, size, pixel_ratio(canvas, size))
}

/// The same for paper, which shows more than a screen.
pub fn draw_for_print(canvas: &HtmlCanvasElement, figure: &Figure, theme: &Theme) -> Result<Scene> {
    let size = layout_size(canvas);
    let ratio = within_limits(pixel_ratio(canvas, size).max(PRINT_RATIO), size);
    draw_at(canvas, figure, theme, None, size, ratio)
}

fn draw_at(
    canvas: &HtmlCanvasElement,
    figure: &Figure,
    theme: &Theme,
    highlight: Option<usize>,
    size: Size,
    ratio: f64,
) -> Result<Scene> {
    let context = context(canvas)?;
    if set_backing(canvas, size, ratio) {
        let after = layout_size(canvas);
        if (after.width - size.width).abs() > 0.5 || (after.height - size.height).abs() > 0.5 {
            let style = canvas.style();
            // A refused property leaves the canvas unstyled, which is ugly but not wrong.
            let _ = style.set_property("width", &format!("{}px", size.width));
            let _ = style.set_property("height", &format!("{}px", size.height));
        }
    }
    let surface = CanvasSurface { context, ratio };
    let scene = figure.scene(size, theme, &surface);
    surface.paint(canvas, &scene, highlight)?;
    Ok(scene)
}

/// Draws a scene again, with another highlight, onto the canvas it was laid out for: what a moving pointer needs.
pub fn repaint(canvas: &HtmlCanvasElement, scene: &Scene, highlight: Option<usize>) -> Result<()> {
    let ratio = pixel_ratio(canvas, scene.size);
    set_backing(canvas, scene.size, ratio);
    CanvasSurface { context: context(canvas)?, ratio }.paint(canvas, scene, highlight)
}

/// The figure on a canvas of its own that stands alone (ground, title, legend), `ratio` pixels per CSS pixel: for a PNG
/// (`toBlob`). The canvas is not in the page.
pub fn export(figure: &Figure, size: Size, ratio: f64, theme: &Theme) -> Result<HtmlCanvasElement> {
    let document = web_sys::window().and_then(|window| window.document());
    let canvas: HtmlCanvasElement = document
        .and_then(|document| document.create_element("canvas").ok())
        .and_then(|element| element.dyn_into().ok())
        .ok_or_else(|| unsupported("a canvas cannot be made here: there is no document"))?;
    set_backing(&canvas, size, ratio);
    let surface = CanvasSurface { context: context(&canvas)?, ratio };
    let scene = figure.standalone_scene(size, theme, &surface);
    surface.paint(&canvas, &scene, None)?;
    Ok(canvas)
}

/// The figure as an SVG file, its text measured in the reader's own font.
pub fn export_svg(figure: &Figure, size: Size, theme: &Theme) -> Result<String> {
    let document = web_sys::window().and_then(|window| window.document());
    let canvas: HtmlCanvasElement = document
        .and_then(|document| document.create_element("canvas").ok())
        .and_then(|element| element.dyn_into().ok())
        .ok_or_else(|| unsupported("text cannot be measured here: there is no document"))?;
    let surface = CanvasSurface { context: context(&canvas)?, ratio: 1.0 };
    Ok(super::svg::document_measured(figure, size, theme, &surface))
}

fn unsupported(message: &str) -> Error {
    Error::new(Code::UnsupportedBrowser, message)
}

fn device_pixel_ratio() -> f64 {
    let ratio = web_sys::window().map_or(1.0, |window| window.device_pixel_ratio());
    if ratio.is_finite() && ratio > 0.0 { ratio } else { 1.0 }
}

/// A canvas' size in CSS pixels, before transforms and `zoom`.
fn layout_size(canvas: &HtmlCanvasElement) -> Size {
    let style = web_sys::window().and_then(|window| window.get_computed_style(canvas).ok().flatten());
    let side = |name: &str, whole: i32| {
        let exact = style.as_ref().and_then(|style| style.get_property_value(name).ok());
        // No length of pixels where nothing is laid out.
        // Read by JavaScript: Rust's own reader of numbers would be 14 KB of every embed.
        let pixels = exact.and_then(|side| side.strip_suffix("px").map(js_sys::parse_float));
        pixels.filter(|pixels| pixels.is_finite()).unwrap_or(f64::from(whole))
    };
    Size::new(side("width", canvas.offset_width()), side("height", canvas.offset_height()))
}

/// Pixels of the screen for each of the canvas' own CSS pixels. A canvas that is turned takes up a larger rectangle than
/// it fills, and gets some pixels more than it shows.
fn pixel_ratio(canvas: &HtmlCanvasElement, size: Size) -> f64 {
    let bounds = canvas.get_bounding_client_rect();
    let (zoom, screen) = (zoom(canvas), device_pixel_ratio());
    let (width, height) = (f64::from(canvas.offset_width()), f64::from(canvas.offset_height()));
    // The layout's sides are rounded.
    let is_plain = |side: f64, bound: f64| (bound - side * zoom).abs() <= 0.5 * zoom.max(1.0);
    let scale = (bounds.width() * bounds.height() / (width * height)).sqrt();
    let ratio = match is_plain(width, bounds.width()) && is_plain(height, bounds.height()) {
        true => screen * zoom,
        false if !scale.is_finite() || scale == 0.0 => screen,
        false if screen >= FINE_RATIO => screen * scale.max(LEAST_SCALE),
        false => screen * scale.max(LEAST_SCALE) * OVERSAMPLING,
    };
    within_limits(ratio, size)
}

/// How much larger the page shows a canvas than it is laid out, by the CSS property `zoom`; 1 in browsers that do not know.
pub fn zoom(canvas: &HtmlCanvasElement) -> f64 {
    let zoom = Reflect::get(canvas, &"currentCSSZoom".into()).ok().and_then(|zoom| zoom.as_f64());
    zoom.filter(|zoom| zoom.is_finite() && *zoom > 0.0).unwrap_or(1.0)
}

fn within_limits(ratio: f64, size: Size) -> f64 {
    let most = (MOST_PIXELS / (size.width * size.height).max(1.0)).sqrt();
    ratio.min(most)
}

/// Whether a scene was drawn with as many pixels as the canvas takes up by now.
pub fn is_sharp(canvas: &HtmlCanvasElement, scene: &Scene) -> bool {
    backing(scene.size, pixel_ratio(canvas, scene.size)) == (canvas.width(), canvas.height())
}

fn context(canvas: &HtmlCanvasElement) -> Result<CanvasRenderingContext2d> {
    let context = canvas.get_context("2d").ok().flatten();
    context
        .and_then(|context| context.dyn_into().ok())
        .ok_or_else(|| unsupported("this canvas has no 2d context: the browser refuses it, or it is used for WebGL"))
}

/// Gives the canvas its pixels; only when they change, since setting them clears it. Returns whether they did.
fn set_backing(canvas: &HtmlCanvasElement, size: Size, ratio: f64) -> bool {
    let (width, height) = backing(size, ratio);
    let changed = canvas.width() != width || canvas.height() != height;
    if changed {
        canvas.set_width(width);
        canvas.set_height(height);
    }
    changed
}

fn backing(size: Size, ratio: f64) -> (u32, u32) {
    let pixels = |side: f64| (side * ratio).round().clamp(1.0, 16_384.0) as u32;
    (pixels(size.width), pixels(size.height))
}

struct CanvasSurface {
    context: CanvasRenderingContext2d,
    /// Device pixels per CSS pixel.
    ratio: f64,
}

impl CanvasSurface {
    fn paint(self, canvas: &HtmlCanvasElement, scene: &Scene, highlight: Option<usize>) -> Result<()> {
        let refused = |_: JsValue| unsupported("the browser refused to draw on a canvas");
        self.context.reset_transform().map_err(refused)?;
        self.context.clear_rect(0.0, 0.0, f64::from(canvas.width()), f64::from(canvas.height()));
        self.context.scale(self.ratio, self.ratio).map_err(refused)?;
        let mut surface = self;
        scene.paint(&mut surface, highlight);
        Ok(())
    }

    fn trace(&self, points: &[Point]) {
        self.context.begin_path();
        self.extend(points);
    }

    fn extend(&self, points: &[Point]) {
        for (index, point) in points.iter().enumerate() {
            match index {
                0 => self.context.move_to(point.x, point.y),
                _ => self.context.line_to(point.x, point.y),
            }
        }
    }

    fn stroke(&self, stroke: Stroke, width: f64) {
        self.context.set_stroke_style_str(&stroke.color.to_css());
        self.context.set_line_width(width);
        self.context.set_line_join("round");
        let dashes = Array::new();
        if let Some((dash, gap)) = stroke.dash {
            dashes.push(&JsValue::from_f64(dash));
            dashes.push(&JsValue::from_f64(gap));
        }
        // Refused only for a list that is no list.
        let _ = self.context.set_line_dash(&dashes);
        self.context.stroke();
    }

    fn fill(&self, color: Color) {
        self.context.set_fill_style_str(&color.to_css());
        self.context.fill();
    }

    fn set_font(&self, font: Font) {
        let weight = if font.bold { "600 " } else { "" };
        self.context.set_font(&format!("{weight}{}px {FONT_FAMILY}", font.size));
    }

    /// The nearest boundary between device pixels.
    fn snap(&self, value: f64) -> f64 {
        (value * self.ratio).round() / self.ratio
    }
}

impl MeasureText for CanvasSurface {
    fn width(&self, text: &str, font: Font) -> f64 {
        self.set_font(font);
        self.context.measure_text(text).map_or(0.0, |metrics| metrics.width())
    }
}

impl Surface for CanvasSurface {
    fn area(&mut self, outline: &[Point], fill: Color) {
        self.trace(outline);
        self.context.close_path();
        self.fill(fill);
    }

    fn line(&mut self, points: &[Point], stroke: Stroke) {
        self.trace(points);
        self.stroke(stroke, stroke.width);
    }

    fn rule(&mut self, from: Point, to: Point, stroke: Stroke) {
        // A whole number of device pixels wide, its middle where that many pixels have theirs.
        let pixels = (stroke.width * self.ratio).round().max(1.0);
        let offset = if pixels % 2.0 == 1.0 { 0.5 / self.ratio } else { 0.0 };
        let crisp = |value: f64| self.snap(value - offset) + offset;
        let (mut from, mut to) = (from, to);
        if from.y == to.y {
            from.y = crisp(from.y);
            to.y = from.y;
        } else {
            from.x = crisp(from.x);
            to.x = from.x;
        }
        self.trace(&[from, to]);
        self.stroke(stroke, pixels / self.ratio);
    }

    fn segments(&mut self, segments: &[(Point, Point)], stroke: Stroke) {
        self.context.begin_path();
        for (from, to) in segments {
            self.extend(&[*from, *to]);
        }
        self.stroke(stroke, stroke.width);
    }

    fn rect(&mut self, rect: Rect, fill: Color) {
        let (left, top) = (self.snap(rect.x), self.snap(rect.y));
        self.context.set_fill_style_str(&fill.to_css());
        self.context.fill_rect(left, top, self.snap(rect.right()) - left, self.snap(rect.bottom()) - top);
    }

    fn symbol(&mut self, at: Point, shape: Shape, radius: f64, fill: Color, outline: Option<Stroke>) {
        match shape {
            Shape::Circle => {
                self.context.begin_path();
                // Refused only for a negative radius.
                let _ = self.context.arc(at.x, at.y, radius.max(0.0), 0.0, std::f64::consts::TAU);
            }
            _ => self.trace(&shape.corners(at, radius)),
        }
        self.context.close_path();
        self.fill(fill);
        if let Some(outline) = outline {
            self.stroke(outline, outline.width);
        }
    }

    fn text(&mut self, label: &Label) {
        self.write(label, label.at);
    }

    fn turned(&mut self, label: &Label) {
        self.context.save();
        // Refused only for numbers that are not finite.
        let _ = self.context.translate(label.at.x, label.at.y);
        let _ = self.context.rotate(-std::f64::consts::FRAC_PI_2);
        self.write(label, Point::default());
        self.context.restore();
    }

    fn cells(&mut self, rect: Rect, columns: usize, colors: &[Color]) {
        // Without a picture of one pixel a cell there are the cells themselves, slower.
        if self.picture(rect, columns, colors).is_none() {
            for (cell, color) in super::mark::cells(rect, columns, colors.len()).zip(colors) {
                self.rect(cell, *color);
            }
        }
    }

    fn clip(&mut self, rect: Rect) {
        self.context.save();
        self.context.begin_path();
        self.context.rect(rect.x, rect.y, rect.width, rect.height);
        self.context.clip();
    }

    fn unclip(&mut self) {
        self.context.restore();
    }
}

impl CanvasSurface {
    /// Draws cells as a picture with a pixel each, stretched without smoothing.
    fn picture(&self, rect: Rect, columns: usize, colors: &[Color]) -> Option<()> {
        let rows = colors.len().checked_div(columns)?;
        let (width, height) = (u32::try_from(columns).ok()?, u32::try_from(rows).ok()?);
        let pixels: Vec<u8> = colors
            .iter()
            .flat_map(|&Color { rgb: [red, green, blue], alpha }| [red, green, blue, (alpha * 255.0).round() as u8])
            .collect();
        let data = ImageData::new_with_u8_clamped_array_and_sh(Clamped(&pixels), width, height).ok()?;
        let small: HtmlCanvasElement = web_sys::window()?.document()?.create_element("canvas").ok()?.dyn_into().ok()?;
        small.set_width(width);
        small.set_height(height);
        context(&small).ok()?.put_image_data(&data, 0.0, 0.0).ok()?;
        self.context.set_image_smoothing_enabled(false);
        let (left, top) = (self.snap(rect.x), self.snap(rect.y));
        let (width, height) = (self.snap(rect.right()) - left, self.snap(rect.bottom()) - top);
        self.context.draw_image_with_html_canvas_element_and_dw_and_dh(&small, left, top, width, height).ok()
    }

    fn write(&self, label: &Label, at: Point) {
        self.set_font(label.font);
        self.context.set_fill_style_str(&label.color.to_css());
        self.context.set_text_baseline("alphabetic");
        self.context.set_text_align(match label.align {
            Align::Start => "left",
            Align::Middle => "center",
            Align::End => "right",
        });
        // Refused only where the context is lost.
        let _ = self.context.fill_text(&label.text, at.x, at.y);
    }
}
