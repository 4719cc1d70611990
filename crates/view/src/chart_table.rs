//! A chart's numbers as a table in the page.

use web_sys::Element;

use crate::dom;
use charts::Table;
use trace::Result;

/// A table's widest, and its fewest rows.
const MOST_COLUMNS: usize = 128;
const LEAST_ROWS: usize = 12;

/// The table as an element, as far as a reader goes: thousands of rows would hold the page up. The files have all. Also
/// whether there are more rows than these cells have room for.
pub fn table_element(data: &Table, most_cells: usize) -> Result<(Element, bool)> {
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
