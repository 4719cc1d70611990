//! A tensor's values, looked at and added to in place.

use std::ops::Range;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

/// x += y, for two contiguous tensors of one shape.
///
/// # Errors
/// candle's, for others.
pub fn add(x: &Tensor, y: impl AsRef<Tensor>) -> Result<()> {
    with_values(y.as_ref(), |y| add_values(x, y))
}

/// x += y, for as many numbers as x has.
///
/// # Errors
/// candle's, for others.
pub fn add_values(x: &Tensor, y: &[f32]) -> Result<()> {
    x.inplace_op1(&Add(y))
}

/// Writes `row` over some rows of a contiguous tensor `[.., D]`, counted over all axes but the last.
///
/// # Errors
/// candle's, for a tensor of another width or with fewer rows.
pub fn fill_rows(x: &Tensor, rows: Range<usize>, row: &[f32]) -> Result<()> {
    x.inplace_op1(&Fill { rows, row })
}

/// Writes a matrix `[N, columns]`, given as its numbers, over some columns of a contiguous tensor `[N, ..]`.
///
/// # Errors
/// candle's, for tensors of other shapes.
pub fn put_columns(x: &Tensor, columns: Range<usize>, values: &[f32]) -> Result<()> {
    x.inplace_op1(&Put { columns, values })
}

struct Put<'a> {
    columns: Range<usize>,
    values: &'a [f32],
}

impl InplaceOp1 for Put<'_> {
    fn name(&self) -> &'static str {
        "put-columns"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let ((rows, width), count) = (layout.shape().dims2()?, self.columns.len());
        let (CpuStorage::F32(x), Some((start, end))) = (x, layout.contiguous_offsets()) else {
            candle_core::bail!("put-columns: expected a contiguous F32 matrix, got {:?}", layout.shape())
        };
        if self.columns.end > width || self.values.len() != rows * count {
            candle_core::bail!(
                "put-columns: {} numbers as columns {:?} of {rows} rows",
                self.values.len(),
                self.columns
            )
        }
        if count > 0 {
            for (row, values) in x[start..end].chunks_exact_mut(width).zip(self.values.chunks_exact(count)) {
                row[self.columns.clone()].copy_from_slice(values);
            }
        }
        Ok(())
    }
}

struct Fill<'a> {
    rows: Range<usize>,
    row: &'a [f32],
}

impl InplaceOp1 for Fill<'_> {
    fn name(&self) -> &'static str {
        "fill-rows"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let width = self.row.len();
        let (CpuStorage::F32(x), Some((start, end))) = (x, layout.contiguous_offsets()) else {
            candle_core::bail!("fill-rows: expected a contiguous F32 tensor, got {:?}", layout.shape())
        };
        let wanted = x.get_mut(start..end).and_then(|x| x.get_mut(self.rows.start * width..self.rows.end * width));
        match wanted {
            Some(wanted) if layout.dims().last() == Some(&width) && width > 0 => {
                wanted.chunks_exact_mut(width).for_each(|place| place.copy_from_slice(self.row));
                Ok(())
            }
            _ => candle_core::bail!("fill-rows: rows {:?} of {width} numbers in {:?}", self.rows, layout.shape()),
        }
    }
}

struct Add<'a>(&'a [f32]);

impl InplaceOp1 for Add<'_> {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (x, layout.contiguous_offsets()) {
            (CpuStorage::F32(x), Some((start, end))) if end - start == self.0.len() => {
                x[start..end].iter_mut().zip(self.0).for_each(|(x, y)| *x += y);
                Ok(())
            }
            _ => candle_core::bail!("add: {} numbers to {:?}", self.0.len(), layout.shape()),
        }
    }
}

/// The sum over the first axis of `[H, T, D]`, and a row `[D]` to each of its rows: `[T, D]`.
///
/// # Errors
/// candle's, for tensors of other shapes.
pub fn sum_groups(groups: &Tensor, row: &Tensor) -> Result<Tensor> {
    let (_, t, d) = groups.dims3()?;
    let sum = with_values(row, |row| {
        with_values(groups, |groups| {
            let mut sum = row.repeat(t);
            for group in groups.chunks_exact((t * d).max(1)) {
                sum.iter_mut().zip(group).for_each(|(sum, value)| *sum += value);
            }
            Ok(sum)
        })
    })?;
    Tensor::from_vec(sum, (t, d), groups.device())
}

/// x - y, number by number, for two tensors of as many.
///
/// # Errors
/// candle's, for tensors that are not F32.
pub fn differences(x: &Tensor, y: &Tensor) -> Result<Vec<f32>> {
    with_values(x, |x| with_values(y, |y| Ok(x.iter().zip(y).map(|(x, y)| x - y).collect())))
}

/// Runs `f` on a tensor's values without copying them where they lie in one piece.
///
/// # Errors
/// candle's, for a tensor that is not F32 or not in this machine's memory; whatever `f` returns.
pub fn with_values<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (candle_core::Storage::Cpu(storage), Some((start, end))) => f(&storage.as_slice::<f32>()?[start..end]),
        _ => candle_core::bail!("expected an F32 tensor in this machine's memory"),
    }
}

/// The values of a contiguous F32 tensor in candle's storage.
pub(crate) fn contiguous<'a>(what: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("{what}: expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}
