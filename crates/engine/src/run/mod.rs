//! A run: texts through the model, under the eye of a probe that records and changes what it sees.

pub mod attribution;
pub mod batch;
pub mod breath;
mod closer;
pub mod demand;
pub mod lens;
pub mod parts;
mod pass;
pub mod patch;
mod predict;
pub mod probe;
pub mod recall;
pub mod sample;
pub mod texts;
mod token_text;
mod turns;
pub mod watch;
mod work;
