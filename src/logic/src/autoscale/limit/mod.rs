//! How many requests a peer, or an upstream, takes at a time, learnt from its answers.
//!
//! A server with `k` slots and a queue answers the `n`th request at a time in `S · max(1, n/k)` on average: in its service time while there
//! is room, and beyond that in proportion to its turn (the asymptotic bounds of operational analysis: Lazowska and others, "Quantitative
//! System Performance", 1984). [`Learnt`] keeps an average latency for each number in flight and fits `S` and `k` to them.
//!
//! Like Netflix's gradient limits and Envoy's adaptive concurrency it goes by the ratio of latencies with and without load. Unlike those it
//! never pins the traffic to measure the unloaded latency: what was answered at few in flight is remembered as such, and what is not known
//! is tried in short windows, one more in flight for a sixteenth of the time, one less for a hundredth.
//!
//! Peers of one upstream are taken for alike until there is evidence against it ([`Alike`]), and a peer that becomes slower is believed
//! after some fifteen answers.
//!
//! Streams count by their time to first byte, and as in flight until then.
//!
//! It cannot tell a peer whose service time grows with its load from one with fewer slots, nor see what other gateways have in flight.

mod alike;
mod curve;
mod fit;
mod levels;
mod settings;
mod shift;

pub use alike::Alike;
pub use curve::{Learnt, Outcome, Room};
pub use settings::Limit;

#[cfg(test)]
mod tests;
