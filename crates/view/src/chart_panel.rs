//! A chart's panel: the canvas and everything around it. Draws once a frame at most, and only what changed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_bindgen::prelude::*;
use web_sys::{Element, HtmlButtonElement, HtmlCanvasElement, HtmlElement, ResizeObserver};

use crate::chart_table::ChartTable;
use crate::dom::{self, Listener, listen_for};
use crate::pointer::{self, ChartInput, OnInput};
use crate::read_out::ReadOut;
use crate::{chart_file, chart_legend, keys};
use charts::{ChartName, ChartOptions, Columns, Figure, Hit, Scene, Theme, canvas};
use trace::summary::Place;
use trace::{Result, Trace};

/// What the next frame has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Nothing,
    /// The same scene, another highlight.
    Highlight,
    /// Another size, theme or figure.
    Layout,
}

/// Watches the canvas' size; the closure lives as long as the observer that calls it.
type SizeObserver = (ResizeObserver, Closure<dyn FnMut()>);

/// Told of the place that the reader chose.
type OnChoose = Rc<dyn Fn(Place)>;

/// Told of the columns that the reader wants to see.
type OnZoom = Rc<dyn Fn(Columns)>;

/// One chart with its legend, read-out, table, downloads and finding.
pub struct ChartPanel {
    name: Cell<ChartName>,
    root: HtmlElement,
    /// What the chart is drawn on.
    pub canvas: HtmlCanvasElement,
    legend: Element,
    table: ChartTable,
    notes: Element,
    finding: Element,
    how_to_read: Element,
    read_out: ReadOut,
    figure: RefCell<Option<Figure>>,
    scene: RefCell<Scene>,
    choose: RefCell<Option<OnChoose>>,
    zoom: RefCell<Option<OnZoom>>,
    /// Where the mouse took hold of the grid, and the columns it showed.
    held: Cell<Option<(f64, Columns)>>,
    /// Whether the button that goes up now has moved the grid, and so chooses nothing.
    dragged: Cell<bool>,
    /// What the next figure is to be looked at for.
    wanted: Cell<Option<Place>>,
    /// Light on dark, or dark on light; as the system prefers if neither is chosen.
    dark: Cell<Option<bool>>,
    /// Whether what is drawn goes to paper.
    printing: Cell<bool>,
    due: Cell<Due>,
    frame: RefCell<Option<Closure<dyn FnMut()>>>,
    listeners: RefCell<Vec<Listener>>,
    observer: RefCell<Option<SizeObserver>>,
}

impl ChartPanel {
    /// Finds the panel of this id in the page and wires it up.
    pub fn new(id: &str, name: ChartName) -> Result<Rc<ChartPanel>> {
        ChartPanel::within(dom::by_id(id)?, name)
    }

    /// Wires up a panel, wherever it stands.
    pub fn within(root: HtmlElement, name: ChartName) -> Result<Rc<ChartPanel>> {
        let panel = Rc::new(ChartPanel {
            name: Cell::new(name),
            canvas: dom::find(&root, "canvas")?,
            legend: dom::find(&root, ".legend")?,
            table: ChartTable::new(&root)?,
            notes: dom::find(&root, ".notes")?,
            finding: dom::find(&root, ".finding")?,
            how_to_read: dom::find(&root, ".how-to-read .from-data")?,
            read_out: ReadOut::new(&root)?,
            root,
            figure: RefCell::default(),
            scene: RefCell::default(),
            choose: RefCell::default(),
            zoom: RefCell::default(),
            held: Cell::new(None),
            dragged: Cell::new(false),
            wanted: Cell::new(None),
            dark: Cell::new(None),
            printing: Cell::new(false),
            due: Cell::new(Due::Nothing),
            frame: RefCell::default(),
            listeners: RefCell::default(),
            observer: RefCell::default(),
        });
        let weak = Rc::downgrade(&panel);
        panel.frame.replace(Some(Closure::new(move || {
            if let Some(panel) = weak.upgrade() {
                panel.draw();
            }
        })));
        let weak = Rc::downgrade(&panel);
        let on_input: OnInput = Rc::new(move |input| weak.upgrade().is_some_and(|panel| panel.take(input)));
        let mut listeners = pointer::follow(&panel.canvas, &on_input);
        for button in dom::find_all::<HtmlButtonElement>(&panel.root, "[data-tool]") {
            let tool = button.get_attribute("data-tool").unwrap_or_default();
            button.set_disabled(true);
            listeners.push(listen_for(&panel, &button, "click", move |panel, _| {
                if let Err(error) = panel.use_tool(&tool) {
                    dom::set_text(&panel.finding, &error.message);
                }
            }));
        }
        listeners.push(listen_for(&panel, &panel.table.place, "click", |panel, event| {
            let is_button = event.target().is_some_and(|target| target.has_type::<HtmlButtonElement>());
            if let Some(figure) = panel.figure.borrow().as_ref().filter(|_| is_button) {
                panel.table.show_more_rows(figure);
            }
        }));
        listeners.extend(panel.follow_window()?);
        panel.listeners.replace(listeners);
        panel.observe_size();
        panel.draw_soon(Due::Layout);
        Ok(panel)
    }

    /// What the canvas cannot tell of itself: that it goes to paper, and that a transform has another scale by now, which
    /// changes with the window (slides) or in a transition.
    fn follow_window(self: &Rc<Self>) -> Result<Vec<Listener>> {
        let window = dom::window()?;
        let on =
            |event: &'static str, then: fn(&ChartPanel)| listen_for(self, &window, event, move |panel, _| then(panel));
        Ok(vec![
            on("beforeprint", |panel| panel.print(true)),
            on("afterprint", |panel| panel.print(false)),
            on("resize", |panel| panel.draw_soon(Due::Highlight)),
            on("transitionend", |panel| {
                if !canvas::is_sharp(&panel.canvas, &panel.scene.borrow()) {
                    panel.draw_soon(Due::Highlight);
                }
            }),
        ])
    }

    /// Draws for paper, dark on light, at once: the browser does not wait for a frame before it prints.
    fn print(&self, printing: bool) {
        self.printing.set(printing);
        match self.figure.borrow().as_ref() {
            Some(figure) if printing => {
                // What could not be drawn for paper prints as it is on the screen.
                drop(canvas::draw_for_print(&self.canvas, figure, &self.theme()));
            }
            _ => self.redraw(),
        }
    }

    fn observe_size(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        let on_size = Closure::<dyn FnMut()>::new(move || {
            if let Some(panel) = weak.upgrade() {
                panel.draw_soon(Due::Layout);
            }
        });
        if let Ok(observer) = ResizeObserver::new(on_size.as_ref().unchecked_ref()) {
            observer.observe(&self.canvas);
            self.observer.replace(Some((observer, on_size)));
        }
    }

    /// Shows a trace. Cheap to call for every block that arrives.
    pub fn show(&self, trace: &Trace, options: &ChartOptions) -> Result<()> {
        let figure = Figure::new(self.name.get(), trace, &ChartOptions { legend: false, ..*options });
        dom::set_attribute(&self.canvas, "aria-label", &figure.description());
        dom::set_text(&self.how_to_read, &figure.how_to_read());
        dom::set_text(&self.finding, &figure.finding().map_or_else(String::new, |finding| finding.text));
        dom::set_text(&self.notes, &figure.notes().join(" · "));
        chart_legend::write(&self.legend, &figure)?;
        let empty = figure.empty().is_some();
        for button in dom::find_all::<HtmlButtonElement>(&self.root, "[data-tool]") {
            button.set_disabled(empty);
        }
        self.table.refresh(&figure)?;
        self.figure.replace(Some(figure));
        self.draw_soon(Due::Layout);
        Ok(())
    }

    /// Another chart in this panel, from the next trace that is shown.
    pub fn set_chart(&self, name: ChartName) {
        self.name.set(name);
        self.read_out.hit.set(None);
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.figure.borrow().as_ref().is_none_or(|figure| figure.empty().is_some())
    }

    /// Title and lead of what is shown.
    pub fn heading(&self) -> Option<(&'static str, &'static str)> {
        self.figure.borrow().as_ref().map(|figure| (figure.title(), figure.lead()))
    }

    /// Why there is nothing to see; `None` where there is something.
    pub fn empty(&self) -> Option<String> {
        self.figure.borrow().as_ref().and_then(Figure::empty)
    }

    /// Calls `handler` with the place that the reader chose in the chart.
    pub fn on_choose(&self, handler: impl Fn(Place) + 'static) {
        self.choose.replace(Some(Rc::new(handler)));
    }

    /// Calls `handler` with the columns that the reader wants to see of a grid.
    pub fn on_zoom(&self, handler: Rc<dyn Fn(Columns)>) {
        self.zoom.replace(Some(handler));
    }

    /// The columns that a grid shows now.
    pub fn columns(&self) -> Option<Columns> {
        self.scene.borrow().columns
    }

    /// The reader wants to see other columns.
    fn show_columns(&self, columns: Columns) {
        let handler = self.zoom.borrow().clone();
        if let Some(handler) = handler.filter(|_| self.columns() != Some(columns)) {
            handler(columns);
        }
    }

    /// Highlights a place once it is drawn.
    pub fn look_at(&self, place: Place) {
        self.wanted.set(Some(place));
    }

    /// The hit of a place that was to be looked at: its cell, or else its layer.
    fn find_wanted(&self) {
        let Some(wanted) = self.wanted.get() else { return };
        let scene = self.scene.borrow();
        let same =
            |hit: &Hit| hit.place.is_some_and(|place| (place.layer, place.token) == (wanted.layer, wanted.token));
        let layer = || {
            let titles =
                ["after layer", "layer"].map(|words| format!("{words} {}", wanted.layer.unwrap_or_default() + 1));
            scene.hits.iter().position(|hit| wanted.layer.is_some() && titles.contains(&hit.title))
        };
        if let Some(hit) = scene.hits.iter().position(same).or_else(layer) {
            self.wanted.set(None);
            self.read_out.at.set(None);
            self.read_out.hit.set(Some(hit));
        }
    }

    /// The reader chose the hit that is looked at.
    fn choose(&self) {
        let place = self.read_out.hit.get().and_then(|hit| self.scene.borrow().hits.get(hit)?.place);
        let handler = self.choose.borrow().clone();
        if let (Some(place), Some(handler)) = (place, handler) {
            handler(place);
        }
    }

    /// What the reader does on the canvas. Whether it was of use: the browser does nothing else with it then.
    fn take(&self, input: ChartInput) -> bool {
        match input {
            ChartInput::Point(x, y) => {
                let hit = self.scene.borrow().hit_at(x, y);
                self.read_out.at.set(Some((x, y)));
                self.highlight(hit);
            }
            ChartInput::Leave => self.highlight(None),
            ChartInput::Click if self.dragged.take() => {}
            ChartInput::Click => self.choose(),
            ChartInput::Grab(x) => {
                let columns = self.columns().filter(|columns| columns.window().is_some());
                self.held.set(columns.map(|columns| (x, columns)));
            }
            ChartInput::Drag(x) => self.drag(x),
            ChartInput::LetGo => self.held.set(None),
            ChartInput::Zoom { closer, about } => {
                let Some(columns) = self.columns() else { return false };
                self.show_columns(columns.zoomed(closer, Some(self.column_at(about, columns))));
                return true;
            }
            ChartInput::Key(key) => return self.take_key(&key),
        }
        false
    }

    /// The column at this x, counted over all.
    fn column_at(&self, x: f64, columns: Columns) -> usize {
        let plot = self.scene.borrow().plot;
        let share = ((x - plot.x) / plot.width.max(1.0)).clamp(0.0, 0.999);
        columns.from + (share * (columns.to - columns.from) as f64) as usize
    }

    /// Moves a grid that shows some of its columns.
    fn drag(&self, x: f64) {
        let Some((from, columns)) = self.held.get() else { return };
        let cell = self.scene.borrow().plot.width / (columns.to - columns.from).max(1) as f64;
        let by = ((from - x) / cell.max(1.0)).round() as isize;
        if by != 0 {
            self.dragged.set(true);
        }
        self.show_columns(columns.moved(by));
    }

    fn take_key(&self, key: &str) -> bool {
        let here = self.read_out.hit.get();
        let (count, row, columns) = {
            let scene = self.scene.borrow();
            (scene.hits.len(), scene.hits_in_a_row.max(1), scene.columns)
        };
        match key {
            _ if count == 0 => return false,
            "Enter" | " " if here.is_some() => self.choose(),
            "+" | "=" | "-" => {
                let Some(columns) = columns else { return false };
                let about = here.map(|hit| columns.from + (hit % row) * (columns.to - columns.from) / row);
                self.show_columns(columns.zoomed(key != "-", about));
            }
            _ => {
                let Some(next) = keys::step(key, here, count, row) else { return false };
                self.read_out.at.set(None);
                if let Some(hit) = next.and_then(|index| self.scene.borrow().hits.get(index).cloned()) {
                    self.read_out.speak(&hit);
                }
                self.highlight(next);
            }
        }
        true
    }

    /// Looks at another hit, or at none.
    fn highlight(&self, hit: Option<usize>) {
        let before = self.read_out.hit.replace(hit);
        if hit.is_some() || before.is_some() {
            self.draw_soon(Due::Highlight);
        }
    }

    /// Marks the chart as belonging to an earlier text.
    pub fn set_stale(&self, stale: bool) {
        dom::set_class(&self.root, "stale-data", stale);
    }

    /// Chooses light on dark (or not) instead of what the system prefers.
    pub fn set_dark(&self, dark: Option<bool>) {
        if self.dark.replace(dark) != dark {
            self.redraw();
        }
    }

    /// Draws again with the next frame: after a change of theme or of screen.
    pub fn redraw(&self) {
        self.draw_soon(Due::Layout);
    }

    fn draw_soon(&self, due: Due) {
        let before = self.due.get();
        self.due.set(before.max(due));
        if before != Due::Nothing {
            return;
        }
        if let (Ok(window), Some(frame)) = (dom::window(), self.frame.borrow().as_ref()) {
            let _ = window.request_animation_frame(frame.as_ref().unchecked_ref());
        }
    }

    fn draw(&self) {
        let due = self.due.replace(Due::Nothing);
        let figure = self.figure.borrow();
        let Some(figure) = figure.as_ref().filter(|_| !self.printing.get()) else { return };
        let highlight = self.read_out.hit.get();
        let drawn = match due {
            Due::Highlight => canvas::repaint(&self.canvas, &self.scene.borrow(), highlight),
            _ => canvas::draw(&self.canvas, figure, &self.theme(), highlight)
                .map(|scene| drop(self.scene.replace(scene))),
        };
        match drawn {
            Ok(()) => {
                let before = self.read_out.hit.get();
                self.find_wanted();
                if self.read_out.hit.get() != before {
                    self.draw_soon(Due::Highlight);
                }
                self.read_out.place(&self.scene.borrow());
            }
            Err(error) => dom::set_text(&self.finding, &error.message),
        }
    }

    fn use_tool(&self, tool: &str) -> Result<()> {
        let figure = self.figure.borrow();
        let Some(figure) = figure.as_ref() else { return Ok(()) };
        match tool {
            "table" => self.table.toggle(figure),
            kind => chart_file::offer(figure, kind, &figure.title().to_ascii_lowercase().replace(' ', "-")),
        }
    }

    fn theme(&self) -> Theme {
        let dark = !self.printing.get() && self.dark.get().unwrap_or_else(dom::prefers_dark);
        if dark { Theme::dark() } else { Theme::light() }
    }
}
