//! How addresses and attributes spell parts of a model and pairs of numbers.
//! Must never know: where they stand.

use trace::{Ablation, AblationMode, Component};

/// "2.5": a layer and a head, a sequence and a position, two texts.
pub fn read_pair(text: &str) -> Option<(usize, usize)> {
    let (first, second) = text.split_once('.')?;
    Some((first.trim().parse().ok()?, second.trim().parse().ok()?))
}

/// "attn.3", "mlp.2.mean", "head.1.4": a part, its block from 0, its head, and what takes its place if not zero.
pub fn write_ablated(ablated: &Ablation) -> String {
    let (part, head) = match ablated.part {
        Component::Attn => ("attn", String::new()),
        Component::Mlp => ("mlp", String::new()),
        Component::Head => ("head", format!(".{}", ablated.head.unwrap_or_default())),
    };
    let how = if ablated.how == AblationMode::Mean { ".mean" } else { "" };
    format!("{part}.{}{head}{how}", ablated.layer)
}

/// What [`write_ablated`] wrote; `None` for anything else.
pub fn read_ablated(text: &str) -> Option<Ablation> {
    let (text, how) = match text.strip_suffix(".mean") {
        Some(text) => (text, AblationMode::Mean),
        None => (text, AblationMode::Zero),
    };
    let mut fields = text.split('.');
    let part = match fields.next()? {
        "attn" => Component::Attn,
        "mlp" => Component::Mlp,
        "head" => Component::Head,
        _ => return None,
    };
    let layer = fields.next()?.parse().ok()?;
    let head = fields.next().map(str::parse).transpose().ok()?;
    (head.is_some() == (part == Component::Head) && fields.next().is_none()).then_some(Ablation {
        layer,
        part,
        head,
        how,
    })
}
