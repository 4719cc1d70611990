//! How addresses and attributes spell parts of a model and pairs of numbers.
//! Must never know: where they stand.

use trace::closer::{Ablated, Instead, Switched};

/// "2.5": a layer and a head, a sequence and a position, two texts.
pub fn read_pair(text: &str) -> Option<(usize, usize)> {
    let (first, second) = text.split_once('.')?;
    Some((first.trim().parse().ok()?, second.trim().parse().ok()?))
}

/// "attn.3", "mlp.2.mean", "head.1.4": a part, its block from 0, its head, and what takes its place if not zero.
pub fn write_ablated(ablated: &Ablated) -> String {
    let (part, head) = match ablated.part {
        Switched::Attn => ("attn", String::new()),
        Switched::Mlp => ("mlp", String::new()),
        Switched::Head => ("head", format!(".{}", ablated.head.unwrap_or_default())),
    };
    let how = if ablated.how == Instead::Mean { ".mean" } else { "" };
    format!("{part}.{}{head}{how}", ablated.layer)
}

/// What [`write_ablated`] wrote; `None` for anything else.
pub fn read_ablated(text: &str) -> Option<Ablated> {
    let (text, how) = match text.strip_suffix(".mean") {
        Some(text) => (text, Instead::Mean),
        None => (text, Instead::Zero),
    };
    let mut fields = text.split('.');
    let part = match fields.next()? {
        "attn" => Switched::Attn,
        "mlp" => Switched::Mlp,
        "head" => Switched::Head,
        _ => return None,
    };
    let layer = fields.next()?.parse().ok()?;
    let head = fields.next().map(str::parse).transpose().ok()?;
    (head.is_some() == (part == Switched::Head) && fields.next().is_none()).then_some(Ablated {
        layer,
        part,
        head,
        how,
    })
}
