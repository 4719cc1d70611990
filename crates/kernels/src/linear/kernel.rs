//! The inner loops of matrix multiplication.
//!
//! The kernel keeps a tile of some rows by 8 columns in vector registers and adds one product to each with every step
//! along the inner axis. Six rows take twelve registers for their sums and three for what is multiplied: fifteen of the
//! sixteen that a browser's compiler has on x86-64. Where a multiply-add is two instructions, the product needs one more,
//! and four rows are what fits.

use std::ops::Range;

use super::panels::WIDTH;
use crate::buffer_pool::Buffer;
use crate::lanes::F32x4;

/// Rows of a tile.
pub const ROWS: usize = if cfg!(target_feature = "relaxed-simd") { 6 } else { 4 };
/// Steps along the inner axis that a tile takes before the next one has its turn: what of the panel is used meanwhile
/// stays in the first-level cache for all tiles.
const DEPTH: usize = 384;
/// A tile of fewer rows goes by too fast to read ahead.
const FEW: usize = 3;
/// Rows are cut along the inner axis in multiples of this.
const GRAIN: usize = 384;
/// Numbers in a line of the caches.
const LINE: usize = 16;
/// Lines read ahead at a time: together, because the processor waits for them as long as for one; and no more, because
/// what it can have under way is little more.
const BURST: usize = 8;

/// A tile's sums: for each row, the eight columns.
pub type Tile<const R: usize> = [[F32x4; 2]; R];

/// Adds `R` rows, interleaved, times a panel to the tile, and reads ahead meanwhile. `CHAINS` sums run side by side where
/// a tile of few rows would leave the multipliers waiting for the last addition.
///
/// Never inlined, so that the browser's compiler has the registers for these sums alone: inlined into the loops around
/// it, the same code runs at half the speed. Nor are the steps of a full tile unrolled, for the same reason.
#[inline(never)]
fn accumulate<const R: usize, const CHAINS: usize>(
    rows: &[[f32; R]],
    panel: &[[f32; WIDTH]],
    tile: &mut Tile<R>,
    ahead: Ahead,
) {
    let mut sums = *tile;
    if CHAINS == 1 {
        let (mut rows, mut panel, mut bursts) = (rows, panel, ahead.bursts.iter());
        let mut seen = 0;
        while !rows.is_empty() {
            // One number of each line: WebAssembly has no other way to have the caches fetch it.
            if let Some(burst) = bursts.next() {
                seen = burst.iter().step_by(LINE).fold(seen, |seen, number| seen ^ number.to_bits());
            }
            let (now, later) = rows.split_at(ahead.every.min(rows.len()));
            let (panel_now, panel_later) = panel.split_at(ahead.every.min(panel.len()));
            for (row, panel) in now.iter().zip(panel_now) {
                multiply_add(row, panel, &mut sums);
            }
            (rows, panel) = (later, panel_later);
        }
        std::hint::black_box(seen);
        *tile = sums;
        return;
    }
    let mut chains = [[[F32x4::splat(0.0); 2]; R]; CHAINS];
    let (rows, rows_left) = rows.as_chunks::<CHAINS>();
    let (panel, panel_left) = panel.as_chunks::<CHAINS>();
    for (rows, panel) in rows.iter().zip(panel) {
        for ((row, panel), chain) in rows.iter().zip(panel).zip(&mut chains) {
            multiply_add(row, panel, chain);
        }
    }
    for (row, panel) in rows_left.iter().zip(panel_left) {
        multiply_add(row, panel, &mut sums);
    }
    for chain in &chains {
        for (sums, more) in sums.iter_mut().zip(chain) {
            *sums = [sums[0] + more[0], sums[1] + more[1]];
        }
    }
    *tile = sums;
}

#[inline(always)]
fn multiply_add<const R: usize>(row: &[f32; R], panel: &[f32; WIDTH], tile: &mut Tile<R>) {
    let [a, b, c, d, e, f, g, h] = *panel;
    let (left, right) = (F32x4::from([a, b, c, d]), F32x4::from([e, f, g, h]));
    for (x, sums) in row.iter().zip(tile) {
        let x = F32x4::splat(*x);
        *sums = [x.mul_add(left, sums[0]), x.mul_add(right, sums[1])];
    }
}

/// Up to [`ROWS`] rows of a matrix, interleaved: all their first numbers, then all their second.
pub fn interleave(rows: &[f32], stride: usize, count: usize, depth: usize, to: &mut [f32]) {
    match count {
        6 => interleave_rows::<6>(rows, stride, depth, to),
        5 => interleave_rows::<5>(rows, stride, depth, to),
        4 => interleave_rows::<4>(rows, stride, depth, to),
        3 => interleave_rows::<3>(rows, stride, depth, to),
        2 => interleave_rows::<2>(rows, stride, depth, to),
        _ => to[..depth].copy_from_slice(&rows[..depth]),
    }
}

fn interleave_rows<const R: usize>(rows: &[f32], stride: usize, depth: usize, to: &mut [f32]) {
    let rows: [&[f32]; R] = std::array::from_fn(|row| &rows[row * stride..row * stride + depth]);
    let (to, _) = to.as_chunks_mut::<R>();
    for (step, to) in to.iter_mut().take(depth).enumerate() {
        *to = std::array::from_fn(|row| rows[row][step]);
    }
}

/// The tile of `count` interleaved rows times a panel; unused rows are left as they were.
pub fn tile(rows: &[f32], count: usize, panel: &[[f32; WIDTH]], tile: &mut Tile<ROWS>) {
    tile_and_ahead(rows, count, panel, tile, Ahead::NOTHING);
}

fn tile_and_ahead(rows: &[f32], count: usize, panel: &[[f32; WIDTH]], tile: &mut Tile<ROWS>, ahead: Ahead) {
    if count == ROWS {
        return accumulate::<ROWS, 1>(rows.as_chunks().0, panel, tile, ahead);
    }
    match count {
        5 => few::<5, 1>(rows, panel, tile, ahead),
        4 => few::<4, 1>(rows, panel, tile, ahead),
        3 => few::<3, 1>(rows, panel, tile, ahead),
        2 => few::<2, 2>(rows, panel, tile, ahead),
        _ => few::<1, 4>(rows, panel, tile, ahead),
    }
}

fn few<const R: usize, const CHAINS: usize>(rows: &[f32], panel: &[[f32; WIDTH]], tile: &mut Tile<ROWS>, ahead: Ahead) {
    if let Some(tile) = tile.first_chunk_mut() {
        accumulate::<R, CHAINS>(rows.as_chunks().0, panel, tile, ahead);
    }
}

/// Where tiles come from and go to; each is named by its panel's number, its first row and the number of its rows.
pub trait TileStore {
    /// Writes what the sums begin with.
    fn load(&self, panel: usize, row: usize, count: usize, tile: &mut Tile<ROWS>);

    /// Takes the sums.
    fn store(&mut self, panel: usize, row: usize, count: usize, tile: &Tile<ROWS>);
}

/// A matrix of T rows, interleaved by tiles of [`ROWS`]; its memory is the pool's.
pub struct Rows {
    values: Buffer,
    count: usize,
    depth: usize,
}

impl Rows {
    /// From `count` rows of `depth` numbers each, `stride` apart.
    pub fn new(x: &[f32], stride: usize, count: usize, depth: usize) -> Rows {
        let mut values = Buffer::take(count * depth);
        for first in (0..count).step_by(ROWS) {
            let here = ROWS.min(count - first);
            interleave(&x[first * stride..], stride, here, depth, &mut values[first * depth..]);
        }
        Rows { values, count, depth }
    }

    /// Each tile's first row, and how many it has.
    pub fn tiles(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        tiles_of(0..self.count)
    }

    /// Some steps of a tile.
    #[inline(always)]
    pub fn part(&self, row: usize, count: usize, steps: Range<usize>) -> &[f32] {
        let from = row * self.depth;
        &self.values[from + steps.start * count..from + steps.end * count]
    }

    /// The inner axis in stretches: of so many steps that all rows of one stay in the second-level cache while every
    /// panel passes by.
    pub fn stretches(&self) -> impl Iterator<Item = Range<usize>> {
        /// Numbers: half of the 512 KB that a core has to itself, as a rule, less what else goes through it.
        const CACHED: usize = 48 << 10;
        let depth = self.depth;
        let size = (CACHED / self.count.max(1) / GRAIN).max(1) * GRAIN;
        (0..depth).step_by(size).map(move |from| from..depth.min(from + size))
    }

    /// A stretch of all rows times that stretch of one panel. `next` is what of the weights is wanted after it.
    ///
    /// A panel is used once per pass and comes from memory, which a core cannot ask for without waiting as long as it
    /// computes at full speed; so the next one is fetched in small portions while the tiles of this one are computed.
    #[inline(always)]
    pub fn times(
        &self,
        stretch: Range<usize>,
        number: usize,
        panel: &[[f32; WIDTH]],
        next: &[[f32; WIDTH]],
        place: &mut impl TileStore,
    ) {
        // Tiles wait in here between two parts of the stretch.
        const TILES: usize = 32;
        let mut ahead = Ahead::new(next, self.count);
        let mut tiles = [[[F32x4::splat(0.0); 2]; ROWS]; TILES];
        for first in (0..self.count).step_by(ROWS * TILES) {
            let beyond = self.count.min(first + ROWS * TILES);
            let of_rows = || tiles_of(first..beyond);
            for (sums, (row, count)) in tiles.iter_mut().zip(of_rows()) {
                place.load(number, row, count, sums);
            }
            for at in stretch.clone().step_by(DEPTH) {
                let end = stretch.end.min(at + DEPTH);
                for (sums, (row, count)) in tiles.iter_mut().zip(of_rows()) {
                    let rows = self.part(row, count, at..end);
                    tile_and_ahead(rows, count, &panel[at..end], sums, ahead.during(count));
                }
            }
            for (sums, (row, count)) in tiles.iter().zip(of_rows()) {
                place.store(number, row, count, sums);
            }
        }
    }
}

fn tiles_of(rows: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    rows.clone().step_by(ROWS).map(move |row| (row, ROWS.min(rows.end - row)))
}

/// Lines that are read together.
type Burst = [f32; BURST * LINE];

/// What of the weights to have the caches fetch during the coming steps.
#[derive(Clone, Copy)]
struct Ahead<'a> {
    bursts: &'a [Burst],
    /// Steps along the inner axis from one burst to the next.
    every: usize,
    /// Bursts in [`DEPTH`] steps of a tile.
    per_tile: usize,
}

impl<'a> Ahead<'a> {
    const NOTHING: Ahead<'static> = Ahead { bursts: &[], every: usize::MAX, per_tile: 0 };

    /// The next panel, there before the tiles of so many rows come to the end of this one.
    fn new(next: &'a [[f32; WIDTH]], rows: usize) -> Ahead<'a> {
        if rows <= ROWS {
            // Rows of one tile wait for memory anyway, and the processor sees what they read.
            return Ahead::NOTHING;
        }
        let tiles = rows / ROWS + usize::from(rows % ROWS >= FEW);
        // A step of one tile passes half a line of its panel. All parts of a tile's way are of one length.
        let per_tile = DEPTH.div_ceil(2 * BURST * tiles);
        Ahead { bursts: next.as_flattened().as_chunks().0, every: DEPTH.div_ceil(per_tile), per_tile }
    }

    /// Takes out what belongs to one tile of `count` rows, and the next [`DEPTH`] steps of it.
    #[inline(always)]
    fn during(&mut self, count: usize) -> Ahead<'a> {
        let bursts = if count < FEW { 0 } else { self.per_tile };
        let (bursts, later) = self.bursts.split_at(bursts.min(self.bursts.len()));
        self.bursts = later;
        Ahead { bursts, ..*self }
    }
}
