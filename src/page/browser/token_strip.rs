//! The token strip: what the tokenizer made of each sentence. Tokens enter the page as text nodes only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Element, HtmlElement, KeyboardEvent};

use super::super::msg::Msg;
use super::super::token_groups::{Piece, TokenGroup, describe_group, group_tokens, pieces};
use trace::{Result, TokenPosition, Trace};
use view::dom;

use super::wire::{closest, on};

/// More chips than this are counted, not shown: building them would hold the page up.
const MOST_CHIPS: usize = 1200;
/// Chips built in one go; then the browser gets its turn.
const CHIPS_AT_ONCE: usize = 60;
const HINT: &str = "Point at a token to see its id and norms; choose one to pin it in every view.";

/// One chip and what it stands for.
struct Chip {
    element: HtmlElement,
    sequence: usize,
    group: TokenGroup,
}

impl Chip {
    fn is_selected(&self) -> bool {
        self.element.get_attribute("aria-selected").as_deref() == Some("true")
    }
}

/// The strip and the line below it. One tab stop; arrow keys move within.
pub struct TokenStrip {
    root: HtmlElement,
    detail: Element,
    trace: RefCell<Rc<Trace>>,
    chips: RefCell<Vec<Chip>>,
    current: Cell<usize>,
    /// Counts builds; a later one outdates an earlier one.
    build: Cell<u32>,
    pinned: Cell<Option<TokenPosition>>,
}

impl TokenStrip {
    /// Finds the strip in the page.
    pub fn new() -> Result<Rc<TokenStrip>> {
        let strip = Rc::new(TokenStrip {
            root: dom::by_id("tokens")?,
            detail: dom::by_id("token-detail")?,
            trace: RefCell::default(),
            chips: RefCell::default(),
            current: Cell::new(0),
            build: Cell::new(0),
            pinned: Cell::new(None),
        });
        strip.listen();
        Ok(strip)
    }

    fn listen(self: &Rc<Self>) {
        for name in ["pointerover", "focusin", "pointerdown"] {
            let strip = self.clone();
            on(&self.root, name, move |event| {
                let index = closest(event, "[data-chip]")?.get_attribute("data-chip")?.parse().ok()?;
                strip.select(index);
                None
            });
        }
        let strip = self.clone();
        on(&self.root, "click", move |event| closest(event, "[data-chip]").and_then(|_| strip.chosen()));
        let strip = self.clone();
        on(&self.root, "keydown", move |event| strip.on_key(event.dyn_ref::<KeyboardEvent>()?));
    }

    /// Shows a trace's tokens, a few at a time. The chips are built anew only where the tokens differ.
    pub fn show(self: &Rc<Self>, trace: &Rc<Trace>) {
        let before = self.trace.replace(trace.clone());
        let same = before.sequences.len() == trace.sequences.len()
            && before.sequences.iter().zip(&trace.sequences).all(|(a, b)| a.ids == b.ids && a.tokens == b.tokens);
        if same {
            // The numbers may be new.
            let chosen = self.chips.borrow().get(self.current.get()).is_some_and(Chip::is_selected);
            if chosen {
                self.select(self.current.get());
            }
            return;
        }
        let build = self.build.get() + 1;
        self.build.set(build);
        let (strip, trace) = (self.clone(), trace.clone());
        spawn_local(async move {
            // A strip that is cut short is better than a page that says nothing else.
            let _ = strip.fill(&trace, build).await;
        });
    }

    /// Builds the chips; stops where a later build has begun.
    async fn fill(&self, trace: &Trace, build: u32) -> Result<()> {
        dom::next_task().await;
        if self.build.get() != build {
            return Ok(());
        }
        self.root.set_text_content(None);
        self.chips.borrow_mut().clear();
        self.current.set(0);
        dom::set_text(&self.detail, HINT);
        // A listbox without options is not a listbox.
        let any = trace.sequences.iter().any(|sequence| !sequence.tokens.is_empty());
        dom::set_attribute(&self.root, "role", if any { "listbox" } else { "group" });
        let mut left_out = 0;
        for (index, sequence) in trace.sequences.iter().enumerate() {
            let mut row: Option<HtmlElement> = None;
            for group in group_tokens(sequence) {
                let count = self.chips.borrow().len();
                if count >= MOST_CHIPS {
                    left_out += group.tokens.len();
                    continue;
                }
                if count > 0 && count.is_multiple_of(CHIPS_AT_ONCE) {
                    dom::next_task().await;
                    if self.build.get() != build {
                        return Ok(());
                    }
                }
                let element = chip_element(&group, count)?;
                match &row {
                    Some(row) => dom::append(row, &element),
                    None => dom::append(row.insert(self.add_row(index)?), &element),
                }
                self.chips.borrow_mut().push(Chip { element, sequence: index, group });
            }
        }
        self.mark_pinned();
        if left_out > 0 {
            dom::set_text(&self.detail, &format!("{left_out} more tokens are traced but not shown here. {HINT}"));
        }
        Ok(())
    }

    /// The chip that is looked at is chosen.
    fn chosen(&self) -> Option<Msg> {
        let chips = self.chips.borrow();
        let chip = chips.get(self.current.get())?;
        Some(Msg::Pin(TokenPosition { sequence: chip.sequence, token: chip.group.tokens.start }))
    }

    /// Marks the pinned token.
    pub fn set_pinned(&self, pinned: Option<TokenPosition>) {
        if self.pinned.replace(pinned) != pinned {
            self.mark_pinned();
        }
    }

    fn mark_pinned(&self) {
        let pinned = self.pinned.get();
        for chip in self.chips.borrow().iter() {
            let has = |pin: TokenPosition| chip.sequence == pin.sequence && chip.group.tokens.contains(&pin.token);
            let is_pinned = pinned.is_some_and(has);
            dom::set_class(&chip.element, "pinned", is_pinned);
        }
    }

    fn add_row(&self, index: usize) -> Result<HtmlElement> {
        let row: HtmlElement = dom::create("div", "sequence")?;
        dom::set_attribute(&row, "role", "group");
        dom::set_attribute(&row, "aria-label", &format!("Sentence {}", index + 1));
        dom::append(&self.root, &row);
        Ok(row)
    }

    fn on_key(&self, key: &KeyboardEvent) -> Option<Msg> {
        let last = self.chips.borrow().len().saturating_sub(1);
        let here = self.current.get();
        let next = match key.key().as_str() {
            "ArrowRight" => here + 1,
            "ArrowLeft" => here.saturating_sub(1),
            "ArrowDown" => self.neighbour_row(here, 1),
            "ArrowUp" => self.neighbour_row(here, -1),
            "Home" => 0,
            "End" => last,
            "Enter" | " " => {
                key.prevent_default();
                return self.chosen();
            }
            _ => return None,
        };
        key.prevent_default();
        let element = self.chips.borrow().get(next.min(last)).map(|chip| chip.element.clone());
        if let Some(element) = element {
            // focusin selects it.
            let _ = element.focus();
        }
        None
    }

    /// The first chip of the next or the previous sentence.
    fn neighbour_row(&self, from: usize, step: isize) -> usize {
        let chips = self.chips.borrow();
        let Some(sequence) = chips.get(from).map(|chip| chip.sequence) else { return from };
        let Some(wanted) = sequence.checked_add_signed(step) else { return from };
        chips.iter().position(|chip| chip.sequence == wanted).unwrap_or(from)
    }

    fn select(&self, index: usize) {
        let chips = self.chips.borrow();
        let Some(chip) = chips.get(index) else { return };
        if let Some(before) = chips.get(self.current.get()) {
            dom::set_attribute(&before.element, "aria-selected", "false");
            dom::set_attribute(&before.element, "tabindex", "-1");
        }
        dom::set_attribute(&chip.element, "aria-selected", "true");
        dom::set_attribute(&chip.element, "tabindex", "0");
        self.current.set(index);
        if let Some(sequence) = self.trace.borrow().sequences.get(chip.sequence) {
            dom::set_text(&self.detail, &describe_group(sequence, &chip.group));
        }
    }
}

fn chip_element(group: &TokenGroup, index: usize) -> Result<HtmlElement> {
    let joined = group.tokens.len() > 1;
    let chip: HtmlElement = dom::create("span", if joined { "token joined" } else { "token" })?;
    dom::set_attribute(&chip, "role", "option");
    dom::set_attribute(&chip, "aria-selected", "false");
    dom::set_attribute(&chip, "tabindex", if index == 0 { "0" } else { "-1" });
    dom::set_attribute(&chip, "data-chip", &index.to_string());
    for piece in pieces(&group.text) {
        match piece {
            // Its only way into the page: as text, never as markup.
            Piece::Text(text) => drop(chip.append_with_str_1(&text)),
            Piece::Sign(sign) => dom::append(&chip, dom::create_with_text("i", "", sign)?.as_ref()),
        }
    }
    if joined {
        dom::append(&chip, dom::create_with_text("small", "", &format!("×{}", group.tokens.len()))?.as_ref());
    }
    Ok(chip)
}
