//! What charts draw, as snapshots and as rules that hold at every size.

use super::recorder::Recorder;
use super::*;
use trace::{
    Ablation, AblationMode, Attribution, Component, Lens, ModelInfo, Next, Patching, Pattern, PromotedTokens, Sequence,
    Trace,
};

/// 12 layers × 26 tokens that look like GPT-2's: a huge position 0, MLP updates that grow, attention that lags behind.
fn trace(layers: usize, n_layer: usize) -> Trace {
    let mut state = 7u64;
    // A linear congruential generator (Knuth's MMIX constants) and twelve uniforms for a normal deviate.
    let mut normal = || {
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1 << 24)
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    };
    let sequences = [10, 16].map(|t: usize| {
        let mut sequence = Sequence {
            ids: (0..t as u32).collect(),
            tokens: (0..t).map(|i| if i == 3 { "<script>\u{1}".into() } else { format!(" word{i}") }).collect(),
            ..Sequence::default()
        };
        let first = |token: usize, value: f64| (if token == 0 { value * 40.0 } else { value }) as f32;
        sequence.embed_norm = (0..t).map(|token| first(token, 4.1 + 0.4 * normal())).collect();
        for layer in 0..layers {
            let depth = layer as f64;
            for token in 0..t {
                let attn = (8.5 + 4.0 * (depth * 0.7).sin() + 0.5 * depth) * (0.2 * normal()).exp();
                let mlp = (11.0 + 0.12 * depth * depth + 2.0 * (depth * 1.3).cos()) * (0.24 * normal()).exp();
                sequence.attn_norm.push(first(token, attn));
                sequence.mlp_norm.push(first(token, mlp));
                sequence.resid_post_norm.push(first(token, 40.0 + 9.0 * depth));
                let wave = ((layer * 5 + token) as f32).sin();
                sequence.resid_pre_norm.push(first(token, 31.0 + 9.0 * depth));
                sequence.resid_mid_norm.push(first(token, 36.0 + 9.0 * depth));
                sequence.attn_cos.push(0.2 * wave - 0.1);
                sequence.mlp_cos.push(0.3 * wave + 0.15);
            }
        }
        let heads = (0..layers * HEADS * t).map(|cell| 2.0 + ((cell / t * 37) % 11) as f32 + (cell % t) as f32 * 0.1);
        sequence.head_norm = Some(heads.collect());
        let cells = (layers + 1) * t;
        let mut lens = Lens {
            ids: (0..cells as u32 * 2).map(|place| place / 3 % 7).collect(),
            probs: (0..cells * 2)
                .map(|place| if place % 2 == 0 { 0.04 + (place % 90) as f32 / 100.0 } else { 0.01 })
                .collect(),
            ..Lens::default()
        };
        lens.name_tokens(|id| format!(" guess{id}"));
        let last = |cell: usize| (cell + 1).is_multiple_of(t);
        lens.true_rank = (0..cells)
            .map(|cell| if last(cell) { 0 } else { 1 + (cell * 7919 % 5000) as u32 / (1 + cell as u32) })
            .collect();
        lens.true_prob =
            (0..cells).map(|cell| if last(cell) { 0.0 } else { (cell as f32 / cells as f32).powi(2) }).collect();
        sequence.lens = Some(lens);
        add_optional(&mut sequence, layers);
        sequence
    });
    let model = ModelInfo { n_layer, n_embd: 768, n_head: HEADS, ..ModelInfo::default() };
    let wave = |cell: usize| (cell as f32 * 0.37).sin() * 0.6 + 0.2;
    let patching = Patching {
        clean_tokens: sequences[0].tokens.clone(),
        corrupted_tokens: sequences[0].tokens.iter().map(|token| token.replace("word5", "word6")).collect(),
        answer: 3,
        answer_text: " Paris".into(),
        against: 4,
        against_text: " London".into(),
        clean_difference: 2.5,
        corrupted_difference: -1.25,
        recovered: (0..layers * 10).map(wave).collect(),
    };
    Trace { model, sequences: sequences.to_vec(), patching: Some(patching), ..Trace::default() }
}

/// A pattern, an attribution and candidates for the next token.
fn add_optional(sequence: &mut Sequence, layers: usize) {
    let t = sequence.ids.len();
    let row = |query: usize| (0..t).map(move |key| if key > query { 0.0 } else { 1.0 / (query + 1) as f32 });
    let writes = PromotedTokens {
        ids: (0..t as u32 * 3).collect(),
        logits: (0..t * 3).map(|cell| 1.5 - (cell % 3) as f32 * 0.25).collect(),
        tokens: (0..t * 3).map(|cell| format!(" raised{cell}")).collect(),
    };
    let weights = (0..t).flat_map(row).collect();
    sequence.patterns = Some(vec![Pattern { layer: 1, head: 3, weights, writes: Some(writes) }]);
    sequence.attn_bias_norm = Some((0..layers).map(|layer| 1.0 + layer as f32 * 0.2).collect());
    let wave =
        |scale: f32| (0..layers).map(move |layer| (layer as f32 * 1.7 + scale).sin() * scale).collect::<Vec<f32>>();
    let mut found = Attribution {
        position: t - 1,
        target: 9,
        target_text: " Paris".into(),
        against: Some(8),
        against_text: Some(" London".into()),
        scale: 31.5,
        embed: 1.25,
        attn: wave(0.8),
        mlp: wave(1.6),
        heads: (0..layers * HEADS).map(|cell| (cell as f32).sin() * 0.3).collect(),
        attn_bias: wave(0.1),
        bias: -0.4,
        ..Attribution::default()
    };
    found.logit = found.sum() as f32;
    sequence.attribution = Some(found);
    sequence.next = Some(Next {
        ids: (0..20).collect(),
        probs: (0..20).map(|rank| 0.4 * 0.7f32.powi(rank)).collect(),
        tokens: (0..20).map(|id| format!(" next{id}")).collect(),
    });
}

/// The same with a sub-layer switched off: its norms are 0, later ones are a little other.
fn ablated() -> Trace {
    let mut whole = trace(12, 12);
    whole.ablate = vec![Ablation { layer: 3, part: Component::Mlp, head: None, how: AblationMode::Zero }];
    for sequence in &mut whole.sequences {
        let t = sequence.ids.len();
        sequence.baseline = Some(Box::new(sequence.clone()));
        sequence.kl = Some((0..t).map(|token| token as f32 * 0.01).collect());
        sequence.mlp_norm[3 * t..4 * t].fill(0.0);
        for values in [&mut sequence.attn_norm, &mut sequence.mlp_norm, &mut sequence.resid_post_norm] {
            values[4 * t..].iter_mut().enumerate().for_each(|(cell, norm)| *norm *= 1.0 + 0.1 * (cell as f32).sin());
        }
        if let Some(next) = &mut sequence.next {
            next.probs.iter_mut().for_each(|prob| *prob *= 0.8);
        }
    }
    whole
}

const HEADS: usize = 12;

fn figure(name: ChartName, trace: &Trace) -> Figure {
    Figure::new(name, trace, &ChartOptions::default())
}

fn one_token_each() -> Trace {
    let sequence = Sequence { ids: vec![1], embed_norm: vec![1.0], attn_norm: vec![1.0], ..Sequence::default() };
    Trace { sequences: vec![sequence], ..Trace::default() }
}

fn record(scene: &Scene, highlight: Option<usize>) -> String {
    let mut recorder = Recorder::default();
    scene.paint(&mut recorder, highlight);
    recorder.into_text()
}

/// Compares with `src/snapshots/<name>`, or writes it.
fn check_snapshot(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/snapshots").join(name);
    if std::env::var_os("RENEW_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let how = "look at the difference; if it is meant, renew with: \
               RENEW_SNAPSHOTS=1 cargo test --package residual-stream-charts, then look at the .svg snapshots";
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("no snapshot {name} ({e}); {how}"));
    let differing = expected.lines().zip(text.lines()).position(|(a, b)| a != b);
    let line = differing.unwrap_or_else(|| expected.lines().count().min(text.lines().count()));
    assert!(
        expected == text,
        "snapshot {name} differs from line {}:\n  was {:?}\n  is  {:?}\n{how}",
        line + 1,
        expected.lines().nth(line).unwrap_or(""),
        text.lines().nth(line).unwrap_or("")
    );
}

#[test]
fn charts_draw_what_their_snapshots_say() {
    let (whole, partial, ablated) = (trace(12, 12), trace(5, 12), ablated());
    let wide = Size::new(640.0, 340.0);
    let phone = Size::new(320.0, 260.0);
    for (name, trace, size) in [
        ("distribution-wide", &whole, wide),
        ("distribution-phone", &whole, phone),
        ("distribution-empty", &Trace::default(), phone),
        ("evolution-wide", &whole, wide),
        ("evolution-phone", &whole, phone),
        ("evolution-partial", &partial, wide),
        ("evolution-one-token", &one_token_each(), phone),
        ("heatmap-wide", &whole, wide),
        ("growth-wide", &whole, wide),
        ("relative-wide", &whole, wide),
        ("direction-phone", &whole, phone),
        ("heads-wide", &whole, wide),
        ("lens-wide", &whole, wide),
    ] {
        let chart = name.split('-').next().unwrap().parse().unwrap();
        let scene = figure(chart, trace).scene(size, &Theme::light(), &ApproximateText);
        check_snapshot(&format!("{name}.txt"), &record(&scene, scene.hits.len().checked_sub(2)));
    }
    for chart in ChartName::ALL {
        for (theme_name, theme) in [("light", Theme::light()), ("dark", Theme::dark())] {
            for (size_name, size) in [("wide", wide), ("phone", phone)] {
                let svg = svg::document(&figure(chart, &whole), size, &theme);
                check_snapshot(&format!("{}-{size_name}-{theme_name}.svg", chart.as_str()), &svg);
            }
        }
        let svg = svg::document(&figure(chart, &partial), wide, &Theme::light());
        check_snapshot(&format!("{}-partial.svg", chart.as_str()), &svg);
        let svg = svg::document(&figure(chart, &ablated), wide, &Theme::light());
        check_snapshot(&format!("{}-ablated.svg", chart.as_str()), &svg);
    }
}

/// Every text's left and right end, top and bottom.
fn text_boxes(marks: &[Mark]) -> Vec<(String, Rect)> {
    let boxed = |label: &surface::Label| {
        let width = ApproximateText.width(&label.text, label.font);
        let x = match label.align {
            surface::Align::Start => label.at.x,
            surface::Align::Middle => label.at.x - width / 2.0,
            surface::Align::End => label.at.x - width,
        };
        (label.text.clone(), Rect { x, y: label.at.y - 9.0, width, height: 12.0 })
    };
    let turned = |label: &surface::Label| {
        let length = ApproximateText.width(&label.text, label.font);
        // All that is turned ends at its anchor, and so hangs below it.
        assert_eq!(label.align, surface::Align::End);
        (label.text.clone(), Rect { x: label.at.x - 9.0, y: label.at.y, width: 12.0, height: length })
    };
    let text = |mark: &Mark| match mark {
        Mark::Text(label) => Some(boxed(label)),
        Mark::Turned(label) => Some(turned(label)),
        _ => None,
    };
    marks.iter().filter_map(text).collect()
}

use mark::Mark;

#[test]
fn no_text_collides_or_leaves_the_chart_at_any_size() {
    let mut large = trace(12, 12);
    large.sequences.iter_mut().flat_map(|s| s.attn_norm.iter_mut()).for_each(|norm| *norm *= 12_345.0);
    let traces = [trace(12, 12), trace(5, 12), trace(1, 1), trace(3, 48), trace(7, 13), large, ablated()];
    for trace in &traces {
        for chart in ChartName::ALL {
            for skip_first in [true, false] {
                let figure = Figure::new(chart, trace, &ChartOptions { skip_first, ..ChartOptions::default() });
                for width in (240..1300).step_by(53) {
                    let size = Size::new(f64::from(width), 260.0);
                    let scene = figure.scene(size, &Theme::light(), &ApproximateText);
                    let boxes = text_boxes(&scene.marks);
                    let context = format!("{} at {width} px, {} layers", chart.as_str(), trace.model.n_layer);
                    for (index, (text, a)) in boxes.iter().enumerate() {
                        assert!(
                            a.x >= 0.0 && a.right() <= size.width + 0.01 && a.y >= 0.0 && a.bottom() <= size.height,
                            "axis.rs or legend.rs: {text:?} leaves the chart: {context}: {a:?}"
                        );
                        for (other, b) in &boxes[index + 1..] {
                            let apart = a.right() <= b.x || b.right() <= a.x || a.bottom() <= b.y || b.bottom() <= a.y;
                            assert!(apart, "axis.rs or legend.rs: {text:?} lies on {other:?}: {context}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_a_trace_or_a_size_holds_makes_a_coordinate_that_is_not_finite() {
    let mut odd = trace(3, 3);
    odd.sequences[0].attn_norm[4] = f32::NAN;
    odd.sequences[0].mlp_norm.fill(f32::INFINITY);
    odd.sequences[1].attn_norm[9] = f32::MAX;
    odd.sequences[1].mlp_norm[9] = -5.0;
    let mut hollow = trace(3, 3);
    hollow.sequences[0].mlp_norm.clear();
    hollow.sequences[0].tokens.clear();
    hollow.sequences[1].embed_norm.fill(f32::NAN);
    let mut zero = trace(2, 2);
    for sequence in &mut zero.sequences {
        for values in [&mut sequence.attn_norm, &mut sequence.mlp_norm, &mut sequence.embed_norm] {
            values.fill(0.0);
        }
    }
    let mut broken = ablated();
    for sequence in &mut broken.sequences {
        sequence.resid_post_norm[7] = f32::NAN;
        if let Some(found) = &mut sequence.attribution {
            found.mlp[2] = f32::INFINITY;
            found.heads[5] = f32::NAN;
        }
        if let Some(lens) = &mut sequence.lens {
            lens.true_prob.fill(f32::NAN);
        }
        sequence.patterns.iter_mut().flatten().for_each(|pattern| pattern.weights[4] = f32::NAN);
        sequence.next.iter_mut().for_each(|next| next.probs[0] = f32::NAN);
    }
    broken.patching.iter_mut().for_each(|found| found.recovered[3] = f32::NEG_INFINITY);
    let traces = [odd, broken, hollow, zero, trace(0, 12), trace(0, 0), Trace::default(), one_token_each()];
    for (index, trace) in traces.iter().enumerate() {
        for chart in ChartName::ALL {
            for skip_first in [true, false] {
                let figure = Figure::new(chart, trace, &ChartOptions { skip_first, ..ChartOptions::default() });
                for (width, height) in [(640.0, 340.0), (0.0, 0.0), (5.0, 900.0), (f64::NAN, -3.0), (90.0, 90.0)] {
                    let size = Size::new(width, height);
                    let scene = figure.scene(size, &Theme::dark(), &ApproximateText);
                    for highlight in 0..=scene.hits.len() {
                        let text = record(&scene, Some(highlight));
                        assert!(!text.contains("NaN") && !text.contains("inf"), "trace {index}, {chart:?}: {text}");
                    }
                }
                assert!(!figure.description().is_empty() && !figure.how_to_read().is_empty());
                let svg = svg::document(&figure, Size::new(400.0, 300.0), &Theme::light());
                assert_balanced(&svg);
            }
        }
    }
}

#[test]
fn empty_charts_say_what_to_do() {
    for chart in ChartName::ALL {
        let nothing = figure(chart, &Trace::default());
        let why = nothing.empty().unwrap_or_default();
        assert!(why.starts_with("Nothing to show yet: "), "figure.rs: {chart:?}: {why}");
        assert!(nothing.scene(Size::new(300.0, 200.0), &Theme::light(), &ApproximateText).hits.is_empty());
        use ChartName::{Attribution, AttributionHeads, Change, Compare, Lens, Next, Patching, Pattern};
        if [Attribution, AttributionHeads, Change, Compare, Lens, Next, Patching, Pattern].contains(&chart) {
            continue; // A single token predicts, and is looked at, as well.
        }
        let short = figure(chart, &one_token_each()).empty().unwrap_or_default();
        assert!(short.contains("count position 0 too"), "figure.rs: {short}");
    }
}

#[test]
fn nobody_is_sent_to_run_a_text_again_by_a_model_that_makes_no_predictions() {
    let mut trace = trace(5, 12);
    trace.sequences.iter_mut().for_each(|sequence| sequence.next = None);
    let why = figure(ChartName::Next, &trace).empty().unwrap_or_default();
    assert_eq!(why, "This trace has no predictions: it was made without them, or the model makes none.");
}

#[test]
fn pointer_and_keys_find_every_bin_and_layer() {
    let trace = trace(5, 12);
    let size = Size::new(640.0, 340.0);
    let scene = figure(ChartName::Evolution, &trace).scene(size, &Theme::light(), &ApproximateText);
    let titles: Vec<&str> = scene.hits.iter().map(|hit| hit.title.as_str()).collect();
    assert_eq!(titles, ["layer 0 (embedding)", "layer 1", "layer 2", "layer 3", "layer 4", "layer 5"]);
    for scene in [&scene, &figure(ChartName::Distribution, &trace).scene(size, &Theme::light(), &ApproximateText)] {
        for (index, hit) in scene.hits.iter().enumerate() {
            let middle = hit.rect.x + hit.rect.width / 2.0;
            assert_eq!(scene.hit_at(middle, hit.rect.y + 9.0), Some(index), "scene.rs: {}", hit.title);
        }
        assert_eq!(scene.hit_at(1.0, 1.0), None);
        assert_eq!(scene.hit_at(f64::NAN, 1.0), None);
    }
}

#[test]
fn read_out_and_table_tell_the_same_numbers() {
    let trace = trace(12, 12);
    let distribution = figure(ChartName::Distribution, &trace);
    let scene = distribution.scene(Size::new(640.0, 340.0), &Theme::light(), &ApproximateText);
    let table = distribution.table();
    assert_eq!(scene.hits.len(), table.rows.len());
    for (hit, row) in scene.hits.iter().zip(&table.rows) {
        assert_eq!(hit.rows[0].value, row[2].text());
        assert_eq!(hit.text(), format!("{}: attention {}, MLP {}", hit.title, row[2].text(), row[3].text()));
    }
    // 24 counted tokens (26 less two first ones) in 12 layers, twice.
    let sum: f64 = table.rows.iter().flat_map(|row| &row[2..]).map(|cell| cell.text().parse::<f64>().unwrap()).sum();
    assert_eq!(sum, 24.0 * 12.0 * 2.0);
    let evolution = figure(ChartName::Evolution, &trace).table();
    assert_eq!(evolution.rows.len(), 13);
    assert!(evolution.rows.iter().all(|row| row.len() == evolution.columns.len()));
    assert!(evolution.to_csv().starts_with("\u{feff}layer,attention mean,attention std,MLP mean"));
}

#[test]
fn charts_of_a_row_share_their_baseline() {
    let trace = trace(12, 12);
    let options = ChartOptions { legend: false, ..ChartOptions::default() };
    let [a, b] = [ChartName::Distribution, ChartName::Evolution].map(|chart| {
        Figure::new(chart, &trace, &options).scene(Size::new(560.0, 300.0), &Theme::light(), &ApproximateText).plot
    });
    assert_eq!((a.y, a.bottom()), (b.y, b.bottom()), "axis.rs: top and bottom must not depend on the labels");
}

#[test]
fn names_and_options_are_those_of_the_contract() {
    for chart in ChartName::ALL {
        assert_eq!(chart.as_str().parse::<ChartName>().unwrap(), chart);
        assert_eq!(serde_json::to_string(&chart).unwrap(), format!("\"{}\"", chart.as_str()));
    }
    let error = "pie".parse::<ChartName>().unwrap_err();
    assert!(error.message.contains("\"distribution\", \"evolution\""), "figure.rs: {error}");
    let options: ChartOptions = serde_json::from_str(r#"{"quantity":"difference","sequence":1,"token":3}"#).unwrap();
    assert_eq!((options.quantity, options.sequence, options.token), (Quantity::Difference, 1, Some(3)));
    let options: ChartOptions = serde_json::from_str(r#"{"skipFirst":false,"bins":20}"#).unwrap();
    assert_eq!(options, ChartOptions { bins: Some(20), skip_first: false, ..ChartOptions::default() });
}

/// Every element closes in the order it opened, and nothing but known elements occurs.
fn assert_balanced(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("svg.rs: a tag without an end: {tag}"));
        let name = tag.split_whitespace().next().unwrap_or("").trim_end_matches('/');
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "svg.rs: elements close in another order than they opened");
        } else {
            let known = ["svg", "title", "desc", "path", "rect", "circle", "text", "g"];
            assert!(known.contains(&name), "svg.rs: unexpected element <{name}>");
            assert_eq!(tag.matches('"').count() % 2, 0, "svg.rs: unbalanced quotes in <{tag}>");
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
    }
    assert!(open.is_empty(), "svg.rs: left open: {open:?}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "svg.rs: a coordinate that is not finite");
}

#[test]
fn svg_escapes_what_a_token_or_title_may_hold() {
    let hostile = "<script>alert('x')</script> & \"\u{1}";
    let svg = svg::render(&Scene::default(), hostile, hostile);
    assert_balanced(&svg);
    assert!(svg.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;\u{fffd}"), "svg.rs: {svg}");
}
