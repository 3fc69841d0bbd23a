//! What the rule keeps of a peer, in eight words that all workers share.
//!
//! Each is one store of value and stamp together, so a writer that dies leaves the old or the new; of two that race, one sample is lost.

use super::Settings;
use crate::autoscale::metrics::ewma;
use crate::autoscale::metrics::series::Class;
use crate::autoscale::metrics::word::{get, put, Word};
use crate::autoscale::metrics::Now;

/// Moving average of the latency.
const LATENCY: usize = 0;
/// Moving average of failing or refusing, 0 to 1.
const FAILING: usize = 1;
/// The load that it reports.
const LOAD: usize = 2;
/// When it became new or well again,
const RISEN: usize = 3;
/// or that it was here when the others were new.
const SETTLED: u64 = 1;

/// Since when it has been working without a pause,
const BUSY: usize = 4;
/// and when it last answered.
const ANSWERED: usize = 5;

/// Up goes the latency by a part of the difference, down it goes by time. Finagle's peak EWMA goes up all the way, which is noise where
/// service times vary: with exponential ones a healthy pool waits 30 ms instead of 24 (p99, load 0.7).
const PEAK: f32 = 0.2;
const LOST: f32 = 0.5;
/// Two failures in a row make a peer cost 16 times as much; with one failure in fifty it costs a fifth more.
const FAILED: f32 = 0.5;
const WENT_WELL: f32 = 0.1;

/// HTTP's "too many requests" (RFC 6585): the peer says that it is full.
const REFUSED: u16 = 429;

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub class: Class,
    /// The peer's status, 0 when it sent none.
    pub status: u16,
    /// The time to the first byte of a stream, the whole time of anything else.
    pub us: u32,
}

impl Ended {
    /// The peer had better be avoided for it.
    pub fn is_bad(&self) -> bool {
        self.class.is_error() || self.status == REFUSED
    }
}

/// The words of one peer.
#[derive(Clone, Copy)]
pub struct Memory<'a>(&'a [Word]);

impl<'a> Memory<'a> {
    pub const WORDS: usize = 8;

    /// `words` are [`Memory::WORDS`] many, zero to begin with.
    #[inline]
    pub fn over(words: &'a [Word]) -> Self {
        Self(&words[..Self::WORDS])
    }

    /// A try goes to the peer, where `waiting` are without an answer then, this one included.
    #[inline]
    pub fn begun(&self, now: Now, waiting: u32) {
        if waiting <= 1 {
            put(&self.0[BUSY], now.us);
        }
    }

    /// The first byte of an answer has come.
    #[inline]
    pub fn answered(&self, now: Now) {
        put(&self.0[ANSWERED], now.us);
    }

    /// That was in this millisecond: a try that begins says nothing new.
    #[inline]
    pub fn has_just_answered(&self, now: Now) -> bool {
        get(&self.0[BUSY]) != 0 && now.us.saturating_sub(get(&self.0[ANSWERED])) < 1000
    }

    /// A try is over.
    #[inline]
    pub fn ended(&self, settings: &Settings, now: Now, ended: Ended) {
        let average = self.latency_us();
        let longer = average.is_none_or(|average| ended.us as f32 > average);
        let timed = match ended.class {
            // the client lost patience: it would have taken longer
            Class::Aborted => average.is_some() && longer,
            // what fails quickly must not look fast
            class if ended.is_bad() => class.is_timed() && average.is_some() && longer,
            class => class.is_timed(),
        };
        let (us, word) = (ended.us as f32, &self.0[LATENCY]);
        match average {
            Some(average) if timed && longer => {
                // who has lost patience would have waited longer still
                let part = if ended.class == Class::Aborted { LOST } else { PEAK };
                ewma::put_value(word, average + (us - average) * part, now.us);
            }
            _ if timed => ewma::feed_over(word, us, now.us, settings.decay_us),
            _ => {}
        }
        if !matches!(ended.class, Class::Aborted | Class::Rejected) {
            let before = self.failing(now);
            let after =
                if ended.is_bad() { before + (1.0 - before) * FAILED } else { before * (1.0 - WENT_WELL) };
            ewma::put_value(&self.0[FAILING], after, now.us);
            self.answered(now);
        }
    }

    /// The peer has reported its load: 0 idle, 1 full, more is worse. What is no such number is not heard.
    pub fn report(&self, now: Now, load: f32) {
        if load.is_finite() && load >= 0.0 {
            ewma::put_value(&self.0[LOAD], load, now.us);
        }
    }

    /// The peer is new, or well again: its share begins small.
    pub fn rise(&self, now: Now) {
        put(&self.0[RISEN], now.us.max(1));
    }

    /// The same, of a peer that somebody saw out at `out_us`, unless another worker has said so since.
    pub fn rise_after(&self, out_us: u64, now: Now) {
        if get(&self.0[RISEN]) <= out_us {
            self.rise(now);
        }
    }

    /// Nobody has said since when it is here.
    pub fn is_new(&self) -> bool {
        get(&self.0[RISEN]) == 0
    }

    /// The peer was here when the others were new, too: it has its whole share.
    pub fn settle(&self) {
        put(&self.0[RISEN], SETTLED);
    }

    #[inline]
    pub fn latency_us(&self) -> Option<f32> {
        ewma::value(&self.0[LATENCY])
    }

    /// The word from which latency and silence are read.
    #[inline]
    pub fn latency_word(&self) -> u64 {
        get(&self.0[LATENCY])
    }

    /// How long nothing was learnt about the latency.
    #[inline]
    pub fn silent_us(&self, now: Now) -> u64 {
        ewma::age_us(&self.0[LATENCY], now.us).unwrap_or(u64::MAX)
    }

    /// How long those that wait have seen nobody get an answer.
    #[inline]
    pub fn stuck_us(&self, now: Now) -> u64 {
        match get(&self.0[BUSY]) {
            0 => 0,
            since => now.us.saturating_sub(since.max(get(&self.0[ANSWERED]))),
        }
    }

    #[inline]
    pub fn failing(&self, now: Now) -> f32 {
        ewma::faded(&self.0[FAILING], now.us).unwrap_or(0.0)
    }

    /// It has its whole share, and no failure of it is remembered.
    #[inline]
    pub fn is_plain(&self, settings: &Settings, now: Now) -> bool {
        let risen = get(&self.0[RISEN]);
        ewma::is_zero(&self.0[FAILING])
            && (risen <= SETTLED || now.us.saturating_sub(risen) >= settings.slow_start_us)
    }

    /// The load that was reported, and how long ago.
    #[inline]
    pub fn load(&self, now: Now) -> Option<(f32, u64)> {
        ewma::value(&self.0[LOAD]).zip(ewma::age_us(&self.0[LOAD], now.us))
    }

    /// How much of its weight it has: rising from nothing to 1 in a straight line.
    #[inline]
    pub fn ramp(&self, settings: &Settings, now: Now) -> f32 {
        self.ramp_within(settings.slow_start_us, now)
    }

    /// The same for a peer that has a time of its own.
    #[inline]
    pub fn ramp_within(&self, slow_start_us: u64, now: Now) -> f32 {
        match get(&self.0[RISEN]) {
            0..=SETTLED => 1.0,
            risen => match now.us.saturating_sub(risen) {
                us if us >= slow_start_us => 1.0,
                us => us as f32 / slow_start_us as f32,
            },
        }
    }
}
