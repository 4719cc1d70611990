//! The part of embed.js that is Rust: `residual_stream::page::embed` exports what the script calls.

fn main() {
    // Nothing runs by itself; linking keeps the exports.
    #[cfg(target_arch = "wasm32")]
    residual_stream::page::embed::keep();
}
