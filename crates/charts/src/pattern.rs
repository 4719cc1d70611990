//! One head's attention pattern, query by key, and what the head writes at each query.

use super::Kind;
use super::chart::{Chart, ChartOptions, ChartSpec, Control, Needs, coverage_empty};
use super::format;
use super::geometry::Size;
use super::grid::{Grid, Ramp};
use super::legend::{LegendItem, Swatch};
use super::one_text::OneText;
use super::scene::{Columns, HitRow, Scene};
use super::surface::MeasureText;
use super::table::{Cell, Table};
use super::theme::Theme;
use trace::summary::{Coverage, Finding, Place, Topic};
use trace::{Pattern, Sequence, Trace};

pub(super) static SPEC: ChartSpec = ChartSpec {
    name: "pattern",
    title: "Attention pattern",
    lead: "Where does this head look, and what does it write there?",
    needs: Needs::Pattern,
    tab: Some("pattern"),
    controls: &[Control::Tokens, Control::Head],
    build: |trace, options| Box::new(PatternChart::new(trace, options)),
};

#[derive(Debug)]
pub(super) struct PatternChart {
    text: OneText,
    pattern: Option<Pattern>,
    /// Under ablation: the same head's weights in the unchanged model.
    before: Vec<f32>,
    /// T: the head's part of attn_out at each token; empty where the trace was made without heads.
    norms: Vec<f32>,
    coverage: Coverage,
}

impl PatternChart {
    pub(super) fn new(trace: &Trace, options: &ChartOptions) -> Self {
        let text = OneText::of(trace, options, |_| Sequence::default());
        let whole = trace.sequences.get(text.number());
        let patterns = whole.and_then(|whole| whole.patterns.as_deref()).unwrap_or_default();
        let wanted = |pattern: &&Pattern| {
            options.head.is_none_or(|head| (pattern.layer, pattern.head) == (head.layer, head.head))
        };
        let pattern = patterns.iter().find(wanted).cloned();
        let before = whole.and_then(|whole| whole.baseline.as_ref()?.patterns.as_ref()?.iter().find(wanted));
        let before = before.map(|before| before.weights.clone()).unwrap_or_default();
        let norms = pattern.as_ref().zip(whole).and_then(|(pattern, whole)| {
            let row = pattern.layer * trace.model.n_head + pattern.head;
            Some(whole.layer(whole.head_norm.as_deref()?, row).to_vec())
        });
        PatternChart {
            text,
            pattern,
            before,
            norms: norms.unwrap_or_default(),
            coverage: Coverage::of(trace.run(), false),
        }
    }

    fn weight(&self, query: usize, key: usize) -> Option<f64> {
        let t = self.text.sequence.token_count();
        let weights = &self.pattern.as_ref()?.weights;
        if key > query { None } else { weights.get(query * t + key).map(|weight| f64::from(*weight)) }
    }

    fn name(&self) -> String {
        self.pattern
            .as_ref()
            .map_or_else(String::new, |found| format!("head {} of layer {}", found.head, found.layer + 1))
    }

    fn token(&self, token: usize) -> String {
        format::quote_token(self.text.token(token))
    }

    /// What the head writes at a token: texts of tokens, and by how much their logits rise.
    fn writes(&self, token: usize) -> impl Iterator<Item = (&str, f64)> {
        let t = self.text.sequence.token_count();
        let writes = self.pattern.as_ref().and_then(|pattern| pattern.writes.as_ref());
        let k = writes.map_or(0, |writes| writes.ids.len() / t.max(1));
        writes.into_iter().flat_map(move |writes| {
            let cells = token * k..(token + 1) * k;
            let texts = writes.tokens.get(cells.clone()).unwrap_or_default().iter().map(String::as_str);
            texts.zip(writes.logits.get(cells).unwrap_or_default().iter().map(|&logit| f64::from(logit)))
        })
    }

    /// The largest weight that is a choice: the first token can only look at itself.
    fn most(&self) -> f64 {
        let t = self.text.sequence.token_count();
        let weights = self.pattern.iter().flat_map(|pattern| pattern.weights.iter().skip(t));
        let most = weights.map(|weight| f64::from(*weight)).filter(|weight| weight.is_finite()).fold(0.0, f64::max);
        if most > 0.0 { most } else { 1.0 }
    }

    /// Means over queries after the first: on the first token, on the one before, on itself. None where a weight is not
    /// finite.
    fn habits(&self) -> Option<[f64; 3]> {
        let t = self.text.sequence.token_count();
        let mean = |key: fn(usize) -> usize| {
            let weights: Option<Vec<f64>> = (1..t).map(|query| self.weight(query, key(query))).collect();
            let weights = weights.filter(|weights| !weights.is_empty())?;
            Some(weights.iter().sum::<f64>() / weights.len() as f64).filter(|mean| mean.is_finite())
        };
        Some([mean(|_| 0)?, mean(|query| query - 1)?, mean(|query| query)?])
    }
}

impl Chart for PatternChart {
    fn how_to_read(&self) -> String {
        "Each row is a token that reads, each column a token it may read: itself and those before. The fuller the colour, the \
         more of the head's attention goes there; a row adds up to 1. The read-out names the tokens whose logits the head's \
         part raises most at the reading token, with the final layer norm's scale frozen."
            .to_owned()
    }

    fn notes(&self) -> Vec<String> {
        let name = self.pattern.is_some().then(|| self.name());
        name.into_iter().chain(self.text.note()).collect()
    }

    fn legend(&self) -> Vec<LegendItem> {
        vec![LegendItem::new("attention weight", Kind::Attention, Swatch::Solid)]
    }

    fn finding(&self) -> Option<Finding> {
        let [first, before, own] = self.habits()?;
        let name = self.name();
        let of = |what: &str, share: f64| format!("{what} ({} on average)", format::percent(share));
        // The first token, too, is further back than the last, where it is not the last itself.
        let rest = 1.0 - before - own;
        let habit = match () {
            () if before >= first.max(own).max(0.4) => of("looks at the token before", before),
            () if own >= first.max(before).max(0.4) => of("looks at the token itself", own),
            () if first >= 0.4 => of("rests on the first token", first),
            () => format!("spreads out: {} goes to tokens further back than the last", format::percent(rest.max(0.0))),
        };
        let text = format!("In this text {name} {habit}.");
        let layer = self.pattern.as_ref().map(|pattern| pattern.layer);
        Some(Finding { topic: Topic::Head, text, place: Place { layer, ..Place::default() } })
    }

    fn description(&self) -> String {
        let t = self.text.sequence.token_count();
        format!("Attention weights of {}, {t} reading tokens by {t} read ones.", self.name())
    }

    fn table(&self) -> Table {
        let t = self.text.sequence.token_count();
        let keys = (0..t).map(|key| format!("to {key}: {}", self.text.token(key).trim()));
        let row = |query: usize| {
            let weights = (0..t).map(|key| Cell::of(self.weight(query, key)));
            let written: Vec<String> = self.writes(query).map(|(word, logit)| format!("{word} {logit:+.2}")).collect();
            let norm = Cell::of(self.norms.get(query).map(|norm| f64::from(*norm)));
            let head = [Cell::Text(self.text.token(query).to_owned()), norm, Cell::Text(written.join(", "))];
            head.into_iter().chain(weights).collect()
        };
        Table {
            caption: format!(
                "Attention weights of {}, from each token to those before; the norm of what the head adds, and \
                the tokens whose logits it raises most",
                self.name()
            ),
            columns: ["from", "norm", "raises"].map(str::to_owned).into_iter().chain(keys).collect(),
            rows: (0..t).map(row).collect(),
        }
    }

    fn empty(&self) -> Option<String> {
        coverage_empty(&self.coverage).or_else(|| {
            let why = "This trace was made without this head's pattern: choose a layer and a head, or a cell of Heads.";
            self.pattern.is_none().then(|| why.to_owned())
        })
    }

    fn layout(&self, size: Size, top: f64, theme: &Theme, measure: &dyn MeasureText) -> Option<Scene> {
        let columns = self.text.labels();
        let t = columns.len();
        let window = Columns::new(self.text.window, t);
        // The first query is the top row.
        let query = |row: usize| window.to - 1 - row;
        let read_out = |row: usize, key: usize| {
            let query = query(row);
            let value = self.weight(query, key).map_or_else(|| "the future: never".to_owned(), format::percent);
            let row = |label: String, value| HitRow::new(label, value, Some(Kind::Attention));
            let mut rows = vec![row("attention".to_owned(), value)];
            let before = self.before.get(query * t + key).map(|weight| format::percent(f64::from(*weight)));
            rows.extend(before.map(|before| row("without ablation".to_owned(), before)));
            let norm = self.norms.get(query).map(|norm| format::norm(f64::from(*norm)));
            rows.extend(norm.map(|norm| row(format!("norm of what it adds at {}", self.token(query)), norm)));
            let raised = |(word, logit): (&str, f64)| {
                row(format!("raises {}", format::quote_token(word)), format!("{logit:+.2}"))
            };
            rows.extend(self.writes(query).map(raised));
            (format!("{} reads {}", self.token(query), self.token(key)), rows)
        };
        Grid {
            rows: window.to - window.from,
            row_label: &|row| columns.get(query(row)).cloned().unwrap_or_default(),
            row_title: "reads",
            columns: &columns,
            column_title: "is read",
            value: &|row, key| self.weight(query(row), key),
            ramp: Ramp::sequential(theme, theme.attn, self.most()),
            read_out: &read_out,
            place: &|row, _| Some(self.text.place(None, query(row))),
            marked: self.text.pinned,
            text: None,
            window: self.text.window,
        }
        .layout(size, top, theme, measure)
    }
}
