//! A chart's numbers as a table in its panel, as far as a reader goes: thousands of rows would hold the page up. The files
//! have all.

use std::cell::Cell;

use web_sys::{Element, HtmlButtonElement, HtmlElement};

use crate::dom;
use charts::{Figure, Table};
use trace::Result;

/// Cells that are shown at first.
const CELLS: usize = 1600;

/// A table's widest, and its fewest rows.
const MOST_COLUMNS: usize = 128;
const LEAST_ROWS: usize = 12;

/// The table in the place of the chart, and the button that shows it.
pub struct ChartTable {
    /// Holds the table, and the button for more rows.
    pub place: HtmlElement,
    button: HtmlButtonElement,
    plot: Element,
    /// How many cells are shown at most.
    cells_shown: Cell<usize>,
}

impl ChartTable {
    /// Finds the table of a chart's panel.
    pub fn new(panel: &Element) -> Result<ChartTable> {
        Ok(ChartTable {
            place: dom::find(panel, ".table-box")?,
            button: dom::find(panel, "[data-tool=table]")?,
            plot: dom::find(panel, ".plot")?,
            cells_shown: Cell::new(CELLS),
        })
    }

    /// Shows the table in the place of the chart, or the chart again.
    pub fn toggle(&self, figure: &Figure) -> Result<()> {
        let show = self.place.hidden();
        if show {
            self.fill(figure, CELLS)?;
        }
        self.place.set_hidden(!show);
        dom::set_class(&self.plot, "tabular", show);
        dom::set_attribute(&self.button, "aria-pressed", if show { "true" } else { "false" });
        Ok(())
    }

    /// Another figure: its table, where it is shown.
    pub fn refresh(&self, figure: &Figure) -> Result<()> {
        if self.place.hidden() { Ok(()) } else { self.fill(figure, CELLS) }
    }

    /// Twice the rows. The keyboard goes on in the table.
    pub fn show_more_rows(&self, figure: &Figure) {
        if self.fill(figure, self.cells_shown.get() * 2).is_ok() {
            let _ = self.place.focus();
        }
    }

    /// Fills the table, with a button for more where that is not all of it.
    fn fill(&self, figure: &Figure, most_cells: usize) -> Result<()> {
        let (table, has_more) = table_element(&figure.table(), most_cells)?;
        self.place.set_text_content(None);
        dom::append(&self.place, &table);
        self.cells_shown.set(most_cells);
        if has_more {
            let more = dom::create_with_text("button", "more-rows", "More rows")?;
            dom::set_attribute(&more, "type", "button");
            dom::append(&self.place, &more);
        }
        Ok(())
    }
}

/// The table as an element, and whether there are more rows than these cells have room for.
fn table_element(data: &Table, most_cells: usize) -> Result<(Element, bool)> {
    let columns = data.columns.len().min(MOST_COLUMNS);
    let rows = (most_cells / columns.max(1)).max(LEAST_ROWS).min(data.rows.len());
    let mut caption = data.caption.clone();
    if rows < data.rows.len() || columns < data.columns.len() {
        let (all, wide) = (data.rows.len(), data.columns.len());
        caption += &format!(" (here {rows} of {all} rows, {columns} of {wide} columns; CSV and JSON have all)");
    }
    let table: Element = dom::create("table", "")?;
    dom::append(&table, dom::create_with_text("caption", "", &caption)?.as_ref());
    let head: Element = dom::create("thead", "")?;
    dom::keep_untranslated(&head);
    let row: Element = dom::create("tr", "")?;
    for column in data.columns.iter().take(columns) {
        let cell = dom::create_with_text("th", "", column)?;
        dom::set_attribute(&cell, "scope", "col");
        dom::append(&row, &cell);
    }
    dom::append(&head, &row);
    dom::append(&table, &head);
    let body: Element = dom::create("tbody", "")?;
    dom::keep_untranslated(&body);
    for cells in data.rows.iter().take(rows) {
        let row: Element = dom::create("tr", "")?;
        for (index, cell) in cells.iter().take(columns).enumerate() {
            let cell = dom::create_with_text(if index == 0 { "th" } else { "td" }, "", &cell.text())?;
            if index == 0 {
                dom::set_attribute(&cell, "scope", "row");
            }
            dom::append(&row, &cell);
        }
        dom::append(&body, &row);
    }
    dom::append(&table, &body);
    Ok((table, rows < data.rows.len()))
}
