//! What a later run over the same texts adds to a trace: a view that needs more asks for just that, and the rest stays.

use super::Pattern;
use super::fields::Record;
use super::{Next, Sequence, Trace};

/// Most attention weights that are kept beside each other: 64 MB. A text of thousand tokens has a million a head.
const MOST_WEIGHTS: usize = 16 << 20;

impl Trace {
    /// Takes over what another trace of the same texts recorded beyond the norms: each optional field that it has.
    pub fn merge(&mut self, more: Trace) {
        for (sequence, more) in self.sequences.iter_mut().zip(more.sequences) {
            sequence.merge(more);
        }
    }
}

impl Sequence {
    fn merge(&mut self, mut more: Sequence) {
        if self.ids != more.ids || self.layer_count() != more.layer_count() {
            return;
        }
        let candidates = |next: &Option<Next>| next.as_ref().map_or(0, |next| next.ids.len());
        if candidates(&more.next) <= candidates(&self.next) {
            more.next = None;
        }
        more.patterns = more.patterns.map(|more| merged(self.patterns.take().unwrap_or_default(), more));
        if let (Some(baseline), Some(more)) = (&mut self.baseline, more.baseline.take()) {
            baseline.merge(*more);
        }
        self.update(more);
    }
}

/// The later patterns, and of the earlier ones those of other heads, the latest first to stay.
fn merged(kept: Vec<Pattern>, more: Vec<Pattern>) -> Vec<Pattern> {
    let is_new = |pattern: &Pattern| more.iter().any(|new| (new.layer, new.head) == (pattern.layer, pattern.head));
    let mut room = MOST_WEIGHTS.saturating_sub(more.iter().map(|new| new.weights.len()).sum());
    let mut all: Vec<Pattern> = kept
        .into_iter()
        .rev()
        .filter(|pattern| !is_new(pattern))
        .take_while(|pattern| {
            let fits = pattern.weights.len() <= room;
            room = room.saturating_sub(pattern.weights.len());
            fits
        })
        .collect();
    all.reverse();
    all.extend(more);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attribution;
    use crate::Lens;

    fn sequence() -> Sequence {
        Sequence { ids: vec![1, 2], attn_norm: vec![0.5, 0.25], ..Sequence::default() }
    }

    fn pattern(head: usize, weights: usize) -> Pattern {
        Pattern { layer: 0, head, weights: vec![1.0; weights], writes: None }
    }

    #[test]
    fn what_was_there_stays_and_what_is_new_is_added() {
        let lens = Some(Lens { ids: vec![7], ..Lens::default() });
        let next = |count: u32| Some(Next { ids: (0..count).collect(), ..Next::default() });
        let before = Sequence { lens: lens.clone(), next: next(20), patterns: Some(vec![pattern(1, 4)]), ..sequence() };
        let mut trace = Trace { sequences: vec![before], ..Trace::default() };
        let explained = Some(Attribution { position: 1, ..Attribution::default() });
        let more = Sequence {
            attn_norm: vec![9.0, 9.0],
            attribution: explained.clone(),
            next: next(5),
            patterns: Some(vec![pattern(2, 4)]),
            ..sequence()
        };
        trace.merge(Trace { sequences: vec![more], ..Trace::default() });
        let found = &trace.sequences[0];
        assert_eq!((&found.lens, &found.attribution), (&lens, &explained), "merge.rs: of either trace");
        assert_eq!(found.attn_norm, [0.5, 0.25], "merge.rs: norms are of the first run");
        assert_eq!(found.next, next(20), "merge.rs: the longer list of candidates stays");
        let heads: Vec<usize> = found.patterns.iter().flatten().map(|pattern| pattern.head).collect();
        assert_eq!(heads, [1, 2], "merge.rs: patterns of both");
        let another = Sequence { ids: vec![1, 3], lens: None, attribution: None, kl: Some(vec![1.0]), ..sequence() };
        trace.merge(Trace { sequences: vec![another], ..Trace::default() });
        assert_eq!(trace.sequences[0].kl, None, "merge.rs: another text adds nothing");
    }

    #[test]
    fn a_head_asked_for_again_replaces_itself_and_old_ones_go_where_room_is_short() {
        let heads = |patterns: Vec<Pattern>| patterns.iter().map(|pattern| pattern.head).collect::<Vec<_>>();
        assert_eq!(heads(merged(vec![pattern(0, 1), pattern(1, 1)], vec![pattern(0, 1)])), [1, 0]);
        let large = MOST_WEIGHTS / 2 + 1;
        assert_eq!(heads(merged(vec![pattern(0, 1), pattern(1, large)], vec![pattern(2, large)])), [2]);
        assert_eq!(heads(merged(vec![pattern(0, large), pattern(1, 1)], vec![pattern(2, large)])), [1, 2]);
    }
}
