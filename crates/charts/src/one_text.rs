//! The one sequence that a chart of a single text shows: that of the pinned token, or the first.

use super::chart::ChartOptions;
use super::format;
use super::scene::TokenRange;
use trace::summary::Place;
use trace::{Sequence, Trace};

#[derive(Debug)]
pub(super) struct OneText {
    /// Ids, tokens, and what the chart draws of it.
    pub sequence: Sequence,
    /// Its place in the trace, and how many there are.
    number: usize,
    of: usize,
    /// Position of the pinned token.
    pub pinned: Option<usize>,
    /// Which tokens are shown.
    pub window: Option<TokenRange>,
}

impl OneText {
    /// Keeps of the sequence what `keep` takes over, its ids and its tokens.
    pub fn of(trace: &Trace, options: &ChartOptions, keep: impl Fn(&Sequence) -> Sequence) -> OneText {
        let number = if options.sequence < trace.sequences.len() { options.sequence } else { 0 };
        let whole = trace.sequences.get(number);
        let sequence = whole.map(|whole| {
            let (ids, tokens) = (whole.ids.clone(), whole.tokens.clone());
            Sequence { ids, tokens, ..keep(whole) }
        });
        let sequence = sequence.unwrap_or_default();
        let pinned = options.token.filter(|token| *token < sequence.token_count());
        OneText { sequence, number, of: trace.sequences.len(), pinned, window: options.tokens }
    }

    /// The text of a token; empty where the trace does not say.
    pub fn token(&self, token: usize) -> &str {
        self.sequence.tokens.get(token).map_or("", String::as_str)
    }

    /// The text of every token, in order.
    pub fn tokens(&self) -> impl Iterator<Item = String> {
        (0..self.sequence.token_count()).map(|token| self.token(token).to_owned())
    }

    /// The tokens as an axis shows them.
    pub fn labels(&self) -> Vec<String> {
        self.sequence.tokens.iter().map(|token| format::token_label(token)).collect()
    }

    /// Its place in the trace.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Which of several sentences it is.
    pub fn note(&self) -> Option<String> {
        (self.of > 1).then(|| format!("sentence {} of {}", self.number + 1, self.of))
    }

    /// A block and a token of it.
    pub fn place(&self, layer: Option<usize>, token: usize) -> Place {
        Place { layer, sequence: Some(self.number), token: Some(token), ..Place::default() }
    }
}
