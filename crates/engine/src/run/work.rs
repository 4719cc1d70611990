//! How much work a run is, so that a reader can be told how far it has come. Counted in multiplications with weights: what
//! grows with the square of the text is left out, and so is what recording costs.

use crate::model::Config;
use protocol::RunOptions;

/// Of one block, for one row.
pub fn of_block(config: &Config) -> f64 {
    let (width, inner) = (config.n_embd as f64, config.n_inner as f64);
    width * (4.0 * width + 2.0 * inner)
}

/// Of the unembedding, for one row.
pub fn of_unembedding(config: &Config) -> f64 {
    config.n_embd as f64 * config.vocab_size as f64
}

/// Of a run over so many rows, `passes` times through the blocks: once, or with and without what is switched off.
pub fn of_run(config: &Config, options: &RunOptions, rows: usize, passes: usize) -> f64 {
    let layers = config.n_layer as f64;
    let lens = if options.lens > 0 { layers + 1.0 } else { 0.0 };
    let written = if options.predictions { options.patterns.len() as f64 } else { 0.0 };
    // Under ablation the predictions of both are compared, too.
    let predicted = match (options.predictions, passes) {
        (false, _) => 0.0,
        (true, 1) => 1.0,
        (true, _) => 2.0,
    };
    let unembedded = lens + written + predicted;
    rows as f64 * passes as f64 * (layers * of_block(config) + unembedded * of_unembedding(config))
}
