//! Charts: from summaries to marks on a surface.
//! May depend on: `trace` (plain data and its summaries).
//! Must never know: models, tensors, workers; the DOM, outside the canvas surface.
