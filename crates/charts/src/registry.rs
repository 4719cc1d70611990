//! Which charts there are. A new chart is one line here, and its own file.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::chart::{ChartOptions, ChartSpec};
use super::{attribution, by_layer, change, distribution, evolution, growth, heads, heatmap};
use super::{lens, next, patching, pattern, true_token};
use trace::{Code, Error, Result, Trace};

macro_rules! charts {
    ($($name:ident: $spec:path, $doc:literal;)*) => {
        /// The charts there are, by the names the JavaScript contract uses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum ChartName {
            $(#[doc = $doc] $name,)*
        }

        impl ChartName {
            /// Every chart, in the order a page shows them.
            pub const ALL: [ChartName; [$($doc),*].len()] = [$(ChartName::$name),*];

            /// What others must know of the chart.
            pub fn spec(self) -> &'static ChartSpec {
                match self {
                    $(ChartName::$name => &$spec,)*
                }
            }
        }
    };
}

charts! {
    Distribution: distribution::SPEC, "Histogram of contribution norms, attention against MLP.";
    Evolution: evolution::SPEC, "Mean contribution norm per layer, from the embedding to the last block.";
    Heatmap: heatmap::SPEC, "Token × layer: a contribution norm a cell.";
    Growth: growth::SPEC, "resid_post norms per layer on a logarithmic axis, with the rate of growth.";
    Relative: by_layer::RELATIVE, "Contribution norm divided by stream norm, per layer.";
    Direction: by_layer::DIRECTION, "Cosine of contribution and stream, per layer.";
    Heads: heads::SPEC, "head_out norms, layer by head.";
    Lens: lens::SPEC, "Logit lens: the most probable token after each layer, layer by token.";
    TrueToken: true_token::SPEC, "What the logit lens makes, layer by layer, of the token that does follow.";
    Pattern: pattern::SPEC, "Attention pattern of one head, query by key.";
    Attribution: attribution::CONTRIBUTIONS, "Direct logit attribution: a waterfall over contributions.";
    AttributionHeads: attribution::HEADS, "Direct logit attribution by heads, layer by head.";
    Next: next::SPEC, "The most probable next tokens.";
    Change: change::ABLATION, "Token × layer: norms of an ablated run less those of the unchanged one.";
    Compare: change::TEXTS, "Token × layer: norms of one text less those of another.";
    Patching: patching::SPEC, "Activation patching, token × layer.";
}

impl ChartName {
    /// The name as programs write it.
    pub fn as_str(self) -> &'static str {
        self.spec().name
    }

    /// The first chart of the page's tab that shows this one; itself where it has no tab.
    pub fn tab(self) -> ChartName {
        self.spec().tab.and_then(|tab| tab.parse().ok()).unwrap_or(self)
    }

    /// Whether the trace was made with what the chart shows.
    ///
    /// # Errors
    /// `BadArgument`, naming the option that records it.
    pub fn check(self, trace: &Trace, options: &ChartOptions) -> Result<()> {
        self.spec().check(trace, options)
    }
}

impl FromStr for ChartName {
    type Err = Error;

    /// The chart of this name. An unknown name is an error that lists the known ones.
    fn from_str(name: &str) -> Result<Self> {
        ChartName::ALL.into_iter().find(|chart| chart.as_str() == name).ok_or_else(|| {
            let known = ChartName::ALL.map(|chart| format!("\"{}\"", chart.as_str())).join(", ");
            Error::new(Code::BadArgument, format!("There is no chart named \"{name}\". The charts are: {known}."))
        })
    }
}
