//! From a trace to the chart in an element, with everything around it.
//! Must never know: where the trace comes from.

use std::rc::Rc;

use wasm_bindgen::JsCast;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::Closure;
use web_sys::HtmlOptionElement;

use super::element::Element;
use charts::format::quote_token;
use charts::{ChartName, ChartOptions, Columns, Figure, Needs};
use protocol::js;
use trace::{Code, Error, Result, Sequence, TokenPosition, Trace};
use view::attributes::{Settings, TraceSource};
use view::dom;
use view::keys;

impl Element {
    /// Takes a whole trace, or what kept it from coming; unless it is late.
    pub(super) fn accept(self: &Rc<Self>, number: u64, outcome: Result<JsValue>) {
        if number != self.number.get() {
            return;
        }
        self.end_run();
        let read = outcome.and_then(|value| Ok((js::from_js(&value)?, value)));
        match read {
            Ok((trace, value)) => {
                self.frame.set_status("");
                self.frame.set_progress(None);
                self.hold(trace, value.clone());
                if self.try_to_show() {
                    self.say("trace", &value);
                    self.ready_soon();
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Shows the blocks that are done of a model that is still arriving. What a part does not have yet, the whole will.
    pub(super) fn accept_part(&self, value: JsValue) {
        let settings = self.settings.borrow().clone();
        if let (Ok(trace), Some(settings)) = (js::from_js(&value), settings)
            && self.show(&trace, &settings).is_ok()
        {
            self.hold(trace, value);
        }
    }

    fn hold(&self, trace: Trace, value: JsValue) {
        let lengths = |trace: &Trace| trace.sequences.iter().map(Sequence::token_count).collect::<Vec<_>>();
        let before = self.trace.borrow().as_ref().map(|trace| lengths(trace));
        // Another text is shown whole.
        if before.as_ref() != Some(&lengths(&trace)) {
            self.window.set(None);
        }
        self.trace.replace(Some(Rc::new(trace)));
        self.trace_js.replace(value);
    }

    /// Shows the trace as the settings ask now.
    pub(super) fn show_again(&self) {
        self.try_to_show();
    }

    /// The same; false where that cannot be.
    fn try_to_show(&self) -> bool {
        let (Some(trace), Some(settings)) = (self.trace.borrow().clone(), self.settings.borrow().clone()) else {
            return false;
        };
        let outcome = self.show(&trace, &settings);
        if let Err(error) = &outcome {
            // The trace is good all the same: another chart of it may be asked for.
            let made = self.made.borrow().clone();
            self.fail(error);
            self.made.replace(made);
        }
        outcome.is_ok()
    }

    fn show(&self, trace: &Trace, settings: &Settings) -> Result<()> {
        let chart = settings.view.view;
        if let Some(TokenPosition { sequence, token }) = settings.view.pin
            && trace.sequences.get(sequence).is_none_or(|sequence| token >= sequence.token_count())
        {
            let message =
                format!("The attribute pin=\"{sequence}.{token}\" names a token that this text does not have.");
            return Err(Error::new(Code::BadArgument, message));
        }
        let options =
            ChartOptions { tokens: self.window.get().and_then(Columns::window), ..settings.view.chart_options() };
        if self.frame.panel.get_attribute("data-chart").as_deref() != Some(chart.as_str()) {
            dom::set_attribute(&self.frame.panel, "data-chart", chart.as_str());
            self.chart.set_chart(chart);
        }
        self.chart.show(trace, &options)?;
        if let Some(why) = self.chart.empty() {
            return Err(Error::new(Code::BadArgument, nothing_to_see(chart, settings, &why)));
        }
        if let Some((title, lead)) = self.chart.heading() {
            dom::set_text(&self.frame.title, title);
            dom::set_text(&self.frame.lead, lead);
        }
        let pin = settings.view.pin;
        let token = pin.and_then(|pin| trace.sequences.get(pin.sequence)?.tokens.get(pin.token).cloned());
        self.frame.unpin.set_hidden(token.is_none());
        if let Some(token) = token {
            dom::set_text(&self.frame.unpin, &format!("Unpin {}", quote_token(&token)));
        }
        self.list_charts(trace, settings, &options)?;
        self.frame.set_error("");
        self.frame.show_chart(true);
        self.show_zoom_soon();
        Ok(())
    }

    /// Offers the charts that there is something to see in.
    fn list_charts(&self, trace: &Trace, settings: &Settings, options: &ChartOptions) -> Result<()> {
        if !settings.controls {
            return Ok(());
        }
        let live = matches!(settings.from, TraceSource::Live(_));
        let offered = ChartName::ALL.into_iter().filter(|chart| {
            *chart == settings.view.view
                || match chart.spec().needs {
                    Needs::Ablation => !trace.ablate.is_empty(),
                    Needs::TwoTexts => trace.sequences.len() > 1,
                    // Texts of other lengths than each other's cannot be patched.
                    Needs::Patching if live => {
                        let [clean, corrupted] = settings.view.texts;
                        let length = |at: usize| trace.sequences.get(at).map(Sequence::token_count);
                        length(clean).is_some() && length(clean) == length(corrupted) && clean != corrupted
                    }
                    _ if live => true,
                    _ => Figure::new(*chart, trace, options).empty().is_none(),
                }
        });
        let offered: Vec<ChartName> = offered.collect();
        let names = offered.iter().map(|chart| chart.as_str()).collect::<Vec<_>>().join(" ");
        let select = &self.frame.charts;
        if select.get_attribute("data-offered").as_deref() != Some(&names) {
            dom::set_attribute(select, "data-offered", &names);
            select.set_text_content(None);
            for chart in offered {
                let option: HtmlOptionElement = dom::create("option", "")?;
                option.set_value(chart.as_str());
                option.set_text_content(Some(chart.spec().title));
                dom::append(select, &option);
            }
        }
        select.set_value(settings.view.view.as_str());
        Ok(())
    }

    /// After the frame that draws: the buttons for grids that can be zoomed.
    fn show_zoom_soon(&self) {
        let (chart, zoom) = (self.chart.clone(), self.frame.zoom.clone());
        after_drawing(move || {
            let worth_it = chart
                .columns()
                .is_some_and(|columns| columns.zoomed(true, None) != columns || columns.window().is_some());
            zoom.set_hidden(!worth_it);
        });
    }

    pub(super) fn zoom(&self, how: &str) {
        let Some(columns) = self.chart.columns() else { return };
        self.window.set(Some(keys::press(columns, how)));
        self.show_again();
    }

    /// Says `ready` once, when the chart is on the screen.
    fn ready_soon(self: &Rc<Self>) {
        if self.is_ready.replace(true) {
            return;
        }
        let element = self.clone();
        after_drawing(move || element.say("ready", &JsValue::NULL));
    }
}

/// Calls `then` in the frame that draws what was just shown, after it was drawn.
fn after_drawing(then: impl FnOnce() + 'static) {
    let then = Closure::once_into_js(then);
    if let Ok(window) = dom::window() {
        let _ = window.request_animation_frame(then.unchecked_ref());
    }
}

/// Why a chart is empty, in the words of the one who wrote the element.
fn nothing_to_see(chart: ChartName, settings: &Settings, why: &str) -> String {
    let name = chart.as_str();
    match chart.spec().needs {
        Needs::Ablation => format!("The chart \"{name}\" needs something switched off, such as off=\"mlp.3\"."),
        Needs::TwoTexts => format!("The chart \"{name}\" needs a text of two lines, or a saved run of two texts."),
        Needs::Patching => {
            format!("The chart \"{name}\" needs a text of two lines of as many tokens, or a saved run that has it.")
        }
        _ if matches!(settings.from, TraceSource::Live(_)) => why.to_owned(),
        _ => {
            format!("This saved run does not hold what chart=\"{name}\" shows: save it anew while that chart is open.")
        }
    }
}
