//! Patterns, attribution, patching and samples as JavaScript has them.

use js_sys::{Array, Object};
use wasm_bindgen::JsValue;

use super::{floats, numbers, set, set_floats, set_ids, strings, texts};
use crate::foreign::{get, items};
use trace::closer::{Ablated, Attribution, Instead, Leads, Patching, Pattern, Sampled, Switched, Writes};

pub(super) fn pattern_to_js(pattern: &Pattern) -> JsValue {
    let object = Object::new();
    set_number(&object, "layer", pattern.layer as f64);
    set_number(&object, "head", pattern.head as f64);
    set_floats(&object, "weights", &pattern.weights);
    if let Some(writes) = &pattern.writes {
        let found = Object::new();
        set_ids(&found, "ids", &writes.ids);
        set_floats(&found, "logits", &writes.logits);
        set(&found, "tokens", &strings(&writes.tokens));
        set(&object, "writes", &found);
    }
    object.into()
}

pub(super) fn pattern_from_js(value: &JsValue) -> Result<Pattern, String> {
    let weights = floats(value, "weights")?;
    let writes = get(value, "writes");
    let writes = if writes.is_object() {
        Some(Writes {
            ids: ids(&writes, "ids")?,
            logits: floats(&writes, "logits")?,
            tokens: texts(&get(&writes, "tokens")),
        })
    } else {
        None
    };
    Ok(Pattern { layer: whole(value, "layer"), head: whole(value, "head"), weights, writes })
}

pub(super) fn leads_to_js(found: &Leads) -> JsValue {
    let object = Object::new();
    set_number(&object, "id", f64::from(found.id));
    set(&object, "text", &found.text.as_str().into());
    set_number(&object, "prob", f64::from(found.prob));
    set_number(&object, "first", found.first as f64);
    set_number(&object, "settled", found.settled as f64);
    object.into()
}

pub(super) fn leads_from_js(value: &JsValue) -> Leads {
    Leads {
        id: whole(value, "id") as u32,
        text: get(value, "text").as_string().unwrap_or_default(),
        prob: float(value, "prob"),
        first: whole(value, "first"),
        settled: whole(value, "settled"),
    }
}

pub(super) fn attribution_to_js(found: &Attribution) -> JsValue {
    let object = Object::new();
    set_number(&object, "position", found.position as f64);
    set_number(&object, "target", f64::from(found.target));
    set(&object, "target_text", &found.target_text.as_str().into());
    if let Some(against) = found.against {
        set_number(&object, "against", f64::from(against));
        set(&object, "against_text", &found.against_text.as_deref().unwrap_or_default().into());
    }
    for (name, value) in [("logit", found.logit), ("scale", found.scale), ("embed", found.embed), ("bias", found.bias)]
    {
        set_number(&object, name, f64::from(value));
    }
    for (name, values) in
        [("attn", &found.attn), ("mlp", &found.mlp), ("heads", &found.heads), ("attn_bias", &found.attn_bias)]
    {
        set_floats(&object, name, values);
    }
    object.into()
}

pub(super) fn attribution_from_js(value: &JsValue) -> Result<Attribution, String> {
    let against = get(value, "against").as_f64().map(|id| id as u32);
    Ok(Attribution {
        position: whole(value, "position"),
        target: whole(value, "target") as u32,
        target_text: get(value, "target_text").as_string().unwrap_or_default(),
        against,
        against_text: against.and_then(|_| get(value, "against_text").as_string()),
        logit: float(value, "logit"),
        scale: float(value, "scale"),
        embed: float(value, "embed"),
        attn: floats(value, "attn")?,
        mlp: floats(value, "mlp")?,
        heads: floats(value, "heads")?,
        attn_bias: floats(value, "attn_bias")?,
        bias: float(value, "bias"),
    })
}

pub(super) fn ablate_to_js(ablate: &[Ablated]) -> JsValue {
    let entry = |ablated: &Ablated| {
        let object = Object::new();
        set_number(&object, "layer", ablated.layer as f64);
        let part = match ablated.part {
            Switched::Attn => "attn",
            Switched::Mlp => "mlp",
            Switched::Head => "head",
        };
        set(&object, "part", &part.into());
        set(&object, "head", &ablated.head.map_or(JsValue::NULL, |head| (head as f64).into()));
        set(&object, "how", &if ablated.how == Instead::Mean { "mean" } else { "zero" }.into());
        object
    };
    ablate.iter().map(entry).collect::<Array>().into()
}

pub(super) fn ablate_from_js(value: &JsValue) -> Result<Vec<Ablated>, String> {
    let Some(list) = items(value) else { return Ok(Vec::new()) };
    let entry = |entry: JsValue| {
        let part = match get(&entry, "part").as_string().as_deref() {
            Some("attn") => Switched::Attn,
            Some("mlp") => Switched::Mlp,
            Some("head") => Switched::Head,
            _ => return Err("ablate: a part is none of attn, mlp, head".to_owned()),
        };
        let layer = get(&entry, "layer").as_f64().filter(|layer| *layer >= 0.0);
        let layer = layer.ok_or("ablate: a layer is no number")? as usize;
        let how = match get(&entry, "how").as_string().as_deref() {
            None | Some("zero") => Instead::Zero,
            Some("mean") => Instead::Mean,
            Some(_) => return Err("ablate: how is neither zero nor mean".to_owned()),
        };
        Ok(Ablated { layer, part, head: get(&entry, "head").as_f64().map(|head| head as usize), how })
    };
    list.map(entry).collect()
}

/// What patching found, as a plain object.
pub fn patching_to_js(found: &Patching) -> JsValue {
    let object = Object::new();
    set(&object, "clean_tokens", &strings(&found.clean_tokens));
    set(&object, "corrupted_tokens", &strings(&found.corrupted_tokens));
    set_number(&object, "answer", f64::from(found.answer));
    set(&object, "answer_text", &found.answer_text.as_str().into());
    set_number(&object, "against", f64::from(found.against));
    set(&object, "against_text", &found.against_text.as_str().into());
    set_number(&object, "clean_difference", f64::from(found.clean_difference));
    set_number(&object, "corrupted_difference", f64::from(found.corrupted_difference));
    set_floats(&object, "recovered", &found.recovered);
    object.into()
}

/// The same from a plain object.
///
/// # Errors
/// What is missing.
pub fn patching_from_js(value: &JsValue) -> Result<Patching, String> {
    let found = Patching {
        clean_tokens: texts(&get(value, "clean_tokens")),
        corrupted_tokens: texts(&get(value, "corrupted_tokens")),
        answer: whole(value, "answer") as u32,
        answer_text: get(value, "answer_text").as_string().unwrap_or_default(),
        against: whole(value, "against") as u32,
        against_text: get(value, "against_text").as_string().unwrap_or_default(),
        clean_difference: float(value, "clean_difference"),
        corrupted_difference: float(value, "corrupted_difference"),
        recovered: floats(value, "recovered")?,
    };
    found.check()?;
    Ok(found)
}

/// Sampled tokens, as a plain object.
pub fn sampled_to_js(found: &Sampled) -> JsValue {
    let object = Object::new();
    set_ids(&object, "ids", &found.ids);
    set(&object, "tokens", &strings(&found.tokens));
    set_floats(&object, "probs", &found.probs);
    set(&object, "text", &found.text.as_str().into());
    object.into()
}

/// The same from a plain object.
///
/// # Errors
/// What is missing.
pub fn sampled_from_js(value: &JsValue) -> Result<Sampled, String> {
    Ok(Sampled {
        ids: ids(value, "ids")?,
        tokens: texts(&get(value, "tokens")),
        probs: floats(value, "probs")?,
        text: get(value, "text").as_string().unwrap_or_default(),
    })
}

fn ids(value: &JsValue, name: &str) -> Result<Vec<u32>, String> {
    Ok(numbers(value, name)?.into_iter().map(|id| id as u32).collect())
}

fn set_number(object: &Object, name: &str, value: f64) {
    set(object, name, &value.into());
}

/// A number; not a number where there is none.
fn float(value: &JsValue, name: &str) -> f32 {
    get(value, name).as_f64().map_or(f32::NAN, |number| number as f32)
}

fn whole(value: &JsValue, name: &str) -> usize {
    get(value, name).as_f64().filter(|number| *number >= 0.0).map_or(0, |number| number as usize)
}
