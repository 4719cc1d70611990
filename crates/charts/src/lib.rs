//! Charts: from summaries to marks on a surface.
//! May depend on: `trace` (plain data and its summaries).
//! Must never know: models, tensors, workers; the DOM, outside the canvas surface.
//!
//! ```text
//! Trace --Figure::new--> Figure --scene(size, theme, measure)--> Scene --paint--> Surface (canvas, SVG, recorder)
//!                          |                                       |
//!                          table, legend, finding, description     hits: read-outs for pointer and arrow keys
//! ```
//! A [`Figure`] owns its summary, so that a resize lays out again and computes nothing. A [`Scene`] is laid out
//! for one size in CSS pixels: text keeps its size on a phone, there are fewer ticks instead.
//!
//! On the page:
//! ```ignore
//! let name: ChartName = "distribution".parse()?;                       // "heatmap", ...; ChartName::ALL
//! let options = ChartOptions { legend: false, ..Default::default() };   // and more
//! let figure = Figure::new(name, &trace, &options);
//! let scene = canvas::draw(&canvas, &figure, &Theme::light(), None)?;   // again after a resize or a theme change
//! let hit = scene.hit_at(x, y);                                         // CSS pixels from the canvas' corner
//! canvas::repaint(&canvas, &scene, hit)?;                               // the same scene, one hit highlighted
//! let read_out: &Hit = &scene.hits[hit?];                               // rect, anchor, title, rows; arrow keys: next index
//! figure.title(); figure.lead(); figure.how_to_read(); figure.notes(); figure.legend(); figure.finding();
//! figure.description(); figure.table().to_csv(); svg::document(&figure, Size::new(960.0, 540.0), &Theme::light());
//! canvas::export(&figure, Size::new(960.0, 540.0), 2.0, &Theme::light())?;  // a new canvas, for a PNG
//! ```

mod attribution;
pub mod axis;
mod by_layer;
#[cfg(target_arch = "wasm32")]
pub mod canvas;
mod change;
pub mod chart;
mod distribution;
mod evolution;
pub mod figure;
pub mod format;
pub mod geometry;
mod grid;
mod growth;
mod heads;
mod heatmap;
mod layer_lines;
pub mod legend;
mod lens;
pub mod mark;
mod next;
mod one_text;
mod patching;
mod pattern;
mod pinned;
pub mod recorder;
pub mod registry;
mod request;
pub mod scale;
pub mod scene;
pub mod surface;
pub mod svg;
pub mod table;
pub mod theme;
mod true_token;

#[cfg(test)]
mod tests;

pub use chart::{Chart, ChartOptions, ChartSpec, Control, Needs, Quantity};
pub use figure::Figure;
pub use geometry::{Point, Rect, Size};
pub use legend::{LegendItem, Swatch};
pub use registry::ChartName;
pub use scene::{Columns, Hit, HitRow, Scene, TokenRange};
pub use surface::{ApproximateText, Font, MeasureText, Surface};
pub use table::{Cell, Table};
pub use theme::{Color, Theme};
pub use trace::summary::Kind;
