//! Four F32 numbers at a time: wasm's 128-bit vectors, and on other machines an array that the compiler may turn
//! into some. Everything fast in this folder is written on top of this type.
//!
//! With relaxed SIMD, [`F32x4::mul_add`] rounds once where the processor can and twice elsewhere; without, always
//! twice. Results of the two differ in their last bits.

mod exp;
pub mod sums;

#[cfg(not(target_arch = "wasm32"))]
#[path = "portable.rs"]
mod vector;
#[cfg(target_arch = "wasm32")]
#[path = "simd128.rs"]
mod vector;

pub use vector::F32x4;

impl F32x4 {
    /// Numbers in one vector.
    pub const COUNT: usize = 4;

    /// The same function on each of the four, one by one.
    pub fn map(self, f: impl Fn(f32) -> f32) -> F32x4 {
        F32x4::from(self.to_array().map(f))
    }

    /// The sum of the four.
    pub fn total(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        (a + c) + (b + d)
    }

    /// The largest of the four.
    pub fn largest(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        a.max(c).max(b.max(d))
    }
}
