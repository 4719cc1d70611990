//! What a record is made of: a table beside each struct, one line a field. JavaScript's objects, saved runs,
//! gathering, merging and the check walk over these lines, so that a field is spelled where it is declared and nowhere else.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::Pattern;
use crate::Sequence;

/// One axis of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// T, the sequence's tokens.
    Tokens,
    /// T-1: every token but the first.
    LaterTokens,
    /// L, the blocks that were recorded.
    Layers,
    /// L+1: the embedding, then every block.
    Stages,
    /// H, the heads of a block.
    Heads,
    /// Two: a start and an end.
    Pair,
    /// As many as there are; the same number in all arrays of one record.
    Some,
    /// T times as many as there are, in one axis: files have it so.
    SomePerToken,
}

/// One field of a record, as its line in the table says.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in Rust, in files and in JavaScript.
    pub name: &'static str,
    /// The axes of its array, row-major.
    pub axes: &'static [Axis],
    /// Whether it may be left empty, or out: earlier versions did not write it.
    pub or_none: bool,
}

/// What a field holds.
pub enum Value<'a> {
    /// Nothing: it is optional.
    Missing,
    /// A string.
    Text(&'a str),
    /// A 32-bit float.
    Number(f32),
    /// A size, an index or an id.
    Count(u64),
    /// A list of strings.
    Texts(&'a [String]),
    /// An array of 32-bit floats.
    Floats(&'a [f32]),
    /// An array of 32-bit unsigned integers.
    Whole(&'a [u32]),
    /// A record of its own.
    Record(&'a dyn Record),
    /// A list of such.
    Records(Vec<&'a dyn Record>),
}

/// A struct with a table of its fields.
pub trait Record {
    /// Every field, with what it holds.
    fn fields(&self) -> Vec<(Field, Value<'_>)>;

    /// A record with what a source has.
    ///
    /// # Errors
    /// Which field is missing, or what is wrong with it.
    fn read(source: &dyn FieldSource) -> Result<Self, String>
    where
        Self: Sized;

    /// Takes over the optional fields that another record has.
    fn update(&mut self, more: Self)
    where
        Self: Sized;
}

/// Where records are read from. `None`: it has nothing of that kind under this name.
pub trait FieldSource {
    /// The string of this field.
    fn text(&self, _: &Field) -> Option<String> {
        None
    }

    /// The number of this field, whole or not.
    fn number(&self, _: &Field) -> Option<f64> {
        None
    }

    /// The strings of this field.
    fn texts(&self, _: &Field) -> Option<Vec<String>> {
        None
    }

    /// The array of floats of this field.
    ///
    /// # Errors
    /// It has something else.
    fn floats(&self, field: &Field) -> Result<Option<Vec<f32>>, String>;

    /// The array of unsigned integers of this field.
    ///
    /// # Errors
    /// It has something else.
    fn whole(&self, field: &Field) -> Result<Option<Vec<u32>>, String>;

    /// The record inside this field, to be read in turn.
    fn record(&self, field: &Field) -> Option<Box<dyn FieldSource + '_>>;

    /// A list of such.
    fn records(&self, _: &Field) -> Option<Vec<Box<dyn FieldSource + '_>>> {
        None
    }
}

/// What a field may be.
pub trait FieldType: Default {
    /// Whether a source must have it, unless its line says `or none`.
    const REQUIRED: bool = false;

    /// What the field holds, borrowed.
    fn value(&self) -> Value<'_>;

    /// What a source has of it.
    ///
    /// # Errors
    /// It has something else.
    fn find(source: &dyn FieldSource, field: &Field) -> Result<Option<Self>, String>;

    /// Takes over what there is, if it is optional.
    fn update(&mut self, _: Self) {}
}

/// A field as a source has it. What may be left out may as well be damaged.
pub(crate) fn read<T: FieldType>(source: &dyn FieldSource, field: &Field) -> Result<T, String> {
    match T::find(source, field) {
        Ok(Some(found)) => Ok(found),
        Err(why) if !field.or_none => Err(why),
        Ok(None) if T::REQUIRED && !field.or_none => Err(format!("{} is missing", field.name)),
        _ => Ok(T::default()),
    }
}

/// A record's fields that are there, in order.
pub(crate) fn serialize<S: Serializer>(record: &dyn Record, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = record.fields();
    fields.retain(|(_, value)| !matches!(value, Value::Missing));
    let mut object = serializer.serialize_struct("record", fields.len())?;
    fields.iter().try_for_each(|(field, value)| object.serialize_field(field.name, value))?;
    object.end()
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Missing => serializer.serialize_none(),
            Value::Text(text) => text.serialize(serializer),
            Value::Number(number) => number.serialize(serializer),
            Value::Count(number) => number.serialize(serializer),
            Value::Texts(texts) => texts.serialize(serializer),
            Value::Floats(numbers) => numbers.serialize(serializer),
            Value::Whole(numbers) => numbers.serialize(serializer),
            Value::Record(record) => serialize(*record, serializer),
            Value::Records(list) => serializer.collect_seq(list.iter().map(|record| Value::Record(*record))),
        }
    }
}

/// The table of a record's fields, in the order in which they are declared: `name: [its axes]`, and `or none` where it may be
/// left empty. The compiler misses every field that has no line.
macro_rules! fields {
    ($record:ident { $($name:ident: [$($axis:ident),*] $(or $none:ident)?),* $(,)? }) => {
        impl serde::Serialize for $record {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::fields::serialize(self, serializer)
            }
        }

        impl crate::fields::Record for $record {
            fn fields(&self) -> Vec<(crate::fields::Field, crate::fields::Value<'_>)> {
                let $record { $($name),* } = self;
                vec![$((
                    crate::fields::fields!(@field $name [$($axis),*] $($none)?),
                    crate::fields::FieldType::value($name),
                )),*]
            }

            fn read(source: &dyn crate::fields::FieldSource) -> Result<Self, String> {
                Ok($record { $(
                    $name: crate::fields::read(source, &crate::fields::fields!(@field $name [$($axis),*] $($none)?))?,
                )* })
            }

            fn update(&mut self, more: Self) {
                $(crate::fields::FieldType::update(&mut self.$name, more.$name);)*
            }
        }
    };
    (@field $name:ident [$($axis:ident),*] $($none:ident)?) => {
        crate::fields::Field {
            name: stringify!($name),
            axes: &[$(crate::fields::Axis::$axis),*],
            or_none: !matches!(stringify!($($none)?).as_bytes(), []),
        }
    };
}
pub(crate) use fields;

/// A type whose values are held and found as said.
macro_rules! field_type {
    ($type:ty, $required:literal, |$held:ident| $value:expr, |$source:ident, $field:ident| $found:expr) => {
        impl FieldType for $type {
            const REQUIRED: bool = $required;

            fn value(&self) -> Value<'_> {
                let $held = self;
                $value
            }

            fn find($source: &dyn FieldSource, $field: &Field) -> Result<Option<Self>, String> {
                $found
            }
        }
    };
}
field_type!(String, false, |text| Value::Text(text), |source, field| Ok(source.text(field)));
field_type!(Vec<String>, false, |texts| Value::Texts(texts), |source, field| Ok(source.texts(field)));
field_type!(Vec<f32>, true, |numbers| Value::Floats(numbers), |source, field| source.floats(field));
field_type!(Vec<u32>, true, |numbers| Value::Whole(numbers), |source, field| source.whole(field));
field_type!(f32, false, |number| Value::Number(*number), |source, field| {
    Ok(Some(source.number(field).map_or(f32::NAN, |number| number as f32)))
});
field_type!(u32, false, |number| Value::Count(u64::from(*number)), |source, field| {
    Ok(source.number(field).filter(|number| *number >= 0.0).map(|number| number as u32))
});
field_type!(usize, false, |number| Value::Count(*number as u64), |source, field| {
    Ok(source.number(field).filter(|number| *number >= 0.0).map(|number| number as usize))
});
field_type!(
    Vec<Pattern>,
    false,
    |list| Value::Records(list.iter().map(|pattern| pattern as &dyn Record).collect()),
    |source, field| {
        let read = |list: Vec<Box<dyn FieldSource>>| list.iter().map(|inner| Pattern::read(&**inner)).collect();
        source.records(field).map(read).transpose()
    }
);
field_type!(Box<Sequence>, false, |sequence| Value::Record(&**sequence), |source, field| {
    // One level is all there is: a baseline has none.
    let inner = source.record(field).filter(|inner| inner.record(field).is_none());
    inner.map(|inner| Ok(Box::new(Sequence::read(&*inner)?))).transpose()
});

impl<R: Record + Default> FieldType for R {
    fn value(&self) -> Value<'_> {
        Value::Record(self)
    }

    fn find(source: &dyn FieldSource, field: &Field) -> Result<Option<Self>, String> {
        source.record(field).map(|inner| R::read(&*inner)).transpose()
    }
}

impl<T: FieldType> FieldType for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Missing, T::value)
    }

    fn find(source: &dyn FieldSource, field: &Field) -> Result<Option<Self>, String> {
        Ok(T::find(source, field)?.map(Some))
    }

    fn update(&mut self, more: Self) {
        if more.is_some() {
            *self = more;
        }
    }
}

impl Value<'_> {
    /// How long an array is.
    pub fn length(&self) -> Option<usize> {
        match self {
            Value::Texts(texts) => Some(texts.len()),
            Value::Floats(numbers) => Some(numbers.len()),
            Value::Whole(numbers) => Some(numbers.len()),
            _ => None,
        }
    }
}

/// How long the axes are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// T, the sequence's tokens.
    pub tokens: usize,
    /// L, as far as recorded.
    pub layers: usize,
    /// H; 0 where it is not known.
    pub heads: usize,
    /// The length of [`Axis::Some`].
    pub some: usize,
}

impl Sizes {
    /// The length of an axis.
    pub fn of(&self, axis: Axis) -> usize {
        match axis {
            Axis::Tokens => self.tokens,
            Axis::LaterTokens => self.tokens.saturating_sub(1),
            Axis::Layers => self.layers,
            Axis::Stages => self.layers + 1,
            Axis::Heads => self.heads,
            Axis::Pair => 2,
            Axis::Some => self.some,
            Axis::SomePerToken => self.tokens.saturating_mul(self.some),
        }
    }

    /// How many numbers there are over some axes.
    pub fn over(&self, axes: &[Axis]) -> usize {
        axes.iter().fold(1, |product, axis| product.saturating_mul(self.of(*axis)))
    }
}
