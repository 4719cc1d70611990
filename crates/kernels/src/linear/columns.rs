//! Where a panel's sums go: eight columns of a matrix.

use super::kernel::{ROWS, Tile, TileStore};
use super::panels::WIDTH;
use crate::lanes::F32x4;

/// A matrix with `stride` columns, eight of them to a panel.
pub struct Columns<'a, F> {
    /// The elements of the matrix, row after row.
    pub out: &'a mut [f32],
    /// How many columns it has.
    pub stride: usize,
    /// What each column's sums begin with, zero beyond the last; none to go on from what is in the matrix.
    pub start: Option<&'a [f32]>,
    /// What becomes of the sums.
    pub finish: F,
}

impl<F: Fn(F32x4) -> F32x4> TileStore for Columns<'_, F> {
    #[inline(always)]
    fn load(&self, panel: usize, row: usize, count: usize, tile: &mut Tile<ROWS>) {
        let first = panel * WIDTH;
        match self.start {
            Some(start) => {
                let start = eight(start, first);
                tile[..count].iter_mut().for_each(|sums| *sums = start);
            }
            None => {
                for (row, sums) in (row..).zip(&mut tile[..count]) {
                    *sums = eight(&self.out[row * self.stride..][..self.stride], first);
                }
            }
        }
    }

    #[inline(always)]
    fn store(&mut self, panel: usize, row: usize, count: usize, tile: &Tile<ROWS>) {
        let first = panel * WIDTH;
        let width = WIDTH.min(self.stride - first);
        for (row, sums) in (row..).zip(&tile[..count]) {
            put(sums.map(&self.finish), &mut self.out[row * self.stride + first..][..width]);
        }
    }
}

/// Eight numbers, or as many as there is room for.
#[inline(always)]
pub fn put(sums: [F32x4; 2], to: &mut [f32]) {
    let [left, right] = sums.map(F32x4::to_array);
    match to.first_chunk_mut::<WIDTH>() {
        // Of a known length: two vectors rather than a loop, and nearly all are so.
        Some(to) => {
            to[..4].copy_from_slice(&left);
            to[4..].copy_from_slice(&right);
        }
        None => to.iter_mut().zip(left.iter().chain(&right)).for_each(|(to, sum)| *to = *sum),
    }
}

/// The eight numbers from this column on, with zeros after the last.
#[inline(always)]
pub fn eight(values: &[f32], first: usize) -> [F32x4; 2] {
    if let Some([a, b, c, d, e, f, g, h]) = values.get(first..first + WIDTH) {
        return [F32x4::from([*a, *b, *c, *d]), F32x4::from([*e, *f, *g, *h])];
    }
    let at = |place| values.get(place).copied().unwrap_or(0.0);
    [first, first + 4].map(|first| F32x4::from(std::array::from_fn(|i| at(first + i))))
}
