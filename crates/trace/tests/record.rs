//! The record's spelling is a contract: saved runs keep their bytes, and TypeScript's types name every field.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

mod filled;

use std::path::Path;

use trace::file::{read, to_json, to_safetensors};

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
