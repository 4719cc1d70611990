//! The legend beside a chart.

use charts::{Figure, Swatch};
use trace::Result;
use web_sys::Element;

use crate::dom;

/// Writes a figure's legend into a list, where it says something else than before: that spares the page a layout for each
/// block that arrives.
pub fn write(list: &Element, figure: &Figure) -> Result<()> {
    let items = figure.legend();
    let words = items.iter().map(|item| item.label.as_str()).collect::<Vec<_>>().join(", ");
    if list.get_attribute("data-words").as_deref() == Some(&words) {
        return Ok(());
    }
    dom::set_attribute(list, "data-words", &words);
    list.set_text_content(None);
    for item in &items {
        let entry: Element = dom::create("li", "")?;
        let shape = match item.swatch {
            Swatch::Solid => "solid",
            Swatch::Hatched => "hatched",
            Swatch::LineCircle => "line circle",
            Swatch::LineSquare => "line square",
            Swatch::Diamond => "diamond",
        };
        dom::append(&entry, &dom::create::<Element>("span", &format!("swatch {shape} {}", item.kind.as_str()))?);
        dom::append(&entry, dom::create_with_text("span", "", &item.label)?.as_ref());
        dom::append(list, &entry);
    }
    Ok(())
}
