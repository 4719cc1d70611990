//! Every sentence that charts and findings state is true of the trace it speaks of: over many random traces, each is read
//! back, and what it says is worked out anew from the trace in the plainest way. A sentence of no known template fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod by_chart;
mod by_layer;
mod reading;
mod traces;

use std::collections::BTreeMap;

use charts::{ChartName, ChartOptions, Figure, Quantity};
use trace::summary::{Topic, findings};
use trace::{Sequence, Trace};

const SEEDS: u64 = 1500;

/// What a sentence is about.
pub(crate) struct Case<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) options: ChartOptions,
    pub(crate) chart: ChartName,
    pub(crate) figure: &'a Figure,
}

impl Case<'_> {
    pub(crate) fn layers(&self) -> usize {
        self.trace.sequences.iter().map(Sequence::layer_count).min().unwrap()
    }

    pub(crate) fn text(&self) -> &Sequence {
        &self.trace.sequences[self.options.sequence]
    }

    /// All finite values of a layer that count.
    pub(crate) fn values(&self, of: impl Fn(&Sequence, usize) -> f32, layer: usize) -> Vec<f64> {
        let mut values = Vec::new();
        for sequence in &self.trace.sequences {
            let t = sequence.ids.len();
            for token in usize::from(self.options.skip_first)..t {
                let value = f64::from(of(sequence, layer * t + token));
                if value.is_finite() {
                    values.push(value);
                }
            }
        }
        values
    }
}

/// Whether a sentence is true; none for one of no known template.
fn is_true(case: &Case, text: &str) -> Option<bool> {
    match case.chart {
        ChartName::Distribution => by_layer::distribution(case, text),
        ChartName::Evolution => by_layer::evolution(case, text),
        ChartName::Growth => by_layer::growth(case, text),
        ChartName::Relative | ChartName::Direction => by_layer::measure(case, text),
        ChartName::Heads => by_layer::heads(case, text),
        ChartName::Heatmap => by_chart::heatmap(case, text),
        ChartName::Lens => by_chart::lens(case, text),
        ChartName::TrueToken => by_chart::true_token(case, text),
        ChartName::Pattern => by_chart::pattern(case, text),
        ChartName::Attribution | ChartName::AttributionHeads => by_chart::attribution(case, text),
        ChartName::Next => by_chart::next(case, text),
        ChartName::Change | ChartName::Compare => by_chart::change(case, text),
        ChartName::Patching => by_chart::patching(case, text),
    }
}

fn cases(trace: &Trace, seed: u64) -> Vec<ChartOptions> {
    let quantities = [Quantity::Attention, Quantity::Mlp, Quantity::Difference, Quantity::Stream];
    let quantity = quantities[(seed / 3) as usize % 4];
    let sequence = (seed / 12) as usize % trace.sequences.len();
    [true, false].map(|skip_first| ChartOptions { skip_first, quantity, sequence, ..ChartOptions::default() }).to_vec()
}

#[test]
fn what_charts_find_is_true() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..SEEDS {
        let trace = traces::trace(seed);
        for options in cases(&trace, seed) {
            for chart in ChartName::ALL {
                let figure = Figure::new(chart, &trace, &options);
                let Some(finding) = figure.finding().filter(|_| figure.empty().is_none()) else { continue };
                let case = Case { trace: &trace, options, chart, figure: &figure };
                let said = || format!("seed {seed}, {}, {options:?}: {:?}", chart.as_str(), finding.text);
                let is_true =
                    is_true(&case, &finding.text).unwrap_or_else(|| panic!("an unknown sentence: {}", said()));
                assert!(is_true, "a sentence that is not true: {}", said());
                assert!(!finding.text.contains("NaN") && !finding.text.contains("inf"), "no number: {}", said());
                *seen.entry(chart.as_str().to_owned()).or_default() += 1;
            }
        }
    }
    for chart in ChartName::ALL {
        let count = seen.get(chart.as_str()).copied().unwrap_or(0);
        assert!(count > 100, "{}: only {count} sentences were checked", chart.as_str());
    }
}

#[test]
fn what_the_page_finds_is_true() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..SEEDS {
        let trace = traces::trace(seed);
        for options in cases(&trace, seed) {
            let figure = Figure::new(ChartName::Evolution, &trace, &options);
            let case = Case { trace: &trace, options, chart: ChartName::Evolution, figure: &figure };
            for finding in findings(&trace, options.skip_first) {
                let found = match finding.topic {
                    Topic::Evolution => by_layer::evolution(&case, &finding.text),
                    Topic::Distribution => {
                        // Without ablation's wider edges the chart's table has the bins.
                        let plain = Trace { sequences: without_baseline(&trace), ..trace.clone() };
                        let figure = Figure::new(ChartName::Distribution, &plain, &options);
                        let case = Case { trace: &plain, options, chart: ChartName::Distribution, figure: &figure };
                        by_layer::distribution(&case, &finding.text)
                    }
                    _ => by_layer::page(&case, &finding.text),
                };
                let said = || format!("seed {seed}, {options:?}: {:?}", finding.text);
                assert!(found.unwrap_or_else(|| panic!("an unknown sentence: {}", said())), "not true: {}", said());
                *seen.entry(format!("{:?}", finding.topic)).or_default() += 1;
            }
        }
    }
    assert!(seen.len() == 7 && seen.values().all(|count| *count > 100), "few sentences were checked: {seen:?}");
}

fn without_baseline(trace: &Trace) -> Vec<Sequence> {
    trace.sequences.iter().map(|sequence| Sequence { baseline: None, ..sequence.clone() }).collect()
}

#[test]
fn what_notes_and_descriptions_count_is_there() {
    let mut seen = 0;
    for seed in 0..SEEDS {
        let trace = traces::trace(seed);
        for options in cases(&trace, seed) {
            for chart in ChartName::ALL {
                let figure = Figure::new(chart, &trace, &options);
                let case = Case { trace: &trace, options, chart, figure: &figure };
                let overflow = figure.notes().iter().any(|note| note.contains("overflow, first"));
                assert_eq!(overflow, first_broken(&trace).is_some(), "seed {seed}, {}", chart.as_str());
                for note in figure.notes() {
                    let said = || format!("seed {seed}, {}, {options:?}: {note:?}", chart.as_str());
                    assert!(
                        by_chart::note(&case, &note).unwrap_or_else(|| panic!("unknown: {}", said())),
                        "{}",
                        said()
                    );
                    seen += 1;
                }
                let description = figure.description();
                assert!(by_chart::description(&case, &description), "seed {seed}, {}: {description}", chart.as_str());
            }
        }
    }
    assert!(seen > 10_000, "only {seen} notes were checked");
}

/// The first layer, as readers count, at which a norm is not finite.
pub(crate) fn first_broken(trace: &Trace) -> Option<usize> {
    let mut first = None::<usize>;
    for sequence in &trace.sequences {
        let t = sequence.ids.len();
        for norm in &sequence.embed_norm {
            if !norm.is_finite() {
                first = Some(0);
            }
        }
        for norms in [&sequence.attn_norm, &sequence.mlp_norm, &sequence.resid_mid_norm, &sequence.resid_post_norm] {
            for (cell, norm) in norms.iter().enumerate() {
                if !norm.is_finite() {
                    first = Some(first.unwrap_or(usize::MAX).min(cell / t + 1));
                }
            }
        }
    }
    first
}
