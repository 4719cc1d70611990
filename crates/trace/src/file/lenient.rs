//! Reading a trace's JSON as generously as JavaScript does, straight into a [`Trace`]: null is a number that is not finite,
//! 3.0 is a whole number, a typed array that `JSON.stringify` made an object of is a list, and so is a tensor where one is
//! named. Counts what it takes, so that a small file cannot ask for much memory, and knows where it is, for messages.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Formatter};
use std::marker::PhantomData;

use serde::de::value::{F32Deserializer, U32Deserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::safetensors::{Numbers, Tensors};
use crate::Trace;
use crate::wording::in_words;

/// Bytes that a number, a text or an object takes at the least.
const NUMBER: usize = 4;
const TEXT: usize = 32;
const OBJECT: usize = 512;

/// A step on the way to a value.
enum Step {
    Key(String),
    Item(usize),
}

/// One reading of a file.
pub(super) struct Reading<'a> {
    tensors: Option<&'a Tensors<'a>>,
    /// Bytes that may still be taken.
    room: Cell<usize>,
    full: Cell<bool>,
    /// Where it is; once it has failed, where that was.
    path: RefCell<Vec<Step>>,
}

impl<'a> Reading<'a> {
    pub fn new(room: usize, tensors: Option<&'a Tensors<'a>>) -> Reading<'a> {
        Reading { tensors, room: Cell::new(room), full: Cell::new(false), path: RefCell::default() }
    }

    pub fn trace<'de, D: Deserializer<'de>>(&self, from: D) -> Result<Trace, D::Error> {
        Trace::deserialize(Node { from, reading: self })
    }

    /// Whether it failed for want of room.
    pub fn is_full(&self) -> bool {
        self.full.get()
    }

    fn charge<E: Error>(&self, bytes: usize) -> Result<(), E> {
        match self.room.get().checked_sub(bytes) {
            Some(left) => {
                self.room.set(left);
                Ok(())
            }
            None => {
                self.full.set(true);
                Err(E::custom("too large"))
            }
        }
    }

    fn enter(&self, step: Step) {
        self.path.borrow_mut().push(step);
    }

    fn leave(&self) {
        self.path.borrow_mut().pop();
    }

    /// What went wrong, in words, and where: `sequences[0].attn_norm[3]: expected a number, found the text "x"`.
    pub fn explain(&self, why: &serde_json::Error) -> String {
        let mut path = String::new();
        for step in self.path.borrow().iter() {
            match step {
                Step::Key(key) if path.is_empty() => path += key,
                Step::Key(key) => path += &format!(".{key}"),
                Step::Item(index) => path += &format!("[{index}]"),
            }
        }
        let said = in_words(&why.to_string());
        if path.is_empty() { said } else { format!("{path}: {said}") }
    }
}

/// A value, and what reads it. As a deserialiser: the value's own, whose visitors are wrapped, so that what lies within it
/// is read in the same way. As a seed: hands the value to another.
struct Node<'r, 'a, T> {
    from: T,
    reading: &'r Reading<'a>,
}

impl<'r, 'a, T> Node<'r, 'a, T> {
    fn with<U>(&self, from: U) -> Node<'r, 'a, U> {
        Node { from, reading: self.reading }
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Node<'_, '_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_any(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.reading.charge(NUMBER)?;
        self.from.deserialize_any(Float(visitor))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.reading.charge(NUMBER)?;
        self.from.deserialize_any(Whole(visitor))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_any(Whole(visitor))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.reading.charge(TEXT)?;
        self.from.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let wrapped = Wrap(self.with(visitor));
        self.from.deserialize_option(wrapped)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let wrapped = List(self.with(visitor));
        self.from.deserialize_any(wrapped)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.reading.charge(OBJECT)?;
        let wrapped = Wrap(self.with(visitor));
        self.from.deserialize_map(wrapped)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.from.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_ignored_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u128 f64 char str bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct
        map identifier
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Node<'_, '_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.from.deserialize(Node { from, reading: self.reading })
    }
}

/// Sees an object, or what may be missing.
struct Wrap<T>(T);

impl<'de, V: Visitor<'de>> Visitor<'de> for Wrap<Node<'_, '_, V>> {
    type Value = V::Value;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<V::Value, M::Error> {
        let entries = Entries(self.0.with(map));
        self.0.from.visit_map(entries)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        let value = self.0.with(value);
        self.0.from.visit_some(value)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.from.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.from.visit_none()
    }
}

/// An object's entries.
struct Entries<T>(T);

impl<'de, M: MapAccess<'de>> MapAccess<'de> for Entries<Node<'_, '_, M>> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, M::Error> {
        let is_baseline = |step: &Step| matches!(step, Step::Key(key) if key == "baseline");
        while let Some(key) = self.0.from.next_key::<String>()? {
            // One level is all there is: a baseline has none.
            if key == "baseline" && self.0.reading.path.borrow().iter().any(is_baseline) {
                self.0.from.next_value::<IgnoredAny>()?;
                continue;
            }
            let read = seed.deserialize(key.as_str().into_deserializer());
            self.0.reading.enter(Step::Key(key));
            return read.map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, M::Error> {
        let seed = self.0.with(seed);
        let value = self.0.from.next_value_seed(seed)?;
        self.0.reading.leave();
        Ok(value)
    }
}

/// Sees a list, in each of its forms.
struct List<T>(T);

impl<'de, V: Visitor<'de>> Visitor<'de> for List<Node<'_, '_, V>> {
    type Value = V::Value;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<V::Value, S::Error> {
        let items = Items { of: self.0.with(seq), index: 0 };
        self.0.from.visit_seq(items)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<V::Value, M::Error> {
        let reading = self.0.reading;
        match (map.next_key::<String>()?, reading.tensors) {
            (Some(key), Some(tensors)) if key == "tensor" => {
                let name: String = map.next_value()?;
                if map.next_key::<IgnoredAny>()?.is_some() {
                    return Err(M::Error::custom("a tensor's name stands beside something else"));
                }
                let numbers = tensors.take(&name).map_err(M::Error::custom)?;
                let items = TensorItems { of: self.0.with(numbers), index: 0, error: PhantomData };
                self.0.from.visit_seq(items)
            }
            (first, _) => {
                let values = Values { of: self.0.with(map), has_first: first.is_some(), index: 0 };
                self.0.from.visit_seq(values)
            }
        }
    }
}

/// A list's items.
struct Items<T> {
    of: T,
    index: usize,
}

impl<'de, S: SeqAccess<'de>> SeqAccess<'de> for Items<Node<'_, '_, S>> {
    type Error = S::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, S::Error> {
        self.of.reading.enter(Step::Item(self.index));
        self.index += 1;
        let seed = self.of.with(seed);
        let item = self.of.from.next_element_seed(seed)?;
        self.of.reading.leave();
        Ok(item)
    }
}

/// The values of an object with numbered keys, in order.
struct Values<T> {
    of: T,
    /// Whether the first key has been read already.
    has_first: bool,
    index: usize,
}

impl<'de, M: MapAccess<'de>> SeqAccess<'de> for Values<Node<'_, '_, M>> {
    type Error = M::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, M::Error> {
        if !std::mem::take(&mut self.has_first) && self.of.from.next_key::<IgnoredAny>()?.is_none() {
            return Ok(None);
        }
        self.of.reading.enter(Step::Item(self.index));
        self.index += 1;
        let seed = self.of.with(seed);
        let value = self.of.from.next_value_seed(seed)?;
        self.of.reading.leave();
        Ok(Some(value))
    }
}

/// A tensor's numbers.
struct TensorItems<T, E> {
    of: T,
    index: usize,
    error: PhantomData<E>,
}

impl<'de, E: Error> SeqAccess<'de> for TensorItems<Node<'_, '_, Numbers<'_>>, E> {
    type Error = E;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, E> {
        let number = match &self.of.from {
            Numbers::Whole(numbers) | Numbers::Float(numbers) => numbers.get(self.index),
        };
        let Some(bytes) = number else { return Ok(None) };
        self.of.reading.enter(Step::Item(self.index));
        self.index += 1;
        let item = match &self.of.from {
            Numbers::Whole(_) => seed.deserialize(self.of.with(U32Deserializer::new(u32::from_le_bytes(*bytes)))),
            Numbers::Float(_) => seed.deserialize(self.of.with(F32Deserializer::new(f32::from_le_bytes(*bytes)))),
        }?;
        self.of.reading.leave();
        Ok(Some(item))
    }
}

/// Sees a number; null is one that is not finite.
struct Float<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Float<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<V::Value, E> {
        self.0.visit_f64(number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<V::Value, E> {
        self.0.visit_f64(number as f64)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<V::Value, E> {
        self.0.visit_f64(number as f64)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_f64(f64::NAN)
    }
}

/// Sees a whole number, however it is written.
struct Whole<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Whole<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("a whole number from 0 to 4294967295")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<V::Value, E> {
        match number <= u64::from(u32::MAX) {
            true => self.0.visit_u64(number),
            false => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<V::Value, E> {
        match number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
            true => self.0.visit_u64(number as u64),
            false => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FORMAT, read};

    /// A saved run of one token in one layer, with one thing changed.
    fn saved(from: &str, to: &str) -> Result<crate::Trace, String> {
        let lists =
            ["attn_norm", "mlp_norm", "resid_pre_norm", "resid_mid_norm", "resid_post_norm", "attn_cos", "mlp_cos"]
                .map(|name| format!("\"{name}\":[0.5]"))
                .join(",");
        let json = format!(
            "{{\"format\":\"{FORMAT}\",\"version\":1,\"model\":{{\"source\":\"x\",\"n_layer\":1}},\
             \"sequences\":[{{\"ids\":[7],\"tokens\":[\"a\"],\"embed_norm\":[1],{lists}}}]}}"
        );
        assert!(json.contains(from), "lenient.rs: {json}");
        read(json.replace(from, to).as_bytes()).map_err(|error| error.message)
    }

    #[test]
    fn what_javascript_makes_of_a_trace_is_read() {
        let plain = saved("", "").unwrap();
        assert_eq!((plain.sequences[0].ids.as_slice(), plain.sequences[0].embed_norm[0]), (&[7][..], 1.0));
        for (from, to) in [
            ("\"ids\":[7]", "\"ids\":{\"0\":7}"),
            ("\"ids\":[7]", "\"ids\":[7.0]"),
            ("\"tokens\":[\"a\"],", "\"extra\":{\"deep\":[[]]},\"tokens\":[\"a\"],"),
            ("\"embed_norm\":[1]", "\"embed_norm\":{\"0\":1e0},\"lens\":null"),
        ] {
            assert_eq!(saved(from, to).unwrap(), plain, "lenient.rs: {to}");
        }
        assert!(saved("\"mlp_norm\":[0.5]", "\"mlp_norm\":[null]").unwrap().sequences[0].mlp_norm[0].is_nan());
        // Of a baseline's own baseline nothing is read, whatever it is.
        let lists = "\"embed_norm\":[1],\"attn_norm\":[],\"baseline\":{\"baseline\":5}";
        assert!(saved("\"embed_norm\":[1]", lists).unwrap_err().contains("baseline"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (from, to, said) in [
            (
                "\"attn_norm\":[0.5]",
                "\"attn_norm\":[\"x\"]",
                "sequences[0].attn_norm[0]: expected a number, found the text \"x\"",
            ),
            ("\"attn_norm\":[0.5]", "\"attn_norm\":5", "sequences[0].attn_norm: expected a list, found 5"),
            ("\"attn_norm\":[0.5],", "", "sequences[0]: attn_norm is missing"),
            (
                "\"ids\":[7]",
                "\"ids\":[-1]",
                "sequences[0].ids[0]: expected a whole number from 0 to 4294967295, found -1",
            ),
            (
                "\"ids\":[7]",
                "\"ids\":[0.5]",
                "sequences[0].ids[0]: expected a whole number from 0 to 4294967295, found 0.5",
            ),
            (
                "\"n_layer\":1",
                "\"n_layer\":1e300",
                "model.n_layer: expected a whole number from 0 to 4294967295, found 1e+300",
            ),
            ("\"tokens\":[\"a\"]", "\"tokens\":[[]]", "sequences[0].tokens[0]: expected a text, found a list"),
            ("\"model\":{", "\"model\":[],\"mode\":{", "model: expected an object, found a list"),
            ("\"source\":\"x\"", "\"source\":null", "model.source: expected a text, found null"),
        ] {
            let error = saved(from, to).unwrap_err();
            assert!(error.contains(said), "lenient.rs: {to}: {error}");
        }
    }
}
