//! What a script leaves behind that must not outlive it.

use core::cell::RefCell;
use std::rc::{Rc, Weak};

use slab::Slab;

/// Something that ends with the request, or the timer, whose script made it.
pub trait Ends {
    fn host_ended(&self);
}

/// The things of one host; they end when it is dropped.
#[derive(Default)]
pub struct Owned(RefCell<Slab<Weak<dyn Ends>>>);

/// A place in a host's list; dropping it leaves the list.
pub struct Place {
    owned: Weak<Owned>,
    key: usize,
}

impl Owned {
    pub fn add(self: &Rc<Self>, thing: Weak<dyn Ends>) -> Place {
        Place { owned: Rc::downgrade(self), key: self.0.borrow_mut().insert(thing) }
    }
}

impl Place {
    /// Whether the place is in this host's list.
    pub fn is_of(&self, owned: &Rc<Owned>) -> bool {
        Weak::as_ptr(&self.owned) == Rc::as_ptr(owned)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(owned) = self.owned.upgrade() {
            owned.0.borrow_mut().try_remove(self.key);
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let things: Vec<Weak<dyn Ends>> = self.0.get_mut().drain().collect();
        for thing in things {
            if let Some(thing) = thing.upgrade() {
                thing.host_ended();
            }
        }
    }
}
