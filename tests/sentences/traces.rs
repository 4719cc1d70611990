//! Random traces of every kind that a chart may meet: calm ones, zeros, ties, extremes, numbers that are none; one token,
//! one layer, partial and ablated ones.

use trace::{
    Ablation, AblationMode, Attribution, Component, Lens, LensLead, ModelInfo, Next, Patching, Pattern, Sequence, Trace,
};

pub const HEADS: usize = 2;
/// Predictions a cell of the lens.
pub const K: usize = 2;

/// Knuth's MMIX generator.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        dice.below(7);
        dice
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn unit(&mut self) -> f32 {
        self.below(1 << 24) as f32 / (1 << 24) as f32
    }

    /// A number of a kind of trace.
    fn number(&mut self, kind: usize) -> f32 {
        let calm = 0.05 + 60.0 * self.unit() * self.unit();
        match (kind, self.below(12)) {
            (1, _) => 0.0,
            (2, _) => 3.0,
            (3, _) => (self.unit() * 170.0 - 86.0).exp(),
            (4, 0) => f32::NAN,
            (4, 1) => f32::INFINITY,
            (5, n) => (n % 3) as f32,
            (6, 0) => calm * 1e4,
            _ => calm,
        }
    }

    fn numbers(&mut self, kind: usize, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number(kind)).collect()
    }

    fn signed(&mut self, kind: usize, count: usize) -> Vec<f32> {
        self.numbers(kind, count).into_iter().map(|x| if self.below(2) == 0 { -x } else { x }).collect()
    }

    fn probs(&mut self, kind: usize, count: usize) -> Vec<f32> {
        let lost = kind == 4;
        (0..count).map(|_| if lost && self.below(6) == 0 { f32::NAN } else { self.unit() }).collect()
    }
}

fn lens(dice: &mut Dice, kind: usize, cells: usize, t: usize) -> Lens {
    let mut lens = Lens {
        ids: (0..cells * K).map(|_| dice.below(3) as u32).collect(),
        probs: dice.probs(kind, cells * K),
        true_prob: dice.probs(kind, cells),
        ..Lens::default()
    };
    let rank = |cell: usize| if (cell + 1).is_multiple_of(t) { 0 } else { 1 + dice.below(3) as u32 };
    lens.true_rank = (0..cells).map(rank).collect();
    lens.name_tokens(|id| format!("w{id}"));
    lens
}

fn sequence(dice: &mut Dice, kind: usize, (layers, t): (usize, usize)) -> Sequence {
    let cells = layers * t;
    let mut attribution = Attribution {
        position: dice.below(t),
        target_text: "target".into(),
        against_text: (dice.below(2) == 0).then(|| "other".into()),
        embed: dice.signed(kind, 1)[0],
        attn: dice.signed(kind, layers),
        mlp: dice.signed(kind, layers),
        heads: dice.signed(kind, layers * HEADS),
        attn_bias: dice.signed(kind, layers),
        bias: dice.signed(kind, 1)[0],
        scale: 3.0,
        ..Attribution::default()
    };
    attribution.logit = attribution.sum() as f32 + if dice.below(4) == 0 { 5.0 } else { 0.0 };
    let weights = (0..t).flat_map(|query| {
        let row: Vec<f32> = (0..=query).map(|_| dice.unit() + 1e-3).collect();
        let total: f32 = row.iter().sum();
        let broken = kind == 4 && dice.below(5) == 0;
        let row = row.into_iter().map(move |weight| if broken { f32::NAN } else { weight / total });
        row.chain((query + 1..t).map(|_| 0.0)).collect::<Vec<f32>>()
    });
    let weights: Vec<f32> = weights.collect();
    Sequence {
        ids: (0..t as u32).collect(),
        tokens: (0..t).map(|token| format!("t{token}")).collect(),
        embed_norm: dice.numbers(kind, t),
        attn_norm: dice.numbers(kind, cells),
        mlp_norm: dice.numbers(kind, cells),
        resid_pre_norm: dice.numbers(kind, cells),
        resid_mid_norm: dice.numbers(kind, cells),
        resid_post_norm: dice.numbers(kind, cells),
        attn_cos: dice.signed(0, cells).iter().map(|x| x / 60.05).collect(),
        mlp_cos: dice.signed(0, cells).iter().map(|x| x / 60.05).collect(),
        head_norm: Some(dice.numbers(kind, cells * HEADS)),
        lens: Some(lens(dice, kind, cells + t, t)),
        next: Some(Next {
            ids: vec![4, 5, 6],
            probs: dice.probs(kind, 3),
            tokens: ["n4", "n5", "n6"].map(str::to_owned).to_vec(),
        }),
        leads: Some(LensLead {
            id: 4,
            text: "n4".into(),
            prob: dice.probs(kind, 1)[0],
            first: dice.below(layers + 1),
            settled: layers,
        }),
        patterns: Some(vec![Pattern { layer: 0, head: 1, weights, writes: None }]),
        attribution: Some(attribution),
        ..Sequence::default()
    }
}

/// Norms of the stream that grow or shrink by one factor, nearly: a rate fits them.
fn make_steady(dice: &mut Dice, sequence: &mut Sequence) {
    let (t, factor) = (sequence.ids.len(), 0.5 + dice.unit());
    for (cell, norm) in sequence.resid_post_norm.iter_mut().enumerate() {
        *norm = 10.0 * factor.powi((cell / t) as i32) * (1.0 + 0.02 * dice.unit());
    }
}

pub fn trace(seed: u64) -> Trace {
    let mut dice = Dice::new(seed);
    let (kind, layers) = (dice.below(8), 1 + dice.below(6));
    let missing = if dice.below(4) == 0 { dice.below(3) } else { 0 };
    let mut sequences: Vec<Sequence> = (0..1 + dice.below(3))
        .map(|_| {
            let t = 1 + dice.below(6);
            sequence(&mut dice, kind, (layers, t))
        })
        .collect();
    if kind == 7 {
        sequences.iter_mut().for_each(|sequence| make_steady(&mut dice, sequence));
    }
    let mut trace = Trace {
        model: ModelInfo {
            n_layer: layers + missing,
            n_head: HEADS,
            n_embd: 8,
            n_positions: 16,
            vocab_size: 9,
            ..ModelInfo::default()
        },
        ..Trace::default()
    };
    if dice.below(3) == 0 {
        trace.ablate = vec![Ablation { layer: 0, part: Component::Mlp, head: None, how: AblationMode::Zero }];
        for whole in &mut sequences {
            let other = sequence(&mut dice, kind, (layers, whole.ids.len()));
            whole.kl = Some(dice.numbers(kind, whole.ids.len()));
            whole.baseline = Some(Box::new(other));
        }
    }
    let t = sequences[0].ids.len();
    let differences = (dice.signed(0, 1)[0], if dice.below(4) == 0 { 0.0 } else { 1.5 });
    trace.patching = Some(Patching {
        clean_tokens: sequences[0].tokens.clone(),
        corrupted_tokens: sequences[0].tokens.clone(),
        clean_difference: differences.0 + differences.1,
        corrupted_difference: differences.0,
        recovered: match differences.1 == 0.0 {
            true => vec![f32::NAN; layers * t],
            false => dice.signed(kind, layers * t).iter().map(|x| x / 60.0).collect(),
        },
        ..Patching::default()
    });
    trace.sequences = sequences;
    trace
}
