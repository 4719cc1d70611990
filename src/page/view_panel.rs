//! The views beyond the two charts: one panel, a tab for each, and the options that some of them have.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlButtonElement, HtmlElement, KeyboardEvent};

pub use super::view_controls::{Asked, ViewControls, Wish};
use crate::api::RunOptions;
use charts::{ChartName, ChartOptions, Columns};
use trace::{Result, Sequence, Trace};
pub use view::asked::serves;
use view::chart_panel::ChartPanel;
use view::dom::{self, Listener, listen};

/// The panel and its tabs.
pub struct ViewPanel {
    pub chart: Rc<ChartPanel>,
    pub controls: Rc<ViewControls>,
    root: HtmlElement,
    title: Element,
    lead: Element,
    tabs: Vec<HtmlButtonElement>,
    view: Cell<ChartName>,
    /// Which tokens grids show; all of them in another view, and of another text.
    window: Cell<Option<Columns>>,
    /// Tokens of each sentence that is shown.
    lengths: RefCell<Vec<usize>>,
    zoom: Vec<HtmlButtonElement>,
    /// Shown in the place of a chart that has nothing to draw yet.
    busy: HtmlElement,
    busy_text: Element,
    listeners: RefCell<Vec<Listener>>,
}

impl ViewPanel {
    /// Finds the panel in the page; the first tab is chosen.
    pub fn new() -> Result<Rc<ViewPanel>> {
        let root: HtmlElement = dom::by_id("view")?;
        let panel = ViewPanel {
            chart: ChartPanel::new("view", ChartName::Heatmap)?,
            controls: Rc::new(ViewControls::new(&root)?),
            title: dom::by_id("view-title")?,
            lead: dom::find(&root, ".lead")?,
            tabs: dom::find_all(&root, "[role=tab]"),
            root: root.clone(),
            view: Cell::new(ChartName::Heatmap),
            window: Cell::new(None),
            lengths: RefCell::default(),
            zoom: dom::find_all(&root, "[data-zoom]"),
            busy: dom::by_id("view-busy")?,
            busy_text: dom::by_id("view-busy-text")?,
            listeners: RefCell::default(),
        };
        Ok(Rc::new(panel))
    }

    /// Calls `handler` when another view or another option of it was chosen, and on every other wish.
    pub fn on_wish(self: &Rc<Self>, handler: impl Fn(Wish) + 'static) {
        let panel = Rc::downgrade(self);
        let handler: Rc<dyn Fn(Wish)> = Rc::new(move |wish| {
            // A control of a tab may choose another view of it.
            if let Some(panel) = panel.upgrade().filter(|_| wish == Wish::Show) {
                panel.choose(panel.controls.view_of_tab(panel.view.get().tab()));
            }
            handler(wish);
        });
        let mut listeners = self.controls.listen(&handler);
        let (panel, changed) = (Rc::downgrade(self), handler.clone());
        let show: Rc<dyn Fn(Columns)> = Rc::new(move |columns| {
            if let Some(panel) = panel.upgrade() {
                panel.window.set(Some(columns));
                changed(Wish::Show);
            }
        });
        self.chart.on_zoom(show.clone());
        for button in &self.zoom {
            let (panel, show, how) =
                (Rc::downgrade(self), show.clone(), button.get_attribute("data-zoom").unwrap_or_default());
            listeners.push(listen(button, "click", move |_| {
                let Some(columns) = panel.upgrade().and_then(|panel| panel.chart.columns()) else { return };
                let step = ((columns.to - columns.from) / 2).max(1) as isize;
                show(match how.as_str() {
                    "in" => columns.zoomed(true, None),
                    "out" => columns.zoomed(false, None),
                    "left" => columns.moved(-step),
                    _ => columns.moved(step),
                });
            }));
        }
        for (index, tab) in self.tabs.iter().enumerate() {
            let (panel, changed) = (Rc::downgrade(self), handler.clone());
            listeners.push(listen(tab, "click", move |_| {
                if let Some(panel) = panel.upgrade() {
                    panel.choose_tab(index);
                    changed(Wish::Show);
                }
            }));
            let (panel, changed) = (Rc::downgrade(self), handler.clone());
            listeners.push(listen(tab, "keydown", move |event| {
                let Some((panel, key)) = panel.upgrade().zip(event.dyn_ref::<KeyboardEvent>().cloned()) else { return };
                let last = panel.tabs.len().saturating_sub(1);
                let next = match key.key().as_str() {
                    "ArrowRight" if index == last => 0,
                    "ArrowRight" => index + 1,
                    "ArrowLeft" => index.checked_sub(1).unwrap_or(last),
                    "Home" => 0,
                    "End" => last,
                    _ => return,
                };
                key.prevent_default();
                panel.choose_tab(next);
                if let Some(tab) = panel.tabs.get(next) {
                    let _ = tab.focus();
                }
                changed(Wish::Show);
            }));
        }
        self.listeners.replace(listeners);
    }

    fn choose_tab(&self, index: usize) {
        let view = self.tabs.get(index).and_then(|tab| tab.get_attribute("data-view")?.parse().ok());
        if let Some(view) = view {
            self.choose(self.controls.view_of_tab(view));
        }
    }

    /// Chooses a view.
    pub fn choose(&self, view: ChartName) {
        let name = view.tab().as_str();
        for tab in &self.tabs {
            let chosen = tab.get_attribute("data-view").as_deref() == Some(name);
            dom::set_attribute(tab, "aria-selected", if chosen { "true" } else { "false" });
            dom::set_attribute(tab, "tabindex", if chosen { "0" } else { "-1" });
            if let Ok(place) = dom::by_id::<Element>("view-panel")
                && chosen
            {
                dom::set_attribute(&place, "aria-labelledby", &tab.id());
            }
        }
        // Two texts and their difference, one below the other.
        dom::set_class(&self.root, "tall", view == ChartName::Compare);
        if self.view.replace(view) != view {
            self.chart.set_chart(view);
            self.window.set(None);
            self.controls.set_error("");
        }
        self.controls.show_for(view);
    }

    /// Says what is being computed where the chart has nothing to draw yet; empty when nothing is.
    pub fn set_busy(&self, text: &str) {
        let busy = !text.is_empty() && self.chart.is_empty();
        dom::set_text(&self.busy_text, text);
        self.busy.set_hidden(!busy);
        dom::set_class(&self.chart.canvas, "waiting", busy);
    }

    /// What is asked for.
    pub fn asked(&self) -> Asked {
        self.controls.asked(self.view.get())
    }

    /// Which tokens grids show; none for all.
    pub fn window(&self) -> Option<(usize, usize)> {
        self.window.get().and_then(Columns::window)
    }

    /// Shows these tokens in grids: of the text that is shown, or of the next where none is shown yet.
    pub fn set_window(&self, tokens: Option<(usize, usize)>) {
        // How many there are, the trace says.
        let window = tokens.filter(|(from, to)| from < to).map(|(from, to)| Columns { from, to, of: usize::MAX });
        self.window.set(window);
    }

    /// Asks for this.
    pub fn set_asked(&self, asked: &Asked) {
        self.controls.set(asked);
        self.choose(asked.view);
    }

    /// What a trace must record for the chosen view. `pinned` is the position of the pinned token.
    pub fn record(&self, pinned: Option<usize>) -> RunOptions {
        self.asked().record(pinned)
    }

    /// Shows a trace in the chosen view.
    pub fn show(&self, trace: &Trace, options: &ChartOptions) -> Result<()> {
        let asked = self.asked();
        // Another text is shown whole.
        let lengths: Vec<usize> = trace.sequences.iter().map(Sequence::token_count).collect();
        let before = self.lengths.replace(lengths.clone());
        if !before.is_empty() && before != lengths {
            self.window.set(None);
        }
        self.controls.set_sizes((trace.model.n_layer, trace.model.n_head, trace.sequences.len()));
        let options = ChartOptions {
            tokens: self.window(),
            quantity: asked.quantity,
            ranks: asked.ranks,
            head: Some(asked.head),
            compare: Some(asked.texts),
            ..*options
        };
        self.chart.show(trace, &options)?;
        // What waits in the place of one view need not do so in another's.
        self.set_busy(&self.busy_text.text_content().unwrap_or_default());
        if let Some((title, lead)) = self.chart.heading() {
            dom::set_text(&self.title, title);
            dom::set_text(&self.lead, lead);
        }
        Ok(())
    }
}

/// What is wanted beyond what was recorded, and what is recorded once that is added.
pub fn lacking(recorded: &RunOptions, wanted: RunOptions) -> (RunOptions, RunOptions) {
    let predictions = wanted.predictions && !(recorded.predictions && recorded.next >= wanted.next);
    let lacking = RunOptions {
        heads: wanted.heads && !recorded.heads,
        lens: if wanted.lens > recorded.lens { wanted.lens } else { 0 },
        patterns: wanted.patterns.iter().filter(|head| !recorded.patterns.contains(head)).copied().collect(),
        attribution: wanted.attribution.clone().filter(|_| wanted.attribution != recorded.attribution),
        // What a pattern's head writes is found only together with predictions.
        predictions: predictions || wanted.predictions && !wanted.patterns.is_empty(),
        ..wanted.clone()
    };
    let both = RunOptions {
        heads: recorded.heads || wanted.heads,
        lens: recorded.lens.max(wanted.lens),
        next: recorded.next.max(wanted.next),
        attribution: wanted.attribution.or_else(|| recorded.attribution.clone()),
        predictions: recorded.predictions || wanted.predictions,
        ..wanted
    };
    (lacking, both)
}
