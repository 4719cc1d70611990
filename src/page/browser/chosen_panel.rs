//! The panel of the views beyond the two charts: a tab for each, and the controls that some of them have.

use std::cell::Cell;

use charts::ChartName;
use view::chart_panel::ChartPanel;
use view::dom;
use wasm_bindgen::JsCast;
use web_sys::{Element, Event, HtmlButtonElement, HtmlElement, KeyboardEvent};

use super::super::msg::{Input, Msg};
use super::super::view::ChosenView;
use super::wire::{Field, on, on_id, value_of};
use trace::Result;

/// Handles to the panel's elements.
pub struct ChosenPanel {
    root: HtmlElement,
    panel: Element,
    tabs: Vec<HtmlButtonElement>,
    /// The view that they show.
    view: Cell<Option<ChartName>>,
    boxes: Vec<HtmlElement>,
    fields: Vec<(Input, Field)>,
    off_head_box: HtmlElement,
    error: Element,
    /// Shown in the place of a chart that has nothing to draw yet.
    busy: HtmlElement,
    busy_text: Element,
}

impl ChosenPanel {
    /// Finds the panel in the page.
    pub fn new() -> Result<ChosenPanel> {
        let root: HtmlElement = dom::by_id("view")?;
        let tabs: Vec<HtmlButtonElement> = dom::find_all(&root, "[role=tab]");
        listen_to_tabs(&tabs);
        let mut fields = Vec::new();
        for (input, id) in Input::ALL {
            on_id(id, "change", move |event| {
                Some(Msg::Input(input, value_of(&event.target()?.dyn_into::<Element>().ok()?)))
            })?;
            fields.push((input, Field::new(id)?));
        }
        for id in ["append", "append-more"] {
            let button: Element = dom::by_id(id)?;
            let count = button.get_attribute("data-count").and_then(|count| count.parse().ok()).unwrap_or(1);
            on(&button, "click", move |_| Some(Msg::Append(count)));
        }
        on_id("off-add", "click", |_| Some(Msg::SwitchOff))?;
        let canvas: HtmlElement = dom::find(&root, "canvas")?;
        on_id("view-stop", "click", move |_| {
            // The button is gone with what it stopped.
            let _ = canvas.focus();
            Some(Msg::Stop)
        })?;
        Ok(ChosenPanel {
            panel: dom::by_id("view-panel")?,
            tabs,
            view: Cell::new(None),
            boxes: dom::find_all(&root, "[data-control]"),
            root,
            fields,
            off_head_box: dom::by_id("off-head-box")?,
            error: dom::by_id("view-error")?,
            busy: dom::by_id("view-busy")?,
            busy_text: dom::by_id("view-busy-text")?,
        })
    }

    /// Writes what differs.
    pub fn write(&self, view: &ChosenView<'_>) {
        if self.view.replace(Some(view.view)) != Some(view.view) {
            self.write_tabs(view);
        }
        for ((input, field), (_, value)) in self.fields.iter().zip(&view.inputs) {
            field.write(value);
            match input {
                Input::HeadLayer | Input::OffLayer => field.write_most(view.most.layer),
                Input::HeadNumber | Input::OffHead => field.write_most(view.most.head),
                Input::FirstText | Input::SecondText => field.write_most(view.most.text),
                _ => {}
            }
        }
        self.off_head_box.set_hidden(!view.off_head);
        dom::set_text(&self.error, view.error);
    }

    fn write_tabs(&self, view: &ChosenView<'_>) {
        for tab in &self.tabs {
            let chosen = tab.get_attribute("data-view").as_deref() == Some(view.tab.as_str());
            dom::set_attribute(tab, "aria-selected", if chosen { "true" } else { "false" });
            dom::set_attribute(tab, "tabindex", if chosen { "0" } else { "-1" });
            if chosen {
                dom::set_attribute(&self.panel, "aria-labelledby", &tab.id());
            }
        }
        // Two texts and their difference, one below the other.
        dom::set_class(&self.root, "tall", view.view == ChartName::Compare);
        for control in &self.boxes {
            let name = control.get_attribute("data-control").unwrap_or_default();
            control.set_hidden(!view.view.spec().controls.iter().any(|control| control.as_str() == name));
        }
    }

    /// Says what is being computed, where the chart has nothing to draw yet.
    pub fn write_busy(&self, words: &str, chart: &ChartPanel) {
        let is_busy = !words.is_empty() && chart.is_empty();
        dom::set_text(&self.busy_text, words);
        self.busy.set_hidden(!is_busy);
        dom::set_class(&chart.canvas, "waiting", is_busy);
    }
}

/// Tabs are chosen by a click, and walked with the arrow keys.
fn listen_to_tabs(tabs: &[HtmlButtonElement]) {
    for (index, tab) in tabs.iter().enumerate() {
        let view = |tab: &HtmlButtonElement| Some(Msg::Tab(tab.get_attribute("data-view")?.parse().ok()?));
        let chosen = tab.clone();
        on(tab, "click", move |_| view(&chosen));
        let all = tabs.to_vec();
        on(tab, "keydown", move |event| {
            let next = all.get(next_tab(index, all.len(), event)?)?;
            let _ = next.focus();
            view(next)
        });
    }
}

fn next_tab(index: usize, count: usize, event: &Event) -> Option<usize> {
    let last = count.saturating_sub(1);
    let next = match event.dyn_ref::<KeyboardEvent>()?.key().as_str() {
        "ArrowRight" if index == last => 0,
        "ArrowRight" => index + 1,
        "ArrowLeft" => index.checked_sub(1).unwrap_or(last),
        "Home" => 0,
        "End" => last,
        _ => return None,
    };
    event.prevent_default();
    Some(next)
}
