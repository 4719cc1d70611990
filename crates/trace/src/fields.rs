//! What a record is made of: a table beside each struct, one line a field. JavaScript's objects, the axes in safetensors,
//! gathering, merging and the check walk over these lines, so that a field is spelled where it is declared and nowhere else.

use crate::Sequence;
use crate::closer::Pattern;

/// One axis of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// T.
    Tokens,
    /// T-1: every token but the first.
    LaterTokens,
    /// L.
    Layers,
    /// L+1: the embedding, then every block.
    Stages,
    /// H.
    Heads,
    /// Start and end.
    Pair,
    /// As many as there are; the same number in all arrays of one record.
    Some,
    /// T times as many as there are, in one axis: files have it so.
    SomePerToken,
}

/// One field.
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
    /// One text.
    Text(&'a str),
    /// One number.
    Number(f64),
    /// Texts.
    Texts(&'a [String]),
    /// Numbers.
    Floats(&'a [f32]),
    /// Whole numbers.
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
    fn read(source: &dyn Source) -> Result<Self, String>
    where
        Self: Sized;

    /// Takes over the optional fields that another record has.
    fn update(&mut self, more: Self)
    where
        Self: Sized;
}

/// Where records are read from. `None`: it has nothing of that kind under this name.
pub trait Source {
    /// One text.
    fn text(&self, _: &Field) -> Option<String> {
        None
    }

    /// One number.
    fn number(&self, _: &Field) -> Option<f64> {
        None
    }

    /// Texts.
    fn texts(&self, _: &Field) -> Option<Vec<String>> {
        None
    }

    /// Numbers.
    ///
    /// # Errors
    /// It has something else.
    fn floats(&self, field: &Field) -> Result<Option<Vec<f32>>, String>;

    /// Whole numbers.
    ///
    /// # Errors
    /// It has something else.
    fn whole(&self, field: &Field) -> Result<Option<Vec<u32>>, String>;

    /// Another record.
    fn record(&self, field: &Field) -> Option<Box<dyn Source + '_>>;

    /// A list of such.
    fn records(&self, _: &Field) -> Option<Vec<Box<dyn Source + '_>>> {
        None
    }
}

/// What a field may be.
pub trait FieldType: Default {
    /// What it holds.
    fn value(&self) -> Value<'_>;

    /// What a source has of it.
    ///
    /// # Errors
    /// It has something else.
    fn find(source: &dyn Source, field: &Field) -> Result<Option<Self>, String>;

    /// What stands for it where a source has nothing.
    ///
    /// # Errors
    /// Nothing can.
    fn absent(_: &Field) -> Result<Self, String> {
        Ok(Self::default())
    }

    /// Takes over what there is, if it is optional.
    fn update(&mut self, _: Self) {}
}

/// A field as a source has it. What may be left out may as well be damaged.
pub(crate) fn read<T: FieldType>(source: &dyn Source, field: &Field) -> Result<T, String> {
    match T::find(source, field) {
        Ok(Some(found)) => Ok(found),
        Err(why) if !field.or_none => Err(why),
        _ => T::absent(field),
    }
}

/// The table of a record's fields, in the order in which they are declared: `name: [its axes]`, and `or none` where it may be
/// left empty. The compiler misses every field that has no line.
macro_rules! fields {
    ($record:ident { $($name:ident: [$($axis:ident),*] $(or $none:ident)?),* $(,)? }) => {
        impl crate::fields::Record for $record {
            fn fields(&self) -> Vec<(crate::fields::Field, crate::fields::Value<'_>)> {
                let $record { $($name),* } = self;
                vec![$((
                    crate::fields::fields!(@field $name [$($axis),*] $($none)?),
                    crate::fields::FieldType::value($name),
                )),*]
            }

            fn read(source: &dyn crate::fields::Source) -> Result<Self, String> {
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

impl FieldType for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }

    fn find(source: &dyn Source, field: &Field) -> Result<Option<Self>, String> {
        Ok(source.text(field))
    }
}

impl FieldType for f32 {
    fn value(&self) -> Value<'_> {
        Value::Number(f64::from(*self))
    }

    fn find(source: &dyn Source, field: &Field) -> Result<Option<Self>, String> {
        Ok(source.number(field).map(|number| number as f32))
    }

    fn absent(_: &Field) -> Result<Self, String> {
        Ok(f32::NAN)
    }
}

/// A number from 0.
macro_rules! whole_number {
    ($number:ty) => {
        impl FieldType for $number {
            fn value(&self) -> Value<'_> {
                Value::Number(*self as f64)
            }

            fn find(source: &dyn Source, field: &Field) -> Result<Option<Self>, String> {
                Ok(source.number(field).filter(|number| *number >= 0.0).map(|number| number as $number))
            }
        }
    };
}
whole_number!(u32);
whole_number!(usize);

impl FieldType for Vec<String> {
    fn value(&self) -> Value<'_> {
        Value::Texts(self)
    }

    fn find(source: &dyn Source, field: &Field) -> Result<Option<Self>, String> {
        Ok(source.texts(field))
    }
}

/// An array, which must be there unless its line says `or none`.
macro_rules! numbers {
    ($number:ty, $kind:ident, $find:ident) => {
        impl FieldType for Vec<$number> {
            fn value(&self) -> Value<'_> {
                Value::$kind(self)
            }

            fn find(source: &dyn Source, field: &Field) -> Result<Option<Self>, String> {
                source.$find(field)
            }

            fn absent(field: &Field) -> Result<Self, String> {
                if field.or_none { Ok(Vec::new()) } else { Err(format!("{} is missing", field.name)) }
            }
        }
    };
}
numbers!(f32, Floats, floats);
numbers!(u32, Whole, whole);

impl<R: Record + Default> FieldType for R {
    fn value(&self) -> Value<'_> {
        Value::Record(self)
    }

    fn find(source: &dyn Source, field: &Field) -> Result<Option<Self>, String> {
        source.record(field).map(|inner| R::read(&*inner)).transpose()
    }
}

impl FieldType for Vec<Pattern> {
    fn value(&self) -> Value<'_> {
        Value::Records(self.iter().map(|pattern| pattern as &dyn Record).collect())
    }

    fn find(source: &dyn Source, field: &Field) -> Result<Option<Self>, String> {
        let list = source.records(field);
        list.map(|list| list.iter().map(|inner| Pattern::read(&**inner)).collect()).transpose()
    }
}

impl FieldType for Box<Sequence> {
    fn value(&self) -> Value<'_> {
        Value::Record(&**self)
    }

    fn find(source: &dyn Source, field: &Field) -> Result<Option<Self>, String> {
        // One level is all there is: a baseline has none.
        let inner = source.record(field).filter(|inner| inner.record(field).is_none());
        inner.map(|inner| Ok(Box::new(Sequence::read(&*inner)?))).transpose()
    }
}

impl<T: FieldType> FieldType for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Missing, T::value)
    }

    fn find(source: &dyn Source, field: &Field) -> Result<Option<Self>, String> {
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
    /// T.
    pub tokens: usize,
    /// L, as far as recorded.
    pub layers: usize,
    /// H; 0 where it is not known.
    pub heads: usize,
    /// Of [`Axis::Some`].
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
