//! A pool whose helpers are in this thread, behind the commands that real ones get.

use std::cell::RefCell;
use std::rc::Rc;

use engine::Result;
use engine::model::Config;
use engine::pool::helper::Helper;
use engine::pool::shards::TensorShard;
use engine::pool::wire::Command;
use engine::pool::{WorkerHandle, WorkerPool};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

struct Here(Rc<RefCell<Helper>>);

impl WorkerHandle for Here {
    fn send_shard(&self, layer: usize, tensor: &str, piece: &TensorShard) {
        self.0.borrow_mut().take(layer, tensor.into(), piece.clone()).unwrap();
    }

    fn send_rows(&self, values: &[f32]) {
        self.0.borrow_mut().take_rows(values.to_vec()).unwrap();
    }

    fn send(&self, command: &Command, normed: &[f32]) -> LocalBoxFuture<'static, Result<Vec<f32>>> {
        let (_, command) = Command::from_words(&command.to_words(1)).unwrap();
        let (helper, normed) = (self.0.clone(), normed.to_vec());
        async move { Ok(helper.borrow().execute(&command, normed).unwrap()) }.boxed_local()
    }
}

/// So many workers.
pub fn worker_pool(config: &Config, workers: usize) -> WorkerPool {
    let line = |_| Box::new(Here(Rc::new(RefCell::new(Helper::new(config.clone()))))) as Box<dyn WorkerHandle>;
    WorkerPool::new(config, (1..workers).map(line).collect())
}
