//! In the steady state a pass allocates no buffers: what one step gives back, another takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor};
use engine::model::attention::Segment;
use engine::model::checkpoint::{Part, Tensors, wanted};
use engine::model::executor::SingleThread;
use engine::model::gpt2::Block;
use engine::model::linear::packing::{Cut, Packing};
use engine::model::linear::{Linear, Weight};
use engine::model::probe::NoProbe;
use engine::model::widen::Format;
use engine::model::{Config, ModelError};
use futures_util::FutureExt;

/// Bytes from which on an allocation is a buffer. What candle keeps of a tensor's shape is a hundred or two.
const BUFFER: usize = 2048;
static BUFFERS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BUFFERS.fetch_add(usize::from(layout.size() >= BUFFER), Ordering::Relaxed);
        // SAFETY: the caller's promises are those that System asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tensors of a model, with packed weights as in the browser.
struct Packed(HashMap<String, Tensor>);

impl Tensors for Packed {
    fn take(&mut self, name: &str) -> Result<Tensor, ModelError> {
        self.0.remove(name).ok_or_else(|| ModelError::MissingTensor { name: name.into() })
    }

    fn linear(&mut self, name: &str) -> Result<Linear, ModelError> {
        let weight = self.take(&format!("{name}.weight"))?;
        let (inputs, outputs) = weight.dims2()?;
        let values = weight.flatten_all()?.to_vec1::<f32>()?;
        let mut packing =
            Packing::new(outputs, [Cut { rows: 0..inputs, columns: vec![0..outputs] }], &mut Vec::new()).unwrap();
        packing.put(0, Format::F32, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        Ok(Linear::new(Weight::Packed(packing.into_panels().remove(0)), self.take(&format!("{name}.bias"))?))
    }
}

#[test]
fn a_block_that_has_run_allocates_no_buffers() {
    let json = r#"{"model_type":"gpt2","vocab_size":9,"n_positions":64,"n_embd":64,"n_layer":1,"n_head":4}"#;
    let config = Config::from_json(json.as_bytes()).unwrap();
    let list = wanted(&config).into_iter().filter(|want| want.part == Part::Block(0));
    let tensors = list.map(|want| {
        let tensor = Tensor::rand(-0.1f32, 0.1, want.shape, &Device::Cpu).unwrap();
        (want.name, tensor)
    });
    let block = Block::load(&mut Packed(tensors.collect()), &config, 0).unwrap();
    let executor = SingleThread::default();
    let x = Tensor::ones((32, 64), DType::F32, &Device::Cpu).unwrap();
    let run = |rows: usize| {
        let (x, segments) = (x.narrow(0, 0, rows).unwrap(), [Segment { slot: 0, past: 0, rows }]);
        block.forward(&x, &segments, &executor, &mut NoProbe).now_or_never().unwrap().unwrap();
    };
    run(32);
    let before = BUFFERS.load(Ordering::Relaxed);
    for rows in [32, 17, 1, 32] {
        run(rows);
    }
    let allocated = BUFFERS.load(Ordering::Relaxed) - before;
    assert_eq!(allocated, 0, "buffer_pool.rs: {allocated} buffers of {BUFFER} bytes or more in four passes");
}
