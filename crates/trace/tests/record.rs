//! The record's spelling is a contract: saved runs keep their bytes, and TypeScript's types name every field.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

mod filled;

use std::path::Path;

use trace::fields::{Field, Record, Value};
use trace::file::{read, to_json, to_safetensors};
use trace::{PromotedTokens, Sampled};

/// Saved runs must stay readable, byte by byte, for whoever has read them so far. A field more in the record is the one
/// reason to write these files anew (`RENEW_GOLDEN=1`), and then only that field may differ.
#[test]
fn saved_runs_keep_their_bytes() {
    let mut trace = filled::trace();
    trace.sequences[1].attn_norm[0] = f32::INFINITY;
    trace.sequences[1].mlp_norm[1] = f32::NAN;
    for (name, bytes) in
        [("run.json", to_json(&trace).unwrap().into_bytes()), ("run.safetensors", to_safetensors(&trace).unwrap())]
    {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        if std::env::var_os("RENEW_GOLDEN").is_some() {
            std::fs::write(&file, &bytes).unwrap();
        }
        let golden = std::fs::read(&file).unwrap();
        assert!(golden == bytes, "{name}: a saved run is written in other bytes than before");
        read(&golden).unwrap();
    }
}

/// The fields of one interface of the package's types: name (with `?` where it may be missing) and type.
fn declared(types: &str, interface: &str) -> Vec<(String, String)> {
    let head = format!("interface {interface} {{");
    let (_, body) = types.split_once(&head).unwrap_or_else(|| panic!("residual-stream.d.ts has no {head}"));
    members(body)
}

/// The members of an object type, from behind its brace on.
fn members(body: &str) -> Vec<(String, String)> {
    let (mut found, mut member, mut depth) = (Vec::new(), String::new(), 0);
    for c in body.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ';' | '}' if depth < 0 || depth == 0 && c == ';' => {
                if let Some((name, is)) = member.split_once(':') {
                    found.push((name.trim().to_owned(), is.trim().to_owned()));
                }
                member.clear();
                if depth < 0 {
                    break;
                }
            }
            _ => member.push(c),
        }
    }
    found
}

/// The fields of a record as its table has them, all of them filled.
fn recorded<R: Record + Default>(filled: &R) -> Vec<(String, &'static str)> {
    let optional = R::default();
    let fields = filled.fields().into_iter().zip(optional.fields());
    let member = |((field, value), (_, empty)): ((Field, Value), (Field, Value))| {
        let is = match value {
            Value::Missing => panic!("filled() has no {}", field.name),
            Value::Text(_) => "string",
            Value::Number(_) | Value::Count(_) => "number",
            Value::Texts(_) => "string[]",
            Value::Floats(_) => "Float32Array",
            Value::Whole(_) => "Uint32Array",
            Value::Record(_) => "an object",
            Value::Records(_) => "objects",
        };
        let mark = if matches!(empty, Value::Missing) { "?" } else { "" };
        (format!("{}{mark}", field.name), is)
    };
    fields.map(member).collect()
}

#[test]
fn types_declare_the_fields_that_the_tables_have() {
    let file =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../package/residual-stream.d.ts")).unwrap();
    let uncommented = file.split("/**").map(|part| part.split_once("*/").map_or(part, |(_, code)| code));
    let types: String = uncommented.collect();
    let trace = filled::trace();
    let sequence = &trace.sequences[0];
    let (lens, next) = (sequence.lens.as_ref().unwrap(), sequence.next.as_ref().unwrap());
    let (pattern, leads) = (&sequence.patterns.as_ref().unwrap()[0], sequence.leads.as_ref().unwrap());
    let writes: &PromotedTokens = pattern.writes.as_ref().unwrap();
    let within = |interface, name: &str| {
        let members_of = declared(&types, interface);
        let (_, is) = members_of.iter().find(|(of, _)| of.trim_end_matches('?') == name).unwrap();
        members(is.strip_prefix('{').unwrap())
    };
    for (name, mut declared, mut recorded) in [
        ("ModelInfo", declared(&types, "ModelInfo"), recorded(&trace.model)),
        ("Sequence", declared(&types, "Sequence"), recorded(sequence)),
        ("Lens", declared(&types, "Lens"), recorded(lens)),
        ("Lens.vocab", within("Lens", "vocab"), recorded(&lens.vocab)),
        ("Sequence.next", within("Sequence", "next"), recorded(next)),
        ("Sequence.leads", within("Sequence", "leads"), recorded(leads)),
        ("Pattern", declared(&types, "Pattern"), recorded(pattern)),
        ("Pattern.writes", within("Pattern", "writes"), recorded(writes)),
        ("Attribution", declared(&types, "Attribution"), recorded(sequence.attribution.as_ref().unwrap())),
        ("Patching", declared(&types, "Patching"), recorded(trace.patching.as_ref().unwrap())),
        ("Sampled", declared(&types, "Sampled"), recorded(&Sampled::default())),
    ] {
        for (_, is) in &mut declared {
            let plain = ["string", "number", "string[]", "Float32Array", "Uint32Array"].contains(&is.as_str());
            match is.ends_with("[]") {
                _ if plain => {}
                true => *is = "objects".to_owned(),
                false => *is = "an object".to_owned(),
            }
        }
        declared.sort();
        recorded.sort();
        let recorded: Vec<_> = recorded.into_iter().map(|(name, is)| (name, is.to_owned())).collect();
        assert_eq!(declared, recorded, "{name}: residual-stream.d.ts, and the table beside the struct");
    }
}
