//! The exponential function, four at a time.

use super::F32x4;

/// Below this, e^x is less than the smallest normal number, and comes out as that.
const LEAST: f32 = -87.336_54;
/// Above this, e^x is more than F32 holds, and comes out as its value here.
const MOST: f32 = 88.376_26;
/// From here on 1 + e^x comes out as infinite, and the sigmoid of -x as 0.
const INFINITE: f32 = 89.0;
/// ln 2 in two parts: whole multiples of the first are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Of (e^r - 1 - r) / r² on [-ln 2 / 2, ln 2 / 2], highest power first: the minimax polynomial of the Cephes
/// library's expf (Moshier, 1992).
const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

impl F32x4 {
    /// e to the power of each, to within 2 units in the last place; `NaN` of `NaN`.
    #[inline(always)]
    pub fn exp(self) -> F32x4 {
        self.exp_up_to(MOST)
    }

    /// The same, of powers of at most `most`.
    #[inline(always)]
    fn exp_up_to(self, most: f32) -> F32x4 {
        // e^x = 2^n e^r, with n whole and |r| at most half of ln 2.
        let x = self.max(F32x4::splat(LEAST)).min(F32x4::splat(most));
        let n = (x * F32x4::splat(std::f32::consts::LOG2_E)).nearest();
        let r = n.mul_add(F32x4::splat(-LN_2[0]), x);
        let r = n.mul_add(F32x4::splat(-LN_2[1]), r);
        let mut sum = F32x4::splat(POLYNOMIAL[0]);
        for coefficient in &POLYNOMIAL[1..] {
            sum = sum.mul_add(r, F32x4::splat(*coefficient));
        }
        let e_r = sum.mul_add(r * r, r + F32x4::splat(1.0));
        e_r * n.power_of_two()
    }

    /// 1 / (1 + e^-x) of each: 0, and not nearly 0, far below 0, since what is multiplied by it may be huge.
    #[inline(always)]
    pub fn sigmoid(self) -> F32x4 {
        let one = F32x4::splat(1.0);
        one / (one + (F32x4::splat(0.0) - self).exp_up_to(INFINITE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two units in the last place of F32, relative.
    const TOLERANCE: f64 = 2.4e-7;

    #[test]
    fn equals_the_exponential_of_f64_over_the_whole_range() {
        for step in 0..200_000 {
            let x = LEAST + (MOST - LEAST) * (step as f32 / 200_000.0);
            let found = f64::from(F32x4::splat(x).exp().to_array()[step % 4]);
            let error = (found / f64::from(x).exp() - 1.0).abs();
            assert!(error < TOLERANCE, "lanes/exp.rs: e^{x} is {found}, off by {error} of it");
        }
    }

    #[test]
    fn ends_of_the_range_stay_finite() {
        let ends = F32x4::from([f32::NEG_INFINITY, -1e9, 1e9, 0.0]).exp().to_array();
        assert!(ends[0] < 1.2e-38 && ends[1] < 1.2e-38, "lanes/exp.rs: {ends:?}");
        assert!(ends[2].is_finite() && ends[3] == 1.0, "lanes/exp.rs: {ends:?}");
        assert!(F32x4::splat(f32::NAN).exp().to_array()[0].is_nan(), "lanes/exp.rs: NaN has a power");
        let ends = F32x4::from([f32::NEG_INFINITY, -100.0, 100.0, f32::INFINITY]).sigmoid().to_array();
        assert_eq!(ends, [0.0, 0.0, 1.0, 1.0], "lanes/exp.rs: ends of the sigmoid");
    }
}
