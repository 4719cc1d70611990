//! Who holds what of a block, and what that is of each tensor.

use std::collections::TryReserveError;
use std::ops::Range;
use std::slice;

use crate::model::Config;
use crate::model::linear::panels::{Panels, WIDTH};

/// What one worker holds of every block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Attention heads.
    pub heads: Range<usize>,
    /// Columns of the MLP's hidden layer.
    pub columns: Range<usize>,
    /// Token ids whose rows of the unembedding are multiplied here. The first has the whole table, which is also the
    /// embedding's as a rule; the others get a copy of their rows.
    pub ids: Range<usize>,
    /// Whether this is the first, which also adds the biases of the projections.
    pub is_first: bool,
}

/// Part of a tensor of a linear layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Of a weight.
    Weight(Panels),
    /// Of a bias.
    Bias(Vec<f32>),
}

/// One share for each of `workers`, as equal as heads and columns allow. Some may be empty where there are few.
pub fn divide(config: &Config, workers: usize) -> Vec<Share> {
    let workers = workers.max(1);
    // As equal as whole parts go, and none for the last where there are too few: the first, which adds up, has some.
    let part = |count: usize, worker: usize| {
        if count < workers { worker.min(count) } else { (count * worker).div_ceil(workers) }
    };
    // Columns and ids go by panels.
    let panels = |count: usize, worker| (part(count.div_ceil(WIDTH), worker) * WIDTH).min(count);
    let (columns, ids) = (|worker| panels(config.n_inner, worker), |worker| panels(config.vocab_size, worker));
    let share = |worker| Share {
        heads: part(config.n_head, worker)..part(config.n_head, worker + 1),
        columns: columns(worker)..columns(worker + 1),
        ids: ids(worker)..ids(worker + 1),
        is_first: worker == 0,
    };
    (0..workers).map(share).collect()
}

impl Share {
    /// Whether attention is computed here.
    pub fn has_heads(&self) -> bool {
        !self.heads.is_empty()
    }

    /// Whether some of the MLP is computed here.
    pub fn has_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Whether some of the vocabulary is scored here.
    pub fn has_ids(&self) -> bool {
        !self.ids.is_empty()
    }

    /// The part of a block's tensor (by its name within the block) that is held here; `None` for those of the layer
    /// norms, and for the biases of projections of all but the first.
    ///
    /// # Errors
    /// Where the allocator has no room for it.
    pub fn piece(&self, config: &Config, tensor: &str, values: &[f32]) -> Result<Option<Piece>, TryReserveError> {
        let (d, width) = (config.n_embd, config.head_width());
        let heads = self.heads.start * width..self.heads.end * width;
        // Queries, keys, values of these heads.
        let qkv: Vec<Range<usize>> = (0..3).map(|part| part * d + heads.start..part * d + heads.end).collect();
        let hidden = slice::from_ref(&self.columns);
        let all = 0..d;
        let all = slice::from_ref(&all);
        let pack =
            |stride, rows, columns: &[Range<usize>]| Panels::pack(values, stride, rows, columns).map(Piece::Weight);
        let gather = |columns: &[Range<usize>]| {
            Piece::Bias(columns.iter().flat_map(|columns| values[columns.clone()].iter().copied()).collect())
        };
        Ok(Some(match tensor {
            "attn.c_attn.weight" => pack(3 * d, 0..d, &qkv)?,
            "attn.c_attn.bias" => gather(&qkv),
            "attn.c_proj.weight" => pack(d, heads, all)?,
            "mlp.c_fc.weight" => pack(config.n_inner, 0..d, hidden)?,
            "mlp.c_fc.bias" => gather(hidden),
            "mlp.c_proj.weight" => pack(d, self.columns.clone(), all)?,
            "attn.c_proj.bias" | "mlp.c_proj.bias" if self.is_first => gather(all),
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(n_head: usize, n_inner: usize) -> Config {
        let json = format!(
            r#"{{"model_type":"gpt2","vocab_size":9,"n_positions":8,"n_embd":{},"n_layer":1,"n_head":{n_head},"n_inner":{n_inner}}}"#,
            4 * n_head
        );
        Config::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn every_head_and_column_belongs_to_one_worker() {
        for (heads, inner, workers) in [(12, 3072, 1), (12, 3072, 5), (2, 20, 3), (1, 7, 4), (16, 64, 2), (25, 6400, 8)]
        {
            let shares = divide(&config(heads, inner), workers);
            assert_eq!(shares.len(), workers);
            let all: Vec<usize> = shares.iter().flat_map(|share| share.heads.clone()).collect();
            assert_eq!(all, (0..heads).collect::<Vec<_>>(), "shares.rs: heads over {workers} workers");
            let all: Vec<usize> = shares.iter().flat_map(|share| share.columns.clone()).collect();
            assert_eq!(all, (0..inner).collect::<Vec<_>>(), "shares.rs: columns over {workers} workers");
            let all: Vec<usize> = shares.iter().flat_map(|share| share.ids.clone()).collect();
            assert_eq!(all, (0..9).collect::<Vec<_>>(), "shares.rs: token ids over {workers} workers");
            let first = &shares[0];
            assert!(
                first.has_heads() && first.has_columns() && first.has_ids(),
                "shares.rs: the first of {workers} workers has nothing"
            );
            let most = shares.iter().map(|share| share.heads.len()).max().unwrap_or(0);
            assert!(
                most <= heads.div_ceil(workers),
                "shares.rs: {most} of {heads} heads with one of {workers} workers"
            );
        }
    }
}
