//! Four numbers in one of wasm's 128-bit vectors.

use std::arch::wasm32::*;
use std::ops::{Add, Div, Mul, Sub};

/// Four F32 numbers.
#[derive(Clone, Copy, Debug)]
pub struct F32x4(v128);

impl F32x4 {
    /// The same number four times.
    #[inline(always)]
    pub fn splat(value: f32) -> F32x4 {
        F32x4(f32x4_splat(value))
    }

    /// The four numbers.
    #[inline(always)]
    pub fn to_array(self) -> [f32; 4] {
        let mut values = [0.0; 4];
        // SAFETY: `values` has room for the 16 bytes, and this store needs no alignment.
        unsafe { v128_store(values.as_mut_ptr().cast(), self.0) };
        values
    }

    /// self * by + plus.
    #[inline(always)]
    pub fn mul_add(self, by: F32x4, plus: F32x4) -> F32x4 {
        #[cfg(target_feature = "relaxed-simd")]
        return F32x4(f32x4_relaxed_madd(self.0, by.0, plus.0));
        #[cfg(not(target_feature = "relaxed-simd"))]
        return F32x4(f32x4_add(f32x4_mul(self.0, by.0), plus.0));
    }

    /// The larger of each pair; `self` where either is `NaN`.
    #[inline(always)]
    pub fn max(self, other: F32x4) -> F32x4 {
        F32x4(f32x4_pmax(self.0, other.0))
    }

    /// The smaller of each pair; `self` where either is `NaN`.
    #[inline(always)]
    pub fn min(self, other: F32x4) -> F32x4 {
        F32x4(f32x4_pmin(self.0, other.0))
    }

    /// Four rows of four as four columns of four.
    #[inline(always)]
    pub fn transpose([a, b, c, d]: [F32x4; 4]) -> [F32x4; 4] {
        let pairs = |x: F32x4, y: F32x4| [i32x4_shuffle::<0, 4, 1, 5>(x.0, y.0), i32x4_shuffle::<2, 6, 3, 7>(x.0, y.0)];
        let ([ab_low, ab_high], [cd_low, cd_high]) = (pairs(a, b), pairs(c, d));
        [
            F32x4(i64x2_shuffle::<0, 2>(ab_low, cd_low)),
            F32x4(i64x2_shuffle::<1, 3>(ab_low, cd_low)),
            F32x4(i64x2_shuffle::<0, 2>(ab_high, cd_high)),
            F32x4(i64x2_shuffle::<1, 3>(ab_high, cd_high)),
        ]
    }

    /// The nearest whole numbers; of two equally near ones the even.
    #[inline(always)]
    pub(super) fn nearest(self) -> F32x4 {
        F32x4(f32x4_nearest(self.0))
    }

    /// 2 to the power of whole numbers from -126 to 127; of 128 it is infinite.
    #[inline(always)]
    pub(super) fn power_of_two(self) -> F32x4 {
        F32x4(i32x4_shl(i32x4_add(i32x4_trunc_sat_f32x4(self.0), i32x4_splat(127)), 23))
    }
}

impl From<[f32; 4]> for F32x4 {
    #[inline(always)]
    fn from(values: [f32; 4]) -> F32x4 {
        // SAFETY: the array has 16 bytes, and this load needs no alignment.
        F32x4(unsafe { v128_load(values.as_ptr().cast()) })
    }
}

macro_rules! operators {
    ($of:ident: $($trait:ident $name:ident $instruction:ident),*) => {$(
        impl $trait for $of {
            type Output = $of;
            #[inline(always)]
            fn $name(self, other: $of) -> $of {
                $of($instruction(self.0, other.0))
            }
        }
    )*};
}
operators!(F32x4: Add add f32x4_add, Sub sub f32x4_sub, Mul mul f32x4_mul, Div div f32x4_div);

/// Two F64 numbers, for sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct F64x2(v128);

impl F64x2 {
    #[inline(always)]
    pub fn splat(value: f64) -> F64x2 {
        F64x2(f64x2_splat(value))
    }

    /// Four numbers as two pairs, widened.
    #[inline(always)]
    pub fn widen(values: F32x4) -> [F64x2; 2] {
        let upper = i32x4_shuffle::<2, 3, 2, 3>(values.0, values.0);
        [F64x2(f64x2_promote_low_f32x4(values.0)), F64x2(f64x2_promote_low_f32x4(upper))]
    }

    #[inline(always)]
    pub fn total(self) -> f64 {
        f64x2_extract_lane::<0>(self.0) + f64x2_extract_lane::<1>(self.0)
    }
}
operators!(F64x2: Add add f64x2_add, Sub sub f64x2_sub, Mul mul f64x2_mul);
