//! A grid of cells with a colour scale: layers upwards, tokens or heads along.
//!
//! More rows or columns than pixels can show are drawn several to a cell, the value farthest from 0 standing for all.

use super::axis;
use super::chart::Quantity;
use super::format;
use super::geometry::{Point, Rect, Size};
use super::legend::{Room, fit, width_up_to};
use super::mark::Mark;
use super::scene::{Columns, Hit, HitRow, Scene, TokenRange};
use super::surface::{Align, Font, Label, MeasureText, Stroke};
use super::theme::{Color, Theme};
use trace::summary::Place;

/// Narrowest cell, in CSS pixels: a pointer still finds it.
const NARROWEST: f64 = 3.0;
/// Most room for labels that read upwards.
const TALLEST_LABEL: f64 = 76.0;
/// Room per label that reads upwards.
const LABEL_PITCH: f64 = 14.0;
const EDGE: f64 = 4.0;
const HEADER: f64 = 24.0;
const TITLE: f64 = 20.0;

/// From values to colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    /// The colour of the lowest value, of the middle (or of 0), and of the highest.
    pub low: Color,
    pub middle: Color,
    pub high: Color,
    /// Lowest and highest value; beyond, colours stay as they are.
    pub domain: [f64; 2],
}

impl Ramp {
    /// From the ground's colour at 0 to full colour.
    pub fn sequential(theme: &Theme, color: Color, most: f64) -> Ramp {
        let (low, middle) = (theme.panel.mix(color, 0.06), theme.panel.mix(color, 0.5));
        Ramp { low, middle, high: color.mix(theme.ink, 0.25), domain: [0.0, most.max(f64::MIN_POSITIVE)] }
    }

    /// Symmetric about 0: attention's colour below, the MLP's above.
    pub fn diverging(theme: &Theme, most: f64) -> Ramp {
        let most = most.max(f64::MIN_POSITIVE);
        Ramp { low: theme.attn, middle: theme.panel.mix(theme.ink, 0.04), high: theme.mlp, domain: [-most, most] }
    }

    /// Of a quantity, up to `most`.
    pub fn of(quantity: Quantity, theme: &Theme, most: f64) -> Ramp {
        match quantity {
            Quantity::Attention => Ramp::sequential(theme, theme.attn, most),
            Quantity::Mlp => Ramp::sequential(theme, theme.mlp, most),
            Quantity::Difference => Ramp::diverging(theme, most),
            Quantity::Stream => Ramp::sequential(theme, theme.stream, most),
        }
    }

    /// The colour of a value.
    pub fn color(&self, value: f64) -> Color {
        let [low, high] = self.domain;
        let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
        match share < 0.5 {
            true => self.low.mix(self.middle, share * 2.0),
            false => self.middle.mix(self.high, share * 2.0 - 1.0),
        }
    }
}

/// What a row of blocks is called: its layer as readers count, block 0 being layer 1.
pub(super) fn layer_number(block: usize) -> String {
    (block + 1).to_string()
}

/// What a grid shows. Row 0 is the lowest.
#[derive(Clone, Copy)]
pub(super) struct Grid<'a> {
    pub rows: usize,
    /// What a row is called: its layer.
    pub row_label: &'a dyn Fn(usize) -> String,
    pub row_title: &'a str,
    /// What each column is called.
    pub columns: &'a [String],
    pub column_title: &'a str,
    /// The value of a row and column; none where nothing was measured.
    pub value: &'a dyn Fn(usize, usize) -> Option<f64>,
    pub ramp: Ramp,
    /// Title and lines of the read-out of a row and column.
    pub read_out: &'a dyn Fn(usize, usize) -> (String, Vec<HitRow>),
    /// What a row and column speak of.
    pub place: &'a dyn Fn(usize, usize) -> Option<Place>,
    /// A column that stands out.
    pub marked: Option<usize>,
    /// Words in the cells, where they fit.
    pub text: Option<&'a dyn Fn(usize, usize) -> String>,
    /// Which columns are shown; all if none are named.
    pub window: Option<TokenRange>,
}

impl Grid<'_> {
    /// Lays the grid out below `top`; `None` when there is no room.
    pub fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        self.layout_in(size, top, true, theme, measure)
    }

    /// Lays several grids of the same columns out below each other, equally high; only the lowest names its columns.
    pub fn stack(grids: &[Grid], size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let (lowest, upper) = grids.split_last()?;
        let names = lowest.names(size.width, measure);
        let part = (size.height - top - names) / grids.len() as f64;
        let mut stacked: Option<Scene> = None;
        let upper = upper.iter().enumerate().map(|(place, grid)| {
            let top = top + part * place as f64;
            grid.layout_in(Size::new(size.width, top + part), top, false, theme, measure)
        });
        for scene in upper.chain([lowest.layout(size, size.height - names - part, theme, measure)]) {
            let mut scene = scene?;
            if let Some(above) = stacked {
                let height = scene.plot.bottom() - above.plot.y;
                scene.plot = Rect { height, ..above.plot };
                scene.marks.splice(0..0, above.marks);
                scene.hits.splice(0..0, above.hits);
            }
            stacked = Some(scene);
        }
        stacked.map(|scene| Scene { size, ..scene })
    }

    /// Room that the names of the columns take below the plot, with their title.
    fn names(&self, width: f64, measure: &dyn MeasureText) -> f64 {
        let columns = Columns::new(self.window, self.columns.len());
        let shown = self.columns.get(columns.from..columns.to).unwrap_or_default();
        let widest = shown.iter().map(|label| width_up_to(width, label, measure)).fold(0.0, f64::max);
        let cell = self.room(width, measure).1 / shown.len().max(1) as f64;
        label_height(widest, cell) + TITLE + 4.0
    }

    /// Where the plot begins from the left, and how wide it is.
    fn room(&self, width: f64, measure: &dyn MeasureText) -> (f64, f64) {
        let label = |row| width_up_to(TALLEST_LABEL, &(self.row_label)(row), measure);
        let widest_row = (0..self.rows).map(label).fold(0.0, f64::max).min(TALLEST_LABEL);
        let left = (EDGE + widest_row + 8.0).ceil();
        (left, width - left - 8.0)
    }

    fn layout_in(&self, size: Size, top: f64, named: bool, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let columns = Columns::new(self.window, self.columns.len());
        let from = columns.from;
        let text = self.text.map(|text| move |row, column| text(row, column + from));
        let shown = Grid {
            columns: self.columns.get(from..columns.to).unwrap_or_default(),
            value: &|row, column| (self.value)(row, column + from),
            read_out: &|row, column| (self.read_out)(row, column + from),
            place: &|row, column| (self.place)(row, column + from),
            marked: self
                .marked
                .and_then(|marked| marked.checked_sub(from))
                .filter(|marked| *marked < columns.to - from),
            text: text.as_ref().map(|text| text as &dyn Fn(usize, usize) -> String),
            ..*self
        };
        let scene = shown.layout_all(size, top, named, theme, measure)?;
        Some(Scene { columns: Some(columns), ..scene })
    }

    fn layout_all(&self, size: Size, top: f64, named: bool, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        if self.rows == 0 || self.columns.is_empty() {
            return None;
        }
        let width = |text: &str| measure.width(text, Font::SMALL);
        let (left, room) = self.room(size.width, measure);
        let (columns_together, shown) = drawn_together(self.columns.len(), room.max(1.0));
        let cell_width = room / shown as f64;
        let widest = self.columns.iter().map(|label| width_up_to(size.width, label, measure)).fold(0.0, f64::max);
        let below = if named { label_height(widest, cell_width) + TITLE + 4.0 } else { 4.0 };
        let plot = Rect { x: left, y: top + HEADER, width: room, height: size.height - top - HEADER - below };
        if room < 24.0 || plot.height < 24.0 {
            return None;
        }
        let (rows_together, shown_rows) = drawn_together(self.rows, plot.height);
        let cell_height = plot.height / shown_rows as f64;
        let cells = Cells { plot, width: cell_width, height: cell_height, rows_together, columns_together };
        // The row and column that stand for all that are drawn together.
        let chosen = |row: usize, column: usize| {
            let rows = row * rows_together..((row + 1) * rows_together).min(self.rows);
            let columns = column * columns_together..((column + 1) * columns_together).min(self.columns.len());
            let mut found = (rows.start, columns.start);
            // A pattern of thousand tokens has a million values: each is asked for once.
            let mut most = -1.0;
            for row in rows {
                for column in columns.clone() {
                    let size = (self.value)(row, column).filter(|value| value.is_finite()).map_or(-1.0, f64::abs);
                    if size > most {
                        (most, found) = (size, (row, column));
                    }
                }
            }
            found
        };
        let color = |row, column| match (self.value)(row, column) {
            Some(value) if value.is_finite() => self.ramp.color(value),
            _ => theme.soft,
        };
        let mut chosen_cells = Vec::with_capacity(shown_rows * shown);
        let mut colors = Vec::with_capacity(shown_rows * shown);
        let mut hits = Vec::with_capacity(shown_rows * shown);
        for row in (0..shown_rows).rev() {
            for column in 0..shown {
                let of = chosen(row, column);
                chosen_cells.push(of);
                colors.push(color(of.0, of.1));
                let rect = cells.rect(row, column);
                let (title, rows) = (self.read_out)(of.0, of.1);
                let anchor = Point::new(rect.x + rect.width / 2.0, rect.y + rect.height / 2.0);
                let highlight = vec![outline(rect, Stroke::solid(theme.ink, 2.0))];
                hits.push(Hit { rect, anchor, title, rows, place: (self.place)(of.0, of.1), highlight });
            }
        }
        let mut words = Vec::new();
        if let Some(text) = self.text {
            for ((&(row, column), ground), hit) in chosen_cells.iter().zip(&colors).zip(&hits) {
                words.extend(cell_text(hit.rect, &text(row, column), *ground, theme, measure));
            }
        }
        let mut marks = vec![Mark::Cells { rect: plot, columns: shown, colors }];
        marks.extend(words);
        if let Some(column) = self.marked {
            let first = cells.rect(0, column / columns_together);
            let whole = Rect { y: plot.y, height: plot.height, ..first };
            marks.push(outline(whole, Stroke::solid(theme.ink, 1.5)));
        }
        marks.extend(self.row_marks(&cells, theme, measure));
        if named {
            marks.extend(self.column_marks(&cells, is_upright(widest, cell_width), theme, measure));
        }
        let label = |at, text: &str, align| axis::text(at, text.to_owned(), align, theme);
        marks.push(label(Point::new(EDGE, top + 13.0), self.row_title, Align::Start));
        if named {
            let bottom = Point::new(plot.x + plot.width / 2.0, size.height - 6.0);
            marks.push(label(bottom, self.column_title, Align::Middle));
        }
        let least = EDGE + width(self.row_title) + 12.0;
        marks.extend(self.scale_marks(Room { left: least, right: plot.right(), top }, theme, measure));
        Some(Scene { hits_in_a_row: shown, ..Scene::new(size, plot, marks, hits) })
    }

    fn row_marks(&self, cells: &Cells, theme: &Theme, measure: &dyn MeasureText) -> Vec<Mark> {
        let every = (14.0 / cells.height).ceil().max(1.0) as usize;
        let label = |(place, row)| {
            let y = cells.plot.bottom() - cells.height * (place as f64 + 0.5) + 4.0;
            let text = fit(&(self.row_label)(row), TALLEST_LABEL, measure);
            axis::text(Point::new(cells.plot.x - 6.0, y), text, Align::End, theme)
        };
        (0..self.rows).step_by(cells.rows_together).enumerate().step_by(every).map(label).collect()
    }

    fn column_marks(&self, cells: &Cells, upright: bool, theme: &Theme, measure: &dyn MeasureText) -> Vec<Mark> {
        let every = if upright { 1 } else { (LABEL_PITCH / cells.width).ceil().max(1.0) as usize };
        let middle = |column: usize| cells.plot.x + cells.width * (column as f64 + 0.5);
        let bottom = cells.plot.bottom();
        self.columns
            .iter()
            .step_by(cells.columns_together)
            .enumerate()
            .step_by(every)
            .map(|(column, text)| match upright {
                true => axis::text(Point::new(middle(column), bottom + 16.0), text.clone(), Align::Middle, theme),
                false => {
                    let at = Point::new(middle(column) + 4.0, bottom + 6.0);
                    let text = fit(text, TALLEST_LABEL, measure);
                    let (align, font, color) = (Align::End, Font::SMALL, theme.mute);
                    Mark::Turned(Label { at, text, align, font, color })
                }
            })
            .collect()
    }

    /// The colour scale, in the corner above the plot: lowest value, strip, highest value.
    fn scale_marks(&self, room: Room, theme: &Theme, measure: &dyn MeasureText) -> Vec<Mark> {
        let Room { left, right, top } = room;
        const STEPS: usize = 48;
        const STRIP: f64 = 96.0;
        let [low, high] = self.ramp.domain;
        let (low_text, high_text) = (format::norm(low), format::norm(high));
        let high_width = measure.width(&high_text, Font::SMALL);
        let strip = Rect { x: right - high_width - 6.0 - STRIP, y: top + 4.0, width: STRIP, height: 10.0 };
        if strip.x - 6.0 - measure.width(&low_text, Font::SMALL) < left {
            return Vec::new();
        }
        let at = |step: usize| low + (high - low) * step as f64 / (STEPS - 1) as f64;
        let colors = (0..STEPS).map(|step| self.ramp.color(at(step))).collect();
        vec![
            Mark::Cells { rect: strip, columns: STEPS, colors },
            outline(strip, Stroke::solid(theme.axis, 1.0)),
            axis::text(Point::new(strip.x - 6.0, top + 13.0), low_text, Align::End, theme),
            axis::text(Point::new(right, top + 13.0), high_text, Align::End, theme),
        ]
    }
}

/// How the cells of a grid are laid out.
struct Cells {
    /// All of them.
    plot: Rect,
    /// Of one cell.
    width: f64,
    height: f64,
    /// Rows and columns that one cell stands for.
    rows_together: usize,
    columns_together: usize,
}

impl Cells {
    /// A cell, by its row and column among those that are drawn.
    fn rect(&self, row: usize, column: usize) -> Rect {
        let (x, y) = (self.plot.x + self.width * column as f64, self.plot.bottom() - self.height * (row + 1) as f64);
        Rect { x, y, width: self.width, height: self.height }
    }
}

/// How many rows or columns of so many share a cell, so that none is too narrow, and how many cells that makes.
fn drawn_together(count: usize, room: f64) -> (usize, usize) {
    let together = (count as f64 * NARROWEST / room).ceil().max(1.0) as usize;
    (together, count.div_ceil(together))
}

/// Whether the widest label fits below a column as it is.
fn is_upright(widest: f64, cell: f64) -> bool {
    widest + 8.0 <= cell
}

fn label_height(widest: f64, cell: f64) -> f64 {
    if is_upright(widest, cell) { 16.0 } else { widest.min(TALLEST_LABEL) + 6.0 }
}

/// A word inside a cell, in the ink that stands out from its ground; nothing where it does not fit.
fn cell_text(cell: Rect, text: &str, ground: Color, theme: &Theme, measure: &dyn MeasureText) -> Option<Mark> {
    if cell.height < 14.0 || cell.width < 22.0 {
        return None;
    }
    let text = fit(text, cell.width - 6.0, measure);
    let inks = [theme.ink, theme.panel];
    let color = inks.into_iter().max_by(|a, b| a.contrast(ground).total_cmp(&b.contrast(ground)))?;
    let at = Point::new(cell.x + cell.width / 2.0, cell.y + cell.height / 2.0 + 4.0);
    Some(Mark::Text(Label { at, text, align: Align::Middle, font: Font::SMALL, color }))
}

fn outline(rect: Rect, stroke: Stroke) -> Mark {
    let (left, right, top, bottom) = (rect.x, rect.right(), rect.y, rect.bottom());
    let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
    Mark::Line { points: corners.map(|(x, y)| Point::new(x, y)).to_vec(), stroke }
}
