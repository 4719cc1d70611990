//! What attention remembers: keys and values of the tokens that a sequence has so far.

use std::collections::HashMap;
use std::ops::Range;

use super::{Heads, Segment};
use crate::linear::panels::{WIDTH, turn};

/// Keys and values of every sequence in every block, for the heads that this worker holds.
#[derive(Debug, Default)]
pub struct KvCache {
    of: HashMap<(usize, u32), KeysValues>,
}

impl KvCache {
    /// The context of a segment in the block of these heads, cut to what comes before the segment.
    ///
    /// # Errors
    /// How many tokens there are, where the segment follows on more.
    pub fn before(&mut self, heads: &Heads, segment: &Segment) -> Result<&mut KeysValues, usize> {
        let context = self.of.entry((heads.layer, segment.slot)).or_default();
        if (context.heads, context.width) != (heads.count, heads.width) {
            *context = KeysValues { heads: heads.count, width: heads.width, ..KeysValues::default() };
        }
        if context.tokens < segment.past {
            return Err(context.tokens);
        }
        context.tokens = segment.past;
        Ok(context)
    }

    /// Forgets sequences in some blocks.
    pub fn forget(&mut self, layers: Range<usize>, slots: &[u32]) {
        for layer in layers {
            for slot in slots {
                self.of.remove(&(layer, *slot));
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.of.clear();
    }
}

/// Keys and values of one sequence in one block, in the panels that the matrix kernel reads.
#[derive(Debug, Default)]
pub struct KeysValues {
    heads: usize,
    /// The width of a head, D / H.
    width: usize,
    tokens: usize,
    /// Tokens that there is room for.
    room: usize,
    /// For each head, panels of eight tokens: `[room / 8][width][8]`.
    keys: Vec<f32>,
    /// For each head, panels of eight of a value's numbers: `[width / 8][room][8]`.
    values: Vec<f32>,
}

impl KeysValues {
    /// How many tokens it has keys and values of.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    fn value_panels(&self) -> usize {
        self.width.div_ceil(WIDTH)
    }

    /// Adds tokens: the keys and values of rows `[rows, 3 * heads * width]` (queries, keys, values side by side).
    pub fn append(&mut self, rows: &[f32]) {
        let side = self.heads * self.width;
        let stride = (3 * side).max(1);
        self.make_room(self.tokens + rows.len() / stride);
        // Up to the end of a panel of keys at a time: whole panels are turned, which is much faster.
        let mut rows = &rows[..rows.len() / stride * stride];
        while !rows.is_empty() {
            let count = (WIDTH - self.tokens % WIDTH).min(rows.len() / stride);
            let (now, later) = rows.split_at(count * stride);
            for head in 0..self.heads {
                let width = self.width;
                let own = |part: usize| {
                    let first = part * side + head * width;
                    now.chunks_exact(stride).map(move |row| &row[first..first + width])
                };
                self.append_keys(head, own(1));
                self.append_values(head, own(2));
            }
            self.tokens += count;
            rows = later;
        }
    }

    /// A head's keys of tokens that lie within one panel.
    fn append_keys<'a>(&mut self, head: usize, mut keys: impl Iterator<Item = &'a [f32]>) {
        let (panel, place) = (self.tokens / WIDTH, self.tokens % WIDTH);
        let at = (head * self.room + panel * WIDTH) * self.width;
        let (panel, _) = self.keys[at..at + WIDTH * self.width].as_chunks_mut::<WIDTH>();
        if place == 0 {
            return turn(std::array::from_fn(|_| keys.next().unwrap_or_default()), panel);
        }
        for (token, key) in (place..).zip(keys) {
            panel.iter_mut().zip(key).for_each(|(to, number)| to[token] = *number);
        }
    }

    fn append_values<'a>(&mut self, head: usize, values: impl Iterator<Item = &'a [f32]> + Clone) {
        for number in 0..self.value_panels() {
            let at = ((head * self.value_panels() + number) * self.room + self.tokens) * WIDTH;
            for (to, value) in self.values[at..].chunks_exact_mut(WIDTH).zip(values.clone()) {
                let value = &value[number * WIDTH..];
                match (to.first_chunk_mut::<WIDTH>(), value.first_chunk::<WIDTH>()) {
                    // Of a known length: two vectors rather than a call, and nearly all are so.
                    (Some(to), Some(value)) => *to = *value,
                    _ => to[..value.len()].copy_from_slice(value),
                }
            }
        }
    }

    /// Makes room for so many tokens, and for more to come where there are some already.
    fn make_room(&mut self, tokens: usize) {
        if tokens <= self.room {
            return;
        }
        let more = if self.tokens == 0 { tokens } else { tokens.max(self.room + self.room / 2) };
        let room = more.next_multiple_of(WIDTH);
        self.keys = with_room(&self.keys, self.room * self.width, room * self.width, self.heads);
        let panels = self.heads * self.value_panels();
        self.values = with_room(&self.values, self.room * WIDTH, room * WIDTH, panels);
        self.room = room;
    }

    /// Keys of a head, for the first `tokens` of them: panels of eight tokens, each with its `width` rows.
    pub fn keys(&self, head: usize, tokens: usize) -> impl Iterator<Item = &[[f32; WIDTH]]> {
        let own = &self.keys[head * self.room * self.width..][..tokens.next_multiple_of(WIDTH) * self.width];
        own.as_chunks().0.chunks_exact(self.width)
    }

    /// Values of a head, for the first `tokens` of them: panels of eight numbers, each with a row per token.
    pub fn values(&self, head: usize, tokens: usize) -> impl Iterator<Item = &[[f32; WIDTH]]> {
        let panels = self.value_panels();
        let own = &self.values[head * panels * self.room * WIDTH..][..panels * self.room * WIDTH];
        own.as_chunks().0.chunks_exact(self.room).map(move |panel| &panel[..tokens])
    }
}

/// The same stretches, each with more room behind it.
fn with_room(values: &[f32], stretch: usize, room: usize, count: usize) -> Vec<f32> {
    let mut roomier = vec![0.0; room * count];
    if stretch > 0 {
        for (to, from) in roomier.chunks_exact_mut(room).zip(values.chunks_exact(stretch)) {
            to[..stretch].copy_from_slice(from);
        }
    }
    roomier
}
