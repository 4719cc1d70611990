//! The MLP's activation functions, under the names of Hugging Face's `ACT2FN`.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::buffer_pool::Buffer;
use super::lanes::F32x4;
use super::values::contiguous;

/// An activation function, by what it computes; several names of `config.json` may mean the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x), with the error function.
    GeluErf,
    /// The tanh approximation of GELU, GPT-2's own.
    GeluTanh,
    /// x Φ(x), clipped to [-10, 10].
    Gelu10,
    /// x sigmoid(1.702 x).
    QuickGelu,
    /// max(0, x).
    Relu,
    /// max(0, x)².
    Relu2,
    /// min(max(0, x), 6).
    Relu6,
    /// x where positive, else 0.01 x.
    LeakyRelu,
    /// x sigmoid(x).
    Silu,
    /// x tanh(ln(1 + eˣ)).
    Mish,
    /// tanh(x).
    Tanh,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// x itself.
    Linear,
}

impl Activation {
    /// Every known name, for messages.
    pub const NAMES: &str = "gelu_new, gelu_fast, gelu_pytorch_tanh, gelu_python_tanh, gelu_accurate, gelu, \
        gelu_python, gelu_10, quick_gelu, relu, relu2, relu6, leaky_relu, silu, swish, mish, tanh, sigmoid, linear";

    /// The function of a name in `config.json`.
    pub fn from_name(name: &str) -> Option<Activation> {
        Some(match name {
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate" => {
                Activation::GeluTanh
            }
            "gelu" | "gelu_python" => Activation::GeluErf,
            "gelu_10" => Activation::Gelu10,
            "quick_gelu" => Activation::QuickGelu,
            "relu" => Activation::Relu,
            "relu2" => Activation::Relu2,
            "relu6" => Activation::Relu6,
            "leaky_relu" => Activation::LeakyRelu,
            "silu" | "swish" => Activation::Silu,
            "mish" => Activation::Mish,
            "tanh" => Activation::Tanh,
            "sigmoid" => Activation::Sigmoid,
            "linear" => Activation::Linear,
            _ => return None,
        })
    }

    /// The function of each of four numbers.
    #[inline(always)]
    pub fn lanes(self, x: F32x4) -> F32x4 {
        let all = F32x4::splat;
        match self {
            Activation::Linear => x,
            // x (1 + tanh u) / 2 is x sigmoid(2 u), which loses no digits where tanh is near -1.
            Activation::GeluTanh => {
                let cubed = (x * x * x).mul_add(all(0.044_715), x);
                x * (cubed * all(2.0 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2)).sigmoid()
            }
            Activation::GeluErf => x.map(gelu_erf),
            Activation::Gelu10 => x.map(gelu_erf).max(all(-10.0)).min(all(10.0)),
            Activation::QuickGelu => x * (x * all(1.702)).sigmoid(),
            Activation::Relu => x.max(all(0.0)),
            Activation::Relu2 => x.max(all(0.0)) * x.max(all(0.0)),
            Activation::Relu6 => x.max(all(0.0)).min(all(6.0)),
            Activation::LeakyRelu => x.max(x * all(0.01)),
            Activation::Silu => x * x.sigmoid(),
            // ln(1 + eˣ) written so that a large x does not overflow: max(x, 0) + ln(1 + e^-|x|).
            Activation::Mish => x.map(|x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh()),
            Activation::Tanh => x.map(f32::tanh),
            Activation::Sigmoid => x.sigmoid(),
        }
    }

    /// Applies the function to every element.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if self == Activation::Linear { Ok(x.clone()) } else { x.apply_op1_no_bwd(&self) }
    }
}

fn gelu_erf(x: f32) -> f32 {
    x * 0.5 * (1.0 + candle_core::cpu::erf::erf_f32(x * std::f32::consts::FRAC_1_SQRT_2))
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(self.name(), x, layout)?;
        let mut out = Buffer::take(x.len());
        let (fours, rest) = x.as_chunks::<4>();
        let (to, to_rest) = out.as_chunks_mut::<4>();
        for (to, x) in to.iter_mut().zip(fours) {
            *to = self.lanes(F32x4::from(*x)).to_array();
        }
        for (to, x) in to_rest.iter_mut().zip(rest) {
            [*to, ..] = self.lanes(F32x4::splat(*x)).to_array();
        }
        Ok((CpuStorage::F32(out.into_vec()), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// F32 functions against their definitions worked out in F64; the error function's approximation is the widest.
    const TOLERANCE: f32 = 2e-6;

    #[test]
    fn values_equal_the_definitions() {
        let x = Tensor::new(&[-3.0f32, -0.5, 0.0, 0.7, 30.0], &Device::Cpu).unwrap();
        let cases: [(&str, [f32; 5]); 12] = [
            ("gelu", [-0.004_049_694, -0.154_268_77, 0.0, 0.530_625_4, 30.0]),
            ("gelu_new", [-0.003_637_392_3, -0.154_286, 0.0, 0.530_570_24, 30.0]),
            ("gelu_10", [-0.004_049_694, -0.154_268_77, 0.0, 0.530_625_4, 10.0]),
            ("quick_gelu", [-0.018_071_31, -0.149_611_6, 0.0, 0.536_894, 30.0]),
            ("relu", [0.0, 0.0, 0.0, 0.7, 30.0]),
            ("relu2", [0.0, 0.0, 0.0, 0.49, 900.0]),
            ("relu6", [0.0, 0.0, 0.0, 0.7, 6.0]),
            ("leaky_relu", [-0.03, -0.005, 0.0, 0.7, 30.0]),
            ("silu", [-0.142_277_62, -0.188_770_33, 0.0, 0.467_731_4, 30.0]),
            ("mish", [-0.145_647_5, -0.220_743_8, 0.0, 0.561_148_4, 30.0]),
            ("tanh", [-0.995_054_7, -0.462_117_2, 0.0, 0.604_367_8, 1.0]),
            ("sigmoid", [0.047_425_874, 0.377_540_67, 0.5, 0.668_187_8, 1.0]),
        ];
        for (name, expected) in cases {
            let found = Activation::from_name(name).unwrap().forward(&x).unwrap().to_vec1::<f32>().unwrap();
            for (found, expected) in found.iter().zip(expected) {
                let error = (found - expected).abs() / expected.abs().max(1.0);
                assert!(error <= TOLERANCE, "activation.rs: {name} gives {found}, its definition {expected}");
            }
        }
        for name in Activation::NAMES.split(',') {
            assert!(Activation::from_name(name.trim()).is_some(), "activation.rs: NAMES lists unknown {name}");
        }
    }

    /// What transformers' F32 gives: GELU and its like are 0 far below 0 and x itself far above, however large x is.
    #[test]
    fn ends_of_the_range_equal_the_definitions() {
        let low = [-110.0f32, -200.0, -1e13, -1e20, -1e36, -1e38, f32::MIN];
        let (low, high) =
            (Tensor::new(&low, &Device::Cpu).unwrap(), Tensor::new(&low.map(|x| -x), &Device::Cpu).unwrap());
        for name in ["gelu", "gelu_new", "quick_gelu", "silu", "mish"] {
            let of = |x: &Tensor| Activation::from_name(name).unwrap().forward(x).unwrap().to_vec1::<f32>().unwrap();
            assert!(of(&low).iter().all(|found| *found == 0.0), "activation.rs: {name} far below 0: {:?}", of(&low));
            assert_eq!(of(&high), high.to_vec1::<f32>().unwrap(), "activation.rs: {name} far above 0");
        }
        let nan = Tensor::new(&[f32::NAN; 5], &Device::Cpu).unwrap();
        for name in Activation::NAMES.split(',') {
            let found = Activation::from_name(name.trim()).unwrap().forward(&nan).unwrap().to_vec1::<f32>().unwrap();
            assert!(found.iter().all(|found| found.is_nan()), "activation.rs: {name} makes {found:?} of NaN");
        }
    }
}
