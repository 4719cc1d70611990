//! Four numbers in an array.

use std::ops::{Add, Div, Mul, Sub};

/// Four F32 numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct F32x4([f32; 4]);

impl F32x4 {
    /// The same number four times.
    #[inline(always)]
    pub fn splat(value: f32) -> F32x4 {
        F32x4([value; 4])
    }

    /// The four numbers.
    #[inline(always)]
    pub fn to_array(self) -> [f32; 4] {
        self.0
    }

    /// self * by + plus.
    #[inline(always)]
    pub fn mul_add(self, by: F32x4, plus: F32x4) -> F32x4 {
        self * by + plus
    }

    /// The larger of each pair; as wasm's `pmax`, `self` where either is `NaN`.
    #[inline(always)]
    pub fn max(self, other: F32x4) -> F32x4 {
        self.zip(other, |a, b| if a < b { b } else { a })
    }

    /// The smaller of each pair; as wasm's `pmin`, `self` where either is `NaN`.
    #[inline(always)]
    pub fn min(self, other: F32x4) -> F32x4 {
        self.zip(other, |a, b| if b < a { b } else { a })
    }

    /// Four rows of four as four columns of four.
    pub fn transpose(rows: [F32x4; 4]) -> [F32x4; 4] {
        let rows = rows.map(F32x4::to_array);
        std::array::from_fn(|column| F32x4::from(rows.map(|row| row[column])))
    }

    /// The nearest whole numbers; of two equally near ones the even.
    #[inline(always)]
    pub(super) fn nearest(self) -> F32x4 {
        F32x4(self.0.map(f32::round_ties_even))
    }

    /// 2 to the power of whole numbers from -126 to 127; of 128 it is infinite.
    #[inline(always)]
    pub(super) fn power_of_two(self) -> F32x4 {
        F32x4(self.0.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23)))
    }

    #[inline(always)]
    fn zip(self, other: F32x4, f: impl Fn(f32, f32) -> f32) -> F32x4 {
        F32x4(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl From<[f32; 4]> for F32x4 {
    #[inline(always)]
    fn from(values: [f32; 4]) -> F32x4 {
        F32x4(values)
    }
}

macro_rules! each_lane {
    ($($trait:ident $name:ident $op:tt),*) => {$(
        impl $trait for F32x4 {
            type Output = F32x4;
            #[inline(always)]
            fn $name(self, other: F32x4) -> F32x4 {
                self.zip(other, |a, b| a $op b)
            }
        }
    )*};
}
each_lane!(Add add +, Sub sub -, Mul mul *, Div div /);

/// Two F64 numbers, for sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct F64x2([f64; 2]);

impl F64x2 {
    #[inline(always)]
    pub fn splat(value: f64) -> F64x2 {
        F64x2([value; 2])
    }

    /// Four numbers as two pairs, widened.
    #[inline(always)]
    pub fn widen(values: F32x4) -> [F64x2; 2] {
        let [a, b, c, d] = values.0.map(f64::from);
        [F64x2([a, b]), F64x2([c, d])]
    }

    #[inline(always)]
    pub fn total(self) -> f64 {
        self.0[0] + self.0[1]
    }
}

macro_rules! each_wide_lane {
    ($($trait:ident $name:ident $op:tt),*) => {$(
        impl $trait for F64x2 {
            type Output = F64x2;
            #[inline(always)]
            fn $name(self, other: F64x2) -> F64x2 {
                F64x2([self.0[0] $op other.0[0], self.0[1] $op other.0[1]])
            }
        }
    )*};
}
each_wide_lane!(Add add +, Sub sub -, Mul mul *);
