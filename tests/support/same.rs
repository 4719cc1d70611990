//! Comparing traces number by number.

use trace::Sequence;

/// One of a sequence's arrays, if it is there.
type Array = fn(&Sequence) -> Option<&[f32]>;

/// Panics unless two lists of sequences have the same tokens and, within the tolerance relative to each array's largest
/// number, the same numbers.
pub fn assert_same(what: &str, found: &[Sequence], expected: &[Sequence], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: sequences");
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        let what = format!("{what}, sequence {number}");
        assert_eq!((&found.ids, &found.tokens), (&expected.ids, &expected.tokens), "{what}: tokens");
        let arrays: [(&str, Array); 11] = [
            ("embed_norm", |s| Some(&s.embed_norm)),
            ("attn_norm", |s| Some(&s.attn_norm)),
            ("mlp_norm", |s| Some(&s.mlp_norm)),
            ("resid_pre_norm", |s| Some(&s.resid_pre_norm)),
            ("resid_mid_norm", |s| Some(&s.resid_mid_norm)),
            ("resid_post_norm", |s| Some(&s.resid_post_norm)),
            ("attn_cos", |s| Some(&s.attn_cos)),
            ("mlp_cos", |s| Some(&s.mlp_cos)),
            ("head_norm", |s| s.head_norm.as_deref()),
            ("token_logprob", |s| s.token_logprob.as_deref()),
            ("lens.probs", |s| s.lens.as_ref().map(|lens| lens.probs.as_slice())),
        ];
        for (name, array) in arrays {
            let (Some(found), Some(expected)) = (array(found), array(expected)) else {
                assert_eq!(array(found).is_some(), array(expected).is_some(), "{what}: {name} is there or not");
                continue;
            };
            assert_eq!(found.len(), expected.len(), "{what}: length of {name}");
            let largest = expected.iter().fold(1e-3f32, |most, value| most.max(value.abs()));
            for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (found - expected).abs() / largest;
                assert!(error <= tolerance, "{what}: {name}[{place}] is {found}, expected {expected} (off by {error})");
            }
        }
        let top = |s: &Sequence| s.next.as_ref().map(|next| next.ids.first().copied());
        assert_eq!(top(found), top(expected), "{what}: the next token");
    }
}
