//! The linear layer, and the unembedding's product. Speed belongs in here, so that `gpt2.rs` stays readable.
//!
//! In the browser, weights are packed ([`panels`]) and multiplied by our own [`kernel`]; natively, and where the
//! feature `candle-matmul` asks for it, they stay as they are and candle multiplies.

pub mod kernel;
pub mod panels;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::activation::Activation;
use super::lanes::F32x4;
use super::spare;
use super::stopwatch::{self, Work};
use super::values::contiguous;
use kernel::{Place, ROWS, Rows, Tile};
use panels::{Panels, WIDTH};

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

    /// out.
    pub fn outputs(&self) -> usize {
        match &self.weight {
            Weight::Plain(weight) => weight.dims().last().copied().unwrap_or(0),
            Weight::Packed(panels) => panels.outputs(),
        }
    }

    /// `[T, in]` to `[T, out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_then(x, Activation::Linear)
    }

    /// `[T, in]` to `[T, out]`, through an activation function.
    pub fn forward_then(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        stopwatch::on(Work::Linear, || match &self.weight {
            Weight::Plain(weight) => activation.forward(&product(x, weight)?.broadcast_add(&self.bias)?),
            Weight::Packed(panels) => x.apply_op2_no_bwd(&self.bias, &Multiply { panels, activation }),
        })
    }

    /// Each group of consecutive inputs through its own rows of W, without the bias: `[T, in]` to `[G, T, out]`.
    /// The sum over G, plus the bias, is `forward`.
    pub fn forward_by_group(&self, x: &Tensor, groups: usize) -> Result<Tensor> {
        let (t, inputs) = x.dims2()?;
        match &self.weight {
            Weight::Plain(weight) => {
                let x = x.reshape((t, groups, inputs / groups))?.transpose(0, 1)?.contiguous()?; // (G, T, in / G)
                product(&x, &weight.reshape((groups, inputs / groups, weight.dim(1)?))?)
            }
            Weight::Packed(panels) => x.apply_op1_no_bwd(&MultiplyByGroup { panels, groups }),
        }
    }

    /// The bias `[out]`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }
}

/// x `[N, D]` times w `[V, D]` transposed: `[N, V]`.
pub fn times_transposed(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if PACKS { x.apply_op2_no_bwd(w, &MultiplyRows) } else { product(x, &w.t()?) }
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
        let mut out = spare::take(t * outputs);
        let rows = Rows::new(x, inputs, t, inputs);
        let function = self.activation;
        for stretch in rows.stretches() {
            let is_last = stretch.end == inputs;
            for (number, panel) in self.panels.iter().enumerate() {
                let (out, first) = (out.as_mut_slice(), number * WIDTH);
                let start = (stretch.start == 0).then(|| eight(bias, first));
                // Asked once per panel, so that the loops know which it is.
                if is_last {
                    let finish = |sum| function.lanes(sum);
                    let mut place = Columns { out, stride: outputs, first, start, finish };
                    rows.times(panel, stretch.clone(), &mut place);
                } else {
                    let mut place = Columns { out, stride: outputs, first, start, finish: |sum| sum };
                    rows.times(panel, stretch.clone(), &mut place);
                }
            }
        }
        rows.recycle();
        Ok((CpuStorage::F32(out), Shape::from((t, outputs))))
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
        let mut out = spare::take(self.groups * t * outputs);
        for (group, out) in out.chunks_exact_mut((t * outputs).max(1)).enumerate() {
            let rows = Rows::new(&x[group * depth..], inputs, t, depth);
            for (number, panel) in self.panels.iter().enumerate() {
                let panel = &panel[group * depth..(group + 1) * depth];
                let start = Some([F32x4::splat(0.0); 2]);
                let mut place = Columns { out, stride: outputs, first: number * WIDTH, start, finish: |sum| sum };
                rows.times(panel, 0..depth, &mut place);
            }
            rows.recycle();
        }
        Ok((CpuStorage::F32(out), Shape::from((self.groups, t, outputs))))
    }
}

/// x times w transposed.
struct MultiplyRows;

impl CustomOp2 for MultiplyRows {
    fn name(&self) -> &'static str {
        "times-transposed"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (contiguous(self.name(), x, xl)?, contiguous(self.name(), w, wl)?);
        let ((n, depth), (v, width)) = (xl.shape().dims2()?, wl.shape().dims2()?);
        if depth != width || depth == 0 {
            candle_core::bail!("times-transposed: {:?} by {:?}", xl.shape(), wl.shape())
        }
        let mut out = spare::take(n * v);
        kernel::rows_by_rows(x, w, depth, &mut out);
        Ok((CpuStorage::F32(out), Shape::from((n, v))))
    }
}

/// A panel's columns, from `first` on, in a matrix with `stride` columns.
struct Columns<'a, F> {
    out: &'a mut [f32],
    stride: usize,
    first: usize,
    /// What the sums begin with; none to go on from what is in the matrix.
    start: Option<[F32x4; 2]>,
    /// What becomes of the sums.
    finish: F,
}

impl<F: Fn(F32x4) -> F32x4> Place for Columns<'_, F> {
    #[inline(always)]
    fn load(&self, row: usize, count: usize) -> Tile<ROWS> {
        let own = |row: usize| eight(&self.out[row * self.stride..][..self.stride], self.first);
        self.start.map_or_else(|| std::array::from_fn(|i| own(row + i.min(count - 1))), |start| [start; ROWS])
    }

    #[inline(always)]
    fn store(&mut self, row: usize, count: usize, tile: &Tile<ROWS>) {
        let width = WIDTH.min(self.stride - self.first);
        for (row, sums) in (row..).zip(&tile[..count]) {
            let [left, right] = sums.map(|sum| (self.finish)(sum).to_array());
            let to = &mut self.out[row * self.stride + self.first..][..width];
            if width == WIDTH {
                to[..4].copy_from_slice(&left);
                to[4..].copy_from_slice(&right);
            } else {
                to.iter_mut().zip(left.iter().chain(&right)).for_each(|(to, sum)| *to = *sum);
            }
        }
    }
}

/// The eight numbers from this column on, with zeros after the last.
#[inline(always)]
fn eight(values: &[f32], first: usize) -> [F32x4; 2] {
    if let Some([a, b, c, d, e, f, g, h]) = values.get(first..first + WIDTH) {
        return [F32x4::from([*a, *b, *c, *d]), F32x4::from([*e, *f, *g, *h])];
    }
    let at = |place| values.get(place).copied().unwrap_or(0.0);
    [first, first + 4].map(|first| F32x4::from(std::array::from_fn(|i| at(first + i))))
}
