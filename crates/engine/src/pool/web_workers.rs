//! Helpers as nested Web Workers: the same engine, started under another name.
//!
//! Nested, because messages between a worker and one that it started take a tenth of a millisecond in every browser;
//! through MessagePorts, Firefox takes up to a hundred times that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::FutureExt;
use js_sys::{Array, ArrayBuffer, Float32Array, Object, Reflect, Uint32Array};
use tokio::sync::oneshot::{self, error::TryRecvError};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Blob, DedicatedWorkerGlobalScope, ErrorEvent, MessageEvent, Url, Worker, WorkerOptions};

use super::helper::Helper;
use super::shards::TensorShard;
use super::wire::Command;
use super::worker_pool::{Answer, WorkerHandle, WorkerPool};
use crate::model::Config;
use crate::model::buffer_pool::Buffer;
use crate::model::linear::panels::Panels;
use crate::time::{next_task, now};
use crate::{Code, Error, Result};
use protocol::trusted_types;

/// The name under which a helper is started.
const NAME: &str = "residual-stream-helper";
/// A helper that has not answered after so many looks, one every [`LOOK_EVERY`], is gone: a command takes it a few
/// milliseconds, on a slow phone and with the largest model a second or two. Looks are counted rather than time, which
/// also passes while the machine sleeps.
const MOST_LOOKS: u32 = 5;
const LOOK_EVERY: i32 = 2000;
/// Milliseconds for which whoever waits keeps asking, rather than sleeping: to wake a core takes longer than most
/// answers do, and there are two dozen in a pass.
const STAY_AWAKE: f64 = 2.0;
/// Parameters of the blocks from which on a second worker pays: below, exchanging takes longer than computing.
const WORTH_SHARING: usize = 20_000_000;
/// More workers than this only wait for the memory, and for each other.
const MOST_WORKERS: usize = 8;

/// How many workers to use where the reader does not say: all cores up to four, then half of what is said to be there,
/// which often counts two threads per core.
pub fn best_count(config: &Config) -> usize {
    let (d, inner) = (config.n_embd, config.n_inner);
    let parameters = config.n_layer.saturating_mul(4 * d * d + 2 * d * inner);
    let cores = scope().navigator().hardware_concurrency() as usize;
    let count = if cores <= 4 { cores } else { (cores / 2).max(4) };
    if parameters < WORTH_SHARING { 1 } else { count.clamp(1, MOST_WORKERS) }
}

/// Starts helpers, as many as this makes workers. Where the browser has no nested workers, there are none.
pub fn spawn(config: &Config, config_json: &str, workers: usize) -> WorkerPool {
    let mut handles: Vec<Box<dyn WorkerHandle>> = Vec::new();
    for _ in 1..workers.min(config.n_head.max(config.n_inner / 8)) {
        match WebWorker::start(config_json) {
            Ok(worker) => handles.push(Box::new(worker)),
            Err(_) => return WorkerPool::alone(config),
        }
    }
    WorkerPool::new(config, handles)
}

/// The way to a helper in a worker of its own. Dropping it ends the worker.
struct WebWorker {
    worker: Worker,
    inbox: Rc<Inbox>,
    _listeners: Listeners,
    looks: Option<i32>,
}

/// To its messages, to its errors, and to the clock.
type Listeners = (Closure<dyn Fn(MessageEvent)>, Closure<dyn Fn(ErrorEvent)>, Closure<dyn Fn()>);

#[derive(Default)]
struct Inbox {
    answers: RefCell<BTreeMap<u32, oneshot::Sender<Result<ArrayBuffer>>>>,
    last: Cell<u32>,
    /// Buffers that came back, for the next commands.
    buffers: RefCell<Vec<ArrayBuffer>>,
    /// The same for pieces of weights, while a model is loaded: to have memory for them made anew takes longer than to
    /// fill it.
    of_pieces: RefCell<Vec<Float32Array>>,
    /// The answer that was waited for at the last look, and how many looks have found it so.
    looked: Cell<(u32, u32)>,
    dead: RefCell<Option<Error>>,
}

/// A worker that runs the script of this one.
fn again(options: &WorkerOptions) -> Result<Worker, JsValue> {
    trusted_types::worker(&scope().location().href(), options).or_else(|refused| {
        // Where the page has no origin of its own (file://, a sandboxed frame), Chromium lets a worker use no blob URL
        // but those it made itself. The page handed the script over (src/api/boot.js).
        let script = Reflect::get(&scope(), &"residualStreamScript".into())?;
        let script: Blob = script.dyn_into().map_err(|_| refused)?;
        trusted_types::worker(&Url::create_object_url_with_blob(&script)?, options)
    })
}

impl Inbox {
    /// The helper is gone: nobody waits for it any more.
    fn end(&self, error: Error) {
        self.dead.borrow_mut().get_or_insert_with(|| error.clone());
        for (_, answer) in std::mem::take(&mut *self.answers.borrow_mut()) {
            let _ = answer.send(Err(error.clone()));
        }
    }

    fn hear(&self, data: &JsValue) {
        if let Some(values) = data.dyn_ref::<Float32Array>() {
            return self.of_pieces.borrow_mut().push(values.clone());
        }
        let Some(buffer) = data.dyn_ref::<ArrayBuffer>() else {
            // Anything else is its last words.
            return self.end(heard(data));
        };
        let number = Uint32Array::new_with_byte_offset_and_length(buffer, 0, 1).get_index(0);
        let answer = self.answers.borrow_mut().remove(&number);
        match answer {
            Some(answer) => drop(answer.send(Ok(buffer.clone()))),
            None => self.buffers.borrow_mut().push(buffer.clone()), // the run that asked was stopped
        }
    }

    fn look(&self) {
        let oldest = self.answers.borrow().keys().next().copied();
        let (before, count) = self.looked.get();
        match oldest {
            Some(number) if number == before => {
                self.looked.set((number, count + 1));
                if count + 1 >= MOST_LOOKS {
                    self.end(gone("it does not answer"));
                }
            }
            _ => self.looked.set((oldest.unwrap_or(0), 0)),
        }
    }

    /// A buffer of so many bytes: one that came back if there is one.
    fn buffer(&self, bytes: u32) -> ArrayBuffer {
        let mut buffers = self.buffers.borrow_mut();
        let place = buffers.iter().position(|buffer| buffer.byte_length() == bytes);
        place.map_or_else(|| ArrayBuffer::new(bytes), |place| buffers.swap_remove(place))
    }

    /// These numbers, in memory that changes hands.
    fn values(&self, values: &[f32]) -> Float32Array {
        /// A block's weights come one after the other.
        const MOST: usize = 4;
        let mut spare = self.of_pieces.borrow_mut();
        spare.truncate(MOST);
        let place = spare.iter().position(|spare| spare.length() as usize == values.len());
        let copy = place.map_or_else(|| Float32Array::new_with_length(values.len() as u32), |at| spare.swap_remove(at));
        copy.copy_from(values);
        copy
    }

    fn give_back(&self, buffer: ArrayBuffer) {
        /// Two batches are under way at a time, as a rule.
        const MOST: usize = 8;
        /// Larger ones hold logits, and would be kept for little.
        const LARGEST: u32 = 1 << 20;
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < MOST && buffer.byte_length() <= LARGEST {
            buffers.push(buffer);
        }
    }
}

fn gone(why: &str) -> Error {
    let message = format!(
        "a worker that computes a share of the model is gone ({why}). Ask again: its share is being loaded anew."
    );
    Error::new(Code::EngineCrashed, message)
}

/// What a helper says when it ends: a crash report as the engine's own workers send it, or why a command failed.
fn heard(data: &JsValue) -> Error {
    let message = Reflect::get(data, &"message".into()).unwrap_or(JsValue::UNDEFINED);
    let error = Reflect::get(&message, &"error".into()).unwrap_or(JsValue::UNDEFINED);
    serde_wasm_bindgen::from_value(error).unwrap_or_else(|_| gone("it sent a malformed message"))
}

impl WebWorker {
    fn start(config_json: &str) -> Result<WebWorker, JsValue> {
        let options = WorkerOptions::new();
        options.set_name(NAME);
        let worker = again(&options)?;
        let inbox = Rc::new(Inbox::default());
        let told = inbox.clone();
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| told.hear(&event.data()));
        let told = inbox.clone();
        let on_error = Closure::<dyn Fn(ErrorEvent)>::new(move |event: ErrorEvent| {
            event.prevent_default();
            told.end(gone(&event.message()));
        });
        let told = inbox.clone();
        let on_look = Closure::<dyn Fn()>::new(move || told.look());
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        let looks = scope()
            .set_interval_with_callback_and_timeout_and_arguments_0(on_look.as_ref().unchecked_ref(), LOOK_EVERY)
            .ok();
        let begin = Object::new();
        Reflect::set(&begin, &"module".into(), &wasm_bindgen::module())?;
        worker.post_message(&begin)?;
        worker.post_message(&JsValue::from_str(config_json))?;
        Ok(WebWorker { worker, inbox, _listeners: (on_message, on_error, on_look), looks })
    }
}

impl Drop for WebWorker {
    fn drop(&mut self) {
        if let Some(looks) = self.looks {
            scope().clear_interval_with_handle(looks);
        }
        self.worker.terminate();
    }
}

impl WorkerHandle for WebWorker {
    fn send_shard(&self, layer: usize, tensor: &str, shard: &TensorShard) {
        let (values, shape) = match shard {
            TensorShard::Weight(panels) => (panels.values(), [panels.inputs(), panels.outputs()]),
            TensorShard::Bias(values) => (values.as_slice(), [0, values.len()]),
        };
        let values = self.inbox.values(values);
        let [inputs, outputs] = shape.map(|size| JsValue::from_f64(size as f64));
        let message = Array::of5(&JsValue::from_f64(layer as f64), &tensor.into(), &inputs, &outputs, &values);
        if self.worker.post_message_with_transfer(&message, &Array::of1(&values.buffer())).is_err() {
            self.inbox.end(gone("it takes no weights"));
        }
    }

    fn send_rows(&self, values: &[f32]) {
        let values = Float32Array::from(values);
        if self.worker.post_message_with_transfer(&values, &Array::of1(&values.buffer())).is_err() {
            self.inbox.end(gone("it takes no rows of the unembedding"));
        }
    }

    fn send(&self, command: &Command, normed: &[f32]) -> Answer {
        if let Some(error) = self.inbox.dead.borrow().clone() {
            return std::future::ready(Err(error)).boxed_local();
        }
        self.inbox.of_pieces.borrow_mut().clear();
        let number = self.inbox.last.get().wrapping_add(1);
        self.inbox.last.set(number);
        let words = command.to_words(number);
        let buffer = self.inbox.buffer(4 * (words.len() + normed.len()) as u32);
        Uint32Array::new_with_byte_offset_and_length(&buffer, 0, words.len() as u32).copy_from(&words);
        Float32Array::new_with_byte_offset(&buffer, 4 * words.len() as u32).copy_from(normed);
        let answer = (!matches!(command, Command::Forget { .. })).then(|| {
            let (sender, answer) = oneshot::channel();
            self.inbox.answers.borrow_mut().insert(number, sender);
            answer
        });
        if self.worker.post_message_with_transfer(&buffer, &Array::of1(&buffer)).is_err() {
            self.inbox.end(gone("it takes no commands"));
        }
        let inbox = self.inbox.clone();
        async move {
            let Some(mut answer) = answer else { return Ok(Vec::new()) };
            let until = now() + STAY_AWAKE;
            let buffer = loop {
                match answer.try_recv() {
                    Ok(found) => break found,
                    Err(TryRecvError::Empty) if now() < until => next_task().await,
                    Err(_) => break answer.await.unwrap_or_else(|_| Err(gone("it was dismissed"))),
                }
            }?;
            let values = Float32Array::new_with_byte_offset(&buffer, 4);
            let mut answer = Buffer::take(values.length() as usize);
            values.copy_to(&mut answer);
            inbox.give_back(buffer);
            Ok(answer.into_vec())
        }
        .boxed_local()
    }
}

/// Whether this worker was started as a helper.
pub fn is_helper() -> bool {
    scope().name() == NAME
}

/// The helper's message loop; `last_words` is called when it cannot go on.
pub fn serve(last_words: fn(Error)) {
    let helper: RefCell<Option<Helper>> = RefCell::new(None);
    let awake = Rc::new(Cell::new(0.0));
    let listen = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        if let Err(why) = execute(&mut helper.borrow_mut(), &event.data()) {
            last_words(Error::new(Code::EngineCrashed, format!("a helper of the engine failed: {why}")));
        }
        if event.data().is_instance_of::<ArrayBuffer>() {
            stay_awake(&awake);
        }
    });
    scope().set_onmessage(Some(listen.as_ref().unchecked_ref()));
    listen.forget(); // listens as long as the worker lives
}

/// Takes turns of the event loop until there has been no command for a while.
fn stay_awake(until: &Rc<Cell<f64>>) {
    let is_awake = until.replace(now() + STAY_AWAKE) > 0.0;
    if is_awake {
        return;
    }
    let until = until.clone();
    spawn_local(async move {
        while now() < until.get() {
            next_task().await;
        }
        until.set(0.0);
    });
}

/// The settings come first, as text; then pieces of weights; then commands, each in a buffer that goes back.
fn execute(helper: &mut Option<Helper>, data: &JsValue) -> std::result::Result<(), String> {
    if let Some(config_json) = data.as_string() {
        let config = Config::from_json(config_json.as_bytes()).map_err(|why| why.to_string())?;
        *helper = Some(Helper::new(config));
        return Ok(());
    }
    let helper = helper.as_mut().ok_or("it has no settings")?;
    if let Some(rows) = data.dyn_ref::<Float32Array>() {
        return helper.take_rows(copied(rows, "rows of the unembedding")?).map_err(|why| why.to_string());
    }
    match data.dyn_ref::<ArrayBuffer>() {
        Some(buffer) => answer(helper, buffer),
        None => take(helper, data.unchecked_ref()),
    }
}

fn copied(from: &Float32Array, what: &str) -> std::result::Result<Vec<f32>, String> {
    let mut values = Vec::new();
    values.try_reserve_exact(from.length() as usize).map_err(|_| format!("no memory is left for {what}"))?;
    values.resize(from.length() as usize, 0.0);
    from.copy_to(&mut values);
    Ok(values)
}

fn take(helper: &mut Helper, message: &Array) -> std::result::Result<(), String> {
    let number = |place| message.get(place).as_f64().unwrap_or(0.0) as usize;
    let (layer, inputs, outputs) = (number(0), number(2), number(3));
    let tensor = message.get(1).as_string().unwrap_or_default();
    let values = message.get(4);
    let numbers = copied(values.unchecked_ref(), &tensor)?;
    let piece = if tensor.ends_with(".bias") {
        TensorShard::Bias(numbers)
    } else {
        TensorShard::Weight(
            Panels::from_values(inputs, outputs, numbers).ok_or_else(|| format!("{tensor} has another size"))?,
        )
    };
    helper.take(layer, tensor, piece).map_err(|why| why.to_string())?;
    let values: &Float32Array = values.unchecked_ref();
    scope()
        .post_message_with_transfer(values, &Array::of1(&values.buffer()))
        .map_err(|_| "its memory cannot go back".into())
}

fn answer(helper: &Helper, buffer: &ArrayBuffer) -> std::result::Result<(), String> {
    let count = Uint32Array::new_with_byte_offset_and_length(buffer, 0, 1).get_index(0);
    let words = Uint32Array::new_with_byte_offset_and_length(buffer, 0, count).to_vec();
    let (number, command) = Command::from_words(&words).ok_or("a command means nothing")?;
    let normed = Float32Array::new_with_byte_offset(buffer, 4 * count);
    let mut values = Buffer::take(normed.length() as usize);
    normed.copy_to(&mut values);
    let answer = Buffer::from(helper.execute(&command, values.into_vec()).map_err(|why| why.to_string())?);
    if matches!(command, Command::Forget { .. }) {
        return Ok(());
    }
    // The command's own buffer has room for the sum; with what was wished for besides, a new one is taken.
    let bytes = 4 * (1 + answer.len()) as u32;
    let reply =
        if wants_more(&command) || buffer.byte_length() < bytes { ArrayBuffer::new(bytes) } else { buffer.clone() };
    Uint32Array::new_with_byte_offset_and_length(&reply, 0, 1).set_index(0, number);
    Float32Array::new_with_byte_offset_and_length(&reply, 4, answer.len() as u32).copy_from(&answer);
    scope().post_message_with_transfer(&reply, &Array::of1(&reply)).map_err(|_| "its answer cannot be sent".to_string())
}

fn wants_more(command: &Command) -> bool {
    matches!(command, Command::Attend { capture, .. } if capture.patterns || capture.heads)
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}
