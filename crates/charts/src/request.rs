//! Whether a chart can be drawn of a trace as it was asked for: for callers who would otherwise get another picture, or one
//! of a sentence, without a word.

use super::chart::{ChartOptions, ChartSpec, Needs};
use super::scene::TokenRange;
use trace::summary::check_bins;
use trace::{Code, Error, Result, Sequence, Trace};

fn bad(message: String) -> Result<()> {
    Err(Error::new(Code::BadArgument, message))
}

impl ChartOptions {
    /// Whether the trace has the texts and tokens that these options speak of.
    ///
    /// # Errors
    /// `BadArgument`, naming the option and the range.
    pub fn check(&self, trace: &Trace) -> Result<()> {
        check_bins(self.bins)?;
        let count = trace.sequences.len();
        let has = |name: &str, number: usize| match (number < count, count) {
            (true, _) => Ok(()),
            (false, 0) => bad(format!("{name}: there is no text {number}: this trace has none.")),
            (false, 1) => bad(format!("{name}: there is no text {number}: this trace has one, number 0.")),
            (false, _) => bad(format!("{name}: there is no text {number}: this trace has {count}, from 0.")),
        };
        if self.sequence > 0 {
            has("sequence", self.sequence)?;
        }
        if let Some([first, second]) = self.compare {
            has("compare", first)?;
            has("compare", second)?;
        }
        if let Some(token) = self.token {
            has("sequence", self.sequence)?;
            let tokens = trace.sequences.get(self.sequence).map_or(0, Sequence::token_count);
            if token >= tokens {
                let text = self.sequence;
                return bad(format!("token: there is no token {token}: text {text} has {tokens}, from 0."));
            }
        }
        if let Some(TokenRange { from, to }) = self.tokens {
            let longest = trace.sequences.iter().map(Sequence::token_count).max().unwrap_or_default();
            if from >= to || from >= longest {
                return bad(format!(
                    "tokens: expected [from, to] with from below to and below {longest}, the number of tokens, got [{from}, {to}]."
                ));
            }
        }
        Ok(())
    }
}

impl ChartSpec {
    /// Whether the trace was made with what the chart shows.
    ///
    /// # Errors
    /// `BadArgument`, naming the option that records it.
    pub(super) fn check(&self, trace: &Trace, options: &ChartOptions) -> Result<()> {
        let shown = trace.sequences.get(options.sequence);
        let all = |has: fn(&Sequence) -> bool| trace.sequences.iter().all(has);
        let (has, what, option, flag) = match self.needs {
            Needs::Norms => return Ok(()),
            Needs::Heads => (all(|sequence| sequence.head_norm.is_some()), "heads", "heads: true", "--heads"),
            Needs::Lens => {
                let has = shown.is_some_and(|sequence| sequence.lens.is_some());
                (has, "the logit lens", "lens: 5", "--lens 5")
            }
            Needs::LensOfAny => {
                let has = trace.sequences.iter().any(|sequence| sequence.lens.is_some());
                (has, "the logit lens", "lens: 5", "--lens 5")
            }
            Needs::Pattern => return check_pattern(shown, options),
            Needs::Attribution => {
                let has = shown.is_some_and(|sequence| sequence.attribution.is_some());
                (has, "attribution", "attribution: {}", "--attribution")
            }
            Needs::Predictions => {
                let has = shown.is_some_and(|sequence| sequence.next.is_some());
                (has, "predictions", "predictions: true", "without --no-predictions")
            }
            Needs::Ablation => {
                let has = shown.is_some_and(|sequence| sequence.baseline.is_some());
                let option = "ablate: [{ layer: 0, part: \"mlp\" }]";
                (has, "anything switched off", option, "--off mlp.0")
            }
            Needs::TwoTexts => return check_compare(trace, options),
            Needs::Patching if trace.patching.is_some() => return Ok(()),
            Needs::Patching => {
                return bad("patching: this trace has none; give { ...trace, patching: await model.patch(clean, corrupted) } instead. The command line records none.".to_owned());
            }
        };
        if has {
            return Ok(());
        }
        let chart = self.name;
        bad(format!(
            "{chart}: this trace was made without {what}; trace the text again with {{ {option} }} (on the command line: {flag})."
        ))
    }
}

fn check_pattern(shown: Option<&Sequence>, options: &ChartOptions) -> Result<()> {
    let patterns = shown.and_then(|sequence| sequence.patterns.as_deref()).unwrap_or_default();
    let is =
        |layer: usize, head: usize| options.head.is_none_or(|head_of| (head_of.layer, head_of.head) == (layer, head));
    if patterns.iter().any(|pattern| is(pattern.layer, pattern.head)) {
        return Ok(());
    }
    let (layer, head) = options.head.map_or((0, 0), |head| (head.layer, head.head));
    let lacks = match options.head {
        Some(_) => format!("this trace has no pattern of layer {layer}, head {head} (both from 0)"),
        None => "this trace was made without attention patterns".to_owned(),
    };
    bad(format!(
        "pattern: {lacks}; trace the text again with {{ patterns: [{{ layer: {layer}, head: {head} }}] }} (on the command line: --patterns {layer}.{head})."
    ))
}

fn check_compare(trace: &Trace, options: &ChartOptions) -> Result<()> {
    let [first, second] = options.compared();
    let count = trace.sequences.len();
    if first == second {
        return bad(format!("compare: expected two different texts, got text {first} twice."));
    }
    if first.max(second) >= count {
        return bad(format!("compare: texts {first} and {second} (from 0) are compared, and this trace has {count}."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::registry::ChartName;
    use super::*;
    use trace::Head;

    fn trace() -> Trace {
        let sequence = |t: u32| Sequence { ids: (0..t).collect(), ..Sequence::default() };
        Trace { sequences: vec![sequence(3), sequence(5)], ..Trace::default() }
    }

    #[test]
    fn texts_and_tokens_that_are_not_there_are_refused_by_name() {
        let plain = ChartOptions::default();
        for (options, word) in [
            (ChartOptions { sequence: 2, ..plain }, "sequence: there is no text 2: this trace has 2, from 0."),
            (ChartOptions { token: Some(3), ..plain }, "token: there is no token 3: text 0 has 3, from 0."),
            (ChartOptions { compare: Some([0, 9]), ..plain }, "compare: there is no text 9"),
            (ChartOptions { tokens: Some(TokenRange { from: 5, to: 7 }), ..plain }, "tokens: expected [from, to]"),
            (ChartOptions { tokens: Some(TokenRange { from: 2, to: 2 }), ..plain }, "tokens: expected [from, to]"),
            (ChartOptions { bins: Some(501), ..plain }, "bins: expected a whole number from 1 to 500, got 501."),
        ] {
            let error = options.check(&trace()).unwrap_err();
            assert!(error.code == Code::BadArgument && error.message.starts_with(word), "request.rs: {error}");
        }
        for options in [
            plain,
            ChartOptions { sequence: 1, token: Some(4), compare: Some([1, 0]), ..plain },
            ChartOptions { tokens: Some(TokenRange { from: 4, to: 90 }), ..plain },
            ChartOptions { bins: Some(500), ..plain },
        ] {
            options.check(&trace()).unwrap();
        }
        ChartOptions::default().check(&Trace::default()).unwrap();
    }

    #[test]
    fn a_chart_without_its_data_names_the_option_that_records_it() {
        for (chart, option) in [
            (ChartName::Heads, "{ heads: true }"),
            (ChartName::Lens, "{ lens: 5 }"),
            (ChartName::TrueToken, "{ lens: 5 }"),
            (ChartName::Pattern, "{ patterns: [{ layer: 0, head: 0 }] }"),
            (ChartName::Attribution, "{ attribution: {} }"),
            (ChartName::AttributionHeads, "{ attribution: {} }"),
            (ChartName::Next, "{ predictions: true }"),
            (ChartName::Change, "{ ablate: [{ layer: 0, part: \"mlp\" }] }"),
            (ChartName::Patching, "model.patch"),
        ] {
            let error = chart.check(&trace(), &ChartOptions::default()).unwrap_err();
            let named = error.message.starts_with(&format!("{}: ", chart.as_str())) && error.message.contains(option);
            assert!(error.code == Code::BadArgument && named, "request.rs: {error}");
        }
        let head = Some(Head { layer: 2, head: 3 });
        let error = ChartName::Pattern.check(&trace(), &ChartOptions { head, ..ChartOptions::default() }).unwrap_err();
        assert!(error.message.contains("--patterns 2.3"), "request.rs: {error}");
        ChartName::Compare.check(&trace(), &ChartOptions::default()).unwrap();
        let same = ChartOptions { compare: Some([1, 1]), ..ChartOptions::default() };
        assert!(ChartName::Compare.check(&trace(), &same).unwrap_err().message.contains("twice"));
        for chart in [ChartName::Distribution, ChartName::Evolution, ChartName::Heatmap, ChartName::Growth] {
            chart.check(&trace(), &ChartOptions::default()).unwrap();
        }
    }
}
