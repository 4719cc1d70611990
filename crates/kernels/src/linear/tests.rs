//! The packed layer against sums in F64, on shapes with every kind of remainder.

use super::packing::{Cut, Packing};
use super::panels::WIDTH;
use super::*;
use crate::widen::Format;
use candle_core::Device;
use proptest::prelude::*;

/// Products of up to 700 numbers in [-1, 1], added in F32 in another order: relative to the largest sum of magnitudes.
const TOLERANCE: f64 = 4e-6;

/// Numbers in [-1, 1], the same for the same seed.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

fn tensor(values: Vec<f32>, rows: usize) -> Tensor {
    let columns = values.len() / rows;
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn whole(w: &[f32], inputs: usize, outputs: usize) -> Panels {
    let all = Cut { rows: 0..inputs, columns: vec![0..outputs] };
    let mut packing = Packing::new(outputs, [all], &mut Vec::new()).unwrap();
    packing.put(0, Format::F32, &bytes(w));
    packing.into_panels().remove(0)
}

/// x W in F64.
fn product(x: &[f32], w: &[f32], inputs: usize, outputs: usize) -> Vec<f64> {
    let cell = |row: &[f32], column: usize| {
        row.iter().enumerate().map(|(k, x)| f64::from(*x) * f64::from(w[k * outputs + column])).sum::<f64>()
    };
    x.chunks(inputs).flat_map(|row| (0..outputs).map(move |column| cell(row, column))).collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f64], depth: usize) -> std::result::Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len(), "{}: lengths", what);
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        prop_assert!(
            error <= TOLERANCE * (1.0 + depth as f64 / 20.0),
            "{}: value {} is {}, not {}",
            what,
            place,
            found,
            expected
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn equals_the_plain_product(
        t in 1usize..11, tall in 0usize..2, inputs in 1usize..40, deep in 0usize..2, outputs in 1usize..36, seed in any::<u64>(),
    ) {
        // Deep ones reach over the end of a part of the inner axis, and with many rows over the end of a stretch.
        let (t, inputs) = (t + tall * 128, inputs + deep * 760);
        let (x, w, b) = (numbers(t * inputs, seed), numbers(inputs * outputs, seed ^ 1), numbers(outputs, seed ^ 2));
        let panels = whole(&w, inputs, outputs);
        let layer = Linear::new(Weight::Packed(panels), Tensor::new(b.as_slice(), &Device::Cpu).unwrap());
        let mut expected = product(&x, &w, inputs, outputs);
        expected.iter_mut().enumerate().for_each(|(place, v)| *v += f64::from(b[place % outputs]));
        let x = tensor(x, t);
        let found = layer.forward(&x).unwrap();
        prop_assert_eq!(found.dims(), [t, outputs]);
        assert_close("linear, packed", &found.flatten_all().unwrap().to_vec1().unwrap(), &expected, inputs)?;
        let relu: Vec<f64> = expected.iter().map(|v| v.max(0.0)).collect();
        let found = layer.forward_then(&x, Activation::Relu).unwrap();
        assert_close("linear with relu", &found.flatten_all().unwrap().to_vec1().unwrap(), &relu, inputs)?;
    }

    #[test]
    fn groups_add_up_to_the_whole(t in 1usize..7, width in 1usize..20, groups in 1usize..5, outputs in 1usize..20, seed in any::<u64>()) {
        let inputs = width * groups;
        let (x, w) = (numbers(t * inputs, seed), numbers(inputs * outputs, seed ^ 1));
        let panels = whole(&w, inputs, outputs);
        let bias = Tensor::zeros(outputs, candle_core::DType::F32, &Device::Cpu).unwrap();
        let packed = Linear::new(Weight::Packed(panels), bias.clone());
        let plain = Linear::new(Weight::Plain(tensor(w.clone(), inputs)), bias);
        let by_group = packed.forward_by_group(&tensor(x.clone(), t), groups).unwrap();
        prop_assert_eq!(by_group.dims(), [groups, t, outputs]);
        let sum: Vec<f32> = by_group.sum(0).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_close("linear by group, packed", &sum, &product(&x, &w, inputs, outputs), inputs)?;
        let others: Vec<f32> = plain.forward_by_group(&tensor(x, t), groups).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let others: Vec<f64> = others.into_iter().map(f64::from).collect();
        assert_close("linear by group, against candle", &by_group.flatten_all().unwrap().to_vec1().unwrap(), &others, inputs)?;
    }

    #[test]
    fn parts_of_a_matrix_are_packed_as_it_comes(
        inputs in 1usize..30, columns in 1usize..40, cuts in proptest::collection::vec(0usize..40, 4),
        pieces in proptest::collection::vec(0usize..1200, 0..9), turn in any::<prop::sample::Index>(), seed in any::<u64>(),
    ) {
        let w = numbers(inputs * columns, seed);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (columns + 1)).collect();
        cuts.sort_unstable();
        let some = Cut { rows: inputs / 3..inputs, columns: vec![cuts[0]..cuts[1], cuts[2]..cuts[3]] };
        let all = Cut { rows: 0..inputs, columns: vec![0..columns] };
        // In pieces that end anywhere, in another order.
        let mut ends: Vec<usize> = pieces.into_iter().map(|end| end % w.len()).chain([0, w.len()]).collect();
        ends.sort_unstable();
        let mut pieces: Vec<_> = ends.windows(2).map(|pair| pair[0]..pair[1]).collect();
        let turn = turn.index(pieces.len());
        pieces.rotate_left(turn);
        // Of the sizes of both, or of none; what is in them does not show.
        let mut spare = vec![whole(&w, inputs, columns), whole(&w[..columns], 1, columns)];
        let mut packing = Packing::new(columns, [some.clone(), all.clone()], &mut spare).unwrap();
        for piece in pieces {
            prop_assert!(packing.put(piece.start, Format::F32, &bytes(&w[piece])), "packing.rs: not finite");
        }
        for (cut, panels) in [some, all].into_iter().zip(packing.into_panels()) {
            let order: Vec<usize> = cut.columns.iter().cloned().flatten().collect();
            prop_assert_eq!((panels.inputs(), panels.outputs()), (cut.rows.len(), order.len()));
            for (panel, columns_of) in panels.iter().zip(order.chunks(WIDTH)) {
                for (row, values) in cut.rows.clone().zip(panel) {
                    for (place, value) in values.iter().enumerate() {
                        let expected = columns_of.get(place).map_or(0.0, |column| w[row * columns + column]);
                        prop_assert_eq!(*value, expected, "packing.rs: row {}, place {}", row, place);
                    }
                }
            }
            let again = Panels::from_values(panels.inputs(), panels.outputs(), panels.values().to_vec());
            prop_assert_eq!(again, Some(panels));
        }
    }

    #[test]
    fn rows_by_rows_equal_the_plain_product(
        n in 1usize..15, tall in 0usize..2, v in 1usize..30, depth in 1usize..70, deep in 0usize..2, some in 0usize..30, seed in any::<u64>(),
    ) {
        // Tall and deep ones reach over the end of a stretch.
        let (n, depth) = (n + tall * 128, depth + deep * 390);
        let (x, w) = (numbers(n * depth, seed), numbers(v * depth, seed ^ 1));
        let transposed: Vec<f32> = (0..depth * v).map(|i| w[i % v * depth + i / v]).collect();
        let expected = product(&x, &transposed, depth, v);
        let rows = some.min(v);
        for (what, rows) in [("all", v), ("some", rows)] {
            let multiply = MultiplyRows { rows };
            let found = tensor(x.clone(), n).apply_op2_no_bwd(&tensor(w.clone(), v), &multiply).unwrap();
            prop_assert_eq!(found.dims(), [n, v]);
            let firsts = |values: Vec<f32>| values.chunks(v).flat_map(|row| row[..rows].to_vec()).collect::<Vec<f32>>();
            let wanted: Vec<f64> = expected.chunks(v).flat_map(|row| row[..rows].to_vec()).collect();
            let found = firsts(found.flatten_all().unwrap().to_vec1().unwrap());
            assert_close(&format!("rows.rs, {what} rows"), &found, &wanted, depth)?;
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let panels = whole(&[1.0; 12], 3, 4);
    let layer = Linear::new(Weight::Packed(panels), Tensor::new(&[0f32; 4], &Device::Cpu).unwrap());
    for wrong in [tensor(vec![0.0; 8], 2), tensor(vec![0.0; 12], 4).t().unwrap()] {
        assert!(layer.forward(&wrong).is_err(), "linear: {:?} was taken for [T, 3]", wrong.layout());
    }
}
