//! What was switched off, as JavaScript has it.

use js_sys::{Array, Object};
use trace::{Ablation, AblationMode, Component};
use wasm_bindgen::JsValue;

use super::record::set;
use crate::foreign::{get, items};

/// Ablations as a list of plain objects.
pub fn to_js(ablate: &[Ablation]) -> JsValue {
    let entry = |ablated: &Ablation| {
        let object = Object::new();
        set(&object, "layer", &(ablated.layer as f64).into());
        let part = match ablated.part {
            Component::Attn => "attn",
            Component::Mlp => "mlp",
            Component::Head => "head",
        };
        set(&object, "part", &part.into());
        set(&object, "head", &ablated.head.map_or(JsValue::NULL, |head| (head as f64).into()));
        set(&object, "how", &if ablated.how == AblationMode::Mean { "mean" } else { "zero" }.into());
        object
    };
    ablate.iter().map(entry).collect::<Array>().into()
}

/// The same from such a list.
///
/// # Errors
/// What is wrong with it.
pub fn from_js(value: &JsValue) -> Result<Vec<Ablation>, String> {
    let Some(list) = items(value) else { return Ok(Vec::new()) };
    let entry = |entry: JsValue| {
        let part = match get(&entry, "part").as_string().as_deref() {
            Some("attn") => Component::Attn,
            Some("mlp") => Component::Mlp,
            Some("head") => Component::Head,
            _ => return Err("ablate: a part is none of attn, mlp, head".to_owned()),
        };
        let layer = get(&entry, "layer").as_f64().filter(|layer| *layer >= 0.0);
        let layer = layer.ok_or("ablate: a layer is no number")? as usize;
        let how = match get(&entry, "how").as_string().as_deref() {
            None | Some("zero") => AblationMode::Zero,
            Some("mean") => AblationMode::Mean,
            Some(_) => return Err("ablate: how is neither zero nor mean".to_owned()),
        };
        Ok(Ablation { layer, part, head: get(&entry, "head").as_f64().map(|head| head as usize), how })
    };
    list.map(entry).collect()
}
