//! One row times a packed matrix: every number of the weights is read once and used once, so that all waiting is for
//! memory. Four panels are read side by side: a processor fetches four streams faster than one.

use super::panels::{Panels, WIDTH};
use crate::lanes::F32x4;

/// Panels at a time: as many as the match below names.
const STREAMS: usize = 4;

/// x `[in]` times W: `store` takes each panel's number and its eight sums.
pub fn one_row(x: &[f32], w: &Panels, mut store: impl FnMut(usize, [F32x4; 2])) {
    let mut panels = w.iter();
    for first in (0..w.outputs().div_ceil(WIDTH)).step_by(STREAMS) {
        match std::array::from_fn(|_| panels.next()) {
            [Some(a), Some(b), Some(c), Some(d)] => {
                (first..).zip(side_by_side(x, [a, b, c, d])).for_each(|(number, sums)| store(number, sums));
            }
            fewer => {
                for (number, panel) in (first..).zip(fewer.into_iter().flatten()) {
                    let [sums] = side_by_side(x, [panel]);
                    store(number, sums);
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
