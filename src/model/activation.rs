//! The MLP's activation functions, under the names of Hugging Face's `ACT2FN`.

use candle_core::{Result, Tensor};

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

    /// Applies the function to every element.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Activation::GeluErf => x.gelu_erf(),
            Activation::GeluTanh => x.gelu(),
            Activation::Gelu10 => x.gelu_erf()?.clamp(-10f32, 10f32),
            Activation::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Activation::Relu => x.relu(),
            Activation::Relu2 => x.relu()?.sqr(),
            Activation::Relu6 => x.clamp(0f32, 6f32),
            Activation::LeakyRelu => x.maximum(&(x * 0.01)?),
            Activation::Silu => x.silu(),
            // ln(1 + eˣ) written so that a large x does not overflow: max(x, 0) + ln(1 + e^-|x|).
            Activation::Mish => {
                let softplus = (x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
                x * softplus.tanh()?
            }
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => candle_nn::ops::sigmoid(x),
            Activation::Linear => Ok(x.clone()),
        }
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
}
