//! What a reader asks a view to show, and what a run must record for it: the same for the page and for the embed.
//! Must never know: the DOM, where it is asked.

use charts::{ChartName, Needs, Quantity};
use protocol::RunOptions;
use trace::{AttributionOptions, Head, TokenRef};

/// Predictions a cell of the logit lens: as many as the read-out lists.
const TOP: usize = 5;
/// Candidates for the next token.
const CANDIDATES: usize = 20;

/// What a view is asked to show, as far as controls say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The chart.
    pub view: ChartName,
    /// What a heatmap shows.
    pub quantity: Quantity,
    /// Whether the true token's rank is shown rather than its probability.
    pub ranks: bool,
    /// Whose attention pattern.
    pub head: Head,
    /// Places of the two texts that are compared, or patched from the first into the second.
    pub texts: (usize, usize),
    /// A token whose logit is explained; empty for the predicted one.
    pub target: String,
    /// One whose logit is taken off; empty for none.
    pub against: String,
}

impl Default for Asked {
    fn default() -> Self {
        Asked {
            view: ChartName::Heatmap,
            quantity: Quantity::default(),
            ranks: false,
            head: Head { layer: 0, head: 0 },
            texts: (0, 1),
            target: String::new(),
            against: String::new(),
        }
    }
}

impl Asked {
    /// The tokens asked for.
    pub fn tokens(&self) -> (Option<TokenRef>, Option<TokenRef>) {
        let token = |typed: &String| (!typed.is_empty()).then(|| TokenRef::Text(typed.clone()));
        (token(&self.target), token(&self.against))
    }

    /// What a trace must record to show this. `pinned` is the position of the pinned token.
    pub fn record(&self, pinned: Option<usize>) -> RunOptions {
        let mut record = RunOptions::new(false, 0, false);
        match self.view.spec().needs {
            Needs::Heads => record.heads = true,
            Needs::Lens | Needs::LensOfAny => record.lens = TOP,
            Needs::Pattern => {
                record.heads = true;
                record.predictions = true;
                record.patterns = vec![self.head];
            }
            Needs::Attribution => {
                let (target, against) = self.tokens();
                record.attribution = Some(AttributionOptions { target, against, position: pinned });
            }
            Needs::Predictions => {
                record.predictions = true;
                record.next = CANDIDATES;
            }
            _ => {}
        }
        record
    }
}

/// Whether a trace that was recorded so has what is wanted.
pub fn serves(recorded: &RunOptions, wanted: &RunOptions) -> bool {
    let attributed = wanted.attribution.is_none() || wanted.attribution == recorded.attribution;
    let heads = wanted.patterns.iter().all(|head| recorded.patterns.contains(head));
    let predicted = !wanted.predictions || recorded.predictions && recorded.next >= wanted.next;
    (!wanted.heads || recorded.heads)
        && recorded.lens >= wanted.lens
        && heads
        && attributed
        && predicted
        && recorded.ablate == wanted.ablate
}
