//! Causal softmax: each token attends to itself and to those before it.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// Scores `[H, T, T]` (query, key), times `scale`, to attention weights: row i is a softmax over keys
/// 0..=i, and exactly 0 after it.
pub fn causal_softmax(scores: &Tensor, scale: f64) -> Result<Tensor> {
    scores.apply_op1_no_bwd(&CausalSoftmax { scale: scale as f32 })
}

struct CausalSoftmax {
    scale: f32,
}

impl CustomOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, _, keys) = layout.shape().dims3()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("causal-softmax: expected a contiguous tensor, got strides {:?}", layout.stride())
        };
        let mut out = storage.as_slice::<f32>()?[start..end].to_vec();
        for (index, row) in out.chunks_exact_mut(keys).enumerate() {
            let (seen, hidden) = row.split_at_mut(index % keys + 1);
            let largest = seen.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v * self.scale));
            let mut sum = 0.0;
            for v in seen.iter_mut() {
                *v = (*v * self.scale - largest).exp();
                sum += *v;
            }
            for v in seen {
                *v /= sum;
            }
            hidden.fill(0.0);
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn rows_sum_to_one_over_the_past_and_are_zero_over_the_future() {
        let scores: Vec<f32> = (0..2 * 5 * 5).map(|i| ((i * 37) % 23) as f32 - 11.0).collect();
        let scores = Tensor::from_vec(scores, (2, 5, 5), &Device::Cpu).unwrap();
        let weights = causal_softmax(&scores, 0.5).unwrap().to_vec3::<f32>().unwrap();
        let plain = scores.to_vec3::<f32>().unwrap();
        for head in 0..2 {
            for query in 0..5 {
                let row = &weights[head][query];
                let total: f64 = (0..=query).map(|k| (f64::from(plain[head][query][k]) * 0.5).exp()).sum();
                for key in 0..5 {
                    let expected =
                        if key <= query { (f64::from(plain[head][query][key]) * 0.5).exp() / total } else { 0.0 };
                    let error = (f64::from(row[key]) - expected).abs();
                    assert!(error < 1e-6, "softmax.rs: head {head}, query {query}, key {key}: off by {error}");
                }
            }
        }
    }
}
