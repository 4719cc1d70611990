//! `config.json` of a GPT2LMHeadModel: every value that changes a number is read, and an unknown
//! value is an error, never a guess. Absent sizes are an error too; other absent
//! keys have the defaults of Hugging Face's `GPT2Config`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::activation::Activation;
use super::error::ModelError;

/// No GPT-2 comes near this; larger values are damage, and would make later arithmetic overflow.
const LARGEST_SIZE: u64 = 1 << 24;
/// The deepest published checkpoint has 48 blocks.
const MOST_LAYERS: u64 = 4096;

/// Where the scores of tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LmHead {
    /// From the token embedding.
    Tied,
    /// A matrix of its own, `lm_head.weight`.
    Own,
    /// From nowhere: the file has no unembedding, and the settings do not tie it to the embedding. There are no
    /// predictions.
    Absent,
}

/// Settings of a GPT-2, under the names that `config.json` has.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// V: how many token ids there are.
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub n_positions: usize,
    /// D, width of the residual stream.
    pub n_embd: usize,
    /// L: how many blocks there are.
    pub n_layer: usize,
    /// H: attention heads in a block.
    pub n_head: usize,
    /// Width of the MLP's hidden layer; 4 D where the file says null.
    pub n_inner: usize,
    /// What the MLP applies between its two layers (`activation_function`).
    pub activation: Activation,
    /// Added to the variance in every layer norm.
    pub layer_norm_epsilon: f64,
    /// Whether scores are divided by the square root of the head's width.
    pub scale_attn_weights: bool,
    /// Whether the scores of block l are also divided by l + 1.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Whether the unembedding should be the token embedding; otherwise `lm_head.weight` is.
    pub tie_word_embeddings: bool,
    /// Where the unembedding is, which the weights have a say in: a `lm_head.weight` among them counts.
    pub lm_head: LmHead,
}

impl Config {
    /// Reads the text of `config.json`.
    ///
    /// # Errors
    /// `NotGpt2` for another architecture, `BadConfig` for text that is no JSON object and for values
    /// that are unknown, out of range, or at odds with each other.
    pub fn from_json(text: &[u8]) -> Result<Config, ModelError> {
        let text = plain_json(text);
        let value: Value = serde_json::from_slice(&text)
            .map_err(|why| ModelError::BadConfig(format!("this is not JSON ({why}); is the address right?")))?;
        let Value::Object(map) = value else {
            return Err(ModelError::BadConfig("expected a JSON object".into()));
        };
        let fields = Fields(&map);
        fields.refuse_other_architectures()?;
        let tie_word_embeddings = fields.flag("tie_word_embeddings", true)?;
        let config = Config {
            vocab_size: fields.required_size(&["vocab_size"])?,
            n_positions: fields.required_size(&["n_positions", "max_position_embeddings", "n_ctx"])?,
            n_embd: fields.required_size(&["n_embd", "hidden_size"])?,
            n_layer: fields.required_size(&["n_layer", "num_hidden_layers"])?,
            n_head: fields.required_size(&["n_head", "num_attention_heads"])?,
            n_inner: 0,
            activation: match fields.get("activation_function") {
                None => Activation::GeluTanh,
                Some(Value::String(name)) => Activation::from_name(name).ok_or_else(|| {
                    fields.bad("activation_function", &format!("\"{name}\""), &format!("one of {}", Activation::NAMES))
                })?,
                Some(other) => return Err(fields.bad("activation_function", &other.to_string(), "a name")),
            },
            layer_norm_epsilon: match fields.get("layer_norm_epsilon") {
                None => 1e-5,
                Some(value) => value
                    .as_f64()
                    .filter(|epsilon| epsilon.is_finite() && *epsilon >= 0.0)
                    .ok_or_else(|| fields.bad("layer_norm_epsilon", &value.to_string(), "a number of at least 0"))?,
            },
            scale_attn_weights: fields.flag("scale_attn_weights", true)?,
            scale_attn_by_inverse_layer_idx: fields.flag("scale_attn_by_inverse_layer_idx", false)?,
            tie_word_embeddings,
            lm_head: if tie_word_embeddings { LmHead::Tied } else { LmHead::Own },
        };
        // Changes the order of rounding in half precision only; in F32 it is the same function.
        fields.flag("reorder_and_upcast_attn", false)?;
        let n_inner = fields.size(&["n_inner"])?.unwrap_or(4 * config.n_embd);
        if config.n_layer as u64 > MOST_LAYERS {
            return Err(fields.bad("n_layer", &config.n_layer.to_string(), &format!("at most {MOST_LAYERS}")));
        }
        if !config.n_embd.is_multiple_of(config.n_head) {
            return Err(ModelError::BadConfig(format!(
                "n_embd is {} and n_head {}: the width must be a multiple of the number of heads",
                config.n_embd, config.n_head
            )));
        }
        Ok(Config { n_inner, ..config })
    }

    /// Width of one head, D / H.
    pub fn head_width(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// What attention scores of block `layer` are multiplied by.
    pub fn score_scale(&self, layer: usize) -> f64 {
        let mut scale = 1.0;
        if self.scale_attn_weights {
            scale /= (self.head_width() as f64).sqrt();
        }
        if self.scale_attn_by_inverse_layer_idx {
            scale /= (layer + 1) as f64;
        }
        scale
    }
}

/// JSON as Python writes it, as JSON: without a byte order mark, and with `NaN`, `Infinity` and `-Infinity`, which are no
/// JSON, as strings. A setting that is read refuses these as it does any string that is no number.
pub fn plain_json(text: &[u8]) -> Cow<'_, [u8]> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut plain = Vec::new();
    let (mut at, mut copied, mut quoted) = (0, 0, false);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'N' | b'I' | b'-' if !quoted => {
                if let Some(word) = WORDS.into_iter().find(|word| text[at..].starts_with(word)) {
                    plain.extend_from_slice(&text[copied..at]);
                    plain.push(b'"');
                    plain.extend_from_slice(word);
                    plain.push(b'"');
                    copied = at + word.len();
                    at = copied;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    plain.extend_from_slice(&text[copied..]);
    Cow::Owned(plain)
}

/// Reads typed values out of the JSON object; null counts as absent, as in Hugging Face's reader.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn bad(&self, key: &str, found: &str, expected: &str) -> ModelError {
        ModelError::BadConfig(format!("{key} is {found}; expected {expected}"))
    }

    fn size(&self, keys: &[&str]) -> Result<Option<usize>, ModelError> {
        let Some((key, value)) = keys.iter().find_map(|key| Some((key, self.get(key)?))) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(size) if (1..=LARGEST_SIZE).contains(&size) => Ok(Some(size as usize)),
            _ => Err(self.bad(key, &value.to_string(), &format!("a whole number from 1 to {LARGEST_SIZE}"))),
        }
    }

    /// Sizes are never guessed, though Hugging Face has defaults for them: every published checkpoint states its own.
    fn required_size(&self, keys: &[&str]) -> Result<usize, ModelError> {
        self.size(keys)?.ok_or_else(|| ModelError::BadConfig(format!("{} is missing", keys.join(" or "))))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.bad(key, &other.to_string(), "true or false")),
        }
    }

    fn refuse_other_architectures(&self) -> Result<(), ModelError> {
        match self.get("model_type") {
            Some(Value::String(kind)) if kind == "gpt2" => {}
            Some(other) => return Err(ModelError::NotGpt2(format!("model_type is {other}"))),
            None => {
                let architectures = self.get("architectures").map(Value::to_string).unwrap_or_default();
                if !architectures.contains("GPT2") {
                    return Err(ModelError::NotGpt2(format!("no model_type, architectures {architectures:?}")));
                }
            }
        }
        if self.flag("add_cross_attention", false)? {
            return Err(self.bad("add_cross_attention", "true", "false: cross-attention is not supported"));
        }
        if let Some(kind) = self.get("position_embedding_type").filter(|kind| kind.as_str() != Some("absolute")) {
            return Err(self.bad("position_embedding_type", &kind.to_string(), "\"absolute\""));
        }
        // Maximal-update (muP) variants keep GPT-2's name but multiply activations by factors of their own.
        let multiplier = self.0.iter().find(|(key, value)| {
            let mup = key.starts_with("mup_")
                || ["attn_mult", "output_mult", "embd_mult", "embeddings_scale", "width_scale", "output_logits_scale"]
                    .contains(&key.as_str());
            mup && !value.is_null()
        });
        match multiplier {
            Some((key, value)) => Err(ModelError::BadConfig(format!(
                "{key} is {value}: this is a muP variant, whose scaled activations this program does not compute"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    const SIZES: &str =
        r#""model_type":"gpt2","vocab_size":50257,"n_positions":1024,"n_embd":64,"n_layer":12,"n_head":4"#;

    /// GPT-2's settings with one more; of two that stand there, the later counts.
    fn with(setting: &str) -> Vec<u8> {
        format!("{{{SIZES},{setting}}}").into_bytes()
    }

    fn code(text: &[u8]) -> Code {
        crate::Error::from(Config::from_json(text).expect_err(&String::from_utf8_lossy(text))).code
    }

    #[test]
    fn absent_and_null_settings_take_hugging_faces_defaults() {
        let config = Config::from_json(&with(r#""n_inner":null"#)).unwrap();
        assert_eq!((config.vocab_size, config.n_positions, config.n_embd), (50257, 1024, 64));
        assert_eq!((config.n_layer, config.n_head, config.n_inner), (12, 4, 256));
        assert_eq!(config.activation, Activation::GeluTanh);
        assert!(config.scale_attn_weights && config.tie_word_embeddings && !config.scale_attn_by_inverse_layer_idx);
    }

    #[test]
    fn an_unknown_value_is_an_error_and_never_a_guess() {
        for (setting, expected) in [
            (r#""activation_function":"gelu_newest""#, Code::BadConfig),
            (r#""activation_function":3"#, Code::BadConfig),
            (r#""n_embd":0"#, Code::BadConfig),
            (r#""n_embd":-4"#, Code::BadConfig),
            (r#""n_embd":1e30"#, Code::BadConfig),
            (r#""n_embd":100,"n_head":3"#, Code::BadConfig),
            (r#""n_layer":100000"#, Code::BadConfig),
            (r#""layer_norm_epsilon":"small""#, Code::BadConfig),
            (r#""scale_attn_weights":"yes""#, Code::BadConfig),
            (r#""add_cross_attention":true"#, Code::BadConfig),
            (r#""position_embedding_type":"alibi""#, Code::BadConfig),
            (r#""attn_mult":0.125"#, Code::BadConfig),
            (r#""n_embd":null"#, Code::BadConfig),
        ] {
            assert_eq!(code(&with(setting)), expected, "config.rs: {setting}");
        }
        assert_eq!(code(br#"{"model_type":"llama"}"#), Code::NotGpt2);
        assert_eq!(code(br#"{"vocab_size":3}"#), Code::NotGpt2);
        assert_eq!(code(b"<!doctype html>"), Code::BadConfig);
        assert_eq!(code(b"[]"), Code::BadConfig);
    }

    #[test]
    fn numbers_that_only_python_writes_do_not_refuse_a_file_that_reads_none_of_them() {
        let unread = r#""a":NaN,"b":[Infinity, -Infinity],"c":{"d":-Infinity},"e":"NaN \" Infinity","f":-1"#;
        assert_eq!(Config::from_json(&with(unread)).unwrap(), Config::from_json(&with("\"a\":1")).unwrap());
        let marked = [b"\xef\xbb\xbf".to_vec(), with("\"a\":1")].concat();
        assert_eq!(Config::from_json(&marked).unwrap(), Config::from_json(&with("\"a\":1")).unwrap());
        for (setting, name) in [
            (r#""layer_norm_epsilon":NaN"#, "layer_norm_epsilon is \"NaN\""),
            (r#""n_inner":Infinity"#, "n_inner is \"Infinity\""),
            (r#""tie_word_embeddings":-Infinity"#, "tie_word_embeddings is \"-Infinity\""),
        ] {
            let error = Config::from_json(&with(setting)).expect_err(setting).to_string();
            assert!(error.contains(name), "config.rs: {setting}: {error}");
        }
        assert_eq!(code(&with(r#""a":NaN2"#)), Code::BadConfig);
    }

    #[test]
    fn python_s_json_keeps_its_strings() {
        use proptest::prelude::*;
        proptest!(|(text in any::<String>(), number in any::<f64>())| {
            let json = serde_json::json!({"k": text, "n": [number]}).to_string();
            let plain = plain_json(json.as_bytes());
            prop_assert_eq!(&*plain, json.as_bytes());
        });
        proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..60))| { let _ = plain_json(&bytes); });
    }

    #[test]
    fn scores_are_scaled_as_the_configuration_says() {
        let config = Config::from_json(&with(r#""scale_attn_by_inverse_layer_idx":true"#)).unwrap();
        assert_eq!(config.score_scale(0), 0.25);
        assert_eq!(config.score_scale(3), 0.0625);
    }
}
