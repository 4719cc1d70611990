//! The read-out over a chart: follows the pointer, a tap, or the arrow keys.

use std::cell::Cell;
use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, KeyboardEvent, MouseEvent, PointerEvent, WheelEvent};

use crate::chart_panel::ChartPanel;
use crate::dom::{self, Listener, listen};
use charts::{Columns, Hit, Scene, canvas};
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
    at: Cell<Option<(f64, f64)>>,
    shown: Cell<Option<usize>>,
    /// Whether the button that goes up now has moved the grid, and so chooses nothing.
    dragged: Cell<bool>,
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
            dragged: Cell::new(false),
        })
    }

    /// Looks at a hit as if arrow keys had found it.
    pub fn look_at(&self, hit: usize) {
        self.at.set(None);
        self.hit.set(Some(hit));
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

/// Wires pointer, touch and keyboard of a chart's canvas to its read-out.
pub fn follow(panel: &Rc<ChartPanel>) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for name in ["pointermove", "pointerdown"] {
        let weak = Rc::downgrade(panel);
        listeners.push(listen(&panel.canvas, name, move |event| {
            if let (Some(panel), Some(event)) = (weak.upgrade(), event.dyn_ref::<PointerEvent>()) {
                let (x, y) = place_of(&panel, event);
                let hit = panel.scene.borrow().hit_at(x, y);
                panel.read_out.at.set(Some((x, y)));
                look_at(&panel, hit);
            }
        }));
    }
    for name in ["pointerleave", "pointercancel", "blur"] {
        let weak = Rc::downgrade(panel);
        listeners.push(listen(&panel.canvas, name, move |event| {
            // A lifted finger "leaves" at once; what it tapped stays to be read.
            let touch = event.dyn_ref::<PointerEvent>().is_some_and(|event| event.pointer_type() == "touch");
            if let (Some(panel), false) = (weak.upgrade(), touch) {
                look_at(&panel, None);
            }
        }));
    }
    let weak = Rc::downgrade(panel);
    listeners.push(listen(&panel.canvas, "click", move |_| {
        if let Some(panel) = weak.upgrade().filter(|panel| !panel.read_out.dragged.take()) {
            panel.choose();
        }
    }));
    let weak = Rc::downgrade(panel);
    // A pinch on a trackpad, or the wheel with Ctrl: without it the page scrolls.
    listeners.push(listen(&panel.canvas, "wheel", move |event| {
        let wheel = event.dyn_ref::<WheelEvent>().filter(|wheel| wheel.ctrl_key() || wheel.meta_key());
        if let (Some(panel), Some(wheel)) = (weak.upgrade(), wheel)
            && let Some(columns) = panel.columns()
        {
            wheel.prevent_default();
            let about = column_at(&panel, place_of(&panel, wheel).0, columns);
            panel.show_columns(columns.zoomed(wheel.delta_y() < 0.0, Some(about)));
        }
    }));
    listeners.extend(follow_drag(panel));
    let weak = Rc::downgrade(panel);
    listeners.push(listen(&panel.canvas, "keydown", move |event| {
        if let (Some(panel), Some(key)) = (weak.upgrade(), event.dyn_ref::<KeyboardEvent>()) {
            on_key(&panel, key);
        }
    }));
    listeners
}

/// Where a pointer is on the canvas, in the CSS pixels that it is laid out in. `offsetX` is measured before transforms,
/// but after `zoom`; browsers that do not know the zoom measure before it.
fn place_of(panel: &ChartPanel, event: &MouseEvent) -> (f64, f64) {
    let zoom = canvas::zoom(&panel.canvas);
    (f64::from(event.offset_x()) / zoom, f64::from(event.offset_y()) / zoom)
}

/// The column under a place, counted over all.
fn column_at(panel: &ChartPanel, x: f64, columns: Columns) -> usize {
    let plot = panel.scene.borrow().plot;
    let share = ((x - plot.x) / plot.width.max(1.0)).clamp(0.0, 0.999);
    columns.from + (share * (columns.to - columns.from) as f64) as usize
}

/// Moves a grid that shows some of its columns with the mouse. (A finger scrolls the page.)
fn follow_drag(panel: &Rc<ChartPanel>) -> Vec<Listener> {
    let held: Rc<Cell<Option<(f64, Columns)>>> = Rc::default();
    let (weak, hold) = (Rc::downgrade(panel), held.clone());
    let down = listen(&panel.canvas, "pointerdown", move |event| {
        let mouse = event.dyn_ref::<PointerEvent>().filter(|event| event.pointer_type() == "mouse");
        let Some(panel) = weak.upgrade() else { return };
        let columns = panel.columns().filter(|columns| columns.window().is_some());
        hold.set(mouse.zip(columns).map(|(event, columns)| (place_of(&panel, event).0, columns)));
    });
    let (weak, hold) = (Rc::downgrade(panel), held.clone());
    let moved = listen(&panel.canvas, "pointermove", move |event| {
        let (Some(panel), Some((from, columns))) = (weak.upgrade(), hold.get()) else { return };
        let Some(event) = event.dyn_ref::<PointerEvent>().filter(|event| event.buttons() & 1 == 1) else {
            return hold.set(None);
        };
        let cell = panel.scene.borrow().plot.width / (columns.to - columns.from).max(1) as f64;
        let by = ((from - place_of(&panel, event).0) / cell.max(1.0)).round() as isize;
        if by != 0 {
            panel.read_out.dragged.set(true);
        }
        panel.show_columns(columns.moved(by));
    });
    vec![down, moved]
}

fn on_key(panel: &ChartPanel, key: &KeyboardEvent) {
    let scene = panel.scene.borrow();
    let Some(last) = scene.hits.len().checked_sub(1) else { return };
    let here = panel.read_out.hit.get();
    let row = scene.hits_in_a_row.max(1);
    let next = match key.key().as_str() {
        "ArrowRight" => Some(here.map_or(0, |hit| (hit + 1).min(last))),
        "ArrowLeft" => Some(here.map_or(last, |hit| hit.saturating_sub(1))),
        // Where there is no row above or below, the read-out stays.
        "ArrowDown" => Some(here.map_or(0, |hit| if hit + row <= last { hit + row } else { hit })),
        "ArrowUp" => Some(here.map_or(last, |hit| hit.checked_sub(row).unwrap_or(hit))),
        "Enter" | " " if here.is_some() => {
            key.prevent_default();
            drop(scene);
            return panel.choose();
        }
        "+" | "=" | "-" => {
            let Some(columns) = scene.columns else { return };
            let about = here.map(|hit| columns.from + (hit % row) * (columns.to - columns.from) / row);
            key.prevent_default();
            drop(scene);
            return panel.show_columns(columns.zoomed(key.key() != "-", about));
        }
        "Home" => Some(0),
        "End" => Some(last),
        "Escape" if here.is_some() => None,
        _ => return,
    };
    key.prevent_default();
    panel.read_out.at.set(None);
    if let Some(hit) = next.and_then(|index| scene.hits.get(index)) {
        dom::set_text(&panel.read_out.spoken, &hit.text());
    }
    look_at(panel, next);
}

fn look_at(panel: &ChartPanel, hit: Option<usize>) {
    if hit.is_some() || panel.read_out.hit.get().is_some() {
        panel.read_out.hit.set(hit);
        panel.highlight_soon();
    }
}
