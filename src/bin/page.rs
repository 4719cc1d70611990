//! The site's page: starts the controls. Everything lives in `residual_stream::page`.

fn main() {
    #[cfg(target_arch = "wasm32")]
    residual_stream::page::browser::start();
}
