//! A run: texts through the model, under the eye of a probe that records and changes what it sees.

pub mod attribution;
pub mod batch;
pub mod hooks;
pub mod lens;
pub mod load_requests;
mod pass;
pub mod patch;
mod predict;
pub mod prefix_cache;
pub mod probe;
mod readings;
mod request;
pub mod run_control;
pub mod sample;
pub mod streaming_model;
pub mod texts;
mod token_text;
mod turns;
mod work;
