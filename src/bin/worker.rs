//! The engine worker: starts the message loop. Everything lives in `residual_stream::engine`.

/// Tells an empty memory from a fault when the engine stops.
#[global_allocator]
static ALLOCATOR: residual_stream::engine::memory::Remembering = residual_stream::engine::memory::Remembering;

fn main() {
    #[cfg(target_arch = "wasm32")]
    residual_stream::engine::worker::start();
}
