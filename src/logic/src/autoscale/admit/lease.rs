//! Limits that several gateways keep together, through Redis and without asking it on a request's way.
//!
//! Each gateway spends from a *balance* by key, in shared memory. One of its workers fills it up in the background with leases from
//! the server's budget ([`SCRIPT`], atomic there), sized by recent use and never more than a *chunk*: a tenth of a window, or what a rate
//! brings in a tenth of a second. A balance may go one chunk below zero (by one request if that costs more) while the server has not yet said that there
//! is little left; that is charged with the next lease, whatever is left.
//!
//! *The error*: the gateways together admit at most one chunk each, per key, more than the limit (what they owe), and at most one chunk each less (what they have leased and not spent). A lease that was
//! not spent in its time ends. What a request gives back is for its own window, and no more than a chunk of it stays here. The window is the server's, the same weighted pair of counts as in [`super::window`]; a rate has room for one chunk more than its burst.

use super::{Ask, Kind, Refusal};
use crate::autoscale::metrics::word::Word;
use crate::wire::resp::Reply;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// Words of a budget.
pub const WORDS: usize = 5;
const BALANCE: usize = 0;
const UNTIL: usize = 1;
/// When to ask again, after the server had less than was asked for; 0 as long as it has enough.
const SHORT: usize = 2;
const SPENT: usize = 3;
const WANTED: usize = 4;
/// How soon a lease comes, if all is well.
const SOON_US: u64 = 30_000;
/// Nothing is given back to the server so shortly before a lease ends: it would come in the next window.
const MARGIN_US: u64 = 500_000;
/// No time that a server says is taken for longer than this, some hundred years.
const FAR_MS: u64 = 1 << 42;

/// Grants from budget `KEYS[1]`. `ARGV`: what is owed, what is asked for, the limit, the time in milliseconds in which it is one, and whether that
/// is a window (`w`) or a rate (`r`, with the units that fit at once as `ARGV[6]`). `{granted, good for so many milliseconds, ask again after so many}`.
pub const SCRIPT: &str = "\
local owed, ask, limit, length = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local t = redis.call('time')
local now = t[1] * 1000 + t[2] / 1000
if ARGV[5] == 'r' then
    local unit, room = length / limit, tonumber(ARGV[6])
    local full = math.max(tonumber(redis.call('get', KEYS[1]) or 0), now)
    local grant = math.max(0, math.min(ask, math.floor(room - (full - now) / unit - owed + 0.000001)))
    full = math.max(full + (owed + grant) * unit, now)
    if owed + grant ~= 0 then
        redis.call('set', KEYS[1], string.format('%.6f', full), 'PX', math.ceil(full - now) + 1000)
    end
    return {grant, 1000, math.max(1, math.ceil(full + unit - now - room * unit))}
end
local n = math.floor(now / length)
local at, this, last = now - n * length, string.format('%.0f', n), string.format('%.0f', n - 1)
local count = tonumber(redis.call('hget', KEYS[1], this) or 0)
local before = tonumber(redis.call('hget', KEYS[1], last) or 0)
owed = math.max(owed, -count)
local room = limit - math.ceil(before * (length - at) / length) - count - owed
local grant = math.max(0, math.min(ask, room))
if owed + grant ~= 0 then
    if count == 0 then
        redis.call('del', KEYS[1])
        if before > 0 then redis.call('hset', KEYS[1], last, before) end
    end
    count = redis.call('hincrby', KEYS[1], this, owed + grant)
    redis.call('pexpire', KEYS[1], length * 2)
end
local left = math.ceil(length - at)
local again = left
if before > 0 and count < limit then again = math.min(left, math.ceil(length / before)) end
return {grant, left, again}";

/// What gateways agree on about a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    chunk: i64,
    /// Units that fit at once.
    most: u32,
    /// So many units in so many milliseconds.
    units: f64,
    length_ms: f64,
    is_window: bool,
}

impl Terms {
    /// `None` for what is not shared.
    pub fn of(kind: &Kind) -> Option<Self> {
        match kind {
            Kind::Window(window) => Some(Self {
                chunk: (i64::from(window.limit) / 10).max(1),
                most: window.limit,
                units: window.limit.into(),
                length_ms: window.length_us as f64 / 1e3,
                is_window: true,
            }),
            Kind::Rate(rate) => {
                let (per_s, capacity) = (rate.per_s(), rate.units());
                let chunk = (per_s / 10.0).floor().clamp(1.0, 1e9) as i64;
                Some(Self { chunk, most: capacity, units: per_s, length_ms: 1e3, is_window: false })
            }
            Kind::Flight(_) => None,
        }
    }

    /// How far a gateway may be off.
    pub fn chunk(&self) -> i64 {
        self.chunk
    }

    /// The arguments of [`SCRIPT`] after the key.
    pub fn arguments(&self, wish: &Wish) -> [String; 6] {
        let kind = if self.is_window { "w" } else { "r" };
        let most = i64::from(self.most) + self.chunk;
        let (units, length) = (self.units.to_string(), self.length_ms.to_string());
        [wish.owed.to_string(), wish.ask.to_string(), units, length, kind.into(), most.to_string()]
    }
}

/// What a gateway wants of the server. It owes less than nothing when it gives something back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub owed: i64,
    pub ask: i64,
}

/// What the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub units: i64,
    pub good_ms: u64,
    pub again_ms: u64,
}

impl Grant {
    /// The answer to a wish; `None` for what cannot be one.
    pub fn read(reply: &Reply, wish: &Wish) -> Option<Self> {
        let Reply::Array(Some(parts)) = reply else { return None };
        let [Reply::Int(units), Reply::Int(good), Reply::Int(again)] = parts[..] else { return None };
        let ms = |n: i64| u64::try_from(n).ok().map(|ms| ms.min(FAR_MS));
        (0..=wish.ask).contains(&units).then_some(Self { units, good_ms: ms(good)?, again_ms: ms(again)? })
    }
}

/// The balance of one key, over its words.
#[derive(Clone, Copy)]
pub struct Budget<'a>(&'a [Word]);

impl<'a> Budget<'a> {
    pub fn new(words: &'a [Word]) -> Self {
        Self(&words[..WORDS])
    }

    pub fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Release));
    }

    fn short(&self, terms: &Terms, now_us: u64) -> Option<u64> {
        let again = self.0[SHORT].load(Acquire);
        // what was said long ago says nothing
        let old = again + (terms.length_ms * 2e3) as u64;
        (again != 0 && now_us < old).then_some(again)
    }

    /// Spends from it. True with it: the leaser is to be told that somebody wants more.
    pub fn take(&self, terms: &Terms, ask: &Ask, now_us: u64) -> (Result<(), Refusal>, bool) {
        if ask.cost > terms.most {
            return (Err(Refusal::TooLarge), false);
        }
        let (cost, short) = (i64::from(ask.cost), self.short(terms, now_us));
        let reserve = terms.chunk * i64::from(ask.priority.min(super::LAST_PRIORITY)) / 10;
        let mut seen = self.0[BALANCE].load(Acquire);
        loop {
            let is_over = seen as i64 > 0 && now_us > self.0[UNTIL].load(Acquire);
            let have = if is_over { 0 } else { seen as i64 };
            let left = have - cost;
            let on_credit = short.is_none() && reserve == 0 && (left >= -terms.chunk || have >= 0);
            if left < reserve && !on_credit {
                self.0[SPENT].fetch_add(ask.cost.into(), AcqRel);
                let us = short.map_or(SOON_US, |again| again.saturating_sub(now_us).max(SOON_US));
                return (Err(Refusal::Later { us }), self.want());
            }
            match self.0[BALANCE].compare_exchange(seen, left as u64, AcqRel, Acquire) {
                Ok(_) => {
                    self.0[SPENT].fetch_add(ask.cost.into(), AcqRel);
                    return (Ok(()), left <= terms.chunk / 2 && self.want());
                }
                Err(other) => seen = other,
            }
        }
    }

    fn want(&self) -> bool {
        self.0[WANTED].load(Acquire) == 0 && self.0[WANTED].swap(1, AcqRel) == 0
    }

    /// Corrects what was spent at `taken_us`. True: the leaser is to be told.
    pub fn settle(&self, terms: &Terms, cost: u32, actual: u32, taken_us: u64, now_us: u64) -> bool {
        let back = i64::from(cost) - i64::from(actual);
        if back > 0 && self.is_past(terms, taken_us, now_us) {
            return false;
        }
        let before = self.0[BALANCE].fetch_add(back as u64, AcqRel) as i64;
        (back < 0 || before.saturating_add(back) > terms.chunk) && self.want()
    }

    /// What was taken then counts no more at the server: in the window before, or it has leaked away.
    fn is_past(&self, terms: &Terms, taken_us: u64, now_us: u64) -> bool {
        let age_us = now_us.saturating_sub(taken_us);
        let length_us = (terms.length_ms * 1e3) as u64;
        if !terms.is_window {
            return age_us as f64 > f64::from(terms.most) / terms.units * 1e6;
        }
        // leases of a window end where it ends, and so does each window after it
        let end_us = self.0[UNTIL].load(Acquire);
        let since_edge = match end_us {
            0 => now_us,
            end if now_us >= end => (now_us - end) % length_us,
            end => (length_us - (end - now_us) % length_us) % length_us,
        };
        age_us > since_edge
    }

    /// When to ask the server, if somebody wants something: not before there can be any, but at once to give something back.
    pub fn due_us(&self, terms: &Terms, now_us: u64) -> Option<u64> {
        if self.0[WANTED].load(Acquire) == 0 {
            return None;
        }
        let has_surplus = self.surplus(self.0[BALANCE].load(Acquire), terms, now_us) > 0;
        Some(if has_surplus { 0 } else { self.short(terms, now_us).unwrap_or(0) })
    }

    /// What to ask the server for now, if somebody wants something.
    pub fn wish(&self, terms: &Terms, now_us: u64) -> Option<Wish> {
        if self.due_us(terms, now_us)? > now_us {
            return None;
        }
        self.0[WANTED].store(0, Release);
        let owed = -self.take_surplus(terms, now_us);
        if owed < 0 {
            return Some(Wish { owed, ask: 0 });
        }
        let seen = self.0[BALANCE].load(Acquire);
        let mut have = seen as i64;
        if have > 0 && now_us > self.0[UNTIL].load(Acquire) {
            // a lease that was not spent in its time; whoever spends at this moment keeps it
            let ended = self.0[BALANCE].compare_exchange(seen, 0, AcqRel, Acquire).is_ok();
            have = if ended { 0 } else { have };
        }
        let use_ = i64::try_from(self.0[SPENT].swap(0, AcqRel)).unwrap_or(i64::MAX);
        let size = use_.saturating_mul(2).clamp((terms.chunk / 4).max(1), terms.chunk);
        let wish = Wish { owed: (-have).max(0), ask: (size - have.max(0)).max(0) };
        (wish.owed + wish.ask > 0).then_some(wish)
    }

    /// How much of a balance is more than a chunk, which requests have given back: it is for other gateways, as long as its window is the server's.
    fn surplus(&self, balance: u64, terms: &Terms, now_us: u64) -> i64 {
        let is_good = now_us + MARGIN_US <= self.0[UNTIL].load(Acquire);
        if is_good {
            (balance as i64).saturating_sub(terms.chunk).max(0)
        } else {
            0
        }
    }

    /// Before the server hears of it, so that nobody spends it twice.
    fn take_surplus(&self, terms: &Terms, now_us: u64) -> i64 {
        loop {
            let seen = self.0[BALANCE].load(Acquire);
            let more = self.surplus(seen, terms, now_us);
            let rest = (seen as i64).wrapping_sub(more) as u64;
            if more == 0 || self.0[BALANCE].compare_exchange(seen, rest, AcqRel, Acquire).is_ok() {
                return more;
            }
        }
    }

    /// Takes in the answer to a wish, which was sent no earlier than `asked_us`.
    pub fn granted(&self, wish: &Wish, grant: &Grant, asked_us: u64) {
        // a lease must not be taken for one that is over
        self.0[UNTIL].store(asked_us + grant.good_ms * 1000, Release);
        self.0[BALANCE].fetch_add((wish.owed.max(0) + grant.units) as u64, AcqRel);
        let is_short = grant.units < wish.ask;
        self.0[SHORT].store(if is_short { asked_us + grant.again_ms.max(10) * 1000 } else { 0 }, Release);
    }

    /// There was no answer: somebody still wants it. What was to be given back may have been.
    pub fn failed(&self, wish: &Wish) {
        self.0[SPENT].fetch_add(wish.ask.unsigned_abs() / 2, AcqRel);
        self.0[WANTED].store(1, Release);
    }
}
