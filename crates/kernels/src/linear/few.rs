//! A few rows times a packed matrix: the multipliers wait for memory. Panels are read side by side, a short way of each
//! in turn: a processor fetches several streams faster than one, and goes on fetching each while it computes with the
//! others.

use super::kernel::{ROWS, Rows, Tile, TileStore, tile};
use super::panels::Panels;
use crate::lanes::F32x4;

/// Tiles of rows, at most.
const TILES: usize = 2;
/// Rows, at most: with more, the computing takes longer than the fetching.
pub const MOST: usize = TILES * ROWS;
/// Panels at a time.
const STREAMS: usize = 8;
/// Steps along the inner axis until the next panel has its turn: 1 KB of a panel.
const STEPS: usize = 32;

/// Two to [`MOST`] rows times W.
pub fn few_rows(rows: &Rows, w: &Panels, place: &mut impl TileStore) {
    let mut sums: [[Tile<ROWS>; TILES]; STREAMS] = [[[[F32x4::splat(0.0); 2]; ROWS]; TILES]; STREAMS];
    for (group, panels) in w.groups(STREAMS).enumerate() {
        let numbers = || (group * STREAMS..).take(panels.len());
        for (number, sums) in numbers().zip(&mut sums) {
            for ((row, count), sums) in rows.tiles().zip(sums) {
                place.load(number, row, count, sums);
            }
        }
        for at in (0..w.inputs()).step_by(STEPS) {
            let steps = at..w.inputs().min(at + STEPS);
            for (panel, sums) in panels.clone().zip(&mut sums) {
                for ((row, count), sums) in rows.tiles().zip(sums) {
                    tile(rows.part(row, count, steps.clone()), count, &panel[steps.clone()], sums);
                }
            }
        }
        for (number, sums) in numbers().zip(&sums) {
            for ((row, count), sums) in rows.tiles().zip(sums) {
                place.store(number, row, count, sums);
            }
        }
    }
}
