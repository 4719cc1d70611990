//! Layer norm, in two passes with F64 sums.
//!
//! GPT-2's stream has a few coordinates thousands of times larger than the rest; the usual one-pass
//! variance (mean of squares minus square of the mean) in F32 loses exactly the digits that those coordinates leave.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

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

    /// `[T, D]` to `[T, D]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op3_no_bwd(&self.weight, &self.bias, &Normalise { epsilon: self.epsilon })
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
        let x = contiguous(x, x_layout)?;
        let weight = contiguous(weight, weight_layout)?;
        let bias = contiguous(bias, bias_layout)?;
        let width = weight.len();
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(width) {
            let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64;
            let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / width as f64;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            out.extend(
                row.iter()
                    .zip(weight.iter().zip(bias))
                    .map(|(&v, (&w, &b))| ((f64::from(v) - mean) * scale) as f32 * w + b),
            );
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// The values of a contiguous F32 tensor in candle's storage.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("layer-norm: expected a contiguous tensor, got strides {:?}", layout.stride()),
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
