//! Layer norm, in two passes with F64 sums.
//!
//! GPT-2's stream has a few coordinates thousands of times larger than the rest; the usual one-pass
//! variance (mean of squares minus square of the mean) in F32 loses exactly the digits that those coordinates leave.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::buffer_pool::{Buffer, PooledTensor};
use super::lanes::{F32x4, sums};
use super::stopwatch::{self, Work};
use super::values::contiguous;

/// y = (x - mean) / sqrt(variance + epsilon) * weight + bias, over the last axis, with the biased variance.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// From weight and bias `[D]`.
    pub fn new(weight: Tensor, bias: Tensor, epsilon: f64) -> LayerNorm {
        LayerNorm { weight, bias, epsilon }
    }

    /// What a normalised row is multiplied by, `[D]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// What is added to it then, `[D]`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// What a row is divided by: sqrt(variance + epsilon).
    pub fn scale(&self, row: &[f32]) -> f64 {
        let width = row.len() as f64;
        let mean = sums::sum(row) / width;
        (sums::squares_about(row, mean) / width + self.epsilon).sqrt()
    }

    /// `[T, D]` to `[T, D]`.
    pub fn forward(&self, x: &Tensor) -> Result<PooledTensor> {
        let normalise = Normalise { epsilon: self.epsilon };
        stopwatch::on(Work::Norms, || Ok(x.apply_op3_no_bwd(&self.weight, &self.bias, &normalise)?.into()))
    }
}

struct Normalise {
    epsilon: f64,
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(self.name(), x, x_layout)?;
        let weight = contiguous(self.name(), weight, weight_layout)?;
        let bias = contiguous(self.name(), bias, bias_layout)?;
        let width = weight.len();
        let mut out = Buffer::take(x.len());
        for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = sums::sum(row) / width as f64;
            let variance = sums::squares_about(row, mean) / width as f64;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            normalise(row, mean, scale, weight, bias, out);
        }
        Ok((CpuStorage::F32(out.into_vec()), x_layout.shape().clone()))
    }
}

/// (v - mean) * scale * weight + bias. The mean goes in two parts: what F32 loses of it would show where the row's
/// coordinates are large and close together.
fn normalise(row: &[f32], mean: f64, scale: f64, weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let high = mean as f32;
    let low = (mean - f64::from(high)) as f32;
    let [high, low, scale] = [high, low, scale as f32].map(F32x4::splat);
    let one = |v: F32x4, weight, bias| (((v - high) - low) * scale).mul_add(weight, bias);
    let ((fours, rest), (to, to_rest)) = (row.as_chunks::<4>(), out.as_chunks_mut::<4>());
    let ((weights, weights_rest), (biases, biases_rest)) = (weight.as_chunks::<4>(), bias.as_chunks::<4>());
    for ((to, v), (weight, bias)) in to.iter_mut().zip(fours).zip(weights.iter().zip(biases)) {
        *to = one(F32x4::from(*v), F32x4::from(*weight), F32x4::from(*bias)).to_array();
    }
    for ((to, v), (weight, bias)) in to_rest.iter_mut().zip(rest).zip(weights_rest.iter().zip(biases_rest)) {
        [*to, ..] = one(F32x4::splat(*v), F32x4::splat(*weight), F32x4::splat(*bias)).to_array();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn huge_coordinates_do_not_spoil_the_rest() {
        // Mean and variance by exact arithmetic: 62 zeros and two coordinates of 3000 and 3002.
        let mut row = vec![0f32; 64];
        (row[7], row[31]) = (3000.0, 3002.0);
        let device = Device::Cpu;
        let norm = LayerNorm::new(
            Tensor::ones(64, candle_core::DType::F32, &device).unwrap(),
            Tensor::zeros(64, candle_core::DType::F32, &device).unwrap(),
            1e-5,
        );
        let out = norm.forward(&Tensor::from_vec(row, (1, 64), &device).unwrap()).unwrap().to_vec2::<f32>().unwrap();
        let mean = 6002.0 / 64.0;
        let variance: f64 = (3000f64.powi(2) + 3002f64.powi(2)) / 64.0 - mean * mean;
        for (index, value) in [(0, 0.0), (7, 3000.0), (31, 3002.0)] {
            let expected = (value - mean) / (variance + 1e-5).sqrt();
            assert!((f64::from(out[0][index]) - expected).abs() < 1e-6, "norm.rs: coordinate {index}");
        }
    }
}
