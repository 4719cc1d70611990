//! **residual-stream**: a GPT-2 microscope that runs inside a browser tab.
//!
//! A reader types sentences; GPT-2 runs on the reader's own machine; the page shows what every
//! attention and MLP sub-layer *adds to the residual stream*.
//!
//! # Words
//! | word | meaning |
//! | --- | --- |
//! | residual stream | the vector x of width `n_embd` carried per token through the blocks |
//! | embed | token embedding + position embedding: the stream before block 0 |
//! | attn_out, mlp_out | what a sub-layer *adds* to the stream (after its output projection and bias) |
//! | resid_pre, resid_mid, resid_post | the stream before a block, between its attention and MLP, after it |
//! | contribution norm | L2 norm over `n_embd` of attn_out or mlp_out for one token; unit: activation units |
//! | relative update | contribution norm divided by the norm of the stream it is added to |
//! | head_out | one head's part of attn_out: its values through its own rows of the output projection, without bias |
//! | logit lens | final layer norm and unembedding applied to an intermediate stream |
//! | trace | everything one run over one or more sequences recorded |
//! | probe | what the forward pass calls at each capture point |
//!
//! # Axes
//! L layers, H heads, T tokens, D `n_embd`, V vocabulary. Arrays are row-major: `[layer][token]`.
//!
//! # The way of one token
//! ```text
//!  address of a model                        text
//!         |                                    |
//!    weights: where to read it,            tokenizer
//!    which bytes, in which order               |
//!         |                                    v
//!         +--> tensors, block by block --> gpt2 forward --probe--> trace --> summaries --> charts --> canvas
//!                                              (engine worker)            (page: no candle here)
//! ```
//! `weights` reads a checkpoint, `model::gpt2` is the forward pass, [`trace`] records what its probe
//! sees and summarises it, [`charts`] draws summaries on any surface. `engine` is the worker's side of
//! the wire, `api` the public JavaScript contract on the page's side, `page` the site's own controls.

#[cfg(target_arch = "wasm32")]
pub mod api;
pub mod page;
