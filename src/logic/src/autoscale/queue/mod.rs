//! `autoscale_protect`: the one queue of an upstream, in memory that all workers share.
//!
//! *Why.* A server that is given more than it can take answers everybody late. Requests that find no room wait here instead, in one order
//! for all workers, and are handed to the first peer that has room; those that would wait for too long are refused while their clients
//! can still do something else.
//!
//! *In which order* ([`order`]). By urgency, then between flows (the values of `fair=`) by start-time fair queueing (Goyal, Vin, Cheng 1996)
//! over a bounded number of hashed flows (McKenney, "Stochastic fairness queueing", 1990): a flow that is alone has everything, one
//! that comes now and then is served soon. Only what is served is charged, so it does not matter how much a flow asks for. As long as no
//! queue has stood of late, whoever waits longest goes first unless its flow is ahead by as many as are served in most of a service's time:
//! flows that ask for less than there is differ by chance, and to take turns strictly makes a healthy upstream's longest waits half as
//! long again. One grant in sixteen goes round the urgencies that wait, so that none starves.
//!
//! *For how long* ([`pace`]). A short queue is good, a standing one is not (Nichols, Jacobson, "Controlling queue delay", 2012). A flow whose
//! first one has waited for a tenth of a second, or for some services' time, stands until it is empty again: it is served newest first,
//! and what has waited for half of that time is refused (adaptive LIFO and controlled delay of Maurer, "Fail at scale", 2015; there a queue
//! stands that has not been empty for a tenth of a second, which refuses 2 % at nine tenths of the capacity). A burst is no overload
//! ([`trend`]): as long as not clearly more comes than goes, the first one may wait for three times as long.
//!
//! *What it is made of.* Slots of three words in arrays of their own: state, owner, size. All there is to know of an entry is in its state, one
//! word that changes hands by compare-and-swap; there are no links and no counts that a killed worker could leave wrong. Whoever wants to
//! know how many wait looks at all of them, which is done only while some do. What a dead worker held is swept by its owner's number and
//! the time it started at.
//!
//! *What it cannot see.* How much work a request is: shares are of requests. Two workers that look at the same moment may each let one in.

mod entry;
pub mod order;
pub mod pace;
pub mod retry;
mod settings;
mod shared;
mod trend;

pub use entry::{flow, Entry, Phase, Urgency};
pub use pace::Pace;
pub use settings::Settings;
pub use shared::{Crowd, Full, Grant, Lane, Pressure, Queues, Slot, LANE_WORDS};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
