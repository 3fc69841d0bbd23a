//! Which worker of which gateway acts outward.
//!
//! Each gateway has a leader of its own among its workers, by shared memory ([`local`]). Only that one competes with other gateways, for
//! what `autoscale_leader` names; without that it acts alone. A leader that has lost evaluates on, and writes nothing.
//!
//! What competes with other gateways ([`Outer`]) is driven by the engine: `work` each tick while this worker leads its gateway,
//! `resign` when it no longer does. It keeps its own futures, and says in [`Leadership::may_write`], by the monotonic clock and before
//! its lease ends, whether it still holds it. Its fence takes the place of the local one.

mod lease;
pub mod local;
mod redis;
pub mod upgrade;

pub use local::Local;

use std::rc::Rc;

use logic::autoscale::conf::{Leader, Lock};
use logic::autoscale::metrics::Now;

use lease::Lease;
use redis::RedisLock;

/// The lead of this worker, within its gateway and among gateways.
pub struct Leadership {
    pub local: Local,
    outer: Outer,
}

/// What competes with other gateways.
enum Outer {
    /// Nobody: this gateway is the only one.
    Alone,
    Lease(Lease),
    Redis(Rc<RedisLock>),
}

impl Leadership {
    /// `epoch` tells this gateway from all others.
    pub fn new(local: Local, conf: &Leader, epoch: u64) -> Leadership {
        let outer = match &conf.lock {
            Lock::Local => Outer::Alone,
            Lock::Kubernetes { namespace, lease } => {
                Outer::Lease(Lease::new(namespace, lease, conf, &local, epoch))
            }
            Lock::Redis { at, key } => Outer::Redis(RedisLock::new(at, key, conf, &local, epoch)),
        };
        Leadership { local, outer }
    }

    /// Once a tick, while this worker leads its gateway.
    pub fn work(&self, _now: Now) {
        match &self.outer {
            Outer::Lease(lease) => lease.compete(),
            Outer::Redis(lock) => lock.work(),
            Outer::Alone => {}
        }
    }

    /// When another gateway last was known to lead and to be alive, by the monotonic clock; 0 when none was.
    pub fn others_us(&self) -> u64 {
        match &self.outer {
            Outer::Alone => 0,
            Outer::Lease(lease) => lease.others_us(),
            Outer::Redis(lock) => lock.others_us(),
        }
    }

    /// This worker does not lead its gateway any more; nor does any other one, if this is for good.
    pub fn resign(&self, for_good: bool) {
        match &self.outer {
            Outer::Lease(lease) => lease.resign(for_good),
            Outer::Redis(lock) => lock.resign(),
            Outer::Alone => {}
        }
    }

    /// The fence of what this worker writes now; `None` when it may not. Cheap: it is asked right before bytes leave.
    pub fn may_write(&self) -> Option<u64> {
        let fence = self.local.fence()?;
        match &self.outer {
            Outer::Alone => Some(fence),
            Outer::Lease(lease) => lease.may_write(),
            Outer::Redis(lock) => lock.fence(),
        }
    }
}
