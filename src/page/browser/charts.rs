//! Everything that draws the trace: the two charts, the chosen view, the token strip, the findings. Each is written only
//! where the trace or its options are others.

use std::cell::RefCell;
use std::rc::Rc;

use charts::{ChartName, ChartOptions, Columns};
use view::chart_panel::ChartPanel;
use view::dom::{self, Listener};
use view::keys;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Element, HtmlElement, MediaQueryList};

use super::super::effect::PageChart;
use super::super::msg::Msg;
use super::super::view::View;
use super::findings::FindingsList;
use super::token_strip::TokenStrip;
use super::wire::on;
use super::{Dom, send};
use trace::summary::Place;
use trace::{Head, Result, Trace};

/// What was drawn last.
struct Drawn {
    trace: Rc<Trace>,
    options: ChartOptions,
    view: ChartName,
}

/// The charts and what goes with them.
pub struct Charts {
    histogram: Rc<ChartPanel>,
    evolution: Rc<ChartPanel>,
    /// The chosen view.
    pub chosen: Rc<ChartPanel>,
    title: Element,
    lead: Element,
    tokens: Rc<TokenStrip>,
    findings: FindingsList,
    /// Places in the explanation that name a size of the model.
    sizes: Vec<Element>,
    drawn: RefCell<Option<Drawn>>,
}

impl Charts {
    /// Finds them in the page.
    pub fn new() -> Result<Charts> {
        let view: HtmlElement = dom::by_id("view")?;
        let how: HtmlElement = dom::by_id("how")?;
        let charts = Charts {
            histogram: ChartPanel::new("histogram", ChartName::Distribution)?,
            evolution: ChartPanel::new("evolution", ChartName::Evolution)?,
            chosen: ChartPanel::new("view", ChartName::Heatmap)?,
            title: dom::by_id("view-title")?,
            lead: dom::find(&view, ".lead")?,
            tokens: TokenStrip::new()?,
            findings: FindingsList::new()?,
            sizes: dom::find_all(&how, "[data-fill]"),
            drawn: RefCell::default(),
        };
        charts.listen(&view);
        Ok(charts)
    }

    fn listen(&self, view: &HtmlElement) {
        self.chosen.on_choose(|place| {
            if let (Some(layer), Some(head)) = (place.layer, place.head) {
                send(Msg::Head(Head { layer, head }));
            } else if let Some(token) = place.token_position() {
                send(Msg::Pin(token));
            }
        });
        self.chosen.on_zoom(Rc::new(|columns: Columns| send(Msg::Columns(columns))));
        for button in dom::find_all::<Element>(view, "[data-zoom]") {
            let (chart, how) = (self.chosen.clone(), button.get_attribute("data-zoom").unwrap_or_default());
            on(&button, "click", move |_| Some(Msg::Columns(keys::press(chart.columns()?, &how))));
        }
        let panels = [self.histogram.clone(), self.evolution.clone(), self.chosen.clone()];
        watch_sharpness(panels.clone());
        if let Some(dark) = media("(prefers-color-scheme: dark)") {
            on(&dark, "change", move |_| {
                redraw(&panels);
                None
            });
        }
    }

    /// Writes what differs.
    pub fn write(&self, view: &View<'_>) -> Result<()> {
        let is_stale = view.stale.is_some();
        for panel in [&self.histogram, &self.evolution, &self.chosen] {
            panel.set_stale(is_stale);
        }
        self.findings.set_stale(is_stale);
        let before = self.drawn.take();
        let trace = match (view.trace, &before) {
            (Some(trace), _) => trace.clone(),
            (None, Some(before)) => before.trace.clone(),
            // An empty trace, so that the charts say what to do.
            (None, None) => Rc::default(),
        };
        let chosen = view.chosen.view;
        let same_trace = before.as_ref().is_some_and(|before| Rc::ptr_eq(&before.trace, &trace));
        let same_options = before.as_ref().is_some_and(|before| before.options == view.options);
        let same_view = before.as_ref().is_some_and(|before| before.view == chosen);
        self.drawn.replace(Some(Drawn { trace: trace.clone(), options: view.options, view: chosen }));
        if !same_view {
            self.chosen.set_chart(chosen);
        }
        if !same_trace {
            self.tokens.show(&trace);
            self.write_sizes(&trace);
        }
        self.tokens.set_pinned(view.common.pin.as_ref().map(|(pin, _)| *pin));
        if !(same_trace && same_options) {
            self.histogram.show(&trace, &view.options)?;
            self.evolution.show(&trace, &view.options)?;
            self.findings.show(&trace, view.options.skip_first)?;
        }
        if !(same_trace && same_options && same_view) {
            self.chosen.show(&trace, &view.options)?;
            if let Some((title, lead)) = self.chosen.heading() {
                dom::set_text(&self.title, title);
                dom::set_text(&self.lead, lead);
            }
        }
        Ok(())
    }

    fn write_sizes(&self, trace: &Trace) {
        for place in self.sizes.iter().filter(|_| trace.model.n_layer > 0) {
            match place.get_attribute("data-fill").as_deref() {
                Some("n_embd") => dom::set_text(place, &trace.model.n_embd.to_string()),
                Some("n_layer") => dom::set_text(place, &trace.model.n_layer.to_string()),
                _ => {}
            }
        }
    }
}

impl Dom {
    /// Shows a place in a chart, and puts the keyboard there.
    pub fn look_at(&self, chart: PageChart, place: Place) {
        let panel = match chart {
            PageChart::Evolution => &self.charts.evolution,
            PageChart::View => &self.charts.chosen,
        };
        panel.look_at(place);
        panel.redraw();
        panel.canvas.scroll_into_view();
        let _ = panel.canvas.focus();
    }

    /// Puts the keyboard where the views are.
    pub fn focus_view(&self) {
        let _ = self.charts.chosen.canvas.focus();
    }
}

/// Draws all of them anew.
fn redraw(panels: &[Rc<ChartPanel>]) {
    for panel in panels {
        panel.redraw();
    }
}

fn media(query: &str) -> Option<MediaQueryList> {
    dom::window().ok().and_then(|window| window.match_media(query).ok().flatten())
}

/// Draws anew when the window moves to a screen of another sharpness. A query asks for one sharpness, so each change ends
/// it and asks for the next.
fn watch_sharpness(panels: [Rc<ChartPanel>; 3]) {
    let ratio = dom::window().map_or(1.0, |window| window.device_pixel_ratio());
    let Some(query) = media(&format!("(resolution: {ratio}dppx)")) else { return };
    let listener: Rc<RefCell<Option<Listener>>> = Rc::default();
    let of_this = listener.clone();
    listener.replace(Some(dom::listen(&query, "change", move |_| {
        redraw(&panels);
        let (ended, panels) = (of_this.clone(), panels.clone());
        // Not from within the handler that this ends.
        spawn_local(async move {
            drop(ended.take());
            watch_sharpness(panels);
        });
    })));
}
