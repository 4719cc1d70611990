//! The recording probe: turns what the forward pass shows into the norms and cosines of a [`Sequence`].

use candle_core::{Result, Tensor};

use super::Sequence;
use crate::model::{Point, Probe};

/// Records one sequence. Sums run in F64: a handful of GPT-2's coordinates dwarf all others.
#[derive(Default)]
pub struct Recorder {
    /// What has been recorded so far.
    pub sequence: Sequence,
    /// The stream at the embedding and after each block, `[T, D]` each; kept only for the logit lens.
    pub streams: Vec<Tensor>,
    keep_streams: bool,
    /// The stream that the next contribution joins, with its norms: a cosine needs both.
    joined: Option<(Tensor, Vec<f32>)>,
}

impl Recorder {
    /// For a sequence of these ids; `heads` records head_out norms, `lens` keeps the streams.
    pub fn new(sequence: Sequence, heads: bool, lens: bool) -> Recorder {
        let head_norm = heads.then(Vec::new);
        Recorder { sequence: Sequence { head_norm, ..sequence }, keep_streams: lens, ..Recorder::default() }
    }

    /// Norms of a contribution `[T, D]`, and its cosines with the stream it joins.
    fn contribution(&self, value: &Tensor) -> Result<(Vec<f32>, Vec<f32>)> {
        let norms = norms(value)?;
        let Some((stream, stream_norms)) = &self.joined else {
            candle_core::bail!("a contribution was shown before the stream it joins")
        };
        let cosines = rows(stream, value, |stream, value| {
            stream.iter().zip(value).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
        })?;
        // As torch's cosine_similarity: a vector of length 0 has cosine 0 with everything.
        const SMALLEST: f64 = 1e-8;
        let cosines = cosines
            .iter()
            .zip(norms.iter().zip(stream_norms))
            .map(|(dot, (&a, &b))| (dot / (f64::from(a).max(SMALLEST) * f64::from(b).max(SMALLEST))) as f32);
        Ok((norms.clone(), cosines.collect()))
    }

    fn keep(&mut self, stream: &Tensor) {
        if self.keep_streams {
            self.streams.push(stream.clone());
        }
    }
}

impl Probe for Recorder {
    fn wants(&self, point: Point) -> bool {
        match point {
            Point::HeadOut(_) => self.sequence.head_norm.is_some(),
            _ => true,
        }
    }

    fn see(&mut self, point: Point, value: &Tensor) -> Result<()> {
        match point {
            Point::Embed => {
                self.sequence.embed_norm = norms(value)?;
                self.keep(value);
            }
            Point::ResidPre(_) => {
                let norms = norms(value)?;
                self.sequence.resid_pre_norm.extend(&norms);
                self.joined = Some((value.clone(), norms));
            }
            Point::HeadOut(_) => {
                if let Some(head_norm) = &mut self.sequence.head_norm {
                    head_norm.extend(norms(value)?);
                }
            }
            Point::AttnOut(_) => {
                let (norms, cosines) = self.contribution(value)?;
                self.sequence.attn_norm.extend(norms);
                self.sequence.attn_cos.extend(cosines);
            }
            Point::ResidMid(_) => {
                let norms = norms(value)?;
                self.sequence.resid_mid_norm.extend(&norms);
                self.joined = Some((value.clone(), norms));
            }
            Point::MlpOut(_) => {
                let (norms, cosines) = self.contribution(value)?;
                self.sequence.mlp_norm.extend(norms);
                self.sequence.mlp_cos.extend(cosines);
            }
            Point::ResidPost(_) => {
                self.sequence.resid_post_norm.extend(norms(value)?);
                self.joined = None;
                self.keep(value);
            }
            Point::Pattern(_) | Point::Final | Point::Logits => {}
        }
        Ok(())
    }
}

/// L2 norm over the last axis of a tensor, one per row: `[.., D]` to as many as there are rows.
pub fn norms(x: &Tensor) -> Result<Vec<f32>> {
    let squares = rows(x, x, |row, _| row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>())?;
    Ok(squares.into_iter().map(|square| square.sqrt() as f32).collect())
}

/// A number for each pair of rows of two tensors of one shape.
fn rows(a: &Tensor, b: &Tensor, of_rows: impl Fn(&[f32], &[f32]) -> f64) -> Result<Vec<f64>> {
    let width = a.dim(candle_core::D::Minus1)?;
    with_values(a, |a| {
        with_values(b, |b| Ok(a.chunks(width).zip(b.chunks(width)).map(|(a, b)| of_rows(a, b)).collect()))
    })
}

/// Runs `f` on a tensor's values without copying them where they lie in one piece.
pub(crate) fn with_values<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (candle_core::Storage::Cpu(storage), Some((start, end))) => f(&storage.as_slice::<f32>()?[start..end]),
        _ => candle_core::bail!("expected an F32 tensor in this machine's memory"),
    }
}
