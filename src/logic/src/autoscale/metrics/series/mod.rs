//! Everything that is counted about one upstream, peer, key name or key value.

mod shape;
mod window;

pub use shape::{Key, Name, Peer, Shape, Time, Upstream, BOUNDED, BOUNDS_US};
pub use window::{Totals, Window};

use super::recent::{Ended, Recent};
use super::ring::Ring;
use super::word::{add, get, put, Merge, Word, HIGH, LOW};
use super::{ewma, hist, Now};
use shape::{bounds_below_of, head, slot};
use std::marker::PhantomData;

/// How a request or a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 2xx, and 1xx that end a request (101).
    Success = 0,
    Redirect = 1,
    ClientError = 2,
    ServerError = 3,
    /// No connection, or one that broke before an answer.
    ConnectFailure = 4,
    Timeout = 5,
    /// The client left.
    Aborted = 6,
    /// The gateway refused it.
    Rejected = 7,
}

impl Class {
    /// In the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::Redirect,
        Self::ClientError,
        Self::ServerError,
        Self::ConnectFailure,
        Self::Timeout,
        Self::Aborted,
        Self::Rejected,
    ];

    pub const fn of_status(status: u16) -> Self {
        match status {
            499 => Self::Aborted,
            0..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// The peer's fault.
    pub const fn is_error(self) -> bool {
        matches!(self, Self::ServerError | Self::ConnectFailure | Self::Timeout)
    }

    /// Whether its duration says how fast the peer is. A refused connection is quick and a client that left is no measure.
    pub const fn is_timed(self) -> bool {
        !matches!(self, Self::ConnectFailure | Self::Aborted | Self::Rejected)
    }

    /// The word of the status page.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::ConnectFailure => "connect_failure",
            Self::Timeout => "timeout",
            Self::Aborted => "aborted",
            Self::Rejected => "rejected",
        }
    }
}

/// A series over its words.
#[derive(Clone, Copy)]
pub struct Series<'a, S> {
    words: &'a [Word],
    shape: PhantomData<S>,
}

impl<'a, S: Shape> Series<'a, S> {
    /// `words` are [`Shape::WORDS`] many.
    #[inline]
    pub fn new(words: &'a [Word]) -> Self {
        Self { words: &words[..S::WORDS], shape: PhantomData }
    }

    #[inline]
    fn ring(&self) -> Ring<'a, S> {
        Ring::new(&self.words[S::RING_AT..])
    }

    #[inline]
    fn recent(&self) -> Recent<'a> {
        Recent(&self.words[S::RECENT_AT..S::RING_AT])
    }

    /// Begins anew, for a new owner of the memory.
    pub fn reset(&self, now: Now) {
        self.words[..S::RING_AT].iter().for_each(|word| put(word, 0));
        self.ring().forget();
        put(&self.words[head::BORN], now.us);
    }

    /// Makes room for the samples of the second to come, so that no request has to.
    pub fn prepare(&self, now: Now) {
        self.ring().prepare(now);
    }

    /// A request, or a try, is sent.
    #[inline]
    pub fn arrive(&self, now: Now) {
        add(&self.ring().current(now)[slot::ARRIVED], LOW);
    }

    /// A request is tried again.
    pub fn retry(&self, now: Now) {
        add(&self.words[head::RETRIES], 1);
        add(&self.ring().current(now)[slot::ARRIVED], HIGH);
    }

    /// The first byte of an answer. Of a stream this is its latency too: its total time is how long somebody listened.
    #[inline]
    pub fn first_byte(&self, now: Now, ttfb_us: u32, connect_us: Option<u32>, stream: bool) {
        let slot = self.ring().current(now);
        add(&slot[slot::TIMED], if stream { HIGH | LOW } else { HIGH });
        add(&slot[slot::TTFB], ttfb_us.into());
        self.time(slot, Time::Ttfb, ttfb_us);
        if S::FULL {
            ewma::feed(&self.words[head::TTFB], ttfb_us as f32, now.us);
        }
        if let (true, Some(us)) = (S::FULL, connect_us) {
            add(&slot[slot::CONNECTS], LOW);
            add(&slot[slot::CONNECT], us.into());
            self.time(slot, Time::Connect, us);
            ewma::feed(&self.words[head::CONNECT], us as f32, now.us);
        }
        if stream {
            self.latency(slot, now, ttfb_us);
        }
    }

    /// The end. `us` is the whole time of a request, or the time to first byte of a stream, whose latency is known already.
    #[inline]
    pub fn finish(&self, now: Now, class: Class, us: u32, stream: bool) {
        let slot = self.ring().current(now);
        let number = class as usize;
        add(&slot[slot::CLASSES + number / 2], LOW << (32 * (number % 2)));
        add(&self.words[head::CLASSES + number], 1);
        let timed = class.is_timed();
        if timed && !stream {
            add(&slot[slot::TIMED], LOW);
            // An error that comes quickly must not make its peer look fast.
            let average = self.ewma(Time::Latency);
            let flatters = class.is_error() && average.map_or(class != Class::Timeout, |a| us as f32 <= a);
            self.sample(slot, us);
            if !flatters {
                ewma::feed(&self.words[head::LATENCY], us as f32, now.us);
            }
            put(&self.words[head::LAST], now.us);
        }
        if S::FULL && class != Class::Aborted {
            let failing = &self.words[head::FAILING];
            if class.is_error() {
                ewma::feed(failing, 1.0, now.us);
            } else {
                ewma::feed_zero(failing, now.us);
            }
        }
        self.recent().push(Ended { us: timed.then_some(us), error: class.is_error() });
    }

    /// A request that the gateway refused.
    pub fn reject(&self, now: Now) {
        add(&self.words[head::CLASSES + Class::Rejected as usize], 1);
        add(&self.ring().current(now)[slot::CLASSES + 3], HIGH);
    }

    /// Tokens that a request has cost.
    pub fn tokens(&self, now: Now, n: u64) {
        add(&self.words[head::TOKENS], n);
        add(&self.ring().current(now)[slot::TOKENS], n);
    }

    /// A sample of the levels, once a tick.
    pub fn levels(&self, now: Now, inflight: u32, waiting: u32, queued: u32) {
        if S::FULL {
            let slot = self.ring().current(now);
            add(&slot[slot::CONNECTS], HIGH);
            add(&slot[slot::INFLIGHT], u64::from(queued) << 32 | u64::from(inflight));
            add(&slot[slot::WAITING], waiting.into());
            let maxima = super::word::parts([inflight.into(), waiting.into(), queued.into()]);
            Merge::Parts.into(&slot[slot::MAXIMA], maxima);
        }
    }

    fn latency(&self, slot: &[Word], now: Now, us: u32) {
        self.sample(slot, us);
        ewma::feed(&self.words[head::LATENCY], us as f32, now.us);
        put(&self.words[head::LAST], now.us);
    }

    #[inline]
    fn sample(&self, slot: &[Word], us: u32) {
        add(&slot[slot::LATENCY], us.into());
        self.time(slot, Time::Latency, us);
    }

    /// One time into its histogram and its totals.
    #[inline]
    fn time(&self, slot: &[Word], time: Time, us: u32) {
        let bucket = hist::micros_bucket(us, S::BITS);
        if let Some(at) = S::histogram(time) {
            hist::count(&slot[at..at + S::SCALE.words()], bucket);
        }
        let totals = head::TIMES + 2 * time as usize;
        add(&self.words[totals], us.into());
        add(&self.words[totals + 1], 1);
        if S::BOUNDED {
            let bounded = head::WORDS + time as usize * BOUNDED;
            add(&self.words[bounded + bounds_below_of(us, bucket)], 1);
        }
    }

    /// The moving average of a time in microseconds; of a key there is only that of its latency.
    #[inline]
    pub fn ewma(&self, time: Time) -> Option<f32> {
        ewma::value(&self.words[head::LATENCY + time as usize])
    }

    /// The moving average of failing, 0 never to 1 always; it fades while nothing is tried.
    pub fn failing(&self, now: Now) -> f32 {
        ewma::faded(&self.words[head::FAILING], now.us).unwrap_or(0.0)
    }

    pub fn born_us(&self) -> u64 {
        get(&self.words[head::BORN])
    }

    /// When a latency was last learnt; zero before the first.
    pub fn last_us(&self) -> u64 {
        get(&self.words[head::LAST])
    }
}

#[cfg(test)]
mod tests;
