//! What is remembered of the texts that were traced last: their tokens, what was recorded, and (in the workers) their
//! keys and values. A text that begins as one of them costs only what is new of it.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use crate::model::Config;
use protocol::RunOptions;
use trace::{RecordedRows, Sequence};

/// Bytes that everything remembered may take, over all workers.
const MOST_BYTES: usize = 96 << 20;
/// Neighbours of a text in the order of ids that are asked whether they serve it.
const NEIGHBOURS: usize = 64;

/// A sequence that was computed to its end.
#[derive(Clone, Debug)]
pub struct Known {
    /// What was recorded of each of its tokens.
    pub sequence: Sequence,
    /// The stream after the last block, `[T, D]`.
    pub stream: Tensor,
    slot: u32,
    bytes: usize,
}

/// How a sequence starts.
#[derive(Debug, Default)]
pub struct Start {
    /// Names its keys and values.
    pub slot: u32,
    /// Tokens that need not be computed again.
    pub keep: usize,
    /// The sequence that has them.
    pub known: Option<Known>,
    /// Whether its keys and values may be kept after the run.
    pub lasting: bool,
    /// What it takes if it is remembered.
    bytes: usize,
}

/// The sequences that are remembered.
#[derive(Debug, Default)]
pub struct PrefixCache {
    /// By when they were used, the last used last.
    known: BTreeMap<u64, Known>,
    /// The same in the order of their ids, in which texts that begin alike stand together.
    by_ids: BTreeSet<(Vec<u32>, u64)>,
    uses: u64,
    slots: Slots,
    /// Slots of the run under way.
    taken: BTreeSet<u32>,
}

/// Numbers that name keys and values.
#[derive(Debug, Default)]
struct Slots {
    next: u32,
    free: Vec<u32>,
}

impl Slots {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

/// Bytes of a text of `t` tokens that is remembered with what these options record. Of one that goes on from another the
/// keys and values have been given more room than they need, by up to a half.
fn bytes_of(config: &Config, t: usize, goes_on: bool, options: &RunOptions) -> usize {
    /// For a text, and for each of its layers, whatever its length: the tables' own entries.
    const ENTRY: (usize, usize) = (1024, 160);
    let (layers, width) = (config.n_layer, config.n_embd);
    let heads = if options.heads { layers * config.n_head } else { 0 };
    let lens = if options.lens > 0 { (layers + 1) * 2 * (options.lens + 1) } else { 0 };
    let room = (if goes_on { t + t / 2 } else { t }).next_multiple_of(8);
    // The last stream, seven norms and cosines a layer; the embedding's norm, id and log-probability.
    let numbers = t * (width + 7 * layers + 3 + heads + lens);
    ENTRY.0 + ENTRY.1 * layers + 4 * (room * 2 * layers * width + numbers)
}

impl PrefixCache {
    /// Starts a run over these sequences; those that none of them goes on from are forgotten as room is needed.
    /// Returns how each starts, and the slots that are forgotten.
    pub fn begin(&mut self, config: &Config, sequences: &[Sequence], options: &RunOptions) -> (Vec<Start>, Vec<u32>) {
        // Of a run that did not come to its end.
        let mut forgotten: Vec<u32> = std::mem::take(&mut self.taken).into_iter().collect();
        let mut room = MOST_BYTES;
        let mut starts = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let mut start = self.start(sequence, options);
            if start.known.is_none() {
                // Computed anew, the same text is not remembered twice.
                forgotten.extend(self.equal(&sequence.ids).and_then(|used| self.remove(used)).map(|known| known.slot));
            }
            start.bytes = bytes_of(config, sequence.ids.len(), start.known.is_some(), options);
            start.lasting = start.bytes <= room;
            room -= if start.lasting { start.bytes } else { 0 };
            starts.push(start);
        }
        // The last used stay, as many as there is room for.
        let stays = |(_, known): &(&u64, &Known)| match room.checked_sub(known.bytes) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        };
        let first = self.known.iter().rev().take_while(stays).last().map_or(u64::MAX, |(used, _)| *used);
        let stay = self.known.split_off(&first);
        for (used, known) in std::mem::replace(&mut self.known, stay) {
            self.by_ids.remove(&(known.sequence.ids, used));
            forgotten.push(known.slot);
        }
        self.slots.free.extend(&forgotten);
        for start in &mut starts {
            if start.known.is_none() {
                start.slot = self.slots.take();
            }
            self.taken.insert(start.slot);
        }
        (starts, forgotten)
    }

    /// Starts of a run that goes on from nothing and of which nothing is remembered, as under ablation.
    pub fn begin_apart(&mut self, count: usize) -> Vec<Start> {
        let mut start = || {
            let slot = self.slots.take();
            self.taken.insert(slot);
            Start { slot, ..Start::default() }
        };
        (0..count).map(|_| start()).collect()
    }

    /// Slots of which nothing is kept any more may name something else.
    pub fn give_back(&mut self, slots: &[u32]) {
        let given = slots.iter().copied().filter(|slot| self.taken.remove(slot));
        self.slots.free.extend(given);
    }

    /// Remembers a sequence of the run, with its stream after the last block.
    pub fn finish(&mut self, start: &Start, sequence: &Sequence, stream: &Tensor) {
        if !start.lasting || !self.taken.remove(&start.slot) {
            return;
        }
        self.uses += 1;
        let sequence = per_token(sequence);
        self.by_ids.insert((sequence.ids.clone(), self.uses));
        let known = Known { sequence, stream: stream.clone(), slot: start.slot, bytes: start.bytes };
        self.known.insert(self.uses, known);
    }

    /// Forgets everything, as when the workers that had the keys and values are gone.
    pub fn clear(&mut self) {
        *self = PrefixCache::default();
    }

    /// Bytes that everything remembered takes.
    pub fn bytes(&self) -> usize {
        self.known.values().map(|known| known.bytes).sum()
    }

    fn start(&mut self, sequence: &Sequence, options: &RunOptions) -> Start {
        let t = sequence.ids.len();
        // Patterns need every row of every query; an explanation needs the contributions to its own token.
        let most = match &options.attribution {
            _ if !options.patterns.is_empty() => 0,
            Some(attribution) => attribution.position.unwrap_or(t.saturating_sub(1)).min(t.saturating_sub(1)),
            None if options.leads => t.saturating_sub(1),
            None => t,
        };
        let best = self.nearest(&sequence.ids, |known| covers(known, options));
        let kept = best.and_then(|(same, used)| {
            // The lens tells what it makes of the token that follows: after the last common one that is another.
            let whole = same == t && same == self.known.get(&used)?.sequence.ids.len();
            let followed = options.lens > 0 && !whole;
            Some((same.saturating_sub(usize::from(followed)).min(most), used))
        });
        match kept.filter(|(keep, _)| *keep > 0).and_then(|(keep, used)| Some((keep, self.remove(used)?))) {
            Some((keep, known)) => Start { slot: known.slot, keep, known: Some(known), ..Start::default() },
            None => Start::default(),
        }
    }

    /// Of the sequences that serve the one that has the longest beginning in common with some ids: how long it is, and when
    /// the sequence was used.
    fn nearest(&self, ids: &[u32], covers: impl Fn(&Known) -> bool) -> Option<(usize, u64)> {
        let common = |known: &[u32]| known.iter().zip(ids).take_while(|(known, id)| known == id).count();
        // The further from its place in the order of ids, the less a sequence has in common with them.
        let first = |neighbours: &mut dyn Iterator<Item = &(Vec<u32>, u64)>| {
            let near = neighbours.take(NEIGHBOURS).map(|(known, used)| (common(known), *used));
            near.take_while(|(same, _)| *same > 0).find(|(_, used)| self.known.get(used).is_some_and(&covers))
        };
        let place = (ids.to_vec(), u64::MAX);
        let before = first(&mut self.by_ids.range(..&place).rev());
        before.max(first(&mut self.by_ids.range(&place..)))
    }

    /// When a sequence of just these ids was used.
    fn equal(&self, ids: &[u32]) -> Option<u64> {
        let (known, used) = self.by_ids.range(..(ids.to_vec(), u64::MAX)).next_back()?;
        (known == ids).then_some(*used)
    }

    fn remove(&mut self, used: u64) -> Option<Known> {
        let known = self.known.remove(&used)?;
        self.by_ids.remove(&(known.sequence.ids.clone(), used));
        Some(known)
    }
}

/// Whether a sequence was recorded with what these options record.
fn covers(known: &Known, options: &RunOptions) -> bool {
    let lens = known.sequence.lens.as_ref().map_or(0, |lens| lens.ids.len());
    let cells = known.sequence.lens.as_ref().map_or(0, |lens| lens.true_rank.len());
    (!options.heads || known.sequence.head_norm.is_some())
        && (options.lens == 0 || cells > 0 && lens == cells * options.lens)
}

/// What is recorded token by token: the rest is of the whole text, and found anew.
fn per_token(sequence: &Sequence) -> Sequence {
    let (t, layers) = (sequence.token_count(), sequence.layer_count());
    let heads = sequence.head_norm.as_ref().map_or(0, Vec::len).checked_div(layers * t).unwrap_or(0);
    let lens = sequence.lens.as_ref();
    let k = lens.and_then(|lens| lens.ids.len().checked_div((layers + 1) * t)).unwrap_or(0);
    let rows = [RecordedRows { record: sequence, of: t, rows: 0..t }];
    let gathered = Sequence::gathered(&rows, layers, heads, k);
    Sequence { token_logprob: sequence.token_logprob.clone(), ..gathered }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use proptest::prelude::*;
    use trace::Head;

    fn config() -> Config {
        let json = r#"{"model_type":"gpt2","vocab_size":50,"n_positions":4096,"n_embd":64,"n_layer":8,"n_head":2}"#;
        Config::from_json(json.as_bytes()).unwrap()
    }

    fn text(ids: &[u32]) -> Sequence {
        Sequence { ids: ids.to_vec(), ..Sequence::default() }
    }

    /// A run that comes to its end: where each text starts.
    fn run(prefix_cache: &mut PrefixCache, texts: &[Sequence], options: &RunOptions) -> Vec<usize> {
        let (starts, forgotten) = prefix_cache.begin(&config(), texts, options);
        let mut slots: Vec<u32> = starts.iter().map(|start| start.slot).collect();
        slots.extend(prefix_cache.known.values().map(|known| known.slot));
        let count = slots.len();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), count, "prefix_cache.rs: two texts have one slot");
        let kept = starts.iter().filter(|start| start.known.is_some()).find(|start| forgotten.contains(&start.slot));
        assert!(kept.is_none(), "prefix_cache.rs: {kept:?} is forgotten and gone on from");
        for (start, sequence) in starts.iter().zip(texts) {
            prefix_cache.finish(start, sequence, &Tensor::zeros((0, 1), DType::F32, &Device::Cpu).unwrap());
        }
        assert_eq!(
            prefix_cache.known.len(),
            prefix_cache.by_ids.len(),
            "prefix_cache.rs: the two orders hold other texts"
        );
        starts.iter().map(|start| start.keep).collect()
    }

    #[test]
    fn a_text_that_is_computed_anew_is_remembered_once() {
        let mut prefix_cache = PrefixCache::default();
        let patterns = vec![Head { layer: 0, head: 0 }];
        let options = RunOptions { patterns, ..RunOptions::new(false, 0, false) };
        for _ in 0..100 {
            assert_eq!(run(&mut prefix_cache, &[text(&[1, 2, 3]), text(&[4])], &options), [0, 0]);
        }
        assert_eq!(prefix_cache.known.len(), 2, "prefix_cache.rs: {} texts for two", prefix_cache.known.len());
        assert!(prefix_cache.slots.next <= 4, "prefix_cache.rs: {} slots for two texts", prefix_cache.slots.next);
    }

    #[test]
    fn what_is_remembered_keeps_to_its_budget_and_the_last_used_stay() {
        let mut prefix_cache = PrefixCache::default();
        let options = RunOptions::new(false, 0, false);
        // Some 4 MB each.
        for first in 0..60 {
            let ids: Vec<u32> = (0..1000).map(|place| if place == 0 { first } else { 7 }).collect();
            run(&mut prefix_cache, &[text(&ids)], &options);
            assert!(prefix_cache.bytes() <= MOST_BYTES, "prefix_cache.rs: {} bytes", prefix_cache.bytes());
        }
        assert!(
            prefix_cache.bytes() > MOST_BYTES / 2,
            "prefix_cache.rs: the budget is not used: {}",
            prefix_cache.bytes()
        );
        assert_eq!(
            run(&mut prefix_cache, &[text(&[59, 7, 7])], &options),
            [3],
            "prefix_cache.rs: the last text is known"
        );
        assert_eq!(
            run(&mut prefix_cache, &[text(&[0, 7, 7])], &options),
            [0],
            "prefix_cache.rs: the first has made room"
        );
    }

    proptest! {
        #[test]
        fn a_text_starts_after_the_longest_beginning_it_shares(
            texts in proptest::collection::vec(proptest::collection::vec(0u32..3, 1..6), 1..12),
            next in proptest::collection::vec(0u32..3, 1..6),
        ) {
            let mut prefix_cache = PrefixCache::default();
            let options = RunOptions::new(false, 0, false);
            let known: Vec<Sequence> = texts.iter().map(|ids| text(ids)).collect();
            run(&mut prefix_cache, &known, &options);
            let common = |ids: &Vec<u32>| ids.iter().zip(&next).take_while(|(a, b)| a == b).count();
            let longest = texts.iter().map(common).max().unwrap_or_default();
            prop_assert_eq!(run(&mut prefix_cache, &[text(&next)], &options), vec![longest], "prefix_cache.rs: {:?}", texts);
        }
    }
}
