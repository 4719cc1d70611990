//! One row times a packed matrix: every number of the weights is read once and used once, so that all waiting is for
//! memory. Four panels are read side by side: a processor fetches four streams faster than one.

use super::panels::{Panels, WIDTH};
use crate::lanes::F32x4;

/// Panels at a time: as many as the match below names.
const STREAMS: usize = 4;

/// x `[in]` times W, and what each column begins with, through `finish`, to `out` `[out]`.
pub fn one_row(x: &[f32], w: &Panels, start: &[f32], finish: impl Fn(F32x4) -> F32x4, out: &mut [f32]) {
    let mut panels = w.iter();
    let columns = out.chunks_mut(STREAMS * WIDTH).zip(start.chunks(STREAMS * WIDTH));
    for (out, start) in columns {
        match std::array::from_fn(|_| panels.next()) {
            [Some(a), Some(b), Some(c), Some(d)] => put(&side_by_side(x, [a, b, c, d]), start, &finish, out),
            fewer => {
                let places = out.chunks_mut(WIDTH).zip(start.chunks(WIDTH));
                for (panel, (out, start)) in fewer.into_iter().flatten().zip(places) {
                    put(&side_by_side(x, [panel]), start, &finish, out);
                }
            }
        }
    }
}

/// Never inlined, so that the browser's compiler has the registers for these sums alone.
#[inline(never)]
fn side_by_side<const P: usize>(x: &[f32], panels: [&[[f32; WIDTH]]; P]) -> [[F32x4; 2]; P] {
    let panels = panels.map(|panel| &panel[..x.len()]);
    let mut sums = [[F32x4::splat(0.0); 2]; P];
    for (step, x) in x.iter().enumerate() {
        let x = F32x4::splat(*x);
        for (sums, panel) in sums.iter_mut().zip(&panels) {
            let [a, b, c, d, e, f, g, h] = panel[step];
            *sums = [x.mul_add(F32x4::from([a, b, c, d]), sums[0]), x.mul_add(F32x4::from([e, f, g, h]), sums[1])];
        }
    }
    sums
}

fn put(sums: &[[F32x4; 2]], start: &[f32], finish: impl Fn(F32x4) -> F32x4, out: &mut [f32]) {
    let (fours, starts) = (out.chunks_mut(4), start.chunks(4));
    for ((out, start), sum) in fours.zip(starts).zip(sums.as_flattened()) {
        let mut first = [0.0; 4];
        first[..start.len()].copy_from_slice(start);
        let sum = finish(*sum + F32x4::from(first)).to_array();
        out.copy_from_slice(&sum[..out.len()]);
    }
}
