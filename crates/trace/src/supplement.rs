//! What a later run over the same texts adds to a trace: a view that needs more asks for just that, and the rest stays.

use super::closer::Pattern;
use super::{Sequence, Trace};

/// Most attention weights that are kept beside each other: 64 MB. A text of thousand tokens has a million a head.
const MOST_WEIGHTS: usize = 16 << 20;

impl Trace {
    /// Takes over what another trace of the same texts recorded beyond the norms.
    pub fn supplement(&mut self, more: Trace) {
        for (sequence, more) in self.sequences.iter_mut().zip(more.sequences) {
            sequence.supplement(more);
        }
    }
}

impl Sequence {
    fn supplement(&mut self, more: Sequence) {
        if self.ids != more.ids || self.layer_count() != more.layer_count() {
            return;
        }
        fn take<T>(have: &mut Option<T>, more: Option<T>) {
            if more.is_some() {
                *have = more;
            }
        }
        take(&mut self.head_norm, more.head_norm);
        take(&mut self.attn_bias_norm, more.attn_bias_norm);
        take(&mut self.lens, more.lens);
        take(&mut self.token_logprob, more.token_logprob);
        take(&mut self.leads, more.leads);
        take(&mut self.attribution, more.attribution);
        take(&mut self.kl, more.kl);
        let candidates = |sequence: &Option<super::Next>| sequence.as_ref().map_or(0, |next| next.ids.len());
        if candidates(&more.next) > candidates(&self.next) {
            self.next = more.next;
        }
        if let Some(more) = more.patterns {
            let kept = self.patterns.take().unwrap_or_default();
            self.patterns = Some(joined(kept, more));
        }
        if let (Some(baseline), Some(more)) = (&mut self.baseline, more.baseline) {
            baseline.supplement(*more);
        }
    }
}

/// The later patterns, and of the earlier ones those of other heads, the latest first to stay.
fn joined(kept: Vec<Pattern>, more: Vec<Pattern>) -> Vec<Pattern> {
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
    use crate::closer::Attribution;
    use crate::{Lens, Next};

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
        trace.supplement(Trace { sequences: vec![more], ..Trace::default() });
        let found = &trace.sequences[0];
        assert_eq!((&found.lens, &found.attribution), (&lens, &explained), "supplement.rs: of either trace");
        assert_eq!(found.attn_norm, [0.5, 0.25], "supplement.rs: norms are of the first run");
        assert_eq!(found.next, next(20), "supplement.rs: the longer list of candidates stays");
        let heads: Vec<usize> = found.patterns.iter().flatten().map(|pattern| pattern.head).collect();
        assert_eq!(heads, [1, 2], "supplement.rs: patterns of both");
        let another = Sequence { ids: vec![1, 3], lens: None, attribution: None, kl: Some(vec![1.0]), ..sequence() };
        trace.supplement(Trace { sequences: vec![another], ..Trace::default() });
        assert_eq!(trace.sequences[0].kl, None, "supplement.rs: another text adds nothing");
    }

    #[test]
    fn a_head_asked_for_again_replaces_itself_and_old_ones_go_where_room_is_short() {
        let heads = |patterns: Vec<Pattern>| patterns.iter().map(|pattern| pattern.head).collect::<Vec<_>>();
        assert_eq!(heads(joined(vec![pattern(0, 1), pattern(1, 1)], vec![pattern(0, 1)])), [1, 0]);
        let large = MOST_WEIGHTS / 2 + 1;
        assert_eq!(heads(joined(vec![pattern(0, 1), pattern(1, large)], vec![pattern(2, large)])), [2]);
        assert_eq!(heads(joined(vec![pattern(0, large), pattern(1, 1)], vec![pattern(2, large)])), [1, 2]);
    }
}
