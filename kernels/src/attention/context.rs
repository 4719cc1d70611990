//! What attention remembers: keys and values of the tokens that a sequence has so far.

use std::collections::HashMap;
use std::ops::Range;

use super::Segment;
use crate::linear::panels::{WIDTH, turn};

/// Keys and values of every sequence in every block, for the heads that this worker holds.
#[derive(Debug, Default)]
pub struct Contexts {
    of: HashMap<(usize, u32), KeysValues>,
}

impl Contexts {
    /// The context of a segment in a block, cut to what comes before the segment.
    ///
    /// # Errors
    /// How many tokens there are, where the segment follows on more.
    pub fn before(
        &mut self,
        layer: usize,
        segment: &Segment,
        (heads, width): (usize, usize),
    ) -> Result<&mut KeysValues, usize> {
        let context = self.of.entry((layer, segment.slot)).or_default();
        if (context.heads, context.width) != (heads, width) {
            *context = KeysValues { heads, width, ..KeysValues::default() };
        }
        if context.tokens < segment.past {
            return Err(context.tokens);
        }
        context.tokens = segment.past;
        Ok(context)
    }

    /// Forgets sequences in some blocks.
    pub fn forget(&mut self, layers: Range<usize>, slots: &[u32]) {
        if !slots.is_empty() {
            self.of.retain(|(layer, slot), _| !layers.contains(layer) || !slots.contains(slot));
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
    /// D / H.
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
    /// Tokens so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    fn value_panels(&self) -> usize {
        self.width.div_ceil(WIDTH)
    }

    /// Adds tokens: the keys and values of rows `[rows, 3 * heads * width]` (queries, keys, values side by side).
    pub fn append(&mut self, rows: &[f32]) {
        let side = self.heads * self.width;
        let rows: Vec<&[f32]> = rows.chunks_exact((3 * side).max(1)).map(|row| &row[side..]).collect();
        self.make_room(self.tokens + rows.len());
        // Up to the end of a panel of keys at a time: whole panels are turned, which is much faster.
        let mut rows = rows.as_slice();
        while !rows.is_empty() {
            let (now, later) = rows.split_at((WIDTH - self.tokens % WIDTH).min(rows.len()));
            for head in 0..self.heads {
                let own = head * self.width..(head + 1) * self.width;
                self.append_keys(head, now, own.clone());
                self.append_values(head, now, side + own.start..side + own.end);
            }
            self.tokens += now.len();
            rows = later;
        }
    }

    /// Some columns of rows that lie within one panel of eight tokens.
    fn append_keys(&mut self, head: usize, rows: &[&[f32]], columns: Range<usize>) {
        let (panel, place) = (self.tokens / WIDTH, self.tokens % WIDTH);
        let at = (head * self.room + panel * WIDTH) * self.width;
        let (panel, _) = self.keys[at..at + WIDTH * self.width].as_chunks_mut::<WIDTH>();
        if place == 0 {
            return turn(std::array::from_fn(|i| rows.get(i).map_or(&[][..], |row| &row[columns.clone()])), panel);
        }
        for (token, row) in (place..).zip(rows) {
            panel.iter_mut().zip(&row[columns.clone()]).for_each(|(to, key)| to[token] = *key);
        }
    }

    fn append_values(&mut self, head: usize, rows: &[&[f32]], columns: Range<usize>) {
        for number in 0..self.value_panels() {
            let (first, from) = (number * WIDTH, columns.start + number * WIDTH);
            let width = WIDTH.min(self.width - first);
            let at = ((head * self.value_panels() + number) * self.room + self.tokens) * WIDTH;
            for (to, row) in self.values[at..].chunks_exact_mut(WIDTH).zip(rows) {
                match (to.first_chunk_mut::<WIDTH>(), row[from..].first_chunk::<WIDTH>()) {
                    // Of a known length: two vectors rather than a call, and nearly all are so.
                    (Some(to), Some(values)) if width == WIDTH => *to = *values,
                    _ => to[..width].copy_from_slice(&row[from..from + width]),
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
