//! Which of a reader's files hold weights, by their names: what else training leaves beside them is told apart.

use std::fmt;

/// The whole model in one file.
pub const ONE_FILE: &str = "model.safetensors";
/// Which tensor is in which of several.
pub const INDEX: &str = "model.safetensors.index.json";

/// A file that ends in `.safetensors` and is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// What it is instead of the model's weights.
    pub what: &'static str,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "{} ({})", self.name, self.what)
    }
}

/// What a file is that ends in `.safetensors` and holds no model; `None` where its name does not say so.
pub fn not_weights(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    if name.starts_with('.') {
        // "._model.safetensors" is what macOS leaves on disks of other systems.
        Some("a hidden file of the system")
    } else if begins(&["adapter_model", "pytorch_lora_weights"]) {
        Some("a LoRA adapter: merge it into its base model first")
    } else if begins(&[
        "optimizer",
        "optim.",
        "optim_",
        "scheduler",
        "scaler",
        "training_args",
        "rng_state",
        "trainer_state",
    ]) {
        Some("a state of training")
    } else {
        None
    }
}

/// Those of a reader's files that may hold weights, and those that end in `.safetensors` and do not.
pub fn sorted_out<'a>(names: impl Iterator<Item = &'a str>) -> (Vec<String>, Vec<LeftOut>) {
    let (mut weights, mut others) = (Vec::new(), Vec::new());
    for name in names.filter(|name| name.ends_with(".safetensors")) {
        match not_weights(name) {
            None => weights.push(name.to_string()),
            Some(what) => others.push(LeftOut { name: name.to_string(), what }),
        }
    }
    (weights, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_training_leaves_beside_the_weights_is_told_apart() {
        let names = [
            "model.safetensors",
            "._model.safetensors",
            "optimizer.safetensors",
            "adapter_model.safetensors",
            "model-00001-of-00002.safetensors",
            "model.fp16.safetensors",
            "Adapted.safetensors",
            "config.json",
        ];
        let (weights, others) = sorted_out(names.into_iter());
        assert_eq!(
            weights,
            ["model.safetensors", "model-00001-of-00002.safetensors", "model.fp16.safetensors", "Adapted.safetensors"]
        );
        let others: Vec<_> = others.into_iter().map(|left_out| left_out.name).collect();
        assert_eq!(others, ["._model.safetensors", "optimizer.safetensors", "adapter_model.safetensors"]);
    }
}
