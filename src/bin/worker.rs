//! The engine worker: starts the message loop. Everything lives in `residual_stream::engine`.

fn main() {
    #[cfg(target_arch = "wasm32")]
    residual_stream::engine::worker::start();
}
