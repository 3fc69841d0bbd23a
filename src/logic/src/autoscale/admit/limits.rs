//! Buckets by key, in shared memory.

use super::flight;
use super::lease::{self, Budget, Terms};
use super::rate::{self, Rate};
use super::window::{self, Window};
use super::{Ask, Refusal};
use crate::autoscale::metrics::columns::Worker;
use crate::autoscale::metrics::table::{Kind, Ref, Refused, Table, Tenancy};
use crate::autoscale::metrics::word::{get, put, Word};
use crate::autoscale::metrics::Now;
use std::sync::atomic::fence;
use std::sync::atomic::Ordering::{AcqRel, Acquire, SeqCst};

/// Words at the beginning of the memory.
const HEAD: usize = 64;
const CHANGES: usize = 0;
const FULL: usize = 8;
const WANTED: usize = 9;
const LEASER: usize = 10;
const AWAY: usize = 32;
/// Of limits that gateways share.
pub const MOST_SHARED: usize = 32;
/// Of keys of such limits, in bytes.
pub const LONGEST_KEY: usize = 64;
/// The name of a bucket is its key: the first eight bytes of it, the length and a seeded hash of 64 bits are kept.
const NAME_WORDS: usize = 1;
const PROBES: usize = 32;
/// How often a worker looks whether another has finished.
const TURNS: u32 = 1024;

/// A leaky bucket or a window. Its word is the entry's control word; the word of data says when it is as good as new.
#[derive(Clone, Copy, Debug)]
pub struct Bucket;

impl Kind for Bucket {
    const TABLE: usize = 0;
    const NAME_WORDS: usize = NAME_WORDS;
    const PROBES: usize = PROBES;
    const DATA_WORDS: usize = 1;
}

/// What is in flight of a key. The control word is how long one is, in microseconds, on average.
#[derive(Clone, Copy, Debug)]
pub struct Flight;

impl Kind for Flight {
    const TABLE: usize = 1;
    const NAME_WORDS: usize = NAME_WORDS;
    const PROBES: usize = PROBES;
    const DATA_WORDS: usize = 0;
}

/// The balance of a key that gateways share.
#[derive(Clone, Copy, Debug)]
pub struct Shareable;

impl Kind for Shareable {
    const TABLE: usize = 2;
    /// The whole key: it is a part of the name at the server.
    const NAME_WORDS: usize = LONGEST_KEY / 8;
    const PROBES: usize = PROBES;
    const DATA_WORDS: usize = lease::WORDS;
}

/// What was admitted, to be settled or given back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ticket {
    Rate {
        bucket: Ref<Bucket>,
        rate: Rate,
        cost: u32,
        until: u64,
    },
    Window {
        bucket: Ref<Bucket>,
        window: Window,
        cost: u32,
        taken: u64,
    },
    Flight {
        bucket: Ref<Flight>,
        places: u32,
        since_us: u64,
    },
    Shared {
        bucket: Ref<Shareable>,
        terms: Terms,
        cost: u32,
        since_us: u64,
    },
    /// Of a limit that is not kept now.
    Free,
}

/// All buckets, over their words.
pub struct Limits<'a> {
    head: &'a [Word],
    buckets: Table<'a, Bucket>,
    /// When each is as good as new, in microseconds.
    even: &'a [Word],
    flights: Table<'a, Flight>,
    counts: &'a [Word],
    per_flight: usize,
    shared: Table<'a, Shareable>,
    budgets: &'a [Word],
}

const BUCKET_WORDS: usize = 1 + Bucket::ENTRY_WORDS + Bucket::DATA_WORDS;

/// A table over the next `places` places of `words`, and what is left of them.
fn carve<'a, K: Kind>(
    words: &'a [Word],
    places: usize,
    changes: &'a Word,
    seed: u64,
) -> (Table<'a, K>, &'a [Word]) {
    let (states, words) = words.split_at(places);
    let (entries, words) = words.split_at(places * K::ENTRY_WORDS);
    (Table::new(states, entries, changes, seed), words)
}

impl<'a> Limits<'a> {
    /// Of memory that is zero to begin with; every process gives the same numbers. Most are for buckets of one word, a
    /// quarter for requests in flight, and an eighth for budgets that are shared.
    pub fn new(words: &'a [Word], columns: usize, seed: u64) -> Self {
        let (head, words) = words.split_at(HEAD.min(words.len()));
        let per_flight = flight::words(columns);
        let (own, words) = words.split_at(words.len() / 8 * 7);
        let places = words.len() / (1 + Shareable::ENTRY_WORDS + Shareable::DATA_WORDS);
        let (shared, budgets) = carve::<Shareable>(words, places, &head[CHANGES + 2], seed);
        let words = own;
        let places = words.len() / 7 * 5 / BUCKET_WORDS;
        let (buckets, words) = carve::<Bucket>(words, places, &head[CHANGES], seed);
        let (even, words) = words.split_at(places);
        let places = words.len() / (1 + Flight::ENTRY_WORDS + per_flight);
        let (flights, counts) = carve::<Flight>(words, places, &head[CHANGES + 1], seed);
        Self { head, buckets, even, flights, counts, per_flight, shared, budgets }
    }

    /// How many keys have a bucket at most, and how many keys with requests in flight.
    pub fn room(&self) -> (usize, usize) {
        (self.buckets.whole().len, self.flights.whole().len)
    }

    /// How many keys there are now.
    pub fn used(&self) -> (usize, usize) {
        (
            self.buckets.entries(self.buckets.whole()).count(),
            self.flights.entries(self.flights.whole()).count(),
        )
    }

    /// How many requests were refused because all buckets near their place were in use.
    pub fn full(&self) -> u64 {
        get(&self.head[FULL])
    }

    /// The bucket of a key of limit `limit`.
    #[inline]
    fn bucket(&self, limit: u32, key: &[u8], now: Now) -> Result<Ref<Bucket>, Refusal> {
        match self.buckets.find(self.buckets.whole(), limit, key) {
            Some(bucket) => Ok(bucket),
            None => self.insert(&self.buckets, limit, key, now, &Spare { even: self.even, now }),
        }
    }

    #[inline]
    fn flight(&self, limit: u32, key: &[u8], now: Now) -> Result<Ref<Flight>, Refusal> {
        match self.flights.find(self.flights.whole(), limit, key) {
            Some(bucket) => Ok(bucket),
            None => self.insert(&self.flights, limit, key, now, &Idle { limits: self, now }),
        }
    }

    #[cold]
    fn insert<K: Kind>(
        &self,
        table: &Table<'_, K>,
        limit: u32,
        key: &[u8],
        now: Now,
        tenancy: &dyn Tenancy,
    ) -> Result<Ref<K>, Refusal> {
        // another worker may be at it, and not have the processor; one that was killed there is overtaken after two seconds
        for turn in 0..TURNS {
            match table.insert(table.whole(), limit, key, now, tenancy) {
                Ok(bucket) => return Ok(bucket),
                Err(Refused::Busy) if turn < TURNS / 2 => std::hint::spin_loop(),
                Err(Refused::Busy) => std::thread::yield_now(),
                Err(Refused::Full) => break,
            }
        }
        self.head[FULL].fetch_add(1, AcqRel);
        Err(Refusal::Full)
    }

    /// Takes from a leaky bucket; with how long to wait, in microseconds.
    #[inline]
    pub fn take_rate(
        &self,
        limit: u32,
        key: &[u8],
        rate: &Rate,
        ask: &Ask,
        now: Now,
    ) -> Result<(Ticket, u64), Refusal> {
        loop {
            let bucket = self.bucket(limit, key, now)?;
            let taken = rate::take(self.buckets.control(bucket.index()), rate, ask, now.us)?;
            self.keep_until(bucket, taken.even_us());
            let ticket = Ticket::Rate { bucket, rate: *rate, cost: ask.cost, until: taken.until };
            if self.buckets.is_current(bucket) {
                return Ok((ticket, taken.wait_us));
            }
            // it was given away at this very moment: its new owner owes nothing
            rate::settle(self.buckets.control(bucket.index()), rate, taken.until, ask.cost, 0, now.us);
        }
    }

    /// Whether one more may pass: `None` when it may, else after how many microseconds to try again. What finds no bucket passes.
    #[inline]
    pub fn throttle(&self, limit: u32, key: &[u8], rate: &Rate, now: Now) -> Option<u64> {
        match self.take_rate(limit, key, rate, &Ask::ONE, now) {
            Err(Refusal::Later { us }) => Some(us),
            Ok(_) | Err(Refusal::TooLarge | Refusal::Full) => None,
        }
    }

    /// Takes from a window.
    #[inline]
    pub fn take_window(
        &self,
        limit: u32,
        key: &[u8],
        window: &Window,
        ask: &Ask,
        now: Now,
    ) -> Result<Ticket, Refusal> {
        loop {
            let bucket = self.bucket(limit, key, now)?;
            let word = self.buckets.control(bucket.index());
            let taken = window::take(word, &self.even[bucket.index()], window, ask, now.us)?;
            if self.buckets.is_current(bucket) {
                return Ok(Ticket::Window { bucket, window: *window, cost: ask.cost, taken });
            }
            window::settle(word, window, taken, ask.cost, 0, now.us);
        }
    }

    /// Takes places among those in flight.
    pub fn take_flight(
        &self,
        limit: u32,
        key: &[u8],
        most: u32,
        ask: &Ask,
        worker: Worker,
        now: Now,
    ) -> Result<Ticket, Refusal> {
        let column = usize::from(worker.to_bits());
        if column >= flight::LANES * self.per_flight {
            // a worker without a column counts for nothing, here as elsewhere
            return Ok(Ticket::Flight { bucket: Ref::NONE, places: 0, since_us: now.us });
        }
        loop {
            let bucket = self.flight(limit, key, now)?;
            let counts = self.counts(bucket.index());
            self.flights.touch(bucket.index(), now);
            if let Err(refusal) = flight::take(counts, most, ask, column) {
                return Err(match refusal {
                    Refusal::Later { .. } => Refusal::Later { us: self.turnover(bucket, counts) },
                    refusal => refusal,
                });
            }
            // Whoever gives a place away says so first, and then looks whether anybody is in flight: from here on the place is ours.
            fence(SeqCst);
            if self.flights.is_current(bucket) {
                return Ok(Ticket::Flight { bucket, places: ask.cost, since_us: now.us });
            }
            flight::give_back(counts, ask.cost, column);
        }
    }

    /// Takes from what this gateway has leased of a limit that several share. A key is at most [`LONGEST_KEY`] bytes.
    pub fn take_shared(
        &self,
        limit: u32,
        key: &[u8],
        terms: &Terms,
        ask: &Ask,
        now: Now,
    ) -> Result<Ticket, Refusal> {
        let whole = self.shared.whole();
        let bucket = match self.shared.find(whole, limit, key) {
            Some(bucket) => bucket,
            None => self.insert(&self.shared, limit, key, now, &Least { limits: self, now })?,
        };
        self.shared.touch(bucket.index(), now);
        let (taken, wants) = self.budget(bucket.index()).take(terms, ask, now.us);
        self.tell(wants);
        taken.map(|()| Ticket::Shared { bucket, terms: *terms, cost: ask.cost, since_us: now.us })
    }

    fn tell(&self, wants: bool) {
        if wants {
            self.head[WANTED].fetch_add(1, AcqRel);
        }
    }

    /// A number that changes when somebody wants a lease.
    pub fn wanted(&self) -> u64 {
        get(&self.head[WANTED])
    }

    /// The budgets of limit `limit`.
    pub fn shared(&self, limit: u32) -> impl Iterator<Item = Ref<Shareable>> + '_ {
        self.shared.entries(self.shared.whole()).filter(move |bucket| self.shared.owner(*bucket) == limit)
    }

    /// When the server is to be asked for a budget of limit `limit` that somebody wants more of; nobody is told of one twice.
    pub fn due_us(&self, limit: u32, terms: &Terms, now: Now) -> Option<u64> {
        self.shared(limit).filter_map(|bucket| self.budget(bucket.index()).due_us(terms, now.us)).min()
    }

    /// The balance of a key, and the key; `None` when it has gone.
    pub fn shared_key(&self, bucket: Ref<Shareable>) -> Option<(Budget<'a>, Vec<u8>)> {
        Some((self.budget(bucket.index()), self.shared.name(bucket)?))
    }

    pub fn is_shared(&self, bucket: Ref<Shareable>) -> bool {
        self.shared.is_current(bucket)
    }

    fn budget(&self, index: usize) -> Budget<'a> {
        Budget::new(&self.budgets[index * lease::WORDS..(index + 1) * lease::WORDS])
    }

    /// Whether this worker is the one that leases for all: it is for a while, until another finds that it has stopped.
    pub fn leases(&self, worker: Worker, now: Now) -> bool {
        const TERM_MS: u64 = 500;
        let me = u64::from(worker.to_bits()) + 1;
        let (word, ms) = (&self.head[LEASER], now.us / 1000);
        let seen = word.load(Acquire);
        let is_free = seen >> 48 == me || (seen & ((1 << 48) - 1)) < ms;
        is_free && word.compare_exchange(seen, me << 48 | (ms + TERM_MS), AcqRel, Acquire).is_ok()
    }

    /// Whether the server of shared limit `number` is away. There are [`MOST_SHARED`] of them.
    pub fn is_away(&self, number: usize) -> bool {
        self.head.get(AWAY + number % MOST_SHARED).is_some_and(|word| get(word) != 0)
    }

    pub fn set_away(&self, number: usize, away: bool) {
        if let Some(word) = self.head.get(AWAY + number % MOST_SHARED) {
            put(word, away.into());
        }
    }

    /// Corrects what a ticket has taken to `actual`. The places of requests in flight are given back, whatever that is.
    pub fn settle(&self, ticket: &Ticket, actual: u32, worker: Worker, now: Now) {
        match ticket {
            Ticket::Rate { bucket, rate, cost, until } if self.buckets.is_current(*bucket) => {
                let word = self.buckets.control(bucket.index());
                rate::settle(word, rate, *until, *cost, actual, now.us);
                // what was raised is not to be given away for nothing
                self.keep_until(*bucket, rate::even_us(word));
            }
            Ticket::Window { bucket, window, cost, taken } if self.buckets.is_current(*bucket) => {
                let word = self.buckets.control(bucket.index());
                window::settle(word, window, *taken, *cost, actual, now.us);
                self.keep_until(*bucket, window.even_us(now.us));
            }
            Ticket::Flight { bucket, places, since_us } if !bucket.is_none() => {
                flight::give_back(self.counts(bucket.index()), *places, worker.to_bits().into());
                // a mean that follows in about eight requests; whose addition gets lost between two workers does not matter
                let (mean, took) =
                    (self.flights.control(bucket.index()), now.us.saturating_sub(*since_us).max(1));
                let before = get(mean);
                put(mean, if before == 0 { took } else { before - before / 8 + took / 8 });
            }
            Ticket::Shared { bucket, terms, cost, since_us } if self.shared.is_current(*bucket) => {
                let budget = self.budget(bucket.index());
                self.tell(budget.settle(terms, *cost, actual, *since_us, now.us));
            }
            _ => {}
        }
    }

    /// How many places of a key are taken.
    pub fn in_flight(&self, limit: u32, key: &[u8]) -> u64 {
        let bucket = self.flights.find(self.flights.whole(), limit, key);
        bucket.map_or(0, |bucket| flight::sum(self.counts(bucket.index())))
    }

    /// Forgets what a worker had in flight. Only for who owns its column, or sweeps it.
    pub fn clear_column(&self, worker: Worker) {
        let column = usize::from(worker.to_bits());
        if column < flight::LANES * self.per_flight {
            (0..self.flights.whole().len).for_each(|i| flight::clear(self.counts(i), column));
        }
    }

    fn counts(&self, index: usize) -> &'a [Word] {
        &self.counts[index * self.per_flight..(index + 1) * self.per_flight]
    }

    /// After how many microseconds one of those in flight ends, at their pace; a second as long as none has ended.
    fn turnover(&self, bucket: Ref<Flight>, counts: &[Word]) -> u64 {
        match get(self.flights.control(bucket.index())) {
            0 => 1_000_000,
            mean => (mean / flight::sum(counts).max(1)).max(1000),
        }
    }

    /// Notes when a bucket is as good as new. Never earlier than was said: an addition may be late.
    #[inline]
    fn keep_until(&self, bucket: Ref<Bucket>, us: u64) {
        let even = &self.even[bucket.index()];
        if get(even) < us {
            even.fetch_max(us, AcqRel);
        }
    }
}

/// A bucket that is as good as new goes first, of those the one that has been for the longest; then the one that will be next.
struct Spare<'a> {
    even: &'a [Word],
    now: Now,
}

impl Tenancy for Spare<'_> {
    fn coldness(&self, index: usize, _: u16) -> Option<u64> {
        const MIDDLE: u64 = 1 << 62;
        Some((MIDDLE + self.now.us).saturating_sub(get(&self.even[index])))
    }

    fn move_in(&self, index: usize) {
        // until it was taken from: not the first to go
        put(&self.even[index], self.now.us + 1_000_000);
    }
}

/// The one that was used least.
struct Least<'a, 'b> {
    limits: &'b Limits<'a>,
    now: Now,
}

impl Tenancy for Least<'_, '_> {
    fn coldness(&self, index: usize, _: u16) -> Option<u64> {
        let (warm, idle) = self.limits.shared.heat(index, self.now);
        Some((u64::from(u32::MAX) - warm) << 32 | idle)
    }

    fn move_in(&self, index: usize) {
        self.limits.budget(index).clear();
    }
}

/// Of those with nothing in flight the one that was used least.
struct Idle<'a, 'b> {
    limits: &'b Limits<'a>,
    now: Now,
}

impl Tenancy for Idle<'_, '_> {
    fn coldness(&self, index: usize, _: u16) -> Option<u64> {
        let (warm, idle) = self.limits.flights.heat(index, self.now);
        let is_idle = flight::sum(self.limits.counts(index)) == 0;
        is_idle.then_some((u64::from(u32::MAX) - warm) << 32 | idle)
    }

    fn move_in(&self, _: usize) {
        // all counts are zero, but for those of workers that are about to find out that they came too late
    }
}
