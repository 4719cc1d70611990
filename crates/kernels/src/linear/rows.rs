//! Products of rows with rows: the unembedding's, whose matrix is the embedding's own table and stays in its order.
//!
//! For a few rows at a time, dot products read the table as it is. For more, eight of its rows at a time are turned into
//! a panel as the kernel reads them, which costs little beside the tiles that it is then used for.

use super::columns::Columns;
use super::kernel::Rows;
use super::panels::{WIDTH, turn};
use crate::buffer_pool::Buffer;
use crate::lanes::F32x4;

/// Rows of x from which on a panel is made.
const WORTH_A_PANEL: usize = 6;

/// Products of all rows of x `[n, depth]` with all rows of w `[m, depth]`, to the first m columns of a matrix `out` with
/// `stride` columns: x times w transposed, with w as it is. Up to seven columns more may be overwritten.
pub fn rows_by_rows(x: &[f32], w: &[f32], depth: usize, out: &mut [f32], stride: usize) {
    let count = x.len() / depth;
    if count < WORTH_A_PANEL {
        return by_dots(x, w, depth, out, stride);
    }
    let rows = Rows::new(x, depth, count, depth);
    let mut panel = Buffer::take(depth * WIDTH);
    let (panel_rows, _) = panel.as_chunks_mut::<WIDTH>();
    for stretch in rows.stretches() {
        let is_first = stretch.start == 0;
        let mut next = w.chunks(WIDTH * depth).skip(1);
        for (number, w) in w.chunks(WIDTH * depth).enumerate() {
            let mut of_w = w.chunks_exact(depth).map(|row| &row[stretch.clone()]);
            turn(std::array::from_fn(|_| of_w.next().unwrap_or_default()), &mut panel_rows[stretch.clone()]);
            let mut place = Columns { out, stride, start: is_first.then_some(&[]), finish: |sum| sum };
            // With several stretches, more is read ahead than is wanted at once: all of it stays in the caches.
            let ahead = next.next().unwrap_or_default().as_chunks().0;
            rows.times(stretch.clone(), number, panel_rows, ahead, &mut place);
        }
    }
}

fn by_dots(x: &[f32], w: &[f32], depth: usize, out: &mut [f32], stride: usize) {
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
