//! Who holds what of a block, and what that is of each tensor.

use std::ops::Range;

use crate::model::Config;
use crate::model::linear::packing::Cut;
use crate::model::linear::panels::{Panels, WIDTH};

/// What one worker holds of every block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which attention heads are computed here.
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
pub enum TensorShard {
    /// Rows and columns of a weight, packed.
    Weight(Panels),
    /// A bias' elements.
    Bias(Vec<f32>),
}

/// One share for each of `workers`, as equal as heads and columns allow. Some may be empty where there are few.
pub fn shard(config: &Config, workers: usize) -> Vec<Shard> {
    let workers = workers.max(1);
    // As equal as whole parts go, and none for the last where there are too few: the first, which adds up, has some.
    let part = |count: usize, worker: usize| {
        if count < workers { worker.min(count) } else { (count * worker).div_ceil(workers) }
    };
    // Columns and ids go by panels.
    let panels = |count: usize, worker| (part(count.div_ceil(WIDTH), worker) * WIDTH).min(count);
    let (columns, ids) = (|worker| panels(config.n_inner, worker), |worker| panels(config.vocab_size, worker));
    let shard = |worker| Shard {
        heads: part(config.n_head, worker)..part(config.n_head, worker + 1),
        columns: columns(worker)..columns(worker + 1),
        ids: ids(worker)..ids(worker + 1),
        is_first: worker == 0,
    };
    (0..workers).map(shard).collect()
}

impl Shard {
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

    /// The part of a linear layer's weight (by its name within a block) that is held here, and the columns that the whole
    /// has; `None` for any other tensor.
    pub fn cut(&self, config: &Config, tensor: &str) -> Option<(usize, Cut)> {
        let d = config.n_embd;
        let cut = |rows, columns| Cut { rows, columns };
        Some(match tensor {
            "attn.c_attn.weight" => (3 * d, cut(0..d, self.queries_keys_values(config))),
            "attn.c_proj.weight" => (d, cut(self.width_of_heads(config), vec![0..d])),
            "mlp.c_fc.weight" => (config.n_inner, cut(0..d, vec![self.columns.clone()])),
            "mlp.c_proj.weight" => (d, cut(self.columns.clone(), vec![0..d])),
            _ => return None,
        })
    }

    /// The part of a linear layer's bias that is added here; `None` for any other tensor, and for the biases of
    /// projections of all but the first.
    pub fn bias(&self, config: &Config, tensor: &str, values: &[f32]) -> Option<Vec<f32>> {
        let columns = match tensor {
            "attn.c_attn.bias" => self.queries_keys_values(config),
            "mlp.c_fc.bias" => vec![self.columns.clone()],
            "attn.c_proj.bias" | "mlp.c_proj.bias" if self.is_first => vec![0..config.n_embd],
            _ => return None,
        };
        Some(columns.into_iter().flat_map(|columns| &values[columns]).copied().collect())
    }

    /// Columns of these heads in a matrix with all heads side by side.
    fn width_of_heads(&self, config: &Config) -> Range<usize> {
        let width = config.head_width();
        self.heads.start * width..self.heads.end * width
    }

    fn queries_keys_values(&self, config: &Config) -> Vec<Range<usize>> {
        let own = self.width_of_heads(config);
        (0..3).map(|part| part * config.n_embd).map(|at| at + own.start..at + own.end).collect()
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
            let shards = shard(&config(heads, inner), workers);
            assert_eq!(shards.len(), workers);
            let all: Vec<usize> = shards.iter().flat_map(|shard| shard.heads.clone()).collect();
            assert_eq!(all, (0..heads).collect::<Vec<_>>(), "shards.rs: heads over {workers} workers");
            let all: Vec<usize> = shards.iter().flat_map(|shard| shard.columns.clone()).collect();
            assert_eq!(all, (0..inner).collect::<Vec<_>>(), "shards.rs: columns over {workers} workers");
            let all: Vec<usize> = shards.iter().flat_map(|shard| shard.ids.clone()).collect();
            assert_eq!(all, (0..9).collect::<Vec<_>>(), "shards.rs: token ids over {workers} workers");
            let first = &shards[0];
            assert!(
                first.has_heads() && first.has_columns() && first.has_ids(),
                "shards.rs: the first of {workers} workers has nothing"
            );
            let most = shards.iter().map(|shard| shard.heads.len()).max().unwrap_or(0);
            assert!(
                most <= heads.div_ceil(workers),
                "shards.rs: {most} of {heads} heads with one of {workers} workers"
            );
        }
    }
}
