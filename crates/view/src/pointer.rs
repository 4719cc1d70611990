//! What a reader does on a chart's canvas: pointer, wheel and keys, in the pixels that the chart is laid out in.
//! Must never know: what the chart makes of it (`chart_panel.rs`).

use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlCanvasElement, KeyboardEvent, MouseEvent, PointerEvent, WheelEvent};

use crate::dom::{Listener, listen};
use charts::canvas;

/// What the reader does. Places are in CSS pixels from the canvas' corner.
pub enum ChartInput {
    /// The pointer is here.
    Point(f64, f64),
    /// Pointer or keyboard have left.
    Leave,
    /// A click, or a tap.
    Click,
    /// The mouse is pressed at this x. (A finger scrolls the page.)
    Grab(f64),
    /// The pressed pointer has moved to this x.
    Drag(f64),
    /// Nothing is dragged any more.
    LetGo,
    /// A pinch on a trackpad about this x, or the wheel with Ctrl: without it the page scrolls.
    Zoom {
        /// Fewer columns, larger.
        closer: bool,
        /// What stays where it is.
        about: f64,
    },
    /// A key, by its name.
    Key(String),
}

/// Told of input; says whether it was of use, so that the browser does nothing else with it.
pub type OnInput = Rc<dyn Fn(ChartInput) -> bool>;

/// Tells `handler` of input for as long as the listeners are kept.
pub fn follow(canvas: &HtmlCanvasElement, handler: &OnInput) -> Vec<Listener> {
    let on = |event: &'static str, read: fn(&HtmlCanvasElement, &Event) -> Vec<ChartInput>| {
        let (of, handler) = (canvas.clone(), handler.clone());
        listen(canvas, event, move |event| {
            for input in read(&of, &event) {
                if handler(input) {
                    event.prevent_default();
                }
            }
        })
    };
    vec![
        on("pointerdown", |canvas, event| {
            let is_mouse = |event: &PointerEvent| event.pointer_type() == "mouse";
            pointed(canvas, event, |event, x| if is_mouse(event) { ChartInput::Grab(x) } else { ChartInput::LetGo })
        }),
        on("pointermove", |canvas, event| {
            let is_pressed = |event: &PointerEvent| event.buttons() & 1 == 1;
            pointed(canvas, event, |event, x| if is_pressed(event) { ChartInput::Drag(x) } else { ChartInput::LetGo })
        }),
        on("pointerleave", left),
        on("pointercancel", left),
        on("blur", left),
        on("click", |_, _| vec![ChartInput::Click]),
        on("wheel", |canvas, event| {
            let wheel = event.dyn_ref::<WheelEvent>().filter(|wheel| wheel.ctrl_key() || wheel.meta_key());
            let zoom = |wheel: &WheelEvent| ChartInput::Zoom {
                closer: wheel.delta_y() < 0.0,
                about: place_of(canvas, wheel).0,
            };
            wheel.map(zoom).into_iter().collect()
        }),
        on("keydown", |_, event| {
            let key = event.dyn_ref::<KeyboardEvent>();
            key.map(|key| ChartInput::Key(key.key())).into_iter().collect()
        }),
    ]
}

/// Where the pointer is, and what else it does at that x.
fn pointed(
    canvas: &HtmlCanvasElement,
    event: &Event,
    also: impl Fn(&PointerEvent, f64) -> ChartInput,
) -> Vec<ChartInput> {
    let Some(event) = event.dyn_ref::<PointerEvent>() else { return Vec::new() };
    let (x, y) = place_of(canvas, event);
    vec![ChartInput::Point(x, y), also(event, x)]
}

/// A lifted finger "leaves" at once; what it tapped stays to be read.
fn left(_: &HtmlCanvasElement, event: &Event) -> Vec<ChartInput> {
    let is_touch = event.dyn_ref::<PointerEvent>().is_some_and(|event| event.pointer_type() == "touch");
    if is_touch { Vec::new() } else { vec![ChartInput::Leave] }
}

/// Where a pointer is on the canvas, in the CSS pixels that it is laid out in. `offsetX` is measured before transforms,
/// but after `zoom`; browsers that do not know the zoom measure before it.
fn place_of(canvas: &HtmlCanvasElement, event: &MouseEvent) -> (f64, f64) {
    let zoom = canvas::zoom(canvas);
    (f64::from(event.offset_x()) / zoom, f64::from(event.offset_y()) / zoom)
}
