//! What is asked of a run, checked, and in ids.

use super::attribution::TokenChoice;
use super::hooks::{HookSpec, Site, site_of};
use super::streaming_model::StreamingModel;
use super::token_text::token_text;
use crate::model::Tokenizer;
use crate::{Code, Error, Result};
use protocol::RunOptions;
use trace::{AblationMode, Sequence, TokenRef};

/// What is wanted of which model.
pub(super) struct Request<'a> {
    pub model: &'a StreamingModel,
    pub tokenizer: Option<&'a Tokenizer>,
    pub options: &'a RunOptions,
    pub asked: Resolved,
}

impl Request<'_> {
    /// How a token shows.
    pub fn token_text(&self, id: u32) -> String {
        token_text(self.tokenizer, id)
    }
}

/// What was asked, checked, and in ids.
pub(super) struct Resolved {
    heads: Vec<trace::Head>,
    pub leads: bool,
    pub attribution: Option<ResolvedAttribution>,
}

/// What is to be explained: the logit of a token (the predicted one if none is given), or its difference to another's.
pub(super) struct ResolvedAttribution {
    pub target: Option<TokenChoice>,
    pub against: Option<TokenChoice>,
    /// The last token's if none is given.
    pub position: Option<usize>,
}

impl Resolved {
    /// # Errors
    /// `BadArgument`, `TokenOutOfRange`, `NoTokenizer`: for heads, layers, positions and tokens that are not there.
    pub fn new(
        model: &StreamingModel,
        tokenizer: Option<&Tokenizer>,
        sequences: &[Sequence],
        options: &RunOptions,
    ) -> Result<Resolved> {
        let (layers, heads) = (model.config.n_layer, model.config.n_head);
        for head in &options.patterns {
            head.check("patterns", layers, heads)?;
        }
        for ablated in &options.ablate {
            ablated.check(layers, heads)?;
        }
        let id = |setting: &str, token: &Option<TokenRef>| match token {
            Some(token) => token_id(model, tokenizer, setting, token).map(Some),
            None => Ok(None),
        };
        let attribution = match &options.attribution {
            Some(asked) => {
                let (target, against) =
                    (id("attribution.target", &asked.target)?, id("attribution.against", &asked.against)?);
                let longest = sequences.iter().map(|sequence| sequence.ids.len()).max().unwrap_or_default();
                if let Some(position) = asked.position.filter(|position| *position >= longest) {
                    let message =
                        format!("attribution.position: there is no token {position}: the longest text has {longest}.");
                    return Err(Error::new(Code::BadArgument, message));
                }
                Some(ResolvedAttribution { target, against, position: asked.position })
            }
            None => None,
        };
        Ok(Resolved { heads: options.patterns.clone(), leads: options.leads, attribution })
    }

    /// What the pass watches that everything is read from.
    pub fn spec(&self, replace: Vec<(Site, Vec<f32>)>) -> HookSpec {
        let heads = self.heads.clone();
        let contributions = self.attribution.is_some();
        HookSpec { heads, contributions, last_streams: self.leads, sums: Vec::new(), replace }
    }

    /// What the pass before an ablation watches: the same, and what the ablation takes the means of.
    pub fn sums(&self, options: &RunOptions) -> HookSpec {
        let means = options.ablate.iter().filter(|ablated| ablated.how == AblationMode::Mean);
        HookSpec { sums: means.map(site_of).collect(), ..self.spec(Vec::new()) }
    }
}

/// The id that is meant.
pub(super) fn token_id(
    model: &StreamingModel,
    tokenizer: Option<&Tokenizer>,
    setting: &str,
    token: &TokenRef,
) -> Result<TokenChoice> {
    let vocabulary = model.config.vocab_size;
    match token {
        TokenRef::Id(id) if (*id as usize) < vocabulary => Ok(TokenChoice(*id, None)),
        TokenRef::Id(id) => {
            let message =
                format!("{setting}: {id} is no token id of this model: they go from 0 to {}.", vocabulary - 1);
            Err(Error::new(Code::TokenOutOfRange, message))
        }
        TokenRef::Text(text) => {
            let tokenizer = tokenizer.ok_or_else(|| {
                let message = format!("{setting}: this model came without a tokenizer; give a token id instead.");
                Error::new(Code::NoTokenizer, message)
            })?;
            let encode = |text: &str| tokenizer.encode(text).map(|encoded| encoded.ids).unwrap_or_default();
            let (ids, spaced) = (encode(text), encode(&format!(" {text}")));
            match (ids.as_slice(), spaced.as_slice()) {
                // Within a sentence most words begin with a space, yet "ing" and "." may stand without as well.
                ([id], [spaced]) => Ok(TokenChoice(*id, Some(*spaced))),
                ([id], _) | (_, [id]) => Ok(TokenChoice(*id, None)),
                (ids, _) => {
                    let tokens: Vec<String> = ids.iter().map(|&id| format!("{:?}", tokenizer.token_text(id))).collect();
                    let message = format!(
                        "{setting}: {text:?} is {} tokens to this model ({}), and one is needed.",
                        ids.len(),
                        tokens.join(", ")
                    );
                    Err(Error::new(Code::BadArgument, message))
                }
            }
        }
    }
}
