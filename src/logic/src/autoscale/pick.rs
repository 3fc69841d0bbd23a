//! `as.pick`: which of a few peers gets the next request.
//!
//! The cost of a peer is `latency × (in flight + 1) / weight`, after Finagle's peak EWMA balancer: an estimate of the time until a new
//! request is done, so requests avoid a slow peer and do not herd on a fast one. Unlike it, the latency is a plain moving average (a
//! single slow answer is noise where service times vary), all peers are compared while they are few, and two are sampled only beyond
//! [`FEW`] (Mitzenmacher, "The power of two choices", 2001): two of eight was measurably worse than all of eight.
//!
//! Failing multiplies the cost by `1/(1-f)²`, once for the tries that are burnt and once for the time they take. What is known about a
//! peer fades while nothing is sent to it, failing towards none and latency towards the average of the others, so that a peer which
//! was slow or down is tried again and not forgotten for ever.
//!
//! It cannot see what other gateways send to the same peers, nor that a request is heavier than another.

use super::metrics::ewma::TAU_US;
use super::metrics::series::{Peer, Time};
use super::metrics::table::Ref;
use super::metrics::zone::{State, Zone};
use super::metrics::Now;

/// Up to this many peers are all compared.
pub const FEW: usize = 32;
/// How long silence takes to halve what is known about a latency.
const FADE_US: f64 = 3.0 * TAU_US as f64;
/// A peer that always fails costs 400 times as much.
const LEAST_SUCCESS: f64 = 0.05;

/// What the rule looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Moving average; `None` before the first answer.
    pub latency_us: Option<f32>,
    /// Since the latency was last fed.
    pub silent_us: u64,
    /// Share of failing tries, 0 to 1, of late.
    pub failing: f32,
    pub inflight: u32,
    pub weight: u16,
    /// At most so many in flight; zero is no limit.
    pub limit: u32,
    pub state: State,
    /// The caller does not want it (it was tried already).
    pub excluded: bool,
}

impl Candidate {
    /// A peer as the zone knows it; `weight` is the configured one, which an override replaces. `None` when the peer is gone.
    pub fn of(zone: &Zone<'_>, peer: Ref<Peer>, weight: u16, now: Now) -> Option<Self> {
        let series = zone.series(peer)?;
        let control = zone.control(peer);
        let silent_us = now.us.saturating_sub(series.last_us());
        Some(Self {
            latency_us: series.ewma(Time::Latency),
            silent_us,
            failing: series.failing(now),
            inflight: zone.levels(peer).active,
            weight: if control.weight > 0 { control.weight } else { weight },
            limit: control.limit,
            state: control.says(),
            excluded: false,
        })
    }

    fn is_eligible(&self) -> bool {
        self.state == State::Up && !self.excluded && (self.limit == 0 || self.inflight < self.limit)
    }

    fn cost(&self, usual_us: f64) -> f64 {
        let faded = self.silent_us as f64 / (self.silent_us as f64 + FADE_US);
        let latency =
            self.latency_us.map_or(usual_us, |us| f64::from(us) + (usual_us - f64::from(us)) * faded);
        let success = (1.0 - f64::from(self.failing)).max(LEAST_SUCCESS);
        latency.max(1.0) * (f64::from(self.inflight) + 1.0)
            / f64::from(self.weight.max(1))
            / (success * success)
    }
}

/// Which peer gets the request, `None` when none may. `random` breaks ties and chooses the sample.
pub fn pick(peers: &[Candidate], random: u64) -> Option<usize> {
    let eligible = peers.iter().filter(|peer| peer.is_eligible()).count();
    let usual_us = usual(peers);
    if eligible > FEW {
        let first = below(random, eligible);
        let second = (first + 1 + below(random.rotate_left(32), eligible - 1)) % eligible;
        return cheaper(peers, nth(peers, first)?, nth(peers, second)?, usual_us);
    }
    let start = below(random, peers.len().max(1));
    let from_start = (start..peers.len()).chain(0..start).filter(|i| peers[*i].is_eligible());
    from_start.map(Some).reduce(|best, next| cheaper(peers, best?, next?, usual_us)).flatten()
}

/// The average latency of what is known, for those of which nothing is known.
fn usual(peers: &[Candidate]) -> f64 {
    let known = peers.iter().filter(|peer| peer.is_eligible()).filter_map(|peer| peer.latency_us);
    let (sum, n) = known.fold((0.0, 0u32), |(sum, n), us| (sum + f64::from(us), n + 1));
    if n > 0 {
        sum / f64::from(n)
    } else {
        1.0
    }
}

/// The cheaper one, the first of equals.
fn cheaper(peers: &[Candidate], a: usize, b: usize, usual_us: f64) -> Option<usize> {
    let cost = |i: usize| peers.get(i).map(|peer| peer.cost(usual_us));
    Some(if cost(b)? < cost(a)? { b } else { a })
}

fn nth(peers: &[Candidate], n: usize) -> Option<usize> {
    peers.iter().enumerate().filter(|(_, peer)| peer.is_eligible()).map(|(i, _)| i).nth(n)
}

/// An even choice below `n`, from the upper half of a random number (Lemire's multiplication).
fn below(random: u64, n: usize) -> usize {
    (((random >> 32) * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEER: Candidate = Candidate {
        latency_us: Some(20_000.0),
        silent_us: 0,
        failing: 0.0,
        inflight: 0,
        weight: 1,
        limit: 0,
        state: State::Up,
        excluded: false,
    };

    fn picks(peers: &[Candidate]) -> Vec<usize> {
        let mut picks: Vec<_> =
            (0..64u64).filter_map(|i| pick(peers, i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        picks.sort_unstable();
        picks.dedup();
        picks
    }

    #[test]
    fn the_rule_by_cases() {
        let table: [(&str, &[Candidate], &[usize]); 12] = [
            ("nobody", &[], &[]),
            ("equals share", &[PEER, PEER, PEER], &[0, 1, 2]),
            (
                "fewer in flight",
                &[Candidate { inflight: 3, ..PEER }, Candidate { inflight: 2, ..PEER }],
                &[1],
            ),
            (
                "a slow peer waits until the others are busier",
                &[Candidate { latency_us: Some(60_000.0), ..PEER }, Candidate { inflight: 1, ..PEER }],
                &[1],
            ),
            (
                "and then gets its share",
                &[Candidate { latency_us: Some(60_000.0), ..PEER }, Candidate { inflight: 3, ..PEER }],
                &[0],
            ),
            (
                "weight",
                &[Candidate { weight: 3, inflight: 4, ..PEER }, Candidate { inflight: 1, ..PEER }],
                &[0],
            ),
            (
                "down and drain",
                &[
                    Candidate { state: State::Down, ..PEER },
                    Candidate { state: State::Drain, ..PEER },
                    Candidate { inflight: 99, ..PEER },
                ],
                &[2],
            ),
            ("excluded", &[Candidate { excluded: true, ..PEER }, Candidate { inflight: 99, ..PEER }], &[1]),
            (
                "full",
                &[Candidate { limit: 2, inflight: 2, ..PEER }, Candidate { inflight: 99, ..PEER }],
                &[1],
            ),
            (
                "nobody may",
                &[Candidate { state: State::Down, ..PEER }, Candidate { excluded: true, ..PEER }],
                &[],
            ),
            (
                "quick and failing",
                &[Candidate { latency_us: Some(300.0), failing: 0.95, ..PEER }, PEER],
                &[1],
            ),
            ("unknown is as usual", &[Candidate { latency_us: None, ..PEER }, PEER], &[0, 1]),
        ];
        for (case, peers, right) in table {
            assert_eq!(picks(peers), right, "{case}");
        }
    }

    #[test]
    fn what_is_known_fades_in_silence() {
        let slow = Candidate { latency_us: Some(200_000.0), ..PEER };
        let busy = Candidate { inflight: 1, ..PEER };
        assert_eq!(picks(&[slow, busy, busy, busy]), [1, 2, 3]);
        let long_ago = Candidate { silent_us: 300_000_000, ..slow };
        assert_eq!(
            picks(&[long_ago, busy, busy, busy]),
            [1, 2, 3],
            "not at once: the average counts the slow one too"
        );
        let busier = Candidate { inflight: 3, ..PEER };
        assert_eq!(picks(&[long_ago, busier, busier, busier]), [0]);
        assert_eq!(picks(&[slow, busier, busier, busier]), [1, 2, 3]);
    }

    #[test]
    fn two_of_many_are_sampled() {
        let mut many = vec![Candidate { inflight: 9, ..PEER }; 100];
        many[7].inflight = 0;
        many[50].state = State::Down;
        let random = |i: u64| {
            i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i.rotate_left(40).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        };
        let picked: Vec<_> = (0..20_000).filter_map(|i| pick(&many, random(i))).collect();
        assert_eq!(picked.len(), 20_000);
        assert!(!picked.contains(&50));
        let best = picked.iter().filter(|i| **i == 7).count();
        assert!((200..800).contains(&best), "the idle one is in a sample of two 2 % of the time: {best}");
    }

    proptest! {
        #[test]
        fn only_those_who_may_are_picked(
            peers in prop::collection::vec((any::<bool>(), 0u32..5, 0u32..3, 0usize..3), 0..80), random: u64,
        ) {
            let states = [State::Up, State::Down, State::Drain];
            let peers: Vec<_> = peers.into_iter()
                .map(|(excluded, inflight, limit, state)| Candidate { excluded, inflight, limit, state: states[state], ..PEER })
                .collect();
            match pick(&peers, random) {
                Some(i) => prop_assert!(peers[i].is_eligible()),
                None => prop_assert!(peers.iter().all(|peer| !peer.is_eligible())),
            }
        }
    }
}
