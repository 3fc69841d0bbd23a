//! All children of a worker.

use core::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

use crate::ngx::child::ChildWatch;
use crate::ngx::cycle_main_conf;
use crate::run::Owned;

#[derive(Default)]
pub struct Children {
    all: RefCell<Rc<Owned>>,
    /// Of those that were killed and have not ended yet: none is left as a zombie.
    dying: RefCell<Slab<ChildWatch>>,
}

impl Children {
    pub fn all(&self) -> Rc<Owned> {
        Rc::clone(&self.all.borrow())
    }

    /// Waits for the end of a child that nobody asks for any more.
    pub fn await_end(&self, mut watch: ChildWatch) {
        let mut dying = self.dying.borrow_mut();
        let place = dying.vacant_entry();
        let key = place.key();
        watch.tell_instead(Box::new(move |_| {
            if let Some(main) = cycle_main_conf() {
                let watch = main.children.dying.borrow_mut().try_remove(key);
                drop(watch);
            }
        }));
        place.insert(watch);
    }

    /// Kills all: the worker ends.
    pub fn end(&self) {
        drop(self.all.take());
        self.dying.take();
    }
}
