//! The engine worker: starts the message loop. Everything lives in `engine`.

/// Tells an empty memory from a fault when the engine stops.
#[global_allocator]
static ALLOCATOR: engine::memory::Remembering = engine::memory::Remembering;

fn main() {
    #[cfg(target_arch = "wasm32")]
    engine::worker::start();
}
