//! Records as plain objects and back, by the tables of their fields.

use js_sys::{Array, Float32Array, JsString, Object, Reflect, Uint32Array};
use trace::fields::{Field, FieldSource, Record, Value};
use wasm_bindgen::{JsCast, JsValue};

use crate::foreign::{get, is_typed_array, items, values};

/// A record as an object with those of its fields that are wanted.
pub fn object(record: &dyn Record, wants: impl Fn(&Field) -> bool + Copy) -> Object {
    let object = Object::new();
    for (field, value) in record.fields().into_iter().filter(|(field, _)| wants(field)) {
        let value: JsValue = match value {
            Value::Missing => continue,
            Value::Text(text) => text.into(),
            Value::Number(number) => number.into(),
            Value::Count(number) => (number as f64).into(),
            Value::Texts(texts) => texts.iter().map(|text| JsValue::from_str(text)).collect::<Array>().into(),
            Value::Floats(numbers) => Float32Array::from(numbers).into(),
            Value::Whole(numbers) => Uint32Array::from(numbers).into(),
            Value::Record(record) => whole(record),
            Value::Records(records) => records.into_iter().map(whole).collect::<Array>().into(),
        };
        set(&object, field.name, &value);
    }
    object
}

/// A record as an object.
pub fn whole(record: &dyn Record) -> JsValue {
    object(record, |_| true).into()
}

pub fn set(object: &Object, name: &str, value: &JsValue) {
    // Setting a property of a fresh plain object cannot fail.
    let _ = Reflect::set(object, &name.into(), value);
}

/// An object that a record is read from.
pub struct Plain(pub JsValue);

impl FieldSource for Plain {
    fn text(&self, field: &Field) -> Option<String> {
        get(&self.0, field.name).as_string()
    }

    fn number(&self, field: &Field) -> Option<f64> {
        get(&self.0, field.name).as_f64()
    }

    fn texts(&self, field: &Field) -> Option<Vec<String>> {
        let list = get(&self.0, field.name);
        Some(items(&list)?.map(|item| item.dyn_into::<JsString>().map(String::from).unwrap_or_default()).collect())
    }

    fn floats(&self, field: &Field) -> Result<Option<Vec<f32>>, String> {
        match get(&self.0, field.name).dyn_ref::<Float32Array>() {
            Some(array) if is_typed_array(array) => Ok(Some(array.to_vec())),
            _ => numbers(&self.0, field.name, |number| number as f32),
        }
    }

    fn whole(&self, field: &Field) -> Result<Option<Vec<u32>>, String> {
        numbers(&self.0, field.name, |number| number as u32)
    }

    fn record(&self, field: &Field) -> Option<Box<dyn FieldSource + '_>> {
        let inner = get(&self.0, field.name);
        if inner.is_object() { Some(Box::new(Plain(inner))) } else { None }
    }

    fn records(&self, field: &Field) -> Option<Vec<Box<dyn FieldSource + '_>>> {
        let list = get(&self.0, field.name);
        Some(items(&list)?.map(|item| Box::new(Plain(item)) as Box<dyn FieldSource>).collect())
    }
}

/// The numbers of an array of either kind, or of an object with numbered keys.
fn numbers<T>(value: &JsValue, name: &str, of: fn(f64) -> T) -> Result<Option<Vec<T>>, String> {
    let found = get(value, name);
    if !found.is_object() {
        return Ok(None);
    }
    let number = |item: JsValue| match item.is_null() {
        // JSON has null for what is not finite.
        true => Ok(of(f64::NAN)),
        false => item.as_f64().map(of).ok_or_else(|| format!("{name} holds something else than numbers")),
    };
    let values = values(&found).ok_or_else(|| format!("{name} cannot be read"))?;
    values.iter().map(number).collect::<Result<_, _>>().map(Some)
}
