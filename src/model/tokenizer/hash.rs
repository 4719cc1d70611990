//! A hash for maps of tokens and pairs. A vocabulary is looked up some hundred thousand times while its merges are
//! read; the standard library's hash, made against attackers, would take most of that time.
//! Must never know: what is hashed.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by this hash.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// Eight bytes at a time, each multiplied into what came before.
#[derive(Default)]
pub struct Quick(u64);

impl Quick {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            self.add(rest.iter().fold(rest.len() as u64, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(byte.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.add(word.into());
    }

    /// The map picks its places by the lowest bits, and multiplication mixes the highest.
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}
