//! The recording probe: turns what the forward pass shows into the norms and cosines of a [`Sequence`].

use candle_core::{Result, Tensor};

use super::hooks::Hooks;
use crate::model::lanes::sums;
use crate::model::stopwatch::{self, Work};
use crate::model::values::with_values;
use crate::model::{CapturePoint, Probe};
use protocol::RunOptions;
use trace::Sequence;

/// Records rows that go through the blocks together. Sums run in F64: a handful of GPT-2's coordinates dwarf all others.
#[derive(Default)]
pub struct Recorder {
    /// What has been recorded so far: arrays with a column per row.
    pub sequence: Sequence,
    /// The stream at the embedding and after each block, `[T, D]` each; kept only for the logit lens.
    pub streams: Vec<Tensor>,
    keep_streams: bool,
    /// The stream that the next contribution joins, with its norms: a cosine needs both. It stays as it is until the
    /// contribution has been shown.
    joined: Option<(Tensor, Vec<f32>)>,
    /// What else is kept, and changed.
    pub hooks: Hooks,
}

impl Recorder {
    /// For what these options ask: with heads, head_out norms too; for the lens, the streams.
    pub fn new(options: &RunOptions, hooks: Hooks) -> Recorder {
        let sequence = Sequence { head_norm: options.heads.then(Vec::new), ..Sequence::default() };
        Recorder { sequence, keep_streams: options.lens > 0, hooks, ..Recorder::default() }
    }

    /// Norms of a contribution `[T, D]`, and its cosines with the stream it joins.
    fn contribution(&self, value: &Tensor) -> Result<(Vec<f32>, Vec<f32>)> {
        let norms = norms(value)?;
        let Some((stream, stream_norms)) = &self.joined else {
            candle_core::bail!("a contribution was shown before the stream it joins")
        };
        let dots = rows(stream, value, sums::dot)?;
        // As torch's cosine_similarity: a vector of length 0 has cosine 0 with everything.
        const SMALLEST: f64 = 1e-8;
        let cosines = dots
            .iter()
            .zip(norms.iter().zip(stream_norms))
            .map(|(dot, (&a, &b))| (dot / (f64::from(a).max(SMALLEST) * f64::from(b).max(SMALLEST))) as f32);
        Ok((norms.clone(), cosines.collect()))
    }

    fn keep(&mut self, stream: &Tensor) -> Result<()> {
        if self.keep_streams {
            self.streams.push(stream.copy()?);
        }
        Ok(())
    }
}

impl Probe for Recorder {
    fn wants(&self, point: CapturePoint) -> bool {
        match point {
            CapturePoint::HeadOut(_) => self.sequence.head_norm.is_some() || self.hooks.wants(point),
            CapturePoint::Pattern(_) => self.hooks.wants(point),
            _ => true,
        }
    }

    fn edit(&mut self, point: CapturePoint, value: &Tensor) -> Result<bool> {
        self.hooks.edit(point, value)
    }

    fn see(&mut self, point: CapturePoint, value: &Tensor) -> Result<()> {
        let before = stopwatch::now();
        match point {
            CapturePoint::Embed => {
                self.sequence.embed_norm = norms(value)?;
                self.keep(value)?;
            }
            CapturePoint::ResidPre(_) => {
                let norms = norms(value)?;
                self.sequence.resid_pre_norm.extend(&norms);
                self.joined = Some((value.clone(), norms));
            }
            CapturePoint::HeadOut(_) => {
                if let Some(head_norm) = &mut self.sequence.head_norm {
                    head_norm.extend(norms(value)?);
                }
            }
            CapturePoint::AttnOut(_) => {
                let (norms, cosines) = self.contribution(value)?;
                self.sequence.attn_norm.extend(norms);
                self.sequence.attn_cos.extend(cosines);
            }
            CapturePoint::ResidMid(_) => {
                let norms = norms(value)?;
                self.sequence.resid_mid_norm.extend(&norms);
                self.joined = Some((value.clone(), norms));
            }
            CapturePoint::MlpOut(_) => {
                let (norms, cosines) = self.contribution(value)?;
                self.sequence.mlp_norm.extend(norms);
                self.sequence.mlp_cos.extend(cosines);
            }
            CapturePoint::ResidPost(_) => {
                self.sequence.resid_post_norm.extend(norms(value)?);
                self.joined = None;
                self.keep(value)?;
            }
            CapturePoint::Pattern(_) | CapturePoint::Final | CapturePoint::Logits => {}
        }
        stopwatch::since(Work::Norms, before);
        self.hooks.see(point, value)
    }
}

/// L2 norm over the last axis of a tensor, one per row: `[.., D]` to as many as there are rows.
pub fn norms(x: &Tensor) -> Result<Vec<f32>> {
    let squares = rows(x, x, |row, _| sums::squares(row))?;
    Ok(squares.into_iter().map(|square| square.sqrt() as f32).collect())
}

/// A number for each pair of rows of two tensors of one shape.
fn rows(a: &Tensor, b: &Tensor, of_rows: impl Fn(&[f32], &[f32]) -> f64) -> Result<Vec<f64>> {
    let width = a.dim(candle_core::D::Minus1)?;
    with_values(a, |a| {
        with_values(b, |b| Ok(a.chunks(width).zip(b.chunks(width)).map(|(a, b)| of_rows(a, b)).collect()))
    })
}
