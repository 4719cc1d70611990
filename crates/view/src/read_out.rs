//! The read-out over a chart: a box beside the pointer, or at what the arrow keys have found.

use std::cell::Cell;

use web_sys::{Element, HtmlElement};

use crate::dom;
use charts::{Hit, Scene};
use trace::Result;

/// Distance between pointer and box, in CSS pixels.
const GAP: f64 = 14.0;

/// The box and what it shows.
pub struct ReadOut {
    root: HtmlElement,
    /// Speaks what the arrow keys find; a moving pointer stays silent.
    spoken: Element,
    /// Index of the hit that is looked at.
    pub hit: Cell<Option<usize>>,
    /// Where the pointer is, in CSS pixels from the canvas' corner; `None` when the keyboard chose the hit.
    pub at: Cell<Option<(f64, f64)>>,
    shown: Cell<Option<usize>>,
}

impl ReadOut {
    /// Finds the read-out of a chart's panel.
    pub fn new(panel: &Element) -> Result<ReadOut> {
        Ok(ReadOut {
            root: dom::find(panel, ".readout")?,
            spoken: dom::find(panel, ".plot [role=status]")?,
            hit: Cell::new(None),
            at: Cell::new(None),
            shown: Cell::new(None),
        })
    }

    /// Speaks what the arrow keys have found.
    pub fn speak(&self, hit: &Hit) {
        dom::set_text(&self.spoken, &hit.text());
    }

    /// Fills the box and puts it beside the pointer or the hit's anchor. Called with every frame that draws.
    pub fn place(&self, scene: &Scene) {
        let hit = self.hit.get().and_then(|index| scene.hits.get(index));
        self.root.set_hidden(hit.is_none());
        let Some(hit) = hit else { return self.shown.set(None) };
        // The numbers under an index change with every trace, so the box is filled anew unless only the pointer moved.
        if self.shown.replace(self.hit.get()) != self.hit.get()
            || self.root.get_attribute("data-text") != Some(hit.text())
        {
            let _ = self.fill(hit);
        }
        let (width, height) = (f64::from(self.root.offset_width()), f64::from(self.root.offset_height()));
        let (x, y) = self.at.get().unwrap_or((hit.anchor.x, hit.anchor.y));
        let left = if x + GAP + width > scene.size.width { x - GAP - width } else { x + GAP };
        let top = if y - GAP - height < 0.0 { y + GAP } else { y - GAP - height };
        let left = left.clamp(0.0, (scene.size.width - width).max(0.0));
        let top = top.clamp(0.0, (scene.size.height - height).max(0.0));
        let _ = self.root.style().set_property("transform", &format!("translate({left:.0}px, {top:.0}px)"));
    }

    fn fill(&self, hit: &Hit) -> Result<()> {
        dom::set_attribute(&self.root, "data-text", &hit.text());
        self.root.set_text_content(None);
        dom::append(&self.root, dom::create_with_text("b", "", &hit.title)?.as_ref());
        for row in &hit.rows {
            let line: Element = dom::create("span", "readout-row")?;
            let kind = row.kind.map_or("", |kind| kind.as_str());
            dom::append(&line, &dom::create::<Element>("i", kind)?);
            dom::append(&line, dom::create_with_text("span", "", &row.label)?.as_ref());
            dom::append(&line, dom::create_with_text("span", "value", &row.value)?.as_ref());
            dom::append(&self.root, &line);
        }
        Ok(())
    }
}
