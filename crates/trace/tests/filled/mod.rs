//! A trace with every field filled.

use trace::{
    Ablation, AblationMode, Attribution, Component, Lens, LensLead, ModelInfo, Next, Patching, Pattern, PromotedTokens,
    Sequence, Trace, Vocab,
};

pub const L: usize = 2;
pub const T: usize = 3;
pub const H: usize = 2;

/// Everything that a trace can have.
pub fn trace() -> Trace {
    let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin() + 1.5).collect::<Vec<f32>>();
    let sequence = Sequence {
        text: Some("a <b>\u{1F600}".into()),
        ids: vec![5, 6, 7],
        tokens: vec!["a".into(), " <b>".into(), "\u{1F600}".into()],
        spans: Some(vec![0, 1, 1, 5, 5, 7]),
        embed_norm: wave(T),
        attn_norm: wave(L * T),
        mlp_norm: wave(L * T),
        resid_pre_norm: wave(L * T),
        resid_mid_norm: wave(L * T),
        resid_post_norm: wave(L * T),
        attn_cos: wave(L * T),
        mlp_cos: wave(L * T),
        head_norm: Some(wave(L * H * T)),
        attn_bias_norm: Some(wave(L)),
        lens: Some(Lens {
            ids: (0..((L + 1) * T * 2) as u32).map(|id| id % 9).collect(),
            probs: wave((L + 1) * T * 2),
            true_rank: vec![1; (L + 1) * T],
            true_prob: wave((L + 1) * T),
            vocab: Vocab { ids: (0..9).collect(), tokens: (0..9).map(|id| format!(" {id}")).collect() },
        }),
        token_logprob: Some(vec![-1.0; T - 1]),
        next: Some(Next { ids: vec![9, 8], probs: vec![0.5, 0.25], tokens: vec!["x".into(), "y".into()] }),
        leads: Some(LensLead { id: 9, text: "x".into(), prob: 0.5, first: 1, settled: 2 }),
        patterns: Some(vec![Pattern {
            layer: 1,
            head: 0,
            weights: wave(T * T),
            writes: Some(PromotedTokens { ids: vec![1; T], logits: wave(T), tokens: vec!["w".into(); T] }),
        }]),
        attribution: Some(Attribution {
            position: 2,
            target: 9,
            target_text: "x".into(),
            against: Some(8),
            against_text: Some("y".into()),
            logit: 2.5,
            scale: 4.0,
            embed: 0.25,
            attn: wave(L),
            mlp: wave(L),
            heads: wave(L * H),
            attn_bias: wave(L),
            bias: -0.125,
        }),
        kl: Some(wave(T)),
        baseline: None,
    };
    let baseline = Some(Box::new(Sequence { kl: None, ..sequence.clone() }));
    let model = ModelInfo { source: "m".into(), n_layer: L, n_head: H, n_embd: 8, n_positions: 16, vocab_size: 64 };
    let patching = Patching {
        clean_tokens: vec!["a".into(); T],
        corrupted_tokens: vec!["b".into(); T],
        answer: 9,
        answer_text: "x".into(),
        against: 8,
        against_text: "y".into(),
        clean_difference: 1.5,
        corrupted_difference: -0.5,
        recovered: wave(L * T),
    };
    Trace {
        model,
        sequences: vec![Sequence { baseline, ..sequence.clone() }, Sequence { kl: None, ..sequence }],
        ablate: vec![Ablation { layer: 0, part: Component::Head, head: Some(1), how: AblationMode::Mean }],
        patching: Some(patching),
    }
}
