//! The views beyond the two charts: one panel, a tab for each, and the options that some of them have.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlButtonElement, HtmlElement, HtmlSelectElement, KeyboardEvent};

use super::chart_panel::ChartPanel;
use super::dom::{self, Listener, listen};
use crate::charts::{ChartName, ChartOptions, Quantity};
use crate::error::Result;
use crate::trace::{Sequence, Trace};

/// The panel and its tabs.
pub struct ViewPanel {
    pub chart: Rc<ChartPanel>,
    title: Element,
    lead: Element,
    tabs: Vec<HtmlButtonElement>,
    quantity: HtmlSelectElement,
    quantity_box: HtmlElement,
    view: Cell<ChartName>,
    listeners: RefCell<Vec<Listener>>,
}

impl ViewPanel {
    /// Finds the panel in the page; the first tab is chosen.
    pub fn new() -> Result<Rc<ViewPanel>> {
        let root: HtmlElement = dom::by_id("view")?;
        let panel = ViewPanel {
            chart: ChartPanel::new("view", ChartName::Heatmap)?,
            title: dom::by_id("view-title")?,
            lead: dom::find(&root, ".lead")?,
            tabs: dom::find_all(&root, "[role=tab]"),
            quantity: dom::by_id("quantity")?,
            quantity_box: dom::by_id("quantity-box")?,
            view: Cell::new(ChartName::Heatmap),
            listeners: RefCell::default(),
        };
        Ok(Rc::new(panel))
    }

    /// Calls `handler` when another view or another option of it was chosen.
    pub fn on_change(self: &Rc<Self>, handler: impl Fn() + 'static) {
        let handler: Rc<dyn Fn()> = Rc::new(handler);
        let mut listeners = self.listeners.borrow_mut();
        for (index, tab) in self.tabs.iter().enumerate() {
            let (panel, changed) = (Rc::downgrade(self), handler.clone());
            listeners.push(listen(tab, "click", move |_| {
                if let Some(panel) = panel.upgrade() {
                    panel.choose(index);
                    changed();
                }
            }));
            let (panel, changed) = (Rc::downgrade(self), handler.clone());
            listeners.push(listen(tab, "keydown", move |event| {
                let Some((panel, key)) = panel.upgrade().zip(event.dyn_ref::<KeyboardEvent>().cloned()) else { return };
                let last = panel.tabs.len().saturating_sub(1);
                let next = match key.key().as_str() {
                    "ArrowRight" => {
                        if index == last {
                            0
                        } else {
                            index + 1
                        }
                    }
                    "ArrowLeft" => index.checked_sub(1).unwrap_or(last),
                    "Home" => 0,
                    "End" => last,
                    _ => return,
                };
                key.prevent_default();
                panel.choose(next);
                if let Some(tab) = panel.tabs.get(next) {
                    let _ = tab.focus();
                }
                changed();
            }));
        }
        listeners.push(listen(&self.quantity, "change", move |_| handler()));
    }

    fn choose(&self, index: usize) {
        for (place, tab) in self.tabs.iter().enumerate() {
            let chosen = place == index;
            dom::set_attribute(tab, "aria-selected", if chosen { "true" } else { "false" });
            dom::set_attribute(tab, "tabindex", if chosen { "0" } else { "-1" });
        }
        let Some(tab) = self.tabs.get(index) else { return };
        if let Some(view) = tab.get_attribute("data-view").and_then(|name| name.parse().ok()) {
            self.view.set(view);
            self.chart.set_chart(view);
            self.quantity_box.set_hidden(view != ChartName::Heatmap);
            if let Ok(place) = dom::by_id::<Element>("view-panel") {
                dom::set_attribute(&place, "aria-labelledby", &tab.id());
            }
        }
    }

    /// The chosen view, and what its heatmap shows.
    pub fn chosen(&self) -> (ChartName, Quantity) {
        (self.view.get(), self.quantity.value().parse().unwrap_or_default())
    }

    /// Chooses a view.
    pub fn set_chosen(&self, view: ChartName, quantity: Quantity) {
        self.quantity.set_value(quantity.as_str());
        let name = Some(view.as_str().to_owned());
        if let Some(index) = self.tabs.iter().position(|tab| tab.get_attribute("data-view") == name) {
            self.choose(index);
        }
    }

    /// Whether the chosen view needs traces that were made with heads.
    pub fn needs_heads(&self) -> bool {
        self.view.get() == ChartName::Heads
    }

    /// Predictions a cell of the logit lens that the chosen view needs.
    pub fn lens(&self) -> usize {
        /// As many as the read-out lists.
        const TOP: usize = 5;
        if self.view.get() == ChartName::Lens { TOP } else { 0 }
    }

    /// Whether a trace lacks what the chosen view shows.
    pub fn lacks(&self, trace: &Trace) -> bool {
        let lacks = |sequence: &Sequence| {
            self.needs_heads() && sequence.head_norm.is_none() || self.lens() > 0 && sequence.lens.is_none()
        };
        trace.sequences.iter().any(lacks)
    }

    /// Shows a trace in the chosen view.
    pub fn show(&self, trace: &Trace, options: &ChartOptions) -> Result<()> {
        let (_, quantity) = self.chosen();
        self.chart.show(trace, &ChartOptions { quantity, ..*options })?;
        if let Some((title, lead)) = self.chart.heading() {
            dom::set_text(&self.title, title);
            dom::set_text(&self.lead, lead);
        }
        Ok(())
    }
}
