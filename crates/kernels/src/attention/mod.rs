//! Causal attention: each token attends to itself and to those before it.
//!
//! Sequences may come in pieces ([`Segment`]): the keys and values of what came before are kept in [`KvCache`], so
//! that a text that grows costs only its new tokens.

mod kv_cache;
mod softmax;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

pub use kv_cache::{KeysValues, KvCache};
use softmax::softmax;

use super::buffer_pool::{Buffer, PooledTensor};
use super::lanes::F32x4;
use super::linear::columns::put;
use super::linear::kernel::{ROWS, interleave, tile};
use super::linear::panels::WIDTH;
use super::stopwatch::{self, Work};
use super::values::contiguous;

/// Consecutive tokens of one sequence, among the rows that go through a block together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number under which the sequence has its keys and values.
    pub slot: u32,
    /// Tokens of the sequence before these.
    pub past: usize,
    /// How many tokens of it are among the rows.
    pub rows: usize,
}

/// Queries, keys and values of some heads `[N, 3 * heads * width]`, side by side, to those heads' weighted values
/// `[N, heads * width]`. The N rows are those of the segments, one after the other.
///
/// `patterns` takes, for each segment, the attention weights `[heads, rows, past + rows]`.
pub fn attend(
    qkv: &Tensor,
    kv_cache: &RefCell<KvCache>,
    heads: &Heads,
    segments: &[Segment],
    patterns: Option<&mut Vec<Tensor>>,
) -> Result<PooledTensor> {
    let seen = patterns.is_some().then(|| RefCell::new(Vec::new()));
    let attend = Attend { kv_cache, heads, segments, patterns: seen.as_ref() };
    let z = stopwatch::on(Work::Attention, || qkv.apply_op1_no_bwd(&attend))?;
    if let (Some(patterns), Some(seen)) = (patterns, seen) {
        for (segment, values) in segments.iter().zip(seen.into_inner()) {
            let shape = (heads.count, segment.rows, segment.past + segment.rows);
            patterns.push(Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
    }
    Ok(z.into())
}

/// The heads of one block that are computed here.
#[derive(Clone, Debug)]
pub struct Heads {
    /// The block that they are in, from 0.
    pub layer: usize,
    /// How many heads there are.
    pub count: usize,
    /// The width of a head, D / H.
    pub width: usize,
    /// What scores are multiplied by.
    pub scale: f64,
}

struct Attend<'a> {
    kv_cache: &'a RefCell<KvCache>,
    heads: &'a Heads,
    segments: &'a [Segment],
    patterns: Option<&'a RefCell<Vec<Vec<f32>>>>,
}

impl CustomOp1 for Attend<'_> {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = contiguous(self.name(), qkv, layout)?;
        let (rows, columns) = layout.shape().dims2()?;
        let Heads { count, width, scale, .. } = *self.heads;
        let expected: usize = self.segments.iter().map(|segment| segment.rows).sum();
        if columns != 3 * count * width || rows != expected {
            candle_core::bail!("attend: {:?} for {count} heads and {:?}", layout.shape(), self.segments)
        }
        let mut z = Buffer::take(rows * count * width);
        let mut kv_cache = self.kv_cache.borrow_mut();
        let mut first = 0;
        for segment in self.segments {
            let context = kv_cache.before(self.heads, segment).map_err(|tokens| {
                let past = segment.past;
                candle_core::Error::Msg(format!("attend: {tokens} tokens are remembered of {past}"))
            })?;
            let qkv = &qkv[first * columns..(first + segment.rows) * columns];
            context.append(qkv);
            let mut pattern = self.patterns.map(|_| vec![0.0; count * segment.rows * context.tokens()]);
            let z = &mut z[first * count * width..(first + segment.rows) * count * width];
            for head in 0..count {
                let one = OneHead { context, number: head, width, scale: scale as f32, past: segment.past };
                let size = segment.rows * context.tokens();
                let pattern = pattern.as_mut().map(|pattern| &mut pattern[head * size..(head + 1) * size]);
                one.attend(qkv, columns, z, count * width, pattern);
            }
            if let (Some(patterns), Some(pattern)) = (self.patterns, pattern) {
                patterns.borrow_mut().push(pattern);
            }
            first += segment.rows;
        }
        Ok((CpuStorage::F32(z.into_vec()), Shape::from((rows, count * width))))
    }
}

/// One head of one segment.
struct OneHead<'a> {
    context: &'a KeysValues,
    number: usize,
    width: usize,
    scale: f32,
    past: usize,
}

impl OneHead<'_> {
    /// From rows of `qkv`, `stride` apart, to its columns of rows of z, `z_stride` apart.
    fn attend(&self, qkv: &[f32], stride: usize, z: &mut [f32], z_stride: usize, mut pattern: Option<&mut [f32]>) {
        let tokens = self.context.tokens();
        let longest = tokens.next_multiple_of(WIDTH);
        let mut queries = Buffer::take(ROWS * self.width);
        let mut scores = Buffer::take(ROWS * longest);
        let mut weights = Buffer::take(ROWS * longest);
        let own = self.number * self.width;
        let rows = qkv.len() / stride;
        for first in (0..rows).step_by(ROWS) {
            let count = ROWS.min(rows - first);
            // The last of these rows sees this many tokens; the kernel computes for all rows what that one needs.
            let seen = self.past + first + count;
            interleave(&qkv[first * stride + own..], stride, count, self.width, &mut queries);
            for (number, panel) in self.context.keys(self.number, seen).enumerate() {
                let sums = product(&queries[..count * self.width], count, panel);
                for (row, sums) in sums[..count].iter().enumerate() {
                    put(*sums, &mut scores[row * longest + number * WIDTH..]);
                }
            }
            for row in 0..count {
                let scores = &mut scores[row * longest..row * longest + seen];
                let (seen, hidden) = scores.split_at_mut(self.past + first + row + 1);
                softmax(seen, self.scale);
                hidden.fill(0.0);
                if let Some(pattern) = &mut pattern {
                    pattern[(first + row) * tokens..][..scores.len()].copy_from_slice(scores);
                }
            }
            interleave(&scores, longest, count, seen, &mut weights);
            for (number, panel) in self.context.values(self.number, seen).enumerate() {
                let sums = product(&weights[..count * seen], count, panel);
                let width = WIDTH.min(self.width - number * WIDTH);
                for (row, sums) in sums[..count].iter().enumerate() {
                    let at = (first + row) * z_stride + own + number * WIDTH;
                    put(*sums, &mut z[at..at + width]);
                }
            }
        }
    }
}

#[inline(always)]
fn product(rows: &[f32], count: usize, panel: &[[f32; WIDTH]]) -> [[F32x4; 2]; ROWS] {
    // Not a constant: filling memory with one becomes a call, which takes longer than twelve stores.
    let mut sums = [[std::hint::black_box(F32x4::splat(0.0)); 2]; ROWS];
    tile(rows, count, panel, &mut sums);
    sums
}
