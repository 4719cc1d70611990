//! The linear layer, and the unembedding's product. Speed belongs in here, so that `gpt2.rs` stays readable.
//!
//! In the browser, weights are packed ([`panels`]) and multiplied by our own [`kernel`]; natively, and where the
//! feature `candle-matmul` asks for it, they stay as they are and candle multiplies.
//!
//! Tried, measured in turns with this, and left out:
//! - seven products for eight (Strassen's multiplication in Winograd's form, on pairs of tiles and panels): 1 % faster at
//!   64 rows and 3 % at 128, slower up to 48, for one more rounding of everything;
//! - unrolling the inner loop: the browser's compiler then runs out of registers;
//! - reading ahead within panels that are read side by side; tiles of even heights instead of six and a rest.

pub mod columns;
mod few;
pub mod kernel;
mod one;
pub mod packing;
pub mod panels;
mod rows;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::activation::Activation;
use super::buffer_pool::{Buffer, PooledTensor};
use super::lanes::F32x4;
use super::stopwatch::{self, Work};
use super::values::contiguous;
use columns::Columns;
use few::few_rows;
use kernel::{ROWS, Rows, TileStore};
use one::one_row;
use panels::Panels;
use rows::rows_by_rows;

/// Whether this build packs the weights of its linear layers.
pub const PACKS: bool = cfg!(all(target_arch = "wasm32", not(feature = "candle-matmul")));

/// y = f(x W + b), with W `[in, out]` as GPT-2's checkpoints have it (they call it Conv1D).
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight,
    bias: Tensor,
}

/// W, in one of its forms.
#[derive(Clone, Debug)]
pub enum Weight {
    /// `[in, out]`, multiplied by candle.
    Plain(Tensor),
    /// In panels, multiplied by the kernel.
    Packed(Panels),
}

impl Linear {
    /// From a weight and a bias `[out]`.
    pub fn new(weight: Weight, bias: Tensor) -> Linear {
        Linear { weight, bias }
    }

    /// How many columns the result has.
    pub fn outputs(&self) -> usize {
        match &self.weight {
            Weight::Plain(weight) => weight.dims().last().copied().unwrap_or(0),
            Weight::Packed(panels) => panels.outputs(),
        }
    }

    /// `[T, in]` to `[T, out]`.
    pub fn forward(&self, x: &Tensor) -> Result<PooledTensor> {
        self.forward_then(x, Activation::Linear)
    }

    /// `[T, in]` to `[T, out]`, through an activation function.
    pub fn forward_then(&self, x: &Tensor, activation: Activation) -> Result<PooledTensor> {
        let out = stopwatch::on(Work::Linear, || match &self.weight {
            Weight::Plain(weight) => activation.forward(&product(x, weight)?.broadcast_add(&self.bias)?),
            Weight::Packed(panels) => x.apply_op2_no_bwd(&self.bias, &Multiply { panels, activation }),
        })?;
        Ok(out.into())
    }

    /// Each group of consecutive inputs through its own rows of W, without the bias: `[T, in]` to `[G, T, out]`.
    /// The sum over G, plus the bias, is `forward`.
    pub fn forward_by_group(&self, x: &Tensor, groups: usize) -> Result<PooledTensor> {
        let (t, inputs) = x.dims2()?;
        let out = match &self.weight {
            Weight::Plain(weight) => {
                let x = x.reshape((t, groups, inputs / groups))?.transpose(0, 1)?.contiguous()?; // (G, T, in / G)
                product(&x, &weight.reshape((groups, inputs / groups, weight.dim(1)?))?)?
            }
            Weight::Packed(panels) => x.apply_op1_no_bwd(&MultiplyByGroup { panels, groups })?,
        };
        Ok(out.into())
    }

    /// The bias `[out]`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }
}

/// x `[N, D]` times w `[V, D]` transposed: `[N, V]`.
pub fn times_transposed(x: &Tensor, w: &Tensor) -> Result<PooledTensor> {
    times_rows_transposed(x, w, w.dim(0)?)
}

/// x `[N, D]` times the first rows of w `[V, D]`, transposed: `[N, V]`, of which the first `rows` columns are computed, and
/// the others hold anything.
pub fn times_rows_transposed(x: &Tensor, w: &Tensor, rows: usize) -> Result<PooledTensor> {
    if PACKS {
        return Ok(x.apply_op2_no_bwd(w, &MultiplyRows { rows })?.into());
    }
    let product = product(x, &w.narrow(0, 0, rows)?.t()?)?;
    Ok(product.pad_with_zeros(1, 0, w.dim(0)? - rows)?.contiguous()?.into())
}

/// candle's matmul. A build that packs never comes here, and so leaves out the whole of it: half a megabyte of wasm.
fn product(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if PACKS { candle_core::bail!("linear: this build multiplies packed weights only") } else { x.matmul(w) }
}

/// f(x W + b) in one go.
struct Multiply<'a> {
    panels: &'a Panels,
    activation: Activation,
}

impl CustomOp2 for Multiply<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, bias: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (contiguous("linear", x, xl)?, contiguous("linear", bias, bl)?);
        let (t, inputs) = xl.shape().dims2()?;
        let outputs = self.panels.outputs();
        if inputs != self.panels.inputs() || bias.len() != outputs {
            candle_core::bail!(
                "linear: {:?} by [{}, {outputs}] plus [{}]",
                xl.shape(),
                self.panels.inputs(),
                bias.len()
            )
        }
        let mut out = Buffer::take(t * outputs);
        let function = self.activation;
        if t == 1 {
            let mut place =
                Columns { out: &mut out, stride: outputs, start: Some(bias), finish: |sum| function.lanes(sum) };
            one_row(x, self.panels, |number, [left, right]| {
                let mut tile = [[F32x4::splat(0.0); 2]; ROWS];
                place.load(number, 0, 1, &mut tile);
                tile[0] = [tile[0][0] + left, tile[0][1] + right];
                place.store(number, 0, 1, &tile);
            });
        } else {
            let rows = Rows::new(x, inputs, t, inputs);
            if t <= few::MOST {
                let start = Some(bias);
                let mut place = Columns { out: &mut out, stride: outputs, start, finish: |sum| function.lanes(sum) };
                few_rows(&rows, self.panels, &mut place);
            } else {
                self.many_rows(&rows, bias, &mut out);
            }
        }
        Ok((CpuStorage::F32(out.into_vec()), Shape::from((t, outputs))))
    }
}

impl Multiply<'_> {
    fn many_rows(&self, rows: &Rows, bias: &[f32], out: &mut [f32]) {
        let (inputs, stride) = (self.panels.inputs(), self.panels.outputs());
        for stretch in rows.stretches() {
            let start = (stretch.start == 0).then_some(bias);
            let ahead = self.panels.iter().skip(1).map(|next| &next[stretch.clone()]).chain([Default::default()]);
            for (number, (panel, ahead)) in self.panels.iter().zip(ahead).enumerate() {
                // Asked once per panel, so that the loops know which it is.
                if stretch.end == inputs {
                    let mut place = Columns { out, stride, start, finish: |sum| self.activation.lanes(sum) };
                    rows.times(stretch.clone(), number, panel, ahead, &mut place);
                } else {
                    let mut place = Columns { out, stride, start, finish: |sum| sum };
                    rows.times(stretch.clone(), number, panel, ahead, &mut place);
                }
            }
        }
    }
}

/// Each group of inputs by itself.
struct MultiplyByGroup<'a> {
    panels: &'a Panels,
    groups: usize,
}

impl CustomOp1 for MultiplyByGroup<'_> {
    fn name(&self) -> &'static str {
        "linear-by-group"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous("linear-by-group", x, layout)?;
        let (t, inputs) = layout.shape().dims2()?;
        let outputs = self.panels.outputs();
        if inputs != self.panels.inputs() || !inputs.is_multiple_of(self.groups.max(1)) {
            candle_core::bail!("linear-by-group: {:?} in {} groups", layout.shape(), self.groups)
        }
        let depth = inputs / self.groups;
        let mut out = Buffer::take(self.groups * t * outputs);
        for (group, out) in out.chunks_exact_mut((t * outputs).max(1)).enumerate() {
            let rows = Rows::new(&x[group * depth..], inputs, t, depth);
            for (number, panel) in self.panels.iter().enumerate() {
                let panel = &panel[group * depth..(group + 1) * depth];
                let mut place = Columns { out, stride: outputs, start: Some(&[]), finish: |sum| sum };
                rows.times(0..depth, number, panel, &[], &mut place);
            }
        }
        Ok((CpuStorage::F32(out.into_vec()), Shape::from((self.groups, t, outputs))))
    }
}

/// x times the first rows of w, transposed.
struct MultiplyRows {
    rows: usize,
}

impl CustomOp2 for MultiplyRows {
    fn name(&self) -> &'static str {
        "times-transposed"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (contiguous(self.name(), x, xl)?, contiguous(self.name(), w, wl)?);
        let ((n, depth), (v, width)) = (xl.shape().dims2()?, wl.shape().dims2()?);
        if depth != width || depth == 0 || self.rows > v {
            candle_core::bail!("times-transposed: {:?} by {} rows of {:?}", xl.shape(), self.rows, wl.shape())
        }
        let mut out = Buffer::take(n * v);
        rows_by_rows(x, &w[..self.rows * depth], depth, &mut out, v);
        Ok((CpuStorage::F32(out.into_vec()), Shape::from((n, v))))
    }
}
