use proptest::prelude::*;

use super::histogram::{Bins, bin_edges, quantile};
use super::*;
use crate::ModelInfo;
use crate::Trace;

/// Two layers; values chosen so that means and deviations can be worked out by hand.
fn trace() -> Trace {
    let first = Sequence {
        ids: vec![1, 2, 3],
        tokens: vec!["The".into(), " <b>cat".into(), " sat".into()],
        embed_norm: vec![100.0, 2.0, 4.0],
        attn_norm: vec![500.0, 1.0, 3.0, 600.0, 2.0, 2.0],
        mlp_norm: vec![900.0, 5.0, 7.0, 800.0, 1.0, 1.0],
        resid_post_norm: vec![1000.0, 10.0, 12.0, 1000.0, 20.0, 24.0],
        ..Sequence::default()
    };
    let second = Sequence {
        ids: vec![1, 4],
        tokens: vec!["A".into(), " dog".into()],
        embed_norm: vec![90.0, 6.0],
        attn_norm: vec![400.0, 5.0, 300.0, 5.0],
        mlp_norm: vec![700.0, 9.0, 700.0, 40.0],
        resid_post_norm: vec![1000.0, 14.0, 1000.0, 28.0],
        ..Sequence::default()
    };
    Trace {
        model: ModelInfo { n_layer: 2, n_embd: 8, ..ModelInfo::default() },
        sequences: vec![first, second],
        ..Trace::default()
    }
}

fn sentences(trace: &Trace, skip_first: bool) -> Vec<String> {
    findings(trace, skip_first).into_iter().map(|finding| finding.text).collect()
}

#[test]
fn evolution_matches_numbers_worked_out_by_hand() {
    let e = evolution(trace().run(), &EvolutionOptions::default());
    // Population standard deviation: 1, 3, 5 -> mean 3, variance (4 + 0 + 4) / 3.
    let expected = Stat { mean: 3.0, std: (8.0f64 / 3.0).sqrt(), n: 3 };
    assert_eq!(e.attn[0], expected, "evolution.rs: attention, block 0");
    assert_eq!((e.mlp[0].mean, e.mlp[1].mean, e.mlp[1].n), (7.0, 14.0, 3));
    assert_eq!((e.embed, e.embed_stat.n), (4.0, 3));
    assert_eq!((e.resid[0].mean, e.resid[1].mean), (12.0, 24.0));
    let all = evolution(trace().run(), &EvolutionOptions { skip_first: false });
    assert_eq!((all.embed, all.attn[0].n), (202.0 / 5.0, 5), "evolution.rs: skip_first off counts position 0");
}

#[test]
fn values_that_are_not_finite_are_counted_and_left_out() {
    let mut broken = trace();
    broken.sequences[0].attn_norm[1] = f32::NAN;
    broken.sequences[0].mlp_norm[1] = f32::INFINITY;
    let e = evolution(broken.run(), &EvolutionOptions::default());
    assert_eq!((e.non_finite, e.attn[0].n, e.attn[0].mean), (2, 2, 4.0));
    let h = histogram(broken.run(), &HistogramOptions::default());
    assert_eq!(h.non_finite, 2);
    assert_eq!(h.attn.iter().chain(&h.mlp).sum::<u32>(), 10);
}

#[test]
fn a_mean_of_nothing_is_null() {
    let stat = Stat::of(std::iter::empty());
    assert!(stat.mean.is_nan() && stat.std.is_nan());
    assert_eq!(serde_json::to_string(&stat).unwrap(), r#"{"mean":null,"std":null,"n":0}"#);
    let back: Stat = serde_json::from_str(r#"{"mean":null,"std":null,"n":0}"#).unwrap();
    assert!(back.mean.is_nan());
    assert!(evolution(Trace::default().run(), &EvolutionOptions::default()).embed.is_nan());
}

#[test]
fn an_empty_sequence_hides_no_layer_of_the_others() {
    let mut with_empty = trace();
    with_empty.sequences.push(Sequence::default());
    assert_eq!(evolution(with_empty.run(), &EvolutionOptions::default()).coverage.layers, 2);
}

#[test]
fn given_bins_are_those_of_numpy() {
    // numpy.histogram([1, 2, 3, 4], bins=3): counts [1 1 2], edges [1 2 3 4].
    let Bins { edges, rule, .. } = bin_edges(&[1.0, 2.0, 3.0, 4.0], Some(3));
    assert_eq!((edges, rule), (vec![1.0, 2.0, 3.0, 4.0], BinRule::Given));
    // numpy.histogram([7, 7], bins=2): edges [6.5 7 7.5].
    let bins = |edges, rule| Bins { edges, rule, capped: false };
    assert_eq!(bin_edges(&[7.0, 7.0], Some(2)), bins(vec![6.5, 7.0, 7.5], BinRule::SingleValue));
    assert_eq!(bin_edges(&[], Some(2)), bins(vec![], BinRule::Empty));
    for (bins, good) in [(0, false), (1, true), (MAX_BINS, true), (MAX_BINS + 1, false), (usize::MAX, false)] {
        let refused = check_bins(Some(bins)).err().map(|error| error.message);
        let expected = (!good).then(|| format!("bins: expected a whole number from 1 to 500, got {bins}."));
        assert_eq!(refused, expected, "histogram.rs: {bins} bins");
    }
    assert!(check_bins(None).is_ok());
}

#[test]
fn freedman_diaconis_rounds_to_edges_one_can_read() {
    // 0..=999: IQR 499.5, n = 1000, width 2 * 499.5 / 10 = 99.9, rounded to 100.
    let values: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    let Bins { edges, rule, capped } = bin_edges(&values, None);
    assert_eq!((rule, capped), (BinRule::FreedmanDiaconis, false));
    assert_eq!(edges, (0..=10).map(|i| i as f32 * 100.0).collect::<Vec<_>>());
    // More than half of the values equal: no interquartile range.
    let mut flat = vec![1.0f32; 30];
    flat.extend([2.0, 9.0]);
    assert_eq!(bin_edges(&flat, None).rule, BinRule::Sturges);
    assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
}

#[test]
fn an_outlier_widens_the_range_and_is_counted() {
    let mut values: Vec<f32> = (0..100).map(|i| 50.0 + i as f32 / 10.0).collect();
    values.push(3000.0);
    let Bins { edges, rule, capped } = bin_edges(&values, None);
    assert!(rule == BinRule::FreedmanDiaconis && capped, "histogram.rs: the rule alone would make hundreds of bins");
    assert!(edges.len() <= 81 && edges[edges.len() - 1] >= 3000.0, "histogram.rs: {edges:?}");
}

#[test]
fn findings_say_what_the_numbers_say() {
    let all = sentences(&trace(), true);
    assert_eq!(
        all,
        [
            "MLP updates exceed attention's in both layers (largest gap in layer 2: 14.0 against 3.00).",
            "The largest single update is layer 2's MLP on “ dog”: 40.0, 2.9 times that layer's mean.",
            "First tokens carry a stream of mean norm 1,000, 56 times the others' 18.0; position 0 is left out of the charts.",
            "The stream grows to 2.0 times its size from layer 1 to layer 2 (mean norm 12.0 to 24.0).",
            "The median update is 2.50 for attention and 6.00 for the MLP; the two histograms share 67 % of their area.",
        ]
    );
    let places: Vec<Place> = findings(&trace(), true).into_iter().map(|finding| finding.place).collect();
    assert_eq!((places[1].layer, places[1].sequence, places[1].token), (Some(1), Some(1), Some(1)));
}

#[test]
fn a_partial_trace_says_so_far() {
    let mut partial = trace();
    partial.model.n_layer = 12;
    let all = sentences(&partial, true);
    assert!(all[0].contains("in both layers computed so far"), "findings.rs: {}", all[0]);
    assert!(all.iter().all(|text| text.contains("so far")), "findings.rs: every sentence of a partial trace: {all:?}");
    partial.sequences[0].mlp_norm[1..3].fill(0.0);
    partial.sequences[1].mlp_norm[1] = 0.0;
    assert!(sentences(&partial, true)[0].contains("in 1 of the 2 layers computed so far"));
}

#[test]
fn a_single_sequence_and_a_single_layer_are_singular() {
    let mut one = trace();
    one.sequences.truncate(1);
    one.model.n_layer = 1;
    let sequence = &mut one.sequences[0];
    for values in [&mut sequence.attn_norm, &mut sequence.mlp_norm, &mut sequence.resid_post_norm] {
        values.truncate(3);
    }
    let all = sentences(&one, true);
    assert_eq!(all[0], "MLP updates exceed attention's in the only layer (6.00 against 2.00).");
    assert!(all.iter().any(|text| text.starts_with("The first token carries")), "findings.rs: {all:?}");
    assert_eq!(sentences(&Trace::default(), true), Vec::<String>::new());
}

proptest! {
    #[test]
    fn every_finite_value_lands_in_exactly_one_bin(
        values in prop::collection::vec(any::<f32>(), 0..200), bins in prop::option::of(0usize..600)
    ) {
        let n = values.len();
        let sequence = Sequence { ids: vec![0; n], attn_norm: values.clone(), mlp_norm: values.clone(), ..Sequence::default() };
        let trace = Trace { sequences: vec![sequence], ..Trace::default() };
        let h = histogram(trace.run(), &HistogramOptions { bins, skip_first: false });
        let finite: Vec<f32> = values.into_iter().filter(|value| value.is_finite()).collect();
        prop_assert_eq!(h.attn.iter().sum::<u32>() as usize, finite.len(), "histogram.rs: counts do not sum up");
        prop_assert_eq!(&h.attn, &h.mlp);
        prop_assert_eq!(h.non_finite, 2 * (n - finite.len()));
        prop_assert!(h.edges.windows(2).all(|pair| pair[0] < pair[1]), "histogram.rs: edges do not rise: {:?}", h.edges);
        prop_assert!(h.edges.iter().all(|edge| edge.is_finite()));
        let inside = |value: f32, bin: usize| {
            h.edges[bin] <= value && (value < h.edges[bin + 1] || (bin + 1 == h.attn.len() && value == h.edges[bin + 1]))
        };
        for (bin, &count) in h.attn.iter().enumerate() {
            let expected = finite.iter().filter(|&&value| inside(value, bin)).count();
            prop_assert_eq!(count as usize, expected, "histogram.rs: bin {} of {:?}", bin, h.edges);
        }
        if bins.is_none() {
            prop_assert!(h.attn.len() <= 81, "histogram.rs: {} bins by rule", h.attn.len());
        }
    }

    #[test]
    fn readable_edges_stay_within_their_number(values in prop::collection::vec(0.0f32..300.0, 2..300)) {
        let mut sorted = values;
        sorted.sort_by(f32::total_cmp);
        let Bins { edges, rule, capped } = bin_edges(&sorted, None);
        prop_assert!(rule == BinRule::SingleValue || (6..=81).contains(&edges.len()), "{} edges", edges.len());
        // The rule worked out anew: capped where its own width makes fewer than 5 bins or more than 80.
        let (n, range) = (sorted.len() as f64, f64::from(sorted[sorted.len() - 1]) - f64::from(sorted[0]));
        let width = match rule {
            BinRule::FreedmanDiaconis => 2.0 * (quantile(&sorted, 0.75) - quantile(&sorted, 0.25)) / n.cbrt(),
            _ => range / (n.log2().ceil() + 1.0),
        };
        let within = (5.0..=80.0).contains(&(range / width));
        prop_assert_eq!(capped, rule != BinRule::SingleValue && !within, "{:?}, {} wide of {}", rule, width, range);
    }
}
