//! What is new of some sequences, on its way through the blocks, in batches of rows.

use std::ops::Range;
use std::rc::Rc;

use candle_core::{Device, Tensor};
use futures_util::future::try_join_all;

use super::batch::{SequenceSlice, cut};
use super::prefix_cache::Start;
use super::run_control::RunControl;
use super::streaming_model::StreamingModel;
use super::turns::{InTurn, Turns};
use super::work;
use crate::Result;
use crate::model::Block;
use crate::model::attention::Segment;
use crate::model::gpt2::embed;
use crate::run::hooks::{HookSpec, Hooks};
use crate::run::lens::{chunks, lens_rows};
use crate::run::probe::{Recorder, norms};
use protocol::RunOptions;
use trace::{Lens, RecordedRows, Sequence};

/// Sequences on their way.
pub struct Pass<'a> {
    model: &'a StreamingModel,
    options: &'a RunOptions,
    sequences: Vec<Sequence>,
    starts: Vec<Start>,
    batches: Vec<Batch>,
    /// Of every sequence, where its new tokens are, in order.
    places: Vec<Vec<BatchRows>>,
    /// Norms of the biases of attention's output projections, of the blocks that were gone through.
    bias_norms: Vec<f32>,
}

/// Rows that go through a block together.
pub(super) struct Batch {
    pub pieces: Vec<SequenceSlice>,
    segments: Vec<Segment>,
    pub x: Tensor, // [rows, D]
    pub recorder: Recorder,
}

/// Where some tokens of a sequence are.
struct BatchRows {
    batch: usize,
    /// Which of the batch's pieces they are.
    piece: usize,
    /// Which of its rows.
    rows: Range<usize>,
}

impl<'a> Pass<'a> {
    /// Waits for the rows of the tables that the new tokens need, and embeds them.
    pub async fn begin(
        model: &'a StreamingModel,
        options: &'a RunOptions,
        sequences: Vec<Sequence>,
        starts: Vec<Start>,
        spec: Rc<HookSpec>,
        control: &impl RunControl,
    ) -> Result<Pass<'a>> {
        for (sequence, start) in sequences.iter().zip(&starts) {
            model.requests.rows(&sequence.ids[start.keep..], sequence.ids.len());
        }
        let mut tables = Vec::new();
        for (sequence, start) in sequences.iter().zip(&starts) {
            tables.push(model.rows(&sequence.ids[start.keep..], start.keep).await?);
            control.yield_now().await?;
        }
        let wanted: Vec<_> =
            sequences.iter().zip(&starts).map(|(sequence, start)| start.keep..sequence.ids.len()).collect();
        let mut batches = Vec::new();
        let mut places: Vec<Vec<BatchRows>> = sequences.iter().map(|_| Vec::new()).collect();
        for pieces in cut(&wanted, model.pool.size() > 1) {
            let rows = |table: fn(&(Tensor, Tensor)) -> &Tensor| {
                let rows = pieces.iter().map(|SequenceSlice { sequence, tokens }| {
                    table(&tables[*sequence]).narrow(0, tokens.start - starts[*sequence].keep, tokens.len())
                });
                Tensor::cat(&rows.collect::<candle_core::Result<Vec<_>>>()?, 0)
            };
            let segment = |SequenceSlice { sequence, tokens }: &SequenceSlice| Segment {
                slot: starts[*sequence].slot,
                past: tokens.start,
                rows: tokens.len(),
            };
            let asked = options.attribution.as_ref().and_then(|asked| asked.position);
            let (explained, last) = (rows_at(&pieces, &sequences, asked), rows_at(&pieces, &sequences, None));
            let hooks = Hooks::new(spec.clone(), explained, last);
            let mut recorder = Recorder::new(options, hooks);
            let x = embed(&rows(|table| &table.0)?, &rows(|table| &table.1)?, &mut recorder)?;
            let segments = pieces.iter().map(segment).collect();
            let mut first = 0;
            for (piece, SequenceSlice { sequence, tokens }) in pieces.iter().enumerate() {
                let rows = first..first + tokens.len();
                first = rows.end;
                places[*sequence].push(BatchRows { batch: batches.len(), piece, rows });
            }
            batches.push(Batch { pieces, segments, x, recorder });
            control.yield_now().await?;
        }
        Ok(Pass { model, options, sequences, starts, batches, places, bias_norms: Vec::new() })
    }

    /// Takes every batch through blocks, side by side: one computes while others wait for what other workers compute.
    pub async fn go_through(&mut self, blocks: &[Rc<Block>], control: &impl RunControl) -> Result<()> {
        let passing: Vec<u32> = self.starts.iter().filter(|start| !start.lasting).map(|start| start.slot).collect();
        let turns = Turns::new(self.model, self.batches.len(), &passing, control);
        let batches = self.batches.iter_mut().enumerate();
        let done = try_join_all(batches.map(|(number, batch)| batch.go_through(blocks, turns.of(number)))).await;
        done.map_err(|error| turns.stopped().unwrap_or_else(|| error.into()))?;
        for block in blocks {
            self.bias_norms.extend(norms(block.attention_bias())?);
        }
        Ok(())
    }

    /// The sequences, recorded over so many layers.
    pub fn recorded(&self, layers: usize) -> Vec<Sequence> {
        let (heads, k) = (self.model.config.n_head, self.options.lens);
        let record = |(number, sequence): (usize, &Sequence)| {
            let Sequence { text, ids, tokens, spans, .. } = sequence.clone();
            let gathered = Sequence::gathered(&self.rows_of(number), layers, heads, k);
            let mut found = Sequence { text, ids, tokens, spans, ..gathered };
            if !self.options.heads {
                found.head_norm = None;
            }
            if self.options.lens == 0 {
                found.lens = None;
            }
            found.attn_bias_norm = found.head_norm.is_some().then(|| self.bias_norms.clone());
            found
        };
        self.sequences.iter().enumerate().map(record).collect()
    }

    /// Where a sequence's tokens are recorded, in order.
    fn rows_of(&self, number: usize) -> Vec<RecordedRows<'_>> {
        let start = &self.starts[number];
        let known = start.known.as_ref().map(|known| {
            let record = &known.sequence;
            RecordedRows { record, of: record.ids.len(), rows: 0..start.keep }
        });
        known.into_iter().chain(self.new_rows(number).map(|(batch, rows)| batch.record(rows))).collect()
    }

    /// The batches that hold new tokens of a sequence, each with the rows that do.
    pub(super) fn new_rows(&self, number: usize) -> impl Iterator<Item = (&Batch, Range<usize>)> {
        self.new_pieces(number).map(|(batch, _, rows)| (batch, rows))
    }

    /// The same, with which of the batch's pieces they are.
    pub(super) fn new_pieces(&self, number: usize) -> impl Iterator<Item = (&Batch, usize, Range<usize>)> {
        let places = self.places.get(number).into_iter().flatten();
        places.filter_map(|place| Some((self.batches.get(place.batch)?, place.piece, place.rows.clone())))
    }

    /// The stream of every sequence after the last block, `[T, D]` each.
    pub fn streams(&self) -> Result<Vec<Tensor>> {
        let stream = |number: usize| {
            let start = &self.starts[number];
            let mut pieces = Vec::new();
            if let Some(known) = &start.known {
                pieces.push(known.stream.narrow(0, 0, start.keep)?);
            }
            for (batch, rows) in self.new_rows(number) {
                pieces.push(batch.x.narrow(0, rows.start, rows.len())?);
            }
            match pieces.as_slice() {
                [] => Tensor::zeros((0, self.model.config.n_embd), candle_core::DType::F32, &Device::Cpu),
                // A copy, so that a short text does not keep the whole batch in memory.
                pieces => Tensor::cat(pieces, 0)?.copy(),
            }
        };
        (0..self.sequences.len()).map(|number| Ok(stream(number)?)).collect()
    }

    /// Records the logit lens of the new tokens.
    pub async fn add_lens(&mut self, k: usize, control: &impl RunControl) -> Result<()> {
        let unembedding = self.model.unembedding().await?;
        for batch in &mut self.batches {
            let mut lens = Lens::default();
            // One below the other: a short text's few rows alone would not be worth the reading of the table.
            let streams = Tensor::cat(&batch.recorder.streams, 0)?; // ((L + 1) T, D)
            let followers = followers(&batch.pieces, &self.sequences).repeat(batch.recorder.streams.len());
            for (first, rows) in chunks(&unembedding, &streams)? {
                let logits = self.model.logits(&rows).await?;
                lens_rows(&logits, &followers[first..], k, &mut lens)?;
                control.work_done(rows.dim(0)? as f64 * work::of_unembedding(&self.model.config));
                control.yield_now().await?;
            }
            batch.recorder.sequence.lens = Some(lens);
        }
        Ok(())
    }

    /// The batches, in the order of the tokens.
    pub(super) fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// How the sequences started.
    pub fn into_starts(self) -> Vec<Start> {
        self.starts
    }
}

impl Batch {
    async fn go_through(&mut self, blocks: &[Rc<Block>], turn: InTurn<'_, impl RunControl>) -> candle_core::Result<()> {
        turn.begin().await;
        for block in blocks {
            block.forward(&self.x, &self.segments, &turn, &mut self.recorder).await?;
        }
        turn.end();
        Ok(())
    }

    fn record(&self, rows: Range<usize>) -> RecordedRows<'_> {
        let of = self.pieces.iter().map(|piece| piece.tokens.len()).sum();
        RecordedRows { record: &self.recorder.sequence, of, rows }
    }
}

/// The token that follows each row of a batch, where one does.
fn followers(pieces: &[SequenceSlice], sequences: &[Sequence]) -> Vec<Option<u32>> {
    let of_piece = |SequenceSlice { sequence, tokens }: &SequenceSlice| {
        let ids = sequences.get(*sequence).map_or(&[][..], |sequence| &sequence.ids);
        tokens.clone().map(|token| ids.get(token + 1).copied()).collect::<Vec<_>>()
    };
    pieces.iter().flat_map(of_piece).collect()
}

/// The rows of a batch that hold a position of their texts, or their last tokens.
fn rows_at(pieces: &[SequenceSlice], sequences: &[Sequence], position: Option<usize>) -> Vec<u32> {
    let mut rows = Vec::new();
    let mut first = 0;
    for SequenceSlice { sequence, tokens } in pieces {
        let last = sequences.get(*sequence).map_or(0, |sequence| sequence.ids.len().saturating_sub(1));
        let position = position.unwrap_or(last);
        if tokens.contains(&position) {
            rows.push((first + position - tokens.start) as u32);
        }
        first += tokens.len();
    }
    rows
}
