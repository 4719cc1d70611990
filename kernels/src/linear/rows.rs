//! Products of rows with rows: the unembedding's, whose matrix is the embedding's own table and stays in its order.
//!
//! For a few rows at a time, dot products read the table as it is. For more, eight of its rows at a time are turned into
//! a panel as the kernel reads them, which costs little beside the tiles that it is then used for.

use std::ops::Range;

use super::columns::Columns;
use super::kernel::Rows;
use super::panels::WIDTH;
use crate::lanes::F32x4;
use crate::spare;

/// Rows of x from which on a panel is made.
const WORTH_A_PANEL: usize = 6;

/// Products of all rows of x `[n, depth]` with all rows of w `[m, depth]`, to the first m columns of a matrix `out` with
/// `stride` columns: x times w transposed, with w as it is. Up to seven columns more may be overwritten.
pub fn rows_by_rows(x: &[f32], w: &[f32], depth: usize, (out, stride): (&mut [f32], usize)) {
    let count = x.len() / depth;
    if count < WORTH_A_PANEL {
        return by_dots(x, w, depth, (out, stride));
    }
    let rows = Rows::new(x, depth, count, depth);
    let mut panel = spare::take(depth * WIDTH);
    let (panel_rows, _) = panel.as_chunks_mut::<WIDTH>();
    for stretch in rows.stretches() {
        let is_first = stretch.start == 0;
        let mut next = w.chunks(WIDTH * depth).skip(1);
        for (number, w) in w.chunks(WIDTH * depth).enumerate() {
            turn(w, depth, stretch.clone(), panel_rows);
            let start = is_first.then(|| [F32x4::splat(0.0); 2]);
            let mut place = Columns { out, stride, first: number * WIDTH, start, finish: |sum| sum };
            // With several stretches, more is read ahead than is wanted at once: all of it stays in the caches.
            let ahead = next.next().unwrap_or_default().as_chunks().0;
            rows.times(panel_rows, stretch.clone(), ahead, &mut place);
        }
    }
    spare::give(panel);
    rows.recycle();
}

/// A stretch of up to eight rows as that stretch of a panel; missing rows are zeros.
fn turn(w: &[f32], depth: usize, stretch: Range<usize>, panel: &mut [[f32; WIDTH]]) {
    let mut rows = w.chunks_exact(depth).map(|row| &row[stretch.clone()]);
    let rows: [&[f32]; WIDTH] = std::array::from_fn(|_| rows.next().unwrap_or_default());
    let panel = &mut panel[stretch];
    let mut done = 0;
    if rows.iter().all(|row| row.len() == panel.len()) {
        let fours = rows.map(|row| row.as_chunks::<4>().0);
        let (of_four, _) = panel.as_chunks_mut::<4>();
        for (step, to) in of_four.iter_mut().enumerate() {
            let read = |first: usize| std::array::from_fn(|i| F32x4::from(fours[first + i][step]));
            let (left, right) = (F32x4::transpose(read(0)), F32x4::transpose(read(4)));
            for ((to, left), right) in to.iter_mut().zip(left).zip(right) {
                let (start, end) = to.split_at_mut(4);
                start.copy_from_slice(&left.to_array());
                end.copy_from_slice(&right.to_array());
            }
        }
        done = of_four.len() * 4;
    }
    for (step, to) in panel.iter_mut().enumerate().skip(done) {
        *to = rows.map(|row| row.get(step).copied().unwrap_or(0.0));
    }
}

fn by_dots(x: &[f32], w: &[f32], depth: usize, (out, stride): (&mut [f32], usize)) {
    /// Rows of w that stay in the first-level cache while all of x passes by.
    const AT_A_TIME: usize = 8;
    for (block, w) in w.chunks(AT_A_TIME * depth).enumerate() {
        for (row, x) in x.chunks_exact(depth).enumerate() {
            let out = &mut out[row * stride + block * AT_A_TIME..];
            if w.len() == AT_A_TIME * depth {
                out[..AT_A_TIME].copy_from_slice(&dots::<AT_A_TIME>(x, w, depth));
            } else {
                for (out, w) in out.iter_mut().zip(w.chunks_exact(depth)) {
                    [*out] = dots(x, w, depth);
                }
            }
        }
    }
}

/// Products of one row with C rows.
#[inline(always)]
fn dots<const C: usize>(x: &[f32], w: &[f32], depth: usize) -> [f32; C] {
    let (x, x_rest) = x.as_chunks::<4>();
    let w: [(&[[f32; 4]], &[f32]); C] = std::array::from_fn(|i| w[i * depth..(i + 1) * depth].as_chunks());
    let mut sums = [F32x4::splat(0.0); C];
    for (step, x) in x.iter().enumerate() {
        let x = F32x4::from(*x);
        for (sum, w) in sums.iter_mut().zip(&w) {
            *sum = x.mul_add(F32x4::from(w.0[step]), *sum);
        }
    }
    let rest = |w: &[f32]| x_rest.iter().zip(w).map(|(a, b)| a * b).sum::<f32>();
    std::array::from_fn(|i| sums[i].total() + rest(w[i].1))
}
