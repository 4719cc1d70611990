//! Bytes to tensors: takes the bytes of the model's files as they come, from anywhere and in any order, and
//! gives each wanted tensor once it is whole; of the two tables also the rows that were asked for.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

pub mod partial_tensor;

use candle_core::{Device, Tensor};

use crate::Result;
use crate::loading::WeightsError;
use crate::loading::index::{Index, Located, Span};
use crate::model::checkpoint::Table;
use crate::model::linear::packing::Packing;
use crate::pool::packer::Packer;
use partial_tensor::{Elements, PartialTensor, no_room};

/// What has become whole.
pub enum Assembled {
    /// A tensor, by its plain name.
    Tensor(String, Tensor),
    /// A weight, by its plain name, packed as it came.
    Packed(String, Packing),
    /// Rows of a table, from this one on; their elements, row after row.
    Rows(Table, u32, Rc<Vec<f32>>),
    /// A tensor, or rows of it, that hold values which no weights have: its bytes are forgotten, and must come again.
    Damaged {
        /// The bytes of the file that are forgotten.
        span: Span,
        /// The tensor's name in the file.
        tensor: String,
        /// The first bad byte, from the start of the file.
        at: u64,
    },
}

/// Rows of a table that were asked for before the table.
struct PartialRows {
    table: Table,
    first: u32,
    span: Span,
    state: RowState,
}

enum RowState {
    Filling(PartialTensor),
    Whole(Rc<Vec<f32>>),
}

/// A wanted tensor, by its place in the index.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct TensorKey {
    file: usize,
    /// Its place in [`IndexedFile::wanted`](crate::loading::index::IndexedFile::wanted).
    number: usize,
}

/// The tensors that are filling up.
pub struct TensorAssembler {
    index: Rc<Index>,
    packer: Rc<Packer>,
    partial: HashMap<TensorKey, PartialTensor>,
    done: HashSet<TensorKey>,
    /// By file and first byte.
    rows: BTreeMap<(usize, u64), PartialRows>,
    /// Tables that are taken in as a whole.
    whole: HashSet<Table>,
    /// Rows that are waited for, also of those.
    awaited: HashSet<(Table, u32)>,
    received: u64,
}

impl TensorAssembler {
    /// For a model of which nothing is here, and whose blocks are packed so.
    pub fn new(index: Rc<Index>, packer: Rc<Packer>) -> TensorAssembler {
        TensorAssembler {
            index,
            packer,
            partial: HashMap::new(),
            done: HashSet::new(),
            rows: BTreeMap::new(),
            whole: HashSet::new(),
            awaited: HashSet::new(),
            received: 0,
        }
    }

    /// Says that these bytes are rows of a table, wanted before the rest of it.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn expect_rows(&mut self, table: Table, span: &Span) -> Result<()> {
        let Some((file, located)) = self.index.find(table.tensor()) else { return Ok(()) };
        let Some(dtype) = located.info.dtype() else { return Ok(()) };
        if file != span.file || self.whole.contains(&table) || span.bytes.is_empty() {
            return Ok(());
        }
        let before = self.rows.range(..=(span.file, span.bytes.start)).next_back();
        if before.is_some_and(|((file, _), rows)| *file == span.file && span.bytes.end <= rows.span.bytes.end) {
            return Ok(()); // expected already
        }
        let count = (span.bytes.end - span.bytes.start) as usize / dtype.size();
        let first = ((span.bytes.start - located.info.begin) / located.grain()) as u32;
        let tensor = PartialTensor::new(&located.info.name, dtype, count)?;
        let rows = PartialRows { table, first, span: span.clone(), state: RowState::Filling(tensor) };
        self.rows.insert((span.file, span.bytes.start), rows);
        Ok(())
    }

    /// Says that all of a table will come. Rows that are here go into it.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn expect_table(&mut self, table: Table) -> Result<Vec<Assembled>> {
        let index = self.index.clone();
        let Some((file, located)) = index.find(table.tensor()) else { return Ok(Vec::new()) };
        if !self.whole.insert(table) {
            return Ok(Vec::new());
        }
        let number = index.files[file].position(located.info.begin);
        let mut tensor = new_partial(located, &self.packer)?;
        for rows in self.rows.values().filter(|rows| rows.table == table) {
            if let RowState::Whole(values) = &rows.state {
                tensor.copy_from(rows.span.bytes.start - located.info.begin, values);
            }
        }
        let key = TensorKey { file, number };
        self.partial.insert(key, tensor);
        let mut arrived = self.awaited_here(table, 0..u64::MAX);
        arrived.extend(self.completed(key)?);
        Ok(arrived)
    }

    /// Says that a text waits for rows of a table, also of one that is taken in as a whole: those that are here
    /// come at once, the others as they arrive.
    pub fn await_rows(&mut self, table: Table, rows: impl IntoIterator<Item = u32>) -> Vec<Assembled> {
        self.awaited.extend(rows.into_iter().map(|row| (table, row)));
        self.awaited_here(table, 0..u64::MAX)
    }

    /// The awaited rows of a table that are whole and touch these bytes of it.
    fn awaited_here(&mut self, table: Table, bytes: Range<u64>) -> Vec<Assembled> {
        let index = self.index.clone();
        let Some((file, located)) = index.find(table.tensor()) else { return Vec::new() };
        let number = index.files[file].position(located.info.begin);
        let Some(tensor) = self.partial.get(&TensorKey { file, number }) else { return Vec::new() };
        let grain = located.grain();
        let mut arrived = Vec::new();
        self.awaited.retain(|&(of, row)| {
            let place = u64::from(row) * grain..(u64::from(row) + 1) * grain;
            if of != table || place.end <= bytes.start || bytes.end <= place.start {
                return true;
            }
            // What is damaged is found when the table is whole, and comes again.
            match tensor.read(place).filter(|values| values.iter().all(|value| value.is_finite())) {
                Some(values) => {
                    arrived.push(Assembled::Rows(table, row, Rc::new(values.to_vec())));
                    false
                }
                None => true,
            }
        });
        arrived
    }

    /// Takes bytes of a file from position `at` on; returns how many were taken (all but those of an element that
    /// the piece ends in the middle of: hand them in again with what follows), and what they made whole.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn write(&mut self, file: usize, at: u64, bytes: &[u8]) -> Result<(usize, Vec<Assembled>)> {
        let index = self.index.clone();
        let Some(indexed) = index.files.get(file) else { return Ok((bytes.len(), Vec::new())) };
        let mut arrived = Vec::new();
        let mut taken = 0;
        let mut number = indexed.position(at);
        while taken < bytes.len() {
            let here = at + taken as u64;
            let Some(located) = indexed.wanted.get(number) else { return Ok((bytes.len(), arrived)) };
            if here < located.info.begin {
                taken += usize::try_from(located.info.begin - here).unwrap_or(usize::MAX).min(bytes.len() - taken);
                continue;
            }
            let rest = &bytes[taken..];
            let took = self.write_tensor(TensorKey { file, number }, located, here, rest, &mut arrived)?;
            taken += took;
            if at + taken as u64 >= located.info.end {
                number += 1;
            } else if took == 0 {
                break; // the beginning of an element
            }
        }
        Ok((taken, arrived))
    }

    /// Writes into one tensor, or into rows of it, whichever is expected there.
    fn write_tensor(
        &mut self,
        key: TensorKey,
        located: &Located,
        here: u64,
        bytes: &[u8],
        arrived: &mut Vec<Assembled>,
    ) -> Result<usize> {
        let left = usize::try_from(located.info.end - here).unwrap_or(usize::MAX).min(bytes.len());
        if self.done.contains(&key) {
            return Ok(left);
        }
        if let Some(table) = Table::of(&located.name) {
            let rows = self.rows.range_mut(..=(key.file, here)).next_back().map(|(_, rows)| rows);
            if let Some(rows) = rows.filter(|rows| rows.span.file == key.file && here < rows.span.bytes.end) {
                if let RowState::Filling(tensor) = &mut rows.state {
                    let within = usize::try_from(rows.span.bytes.end - here).unwrap_or(usize::MAX).min(left);
                    let (taken, new) = tensor.write(here - rows.span.bytes.start, &bytes[..within]);
                    self.received += new;
                    if tensor.is_full() {
                        arrived.extend(self.rows_completed(key, here, located)?);
                        arrived.extend(self.completed(key)?);
                    }
                    return Ok(taken);
                }
                if !self.whole.contains(&table) {
                    // Known already.
                    return Ok(usize::try_from(rows.span.bytes.end - here).unwrap_or(usize::MAX).min(left));
                }
            } else if !self.whole.contains(&table) {
                // Nobody asked for these rows: they lie between others, in a covering range that was cut.
                return Ok(left);
            }
        }
        let tensor = match self.partial.entry(key) {
            Entry::Occupied(tensor) => tensor.into_mut(),
            Entry::Vacant(room) => room.insert(new_partial(located, &self.packer)?),
        };
        let (taken, new) = tensor.write(here - located.info.begin, &bytes[..left]);
        self.received += new;
        let whole = here + taken as u64 >= located.info.end || tensor.is_full();
        if let Some(table) = Table::of(&located.name).filter(|_| !self.awaited.is_empty()) {
            let at = here - located.info.begin;
            arrived.extend(self.awaited_here(table, at..at + taken as u64));
        }
        if whole {
            arrived.extend(self.completed(key)?);
        }
        Ok(taken)
    }

    /// The rows of a table around a byte of its file, all of which are here.
    fn rows_completed(&mut self, table: TensorKey, here: u64, located: &Located) -> Result<Option<Assembled>> {
        let Some((_, rows)) = self.rows.range_mut(..=(table.file, here)).next_back() else { return Ok(None) };
        let RowState::Filling(tensor) = &mut rows.state else { return Ok(None) };
        if let Some(bad) = tensor.first_not_finite() {
            let (span, begin) = (rows.span.clone(), rows.span.bytes.start);
            tensor.forget();
            self.received -= span.bytes.end - begin;
            return Ok(Some(Assembled::Damaged { span, tensor: located.info.name.clone(), at: begin + bad }));
        }
        let empty = RowState::Whole(Rc::default());
        let RowState::Filling(tensor) = std::mem::replace(&mut rows.state, empty) else { return Ok(None) };
        let Elements::Plain(values) = tensor.into_elements() else { return Ok(None) };
        let values = Rc::new(values);
        rows.state = RowState::Whole(values.clone());
        let (first, place) = (rows.first, rows.span.bytes.start - located.info.begin);
        let beyond = first + ((rows.span.bytes.end - rows.span.bytes.start) / located.grain()) as u32;
        let of = rows.table;
        self.awaited.retain(|&(table, row)| table != of || row < first || row >= beyond);
        if let Some(whole) = self.partial.get_mut(&table) {
            whole.copy_from(place, &values);
        }
        Ok(Some(Assembled::Rows(of, first, values)))
    }

    /// The tensor, if its last byte is here.
    fn completed(&mut self, key: TensorKey) -> Result<Option<Assembled>> {
        if !self.partial.get(&key).is_some_and(PartialTensor::is_full) {
            return Ok(None);
        }
        let Some(mut tensor) = self.partial.remove(&key) else { return Ok(None) };
        let located = &self.index.files[key.file].wanted[key.number];
        let (begin, end) = (located.info.begin, located.info.end);
        if let Some(bad) = tensor.first_not_finite() {
            tensor.forget();
            self.received -= end - begin;
            self.partial.insert(key, tensor);
            let span = Span { file: key.file, bytes: begin..end };
            return Ok(Some(Assembled::Damaged { span, tensor: located.info.name.clone(), at: begin + bad }));
        }
        self.done.insert(key);
        if let Some(table) = Table::of(&located.name) {
            self.rows.retain(|_, rows| rows.table != table);
        }
        let name = located.name.clone();
        Ok(Some(match tensor.into_elements() {
            Elements::Packed(packing) => Assembled::Packed(name, packing),
            Elements::Plain(values) => {
                Assembled::Tensor(name, Tensor::from_vec(values, located.info.shape.clone(), &Device::Cpu)?)
            }
        }))
    }

    /// Bytes of wanted tensors that are here.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Forgets all that came of a file, which proved damaged as a whole.
    pub fn forget_file(&mut self, file: usize) {
        let Some(indexed) = self.index.files.get(file) else { return };
        for (number, located) in indexed.wanted.iter().enumerate() {
            let key = TensorKey { file, number };
            let size = located.info.end - located.info.begin;
            if self.done.remove(&key) {
                self.received -= size;
            } else if let Some(tensor) = self.partial.remove(&key) {
                self.received -= tensor.received();
            }
            if let Some(table) = Table::of(&located.name) {
                self.whole.remove(&table);
            }
        }
    }

    /// Whether every wanted tensor of a file is whole.
    pub fn has_all_of(&self, file: usize) -> bool {
        let is_whole = |number| self.done.contains(&TensorKey { file, number });
        self.index.files.get(file).is_some_and(|indexed| (0..indexed.wanted.len()).all(is_whole))
    }

    /// Whether every wanted tensor is whole.
    pub fn has_all(&self) -> bool {
        (0..self.index.files.len()).all(|file| self.has_all_of(file))
    }
}

fn new_partial(located: &Located, packer: &Packer) -> Result<PartialTensor> {
    let info = &located.info;
    let dtype = info.dtype().ok_or_else(|| WeightsError::UnsupportedDtype {
        file: String::new(),
        tensor: info.name.clone(),
        found: info.dtype_name.clone(),
    })?;
    let count = info.shape.iter().product();
    match packer.packing(&located.name).map_err(|_| no_room(&info.name, count))? {
        Some(packing) => Ok(PartialTensor::packed(packing, dtype, count)),
        None => Ok(PartialTensor::new(&info.name, dtype, count)?),
    }
}
