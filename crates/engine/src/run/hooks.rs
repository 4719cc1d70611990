//! What a run keeps beyond norms, and what it changes: attention patterns, contributions to explain a prediction with,
//! sums for mean ablation, and the ablations themselves.

use std::collections::HashMap;
use std::rc::Rc;

use candle_core::{Result, Tensor};

use crate::model::values::{fill_rows, with_values};
use crate::model::{CapturePoint, Probe};
use trace::{Ablation, AblationMode, Component, Head};

/// A contribution that can be switched off: where it is seen, and which head's it is.
pub type Site = (CapturePoint, Option<usize>);

/// What is to be watched over a whole run.
#[derive(Clone, Debug, Default)]
pub struct HookSpec {
    /// Heads whose attention weights and outputs are kept.
    pub heads: Vec<Head>,
    /// Whether contributions of some rows are kept, by head too.
    pub contributions: bool,
    /// Whether the stream of every text's last token is kept.
    pub last_streams: bool,
    /// Contributions of which the sum over all rows is wanted.
    pub sums: Vec<Site>,
    /// Rows that are put in the place of contributions, `[D]` each.
    pub replace: Vec<(Site, Vec<f32>)>,
}

/// Watches rows that go through the blocks together.
#[derive(Debug, Default)]
pub struct Hooks {
    spec: Rc<HookSpec>,
    /// Rows of the batch whose contributions are kept.
    rows: Vec<u32>,
    /// Rows of the batch that are a text's last.
    last: Vec<u32>,
    /// Their streams, at the embedding and after each block, `[rows, D]`.
    pub last_streams: Vec<Tensor>,
    /// What was added to those rows: `[rows, D]`, of heads `[H, rows, D]`.
    pub contributions: Vec<(CapturePoint, Tensor)>,
    /// Attention weights of each watched head: of every segment `[rows, past + rows]`, in order.
    pub patterns: HashMap<Head, Vec<Tensor>>,
    /// What each watched head adds, `[T, D]`.
    pub head_out: HashMap<Head, Tensor>,
    /// Sums over rows, `[D]`.
    pub sums: HashMap<Site, Vec<f64>>,
}

/// Where what is switched off is seen.
pub fn site_of(ablated: &Ablation) -> Site {
    match ablated.part {
        Component::Attn => (CapturePoint::AttnOut(ablated.layer), None),
        Component::Mlp => (CapturePoint::MlpOut(ablated.layer), None),
        Component::Head => (CapturePoint::HeadOut(ablated.layer), ablated.head),
    }
}

/// What is put in the place of contributions, given their means: `[D]` for each place.
pub fn replacements(ablate: &[Ablation], means: &HashMap<Site, Vec<f32>>, width: usize) -> Vec<(Site, Vec<f32>)> {
    let replacement = |ablated: &Ablation| {
        let place = site_of(ablated);
        let mean = means.get(&place).filter(|_| ablated.how == AblationMode::Mean);
        (place, mean.cloned().unwrap_or_else(|| vec![0.0; width]))
    };
    ablate.iter().map(replacement).collect()
}

impl Hooks {
    /// For a batch in which these rows are to be explained, and these are the last of their texts.
    pub fn new(spec: Rc<HookSpec>, rows: Vec<u32>, last: Vec<u32>) -> Hooks {
        let rows = if spec.contributions { rows } else { Vec::new() };
        let last = if spec.last_streams { last } else { Vec::new() };
        Hooks { spec, rows, last, ..Hooks::default() }
    }

    fn sum(&mut self, point: CapturePoint, value: &Tensor) -> Result<()> {
        for &place in self.spec.sums.iter().filter(|(at, _)| *at == point) {
            let value = match place.1 {
                Some(head) => value.get(head)?,
                None => value.clone(),
            };
            let sum = self.sums.entry(place).or_default();
            with_values(&value, |values| {
                let width = value.dim(candle_core::D::Minus1)?;
                sum.resize(width, 0.0);
                for row in values.chunks_exact(width) {
                    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl Probe for Hooks {
    fn wants(&self, point: CapturePoint) -> bool {
        let in_layer = |layer: usize| self.spec.heads.iter().any(|head| head.layer == layer);
        let of_heads = |(place, _): &Site| *place == point;
        match point {
            CapturePoint::Pattern(layer) => in_layer(layer),
            CapturePoint::HeadOut(layer) => {
                in_layer(layer)
                    || !self.rows.is_empty()
                    || self.spec.sums.iter().any(of_heads)
                    || self.spec.replace.iter().any(|(place, _)| of_heads(place))
            }
            _ => false,
        }
    }

    fn edit(&mut self, point: CapturePoint, value: &Tensor) -> Result<bool> {
        let mut edited = false;
        for ((_, head), row) in self.spec.replace.iter().filter(|((at, _), _)| *at == point) {
            let rows = value.dim(candle_core::D::Minus2)?;
            let first = head.map_or(0, |head| head * rows);
            fill_rows(value, first..first + rows, row)?;
            edited = true;
        }
        Ok(edited)
    }

    fn see(&mut self, point: CapturePoint, value: &Tensor) -> Result<()> {
        self.sum(point, value)?;
        let heads = |layer: usize| self.spec.heads.iter().filter(move |head| head.layer == layer);
        match point {
            CapturePoint::Pattern(layer) => {
                for head in heads(layer) {
                    self.patterns.entry(*head).or_default().push(value.get(head.head)?.copy()?);
                }
            }
            CapturePoint::HeadOut(layer) => {
                for head in heads(layer) {
                    self.head_out.insert(*head, value.get(head.head)?.copy()?);
                }
            }
            _ => {}
        }
        if matches!(point, CapturePoint::Embed | CapturePoint::ResidPost(_)) && !self.last.is_empty() {
            let rows = Tensor::new(self.last.as_slice(), value.device())?;
            self.last_streams.push(value.contiguous()?.index_select(&rows, 0)?);
        }
        let contributes = matches!(
            point,
            CapturePoint::Embed | CapturePoint::HeadOut(_) | CapturePoint::AttnOut(_) | CapturePoint::MlpOut(_)
        );
        if contributes && !self.rows.is_empty() {
            let rows = Tensor::new(self.rows.as_slice(), value.device())?;
            let axis = value.rank() - 2;
            self.contributions.push((point, value.contiguous()?.index_select(&rows, axis)?));
        }
        Ok(())
    }
}
