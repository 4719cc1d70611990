//! What a reader chooses to look at: a token, a head, a finding's place; and what the next run must record for it.

use std::rc::Rc;

use super::app::App;
use super::view_panel::{Wish, serves};
use crate::api::RunOptions;
use charts::format::quote_token;
use charts::{ChartName, Kind, Quantity};
use trace::summary::{Finding, Topic};
use trace::{Head, Trace};
use view::dom;

impl App {
    /// Pins a token, or takes the pin away where it is pinned already.
    pub(super) fn pin(self: &Rc<Self>, token: (usize, usize)) {
        self.set_pinned(Some(token).filter(|token| self.pinned.get() != Some(*token)));
    }

    pub fn set_pinned(self: &Rc<Self>, pinned: Option<(usize, usize)>) {
        self.pinned.set(pinned);
        self.show_again();
        // What explains the prediction at one token says nothing of another.
        self.run_for_view();
        self.write_link();
    }

    /// Shows a head's attention pattern.
    pub(super) fn show_head(self: &Rc<Self>, head: Head) {
        self.view.controls.set_head(head);
        self.view.choose(ChartName::Pattern);
        self.do_wish(Wish::Show);
    }

    /// Goes to where a finding is to be seen.
    pub(super) fn show_finding(self: &Rc<Self>, finding: &Finding) {
        let place = finding.place;
        if let Some(chart) = self.charts.get(1).filter(|_| finding.topic == Topic::Evolution) {
            chart.look_at(place);
            chart.redraw();
            chart.canvas.scroll_into_view();
            let _ = chart.canvas.focus();
            return;
        }
        let mut asked = self.view.asked();
        asked.view = match finding.topic {
            Topic::StreamGrowth | Topic::FirstPosition => ChartName::Growth,
            Topic::Prediction => ChartName::Lens,
            _ => ChartName::Heatmap,
        };
        asked.quantity = match place.kind {
            Some(Kind::Attention) => Quantity::Attention,
            Some(Kind::Mlp) => Quantity::Mlp,
            _ => asked.quantity,
        };
        self.view.set_asked(&asked);
        self.view.chart.look_at(place);
        if let (Some(sequence), Some(token)) = (place.sequence, place.token) {
            self.pinned.set(Some((sequence, token)));
            self.show_again();
        }
        self.do_wish(Wish::Show);
        self.view.chart.canvas.scroll_into_view();
        let _ = self.view.chart.canvas.focus();
    }

    /// What the next trace is to record.
    pub fn record(&self) -> RunOptions {
        let mut record = self.view.record(self.pinned.get().map(|(_, token)| token));
        record.ablate.clone_from(&self.ablate.borrow());
        if !record.ablate.is_empty() {
            // How far the predictions move is part of what an ablation shows.
            record.predictions = true;
        }
        record
    }

    /// Takes the pin away where the trace has another token there, and says what is pinned.
    pub(super) fn keep_pin(&self, trace: &Trace) {
        let shown = self.state.borrow().shown.clone();
        let same = |&(sequence, token): &(usize, usize)| {
            let now = trace.sequences.get(sequence).and_then(|sequence| sequence.ids.get(..=token));
            let before = shown.as_ref().and_then(|shown| shown.sequences.get(sequence)?.ids.get(..=token));
            now.is_some() && now == before
        };
        let pinned = self.pinned.get().filter(same);
        self.pinned.set(pinned);
        self.tokens.set_pinned(pinned);
        let token = pinned.and_then(|(sequence, token)| trace.sequences.get(sequence)?.tokens.get(token).cloned());
        self.unpin.set_hidden(token.is_none());
        if let Some(token) = token {
            dom::set_text(&self.unpin, &format!("Unpin {}", quote_token(&token)));
        }
    }

    /// Asks for what the chosen view needs beyond what the last trace recorded.
    pub fn run_for_view(self: &Rc<Self>) {
        let wanted = self.record();
        let (lacks, another_model, whole_run) = {
            let state = self.state.borrow();
            // A run over a new text asks once it is done.
            let whole_run = state.running.as_ref().is_some_and(|running| !running.completes);
            let recorded = match &state.running {
                Some(running) => &running.record,
                None => &state.recorded,
            };
            let lacks = state.good.is_some() && !state.saved && !whole_run && !serves(recorded, &wanted);
            (lacks, recorded.ablate != wanted.ablate, whole_run)
        };
        match lacks {
            true if another_model => self.run(),
            true => self.complete(wanted),
            false => {}
        }
        if !whole_run {
            self.patch_for_view();
        }
    }
}
