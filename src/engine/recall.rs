//! What is remembered of the texts that were traced last: their tokens, what was recorded, and (in the workers) their
//! keys and values. A text that begins as one of them costs only what is new of it.

use candle_core::Tensor;

use crate::model::Config;
use crate::protocol::RunOptions;
use crate::trace::Sequence;

/// Bytes that remembered keys and values may take, over all workers.
const MOST_BYTES: usize = 96 << 20;

/// A sequence that was computed to its end.
#[derive(Clone, Debug)]
pub struct Known {
    /// Everything recorded.
    pub sequence: Sequence,
    /// The stream after the last block, `[T, D]`.
    pub stream: Tensor,
    slot: u32,
}

/// How a sequence starts.
#[derive(Debug)]
pub struct Start {
    /// Names its keys and values.
    pub slot: u32,
    /// Tokens that need not be computed again.
    pub keep: usize,
    /// The sequence that has them.
    pub known: Option<Known>,
    /// Whether its keys and values may be kept after the run.
    pub lasting: bool,
}

/// The sequences that are remembered, the last used last.
#[derive(Debug, Default)]
pub struct Recall {
    known: Vec<Known>,
    /// Slots of the run under way.
    taken: Vec<u32>,
}

impl Recall {
    /// Starts a run over these sequences; those that none of them goes on from are forgotten as room is needed.
    /// Returns how each starts, and the slots that are forgotten.
    pub fn begin(&mut self, config: &Config, sequences: &[Sequence], options: &RunOptions) -> (Vec<Start>, Vec<u32>) {
        let mut forgotten = std::mem::take(&mut self.taken); // of a run that did not come to its end
        let mut starts: Vec<Start> = sequences.iter().map(|sequence| self.start(config, sequence, options)).collect();
        let mut room = MOST_BYTES / (8 * config.n_layer * config.n_embd);
        for (start, sequence) in starts.iter_mut().zip(sequences) {
            let tokens = sequence.ids.len();
            start.lasting = tokens <= room;
            room -= if start.lasting { tokens } else { 0 };
        }
        // The last used are kept, as many as there is room for.
        let mut from = self.known.len();
        while let Some(known) = from.checked_sub(1).and_then(|place| self.known.get(place)) {
            let Some(left) = room.checked_sub(known.sequence.ids.len()) else { break };
            (room, from) = (left, from - 1);
        }
        forgotten.extend(self.known.drain(..from).map(|known| known.slot));
        self.taken = starts.iter().filter(|start| start.known.is_some()).map(|start| start.slot).collect();
        for start in starts.iter_mut().filter(|start| start.known.is_none()) {
            start.slot = self.free_slot();
            self.taken.push(start.slot);
        }
        (starts, forgotten)
    }

    /// Starts of a run that goes on from nothing and of which nothing is remembered, as under ablation.
    pub fn begin_apart(&mut self, count: usize) -> Vec<Start> {
        let mut start = || {
            let slot = self.free_slot();
            self.taken.push(slot);
            Start { slot, keep: 0, known: None, lasting: false }
        };
        (0..count).map(|_| start()).collect()
    }

    /// Slots of which nothing is kept any more may name something else.
    pub fn give_back(&mut self, slots: &[u32]) {
        self.taken.retain(|slot| !slots.contains(slot));
    }

    /// Remembers a sequence of the run, with its stream after the last block.
    pub fn finish(&mut self, start: &Start, sequence: Sequence, stream: Tensor) {
        if start.lasting {
            self.taken.retain(|slot| *slot != start.slot);
            self.known.push(Known { sequence, stream, slot: start.slot });
        }
    }

    /// Forgets everything, as when the workers that had the keys and values are gone.
    pub fn clear(&mut self) {
        *self = Recall::default();
    }

    fn start(&mut self, config: &Config, sequence: &Sequence, options: &RunOptions) -> Start {
        let serves = |known: &Known| {
            let cells = (config.n_layer + 1) * known.sequence.ids.len();
            let lens = known.sequence.lens.as_ref().map_or(0, |lens| lens.ids.len());
            (!options.heads || known.sequence.head_norm.is_some())
                && (options.lens == 0 || lens == cells * options.lens)
        };
        let t = sequence.ids.len();
        // Patterns need every row of every query; an explanation needs the contributions to its own token.
        let most = match &options.attribution {
            _ if !options.patterns.is_empty() => 0,
            Some(attribution) => attribution.position.unwrap_or(t.saturating_sub(1)).min(t.saturating_sub(1)),
            None if options.leads => t.saturating_sub(1),
            None => t,
        };
        let common = |known: &Known| {
            let pairs = known.sequence.ids.iter().zip(&sequence.ids);
            let same = pairs.take_while(|(known, id)| known == id).count();
            // The lens tells what it makes of the token that follows: after the last common one that is another.
            let followed = options.lens > 0 && same < known.sequence.ids.len().max(t);
            same.saturating_sub(usize::from(followed)).min(most)
        };
        let candidates = self.known.iter().enumerate().filter(|(_, known)| serves(known));
        let best = candidates.map(|(place, known)| (common(known), place)).max();
        match best.filter(|(keep, _)| *keep > 0) {
            Some((keep, place)) => {
                let known = self.known.remove(place);
                Start { slot: known.slot, keep, known: Some(known), lasting: false }
            }
            None => Start { slot: 0, keep: 0, known: None, lasting: false },
        }
    }

    fn free_slot(&self) -> u32 {
        let is_free = |slot: &u32| !self.taken.contains(slot) && self.known.iter().all(|known| known.slot != *slot);
        (0..).find(is_free).unwrap_or_default()
    }
}
