//! The controls that views have of their own: what a reader asks of the engine beyond norms, and how it is drawn.

use std::rc::Rc;

use web_sys::{Element, HtmlButtonElement, HtmlElement, HtmlInputElement, HtmlSelectElement};

use crate::api::SampleOptions;
use charts::{ChartName, Control};
use trace::{Ablation, AblationMode, Component, Head, Result};
pub use view::asked::Asked;
use view::dom::{self, Listener, listen};

/// Handles to the controls.
pub struct ViewControls {
    boxes: Vec<HtmlElement>,
    quantity: HtmlSelectElement,
    lens_show: HtmlSelectElement,
    parts: HtmlSelectElement,
    head: (HtmlInputElement, HtmlInputElement),
    texts: (HtmlInputElement, HtmlInputElement),
    tokens: (HtmlInputElement, HtmlInputElement),
    sampling: [HtmlInputElement; 4],
    append: [HtmlButtonElement; 2],
    off: (HtmlInputElement, HtmlSelectElement, HtmlInputElement, HtmlSelectElement),
    off_head_box: HtmlElement,
    off_add: HtmlButtonElement,
    error: Element,
}

/// A reader's wish that is no mere change of what is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Show what the controls say now.
    Show,
    /// So many more tokens.
    Append(usize),
    /// Switch something off.
    Ablate(Ablation),
}

impl ViewControls {
    /// Finds the controls in the page.
    pub fn new(root: &Element) -> Result<ViewControls> {
        Ok(ViewControls {
            boxes: dom::find_all(root, "[data-control]"),
            quantity: dom::by_id("quantity")?,
            lens_show: dom::by_id("lens-show")?,
            parts: dom::by_id("parts")?,
            head: (dom::by_id("head-layer")?, dom::by_id("head-number")?),
            texts: (dom::by_id("first-text")?, dom::by_id("second-text")?),
            tokens: (dom::by_id("target")?, dom::by_id("against")?),
            sampling: [dom::by_id("temperature")?, dom::by_id("top-k")?, dom::by_id("top-p")?, dom::by_id("seed")?],
            append: [dom::by_id("append")?, dom::by_id("append-more")?],
            off: (dom::by_id("off-layer")?, dom::by_id("off-part")?, dom::by_id("off-head")?, dom::by_id("off-how")?),
            off_head_box: dom::by_id("off-head-box")?,
            off_add: dom::by_id("off-add")?,
            error: dom::by_id("view-error")?,
        })
    }

    /// Calls `handler` on every wish.
    pub fn listen(self: &Rc<Self>, handler: &Rc<dyn Fn(Wish)>) -> Vec<Listener> {
        let mut listeners = Vec::new();
        for select in [&self.quantity, &self.lens_show, &self.parts] {
            let handler = handler.clone();
            listeners.push(listen(select, "change", move |_| handler(Wish::Show)));
        }
        let (layer, head) = &self.head;
        let (first, second) = &self.texts;
        let (target, against) = &self.tokens;
        let [temperature, top_k, top_p, seed] = &self.sampling;
        for input in [layer, head, first, second, target, against, temperature, top_k, top_p, seed] {
            let handler = handler.clone();
            listeners.push(listen(input, "change", move |_| handler(Wish::Show)));
        }
        for button in &self.append {
            let count = button.get_attribute("data-count").and_then(|count| count.parse().ok()).unwrap_or(1);
            let handler = handler.clone();
            listeners.push(listen(button, "click", move |_| handler(Wish::Append(count))));
        }
        let controls = Rc::downgrade(self);
        listeners.push(listen(&self.off.1, "change", move |_| {
            if let Some(controls) = controls.upgrade() {
                controls.off_head_box.set_hidden(controls.off.1.value() != "head");
            }
        }));
        let (controls, handler) = (Rc::downgrade(self), handler.clone());
        listeners.push(listen(&self.off_add, "click", move |_| {
            if let Some(ablated) = controls.upgrade().and_then(|controls| controls.ablated()) {
                handler(Wish::Ablate(ablated));
            }
        }));
        listeners
    }

    /// Shows the controls of a view.
    pub fn show_for(&self, view: ChartName) {
        for control in &self.boxes {
            let name = control.get_attribute("data-control").unwrap_or_default();
            control.set_hidden(!view.spec().controls.iter().any(|control| control.as_str() == name));
        }
        if view.spec().controls.contains(&Control::Parts) {
            self.parts.set_value(view.as_str());
        }
        let show = self.lens_show.value();
        match view {
            ChartName::Lens => self.lens_show.set_value("lens"),
            ChartName::TrueToken if show == "lens" => self.lens_show.set_value("probability"),
            _ => {}
        }
    }

    /// The view within a tab that its own control chooses.
    pub fn view_of_tab(&self, tab: ChartName) -> ChartName {
        match tab {
            ChartName::Lens if self.lens_show.value() != "lens" => ChartName::TrueToken,
            ChartName::Attribution if self.parts.value() == "attribution-heads" => ChartName::AttributionHeads,
            tab => tab,
        }
    }

    /// What the controls say, for a view.
    pub fn asked(&self, view: ChartName) -> Asked {
        let plain = Asked::default();
        let number = |input: &HtmlInputElement, least: usize| whole(input).filter(|n| *n >= least).map(|n| n - least);
        let head = Head {
            layer: number(&self.head.0, 1).unwrap_or(plain.head.layer),
            head: number(&self.head.1, 0).unwrap_or(plain.head.head),
        };
        let texts =
            (number(&self.texts.0, 1).unwrap_or(plain.texts.0), number(&self.texts.1, 1).unwrap_or(plain.texts.1));
        Asked {
            view,
            quantity: self.quantity.value().parse().unwrap_or_default(),
            ranks: self.lens_show.value() == "rank",
            head,
            texts,
            target: self.tokens.0.value(),
            against: self.tokens.1.value(),
        }
    }

    /// Puts them to what was asked.
    pub fn set(&self, asked: &Asked) {
        self.quantity.set_value(asked.quantity.as_str());
        self.lens_show.set_value(if asked.ranks { "rank" } else { "probability" });
        self.set_head(asked.head);
        self.texts.0.set_value(&(asked.texts.0 + 1).to_string());
        self.texts.1.set_value(&(asked.texts.1 + 1).to_string());
        self.tokens.0.set_value(&asked.target);
        self.tokens.1.set_value(&asked.against);
        self.show_for(asked.view);
    }

    /// Chooses a head.
    pub fn set_head(&self, head: Head) {
        self.head.0.set_value(&(head.layer + 1).to_string());
        self.head.1.set_value(&head.head.to_string());
    }

    /// Keeps numbers within what the model has.
    pub fn set_sizes(&self, (layers, heads, texts): (usize, usize, usize)) {
        for (input, most) in [
            (&self.head.0, layers),
            (&self.off.0, layers),
            (&self.head.1, heads.saturating_sub(1)),
            (&self.off.2, heads.saturating_sub(1)),
            (&self.texts.0, texts),
            (&self.texts.1, texts),
        ] {
            dom::set_attribute(input, "max", &most.to_string());
        }
    }

    /// How the next tokens are chosen.
    pub fn sampling(&self, count: usize) -> SampleOptions {
        let [temperature, top_k, top_p, seed] = &self.sampling;
        let number = |input: &HtmlInputElement| input.value().trim().parse::<f64>().ok();
        SampleOptions {
            count,
            temperature: number(temperature).unwrap_or(1.0),
            top_k: whole(top_k),
            top_p: number(top_p),
            seed: whole(seed).and_then(|seed| u32::try_from(seed).ok()).unwrap_or_default(),
        }
    }

    /// What the sampling controls say, as typed.
    pub fn sampling_typed(&self) -> [String; 4] {
        [0, 1, 2, 3].map(|place| self.sampling[place].value().trim().to_owned())
    }

    /// Puts the sampling controls to what was typed once.
    pub fn set_sampling(&self, typed: &[String; 4]) {
        for (input, value) in self.sampling.iter().zip(typed) {
            input.set_value(value);
        }
    }

    /// Another seed: the same text and seed would choose the same token again.
    pub fn next_seed(&self) {
        let seed = whole(&self.sampling[3]).unwrap_or_default();
        self.sampling[3].set_value(&(seed + 1).to_string());
    }

    /// What is to be switched off.
    fn ablated(&self) -> Option<Ablation> {
        let (layer, part, head, how) = &self.off;
        let layer = whole(layer)?.checked_sub(1)?;
        let (part, head) = match part.value().as_str() {
            "mlp" => (Component::Mlp, None),
            "head" => (Component::Head, Some(whole(head)?)),
            _ => (Component::Attn, None),
        };
        let how = if how.value() == "mean" { AblationMode::Mean } else { AblationMode::Zero };
        Some(Ablation { layer, part, head, how })
    }

    /// Says what is wrong with what was asked; empty when nothing is.
    pub fn set_error(&self, message: &str) {
        dom::set_text(&self.error, message);
    }
}

fn whole(input: &HtmlInputElement) -> Option<usize> {
    input.value().trim().parse().ok()
}
