//! What a run recorded, number by number, against the double-precision pass.
//!
//! A number may be off by a share of itself, and by as much as single precision makes of it in this very model: some models
//! lose all digits (an attention score of 1e9 has none behind the point).

use engine::run::texts::RunOptions;
use engine::{Code, Error};
use trace::{AblationMode, Attribution, Component, Lens, LensLead, Next, Pattern, Sequence, TokenRef};

use super::paper::{Model, Part, Pass, Precision, Row, Rows, cosine, length, log_softmax};

/// Share of a number that it may be off by; of norms, cosines and parts of logits.
const RELATIVE: f64 = 1e-4;
/// Log-probabilities.
const LOGPROB: f64 = 1e-3;
/// Other orders of summation may lose so many times what the single-precision pass loses.
const TIMES: f64 = 100.0;
/// Beyond this, sums of squares and products leave the range of F32.
const LARGEST: f64 = 1e15;
/// Beyond this, an attention score of single precision has hardly a digit behind the point, and which of two tokens is
/// attended to is chance.
const STEEPEST: f64 = 3e5;
/// Log-probabilities that are less certain than this say nothing.
const UNCERTAIN: f64 = 0.5;

type Checked = Result<(), String>;

/// Passes in double and in single precision.
struct Passes<'a> {
    model: &'a Model,
    double: Pass,
    single: Pass,
}

/// Holds the answer to a run against the model.
pub fn agree(
    model: &Model,
    texts: &[Vec<u32>],
    options: &RunOptions,
    found: Result<Vec<Sequence>, Error>,
) -> Result<&'static str, String> {
    if !makes_sense(model, texts, options) {
        let refusals = [Code::TooLong, Code::TokenOutOfRange, Code::BadArgument];
        return match found {
            Err(error) if refusals.contains(&error.code) => Ok("refused runs"),
            other => Err(format!("a run that cannot be made gave {:?}", other.map(|_| ()))),
        };
    }
    let clean: Vec<Passes> = texts.iter().map(|ids| Passes::of(model, ids, &[], &[])).collect();
    let rows =
        |precision| options.ablate.iter().map(|ablated| replacement(model, &clean, ablated, precision)).collect();
    let (double, single): (Vec<_>, Vec<_>) = (rows(Precision::Double), rows(Precision::Single));
    let changed: Vec<Passes> = texts.iter().map(|ids| Passes::of(model, ids, &double, &single)).collect();
    if clean.iter().chain(&changed).any(|passes| passes.single.largest().max(passes.double.largest()) > LARGEST) {
        return Ok("overflows");
    }
    if clean.iter().chain(&changed).any(|passes| passes.double.blocks.iter().any(|block| block.steepest > STEEPEST)) {
        return Ok("has no digits");
    }
    let found = found.map_err(|error| format!("{}: {error}", error.code.as_str()))?;
    if found.len() != texts.len() {
        return Err(format!("{} sequences for {} texts", found.len(), texts.len()));
    }
    for (number, (found, (clean, changed))) in found.iter().zip(clean.iter().zip(&changed)).enumerate() {
        let what = |why| format!("text {number}: {why}");
        changed.agree(&texts[number], options, found).map_err(what)?;
        if !options.ablate.is_empty() {
            let baseline = found.baseline.as_ref().ok_or("no baseline")?;
            clean.agree(&texts[number], options, baseline).map_err(|why| format!("baseline of {}", what(why)))?;
            if options.predictions {
                changed.agree_on_kl(clean, found.kl.as_deref().ok_or("no kl")?).map_err(what)?;
            }
        }
    }
    Ok("same numbers")
}

fn makes_sense(model: &Model, texts: &[Vec<u32>], options: &RunOptions) -> bool {
    let settings = &model.settings;
    let is_token = |token: &Option<TokenRef>| match token {
        Some(TokenRef::Id(id)) => (*id as usize) < settings.vocabulary,
        _ => true,
    };
    texts.iter().all(|ids| ids.len() <= settings.positions && ids.iter().all(|id| (*id as usize) < settings.vocabulary))
        && options.patterns.iter().all(|head| head.layer < settings.layers && head.head < settings.heads)
        && options
            .ablate
            .iter()
            .all(|off| off.layer < settings.layers && off.head.is_none_or(|head| head < settings.heads))
        && options.attribution.iter().all(|asked| is_token(&asked.target) && is_token(&asked.against))
}

/// What is put in the place of what is switched off.
fn replacement(model: &Model, clean: &[Passes], ablated: &trace::Ablation, precision: Precision) -> (Part, Row) {
    let part = match (ablated.part, ablated.head) {
        (Component::Attn, _) => Part::Attention(ablated.layer),
        (Component::Mlp, _) => Part::Mlp(ablated.layer),
        (Component::Head, head) => Part::Head(ablated.layer, head.unwrap()),
    };
    let mut row = vec![0.0; model.settings.width];
    if ablated.how == AblationMode::Mean {
        let all: Rows =
            clean.iter().flat_map(|passes| passes.of_precision(precision).contribution(part).clone()).collect();
        for values in &all {
            row.iter_mut().zip(values).for_each(|(sum, value)| *sum += value / all.len() as f64);
        }
    }
    (part, row)
}

impl Passes<'_> {
    fn of<'a>(model: &'a Model, ids: &[u32], double: &[(Part, Row)], single: &[(Part, Row)]) -> Passes<'a> {
        let (double, single) = (model.pass(ids, double, Precision::Double), model.pass(ids, single, Precision::Single));
        Passes { model, double, single }
    }

    fn of_precision(&self, precision: Precision) -> &Pass {
        if precision == Precision::Double { &self.double } else { &self.single }
    }

    /// Numbers as a run has them, in groups of as many whose errors are alike.
    fn close(
        &self,
        name: &str,
        found: &[f32],
        (group, least): (usize, f64),
        numbers: impl Fn(&Pass, Precision) -> Row,
    ) -> Checked {
        let (double, single) = (numbers(&self.double, Precision::Double), numbers(&self.single, Precision::Single));
        if found.len() != double.len() {
            return Err(format!("{name} has {} values for {}", found.len(), double.len()));
        }
        let group = group.max(1);
        for (number, ((found, double), single)) in
            found.chunks(group).zip(double.chunks(group)).zip(single.chunks(group)).enumerate()
        {
            let spread = double.iter().zip(single).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
            for (place, (found, expected)) in found.iter().zip(double).enumerate() {
                let room = RELATIVE * expected.abs() + TIMES * spread + least;
                let off = (f64::from(*found) - expected).abs();
                if off.is_nan() || off > room {
                    let at = number * group + place;
                    return Err(format!("{name}[{at}] is {found}, expected {expected} (off by {off:e}, of {room:e})"));
                }
            }
        }
        Ok(())
    }

    fn agree(&self, ids: &[u32], options: &RunOptions, found: &Sequence) -> Checked {
        let t = ids.len();
        if found.ids != ids {
            return Err("other ids".into());
        }
        self.agree_on_norms(t, options, found)?;
        if options.lens > 0 {
            self.agree_on_lens(ids, options.lens, found.lens.as_ref().ok_or("no lens")?)?;
        }
        if options.predictions {
            let logprobs = found.token_logprob.as_deref().ok_or("no token_logprob")?;
            self.agree_on_predictions(ids, logprobs, (options.next, found.next.as_ref().ok_or("no next")?))?;
        }
        if options.leads {
            self.agree_on_leads(found.leads.as_ref().ok_or("no leads")?)?;
        }
        for (asked, found) in options.patterns.iter().zip(found.patterns.as_deref().unwrap_or_default()) {
            if (asked.layer, asked.head) != (found.layer, found.head) {
                return Err("another head's pattern".into());
            }
            self.agree_on_pattern(t, found)?;
        }
        if let Some(asked) = &options.attribution {
            let found = found.attribution.as_ref().ok_or("no attribution")?;
            if found.position != asked.position.unwrap_or(t - 1) {
                return Err(format!("attribution at {}", found.position));
            }
            self.agree_on_attribution(found)?;
        }
        Ok(())
    }

    fn agree_on_norms(&self, t: usize, options: &RunOptions, found: &Sequence) -> Checked {
        let lengths = |rows: &Rows| rows.iter().map(|row| length(row)).collect::<Row>();
        let by_block = |of: fn(&super::paper::Block) -> &Rows| {
            move |pass: &Pass, _| pass.blocks.iter().flat_map(|block| lengths(of(block))).collect::<Row>()
        };
        let tiny = 1e-30;
        self.close("embed_norm", &found.embed_norm, (t, tiny), |pass, _| lengths(&pass.embedded))?;
        self.close("resid_pre_norm", &found.resid_pre_norm, (t, tiny), by_block(|block| &block.before))?;
        self.close("attn_norm", &found.attn_norm, (t, tiny), by_block(|block| &block.attn_out))?;
        self.close("resid_mid_norm", &found.resid_mid_norm, (t, tiny), by_block(|block| &block.between))?;
        self.close("mlp_norm", &found.mlp_norm, (t, tiny), by_block(|block| &block.mlp_out))?;
        self.close("resid_post_norm", &found.resid_post_norm, (t, tiny), by_block(|block| &block.after))?;
        if options.heads {
            let heads = found.head_norm.as_deref().ok_or("no head_norm")?;
            self.close("head_norm", heads, (t, tiny), |pass, _| {
                pass.blocks.iter().flat_map(|block| block.head_out.iter().flat_map(lengths)).collect()
            })?;
        }
        // Of vectors that are all but zero a cosine says nothing.
        let cosines = |(a, b): (&Rows, &Rows)| {
            let defined = |a: &Row, b: &Row| length(a).min(length(b)) > 1e-6;
            a.iter().zip(b).map(|(a, b)| if defined(a, b) { cosine(a, b) } else { 0.0 }).collect::<Row>()
        };
        let attn = |pass: &Pass, _| pass.blocks.iter().flat_map(|b| cosines((&b.before, &b.attn_out))).collect();
        let mlp = |pass: &Pass, _| pass.blocks.iter().flat_map(|b| cosines((&b.between, &b.mlp_out))).collect();
        let defined = |found: &[f32], expected: Row| -> Vec<f32> {
            found.iter().zip(expected).map(|(found, expected)| if expected == 0.0 { 0.0 } else { *found }).collect()
        };
        let of_attn = defined(&found.attn_cos, attn(&self.double, Precision::Double));
        let of_mlp = defined(&found.mlp_cos, mlp(&self.double, Precision::Double));
        self.close("attn_cos", &of_attn, (t, RELATIVE), attn)?;
        self.close("mlp_cos", &of_mlp, (t, RELATIVE), mlp)
    }

    /// What is predicted after each layer at each token.
    fn predictions(&self) -> Vec<Cell> {
        let of = |pass: &Pass, precision| -> Rows {
            let logits = pass.streams().into_iter().flat_map(|stream| self.model.logits(stream, precision));
            logits.map(|logits| log_softmax(&logits)).collect()
        };
        let (double, single) = (of(&self.double, Precision::Double), of(&self.single, Precision::Single));
        let cell = |(logs, single): (Row, Row)| {
            let off = logs.iter().zip(&single).map(|(a, b)| LOGPROB + TIMES * (a - b).abs()).collect::<Row>();
            let most = |off: f64, other: &f64| off.max(*other);
            // Of what has no chance it does not matter by how much.
            let likely = off.iter().zip(&logs).filter(|(_, log)| **log > -60.0).map(|(off, _)| off);
            Cell { room: likely.fold(LOGPROB, most), room_of_all: off.iter().fold(LOGPROB, most), logs }
        };
        double.into_iter().zip(single).map(cell).collect()
    }

    fn agree_on_lens(&self, ids: &[u32], asked: usize, found: &Lens) -> Checked {
        let k = asked.min(self.model.settings.vocabulary);
        let cells = self.predictions();
        let lengths = [found.ids.len(), found.probs.len(), found.true_rank.len() * k, found.true_prob.len() * k];
        if lengths != [cells.len() * k; 4] {
            return Err(format!("the lens has {lengths:?} values for {} cells of {k}", cells.len()));
        }
        for (at, cell) in cells.iter().enumerate() {
            let what = |why| format!("lens[{at}]: {why}");
            most_probable(&found.ids[at * k..][..k], &found.probs[at * k..][..k], cell).map_err(what)?;
            match ids.get(at % ids.len() + 1) {
                None if (found.true_rank[at], found.true_prob[at]) == (0, 0.0) => {}
                None => return Err(what("a true token after the last".into())),
                Some(id) => {
                    let (own, room) = (cell.logs[*id as usize], cell.room_of_all);
                    let above = |edge: f64| 1 + cell.logs.iter().filter(|other| **other > edge).count() as u32;
                    let rank = found.true_rank[at];
                    if rank < above(own + 2.0 * room) || rank > above(own - 2.0 * room) {
                        return Err(what(format!("rank {rank}, expected {}", above(own))));
                    }
                    is_probability(found.true_prob[at], (own, cell.room)).map_err(what)?;
                }
            }
        }
        Ok(())
    }

    fn agree_on_predictions(&self, ids: &[u32], logprobs: &[f32], (asked, next): (usize, &Next)) -> Checked {
        let cells = self.predictions();
        let last = &cells[cells.len() - ids.len()..];
        if logprobs.len() != ids.len() - 1 {
            return Err(format!("{} log-probabilities of {} tokens", logprobs.len(), ids.len()));
        }
        for (at, found) in logprobs.iter().enumerate() {
            let (expected, room) = (last[at].logs[ids[at + 1] as usize], last[at].room_of_all);
            let off = (f64::from(*found) - expected).abs();
            if off.is_nan() || off > room + LOGPROB * expected.abs() {
                return Err(format!("token_logprob[{at}] is {found}, expected {expected} (within {room:e})"));
            }
        }
        if next.ids.len() != asked.min(self.model.settings.vocabulary) || next.probs.len() != next.ids.len() {
            return Err(format!("{} next tokens for {asked}", next.ids.len()));
        }
        most_probable(&next.ids, &next.probs, &last[ids.len() - 1]).map_err(|why| format!("next: {why}"))
    }

    fn agree_on_leads(&self, found: &LensLead) -> Checked {
        let cells = self.predictions();
        let t = self.double.embedded.len();
        let ends: Vec<&Cell> = cells.iter().skip(t - 1).step_by(t).collect();
        let last = ends[ends.len() - 1];
        is_probability(found.prob, (last.logs[found.id as usize], last.room)).map_err(|why| format!("leads: {why}"))?;
        let mut leads = Vec::new();
        for Cell { logs, room, .. } in ends {
            let own = logs[found.id as usize];
            let others = logs.iter().enumerate().filter(|(id, _)| *id != found.id as usize);
            let best = others.map(|(_, log)| *log).fold(f64::NEG_INFINITY, f64::max);
            if (own - best).abs() < 2.0 * room {
                return Ok(()); // Too close to say.
            }
            leads.push(own > best);
        }
        let first = leads.iter().position(|leads| *leads);
        let settled = leads.iter().rposition(|leads| !leads).map_or(0, |last| last + 1);
        if (first, settled) != (Some(found.first), found.settled) {
            return Err(format!("leads {found:?}, expected {first:?} and {settled}"));
        }
        Ok(())
    }

    fn agree_on_pattern(&self, t: usize, found: &Pattern) -> Checked {
        self.close("a pattern", &found.weights, (t, RELATIVE), |pass, _| {
            let rows = &pass.blocks[found.layer].patterns[found.head];
            rows.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat(0.0)).take(t)).collect()
        })?;
        let Some(writes) = &found.writes else { return Ok(()) };
        let k = 3.min(self.model.settings.vocabulary);
        if writes.ids.len() != t * k {
            return Err(format!("a head writes {} tokens at {t}", writes.ids.len()));
        }
        let raised = |pass: &Pass, ids: &dyn Fn(usize) -> Vec<u32>| -> Row {
            let parts = &pass.blocks[found.layer].head_out[found.head];
            let stream = pass.streams()[pass.blocks.len()];
            let of_token = |at: usize| {
                let part = move |id: u32| self.model.logit_part(&parts[at], &stream[at], id as usize);
                ids(at).into_iter().map(part).collect::<Row>()
            };
            (0..t).flat_map(of_token).collect()
        };
        let written = |at: usize| writes.ids[at * k..(at + 1) * k].to_vec();
        let scale = raised(&self.double, &|_| (0..self.model.settings.vocabulary as u32).collect());
        let largest = scale.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        self.close("what a head writes", &writes.logits, (k, RELATIVE * largest), |pass, _| raised(pass, &written))
    }

    fn agree_on_attribution(&self, found: &Attribution) -> Checked {
        let at = found.position;
        let (target, against) = (found.target as usize, found.against.map(|id| id as usize));
        let part = |pass: &Pass, row: &[f64]| {
            let stream = &pass.streams()[pass.blocks.len()][at];
            let of = |id| self.model.logit_part(row, stream, id);
            of(target) - against.map_or(0.0, of)
        };
        let biases: Rows = (0..self.model.settings.layers)
            .map(|layer| self.model.tensor(&format!("h.{layer}.attn.c_proj.bias")).clone())
            .collect();
        let bias = self.model.bias_part(target) - against.map_or(0.0, |id| self.model.bias_part(id));
        let all = |pass: &Pass| -> Row {
            let mut parts = vec![part(pass, &pass.embedded[at])];
            parts.extend(pass.blocks.iter().map(|block| part(pass, &block.attn_out[at])));
            parts.extend(pass.blocks.iter().map(|block| part(pass, &block.mlp_out[at])));
            parts.extend(pass.blocks.iter().flat_map(|block| block.head_out.iter().map(|out| part(pass, &out[at]))));
            parts.extend(biases.iter().map(|row| part(pass, row)));
            parts
        };
        let parts: Vec<f32> = std::iter::once(&found.embed)
            .chain(&found.attn)
            .chain(&found.mlp)
            .chain(&found.heads)
            .chain(&found.attn_bias)
            .copied()
            .collect();
        let layers = self.model.settings.layers;
        let sum = |parts: Row| parts[..1 + 2 * layers].iter().sum::<f64>() + bias;
        let size = all(&self.double).iter().map(|part| part.abs()).sum::<f64>() + bias.abs();
        self.close("attribution", &parts, (usize::MAX, RELATIVE * size), |pass, _| all(pass))?;
        self.close("attribution.bias", &[found.bias], (1, RELATIVE * size), |_, _| vec![bias])?;
        self.close("attribution's logit", &[found.logit], (1, RELATIVE * size), |pass, _| vec![sum(all(pass))])?;
        self.close("attribution's scale", &[found.scale], (1, 1e-30), |pass, _| {
            vec![self.model.scale(&pass.streams()[layers][at])]
        })
    }

    fn agree_on_kl(&self, clean: &Passes, found: &[f32]) -> Checked {
        let of = |passes: &Passes, precision| {
            let pass = passes.of_precision(precision);
            let stream = pass.streams()[pass.blocks.len()];
            let logits = self.model.logits(stream, precision);
            logits.iter().map(|logits| log_softmax(logits)).collect::<Rows>()
        };
        let divergence = |(p, q): (Row, Row)| p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        self.close("kl", found, (found.len(), LOGPROB), |_, precision| {
            of(clean, precision).into_iter().zip(of(self, precision)).map(divergence).collect()
        })
    }
}

/// What is predicted at one token.
struct Cell {
    /// Log-probabilities.
    logs: Row,
    /// By how much they may be off: those of tokens that have any chance, and all of them.
    room: f64,
    room_of_all: f64,
}

/// Whether these are the most probable tokens, most probable first.
fn most_probable(ids: &[u32], probs: &[f32], cell: &Cell) -> Checked {
    let (expected, room) = (&cell.logs, cell.room_of_all);
    if room > UNCERTAIN {
        return Ok(());
    }
    let mut best = expected.clone();
    best.sort_by(|a, b| b.total_cmp(a));
    for (place, (id, prob)) in ids.iter().zip(probs).enumerate() {
        let own = *expected.get(*id as usize).ok_or("an id that is none")?;
        if own < best[place] - 2.0 * room || ids[..place].contains(id) {
            return Err(format!("token {id} at place {place}, where one of {} should be", best[place]));
        }
        is_probability(*prob, (own, cell.room))?;
    }
    Ok(())
}

/// Whether a probability is e to this.
fn is_probability(found: f32, (log, room): (f64, f64)) -> Checked {
    let off = (f64::from(found) - log.exp()).abs();
    if room < UNCERTAIN && (off.is_nan() || off > 2.0 * room * log.exp() + 1e-30) {
        return Err(format!("probability {found}, expected {} (within a share of {room:e})", log.exp()));
    }
    Ok(())
}
