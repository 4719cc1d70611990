//! Damage to files, as disks, servers, editors and programs do it.

use serde_json::{Value, json};

use super::random::Random;

/// Damages bytes: some are others, gone, or there twice.
pub fn bytes(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.between(1, 3) {
        let at = random.below(bytes.len().max(1));
        match random.below(7) {
            _ if bytes.is_empty() => bytes.push(random.bits() as u8),
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.bits() as u8,
            2 => bytes.truncate(at),
            3 => bytes.extend(std::iter::repeat_n(0, random.between(1, 9))),
            4 => {
                let end = (at + random.between(1, 40)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            5 => {
                let end = (at + random.between(1, 40)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + random.between(1, 16)).min(bytes.len());
                bytes[at..end].fill(random.pick(&[0, 0xff, b' ', b'9']));
            }
        }
    }
}

/// Damages JSON that stays JSON: values of other kinds and sizes, keys and entries that are gone, moved or renamed.
pub fn json(random: &mut Random, value: &mut Value) {
    for _ in 0..random.between(1, 2) {
        let count = count(value);
        let mut at = random.below(count);
        change(random, value, &mut at);
    }
}

/// How many values there are within one, itself too. Long lists count for a few.
fn count(value: &Value) -> usize {
    let of_all = |sum: usize, value| sum + count(value);
    1 + match value {
        Value::Array(list) => list.iter().take(MOST_ENTRIES).fold(0, of_all),
        Value::Object(map) => map.values().take(MOST_ENTRIES).fold(0, of_all),
        _ => 0,
    }
}

/// Entries of a list that are looked into.
const MOST_ENTRIES: usize = 400;

fn change(random: &mut Random, value: &mut Value, at: &mut usize) {
    if *at == 0 {
        change_here(random, value);
        *at = usize::MAX;
        return;
    }
    *at -= 1;
    let inner: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().take(MOST_ENTRIES).collect(),
        Value::Object(map) => map.values_mut().take(MOST_ENTRIES).collect(),
        _ => return,
    };
    for value in inner {
        if *at != usize::MAX {
            change(random, value, at);
        }
    }
}

fn change_here(random: &mut Random, value: &mut Value) {
    match value {
        Value::Object(map) if !map.is_empty() && random.one_in(2) => {
            let key = map.keys().nth(random.below(map.len())).unwrap().clone();
            let taken = map.remove(&key).unwrap();
            if random.one_in(2) {
                let other = random.pick(&["", "ids", "tensor", "n_layer", "__metadata__", "\u{0}", "constructor"]);
                map.insert(other.to_owned(), taken);
            }
        }
        Value::Array(list) if !list.is_empty() && random.one_in(2) => {
            let at = random.below(list.len());
            match random.below(3) {
                0 => drop(list.remove(at)),
                1 => list.insert(at, list[at].clone()),
                _ => list.truncate(at),
            }
        }
        Value::Number(number) if random.one_in(2) => {
            let near = number.as_f64().unwrap_or(0.0);
            let others = [near + 1.0, near - 1.0, near * 2.0, near / 2.0, -near, near * 1e9];
            let other = random.pick(&others);
            *value = if other.fract() == 0.0 && other.abs() < 1e15 { json!(other as i64) } else { json!(other) };
        }
        _ => *value = anything(random),
    }
}

/// A value that has no business anywhere.
pub fn anything(random: &mut Random) -> Value {
    let numbers = [0u64, 1, 2, 7, 4096, 4097, 1 << 24, 1 << 31, 1 << 32, 1 << 53, 1 << 62, u64::MAX];
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.one_in(2)),
        2 | 3 => json!(random.pick(&numbers)),
        4 => json!(random.pick(&[-1.0, 0.5, -0.0, 1e-320, 1e30, -1e308, 1e300])),
        5 => json!(i64::MIN),
        6 => json!(random.pick(&["", "gpt2", "<b>\u{202e}\u{feff}", "0", "NaN", "\u{0}", "x\u{d7ff}\u{10ffff}"])),
        7 => nested(random.between(1, 200)),
        _ => json!({}),
    }
}

/// Lists in lists.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!([]), |inner, _| json!([inner]))
}
