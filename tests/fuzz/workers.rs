//! A crew whose helpers are in this thread, behind the orders that real ones get.

use std::cell::RefCell;
use std::rc::Rc;

use engine::Result;
use engine::model::Config;
use engine::pool::helper::Helper;
use engine::pool::shares::Piece;
use engine::pool::wire::Order;
use engine::pool::{Crew, Line};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

struct Here(Rc<RefCell<Helper>>);

impl Line for Here {
    fn piece(&self, layer: usize, tensor: &str, piece: &Piece) {
        self.0.borrow_mut().take(layer, tensor.into(), piece.clone()).unwrap();
    }

    fn rows(&self, values: &[f32]) {
        self.0.borrow_mut().take_rows(values.to_vec()).unwrap();
    }

    fn order(&self, order: &Order, normed: &[f32]) -> LocalBoxFuture<'static, Result<Vec<f32>>> {
        let (_, order) = Order::from_words(&order.to_words(1)).unwrap();
        let (helper, normed) = (self.0.clone(), normed.to_vec());
        async move { Ok(helper.borrow().obey(&order, normed).unwrap()) }.boxed_local()
    }
}

/// So many workers.
pub fn crew(config: &Config, workers: usize) -> Crew {
    let line = |_| Box::new(Here(Rc::new(RefCell::new(Helper::new(config.clone()))))) as Box<dyn Line>;
    Crew::new(config, (1..workers).map(line).collect())
}
