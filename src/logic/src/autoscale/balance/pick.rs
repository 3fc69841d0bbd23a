//! The choice.
//!
//! All peers are compared while they are few; beyond [`FEW`] two are sampled (Mitzenmacher, "The power of two choices in randomized load
//! balancing", 2001): two of eight was measurably worse than all of eight. A sample that may not be picked is drawn again a few times,
//! and only then are the peers gone through, so a choice among a thousand costs no more than one among ten.

use super::cost::{cost, Means, Usual};
use super::{wait, Candidate, Rule, Settings, Standing};

/// Up to this many peers are all compared.
pub const FEW: usize = 32;
/// Most upstreams have no more than this many, and get by with less memory.
const FEWER: usize = 8;
/// How often a sample is drawn again.
const DRAWS: usize = 8;

/// The peers of an upstream, in a fixed order, the primary ones before the backup ones.
pub trait Peers {
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// How many are primary; the others are asked when none of these is up.
    fn primaries(&self) -> usize {
        self.len()
    }
    /// Peer `i` of `0..len()`.
    fn candidate(&self, i: usize) -> Candidate;
    /// Has it compared. Whoever knows a shorter way to nearly all of its candidates may go that.
    #[inline]
    fn enter(&self, i: usize, race: &mut Race) {
        race.enter(i, &self.candidate(i));
    }
    /// What was usual among the primary peers at the last choice; without it all are looked at twice.
    #[inline]
    fn usual(&self) -> Option<Usual> {
        None
    }
    /// Keeps what is usual now.
    #[inline]
    fn keep(&self, _usual: Usual) {}
}

impl Peers for [Candidate] {
    fn len(&self) -> usize {
        <[Candidate]>::len(self)
    }
    fn candidate(&self, i: usize) -> Candidate {
        self[i]
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Peer(usize),
    /// It is done sooner when it waits for a peer to have room.
    Wait,
    /// Nobody is up.
    Nobody,
}

/// For what a request may be held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Never,
    /// For a peer to have room.
    Room,
    /// Also for a much faster peer than the one with room, behind so many others.
    Faster(u32),
}

/// Which peer gets the request, `None` when none may. `random` breaks ties and chooses the sample. A peer beyond what was learnt of it is
/// picked when all are: the request cannot wait.
pub fn pick<P: Peers + ?Sized>(peers: &P, settings: &Settings, random: u64) -> Option<usize> {
    let primaries = peers.primaries();
    let among = |tier| among(peers, tier, settings, Hold::Never, random).best;
    among((0, primaries)).or_else(|| among((primaries, peers.len())))
}

/// The same where requests can be held for room and, where `ahead` says how many are held before this one, for a peer that is much faster
/// than the one with room. Backup peers are for when no primary one is up, not for when all of them are busy.
#[inline]
pub fn choose<P: Peers + ?Sized>(peers: &P, settings: &Settings, ahead: Option<u32>, random: u64) -> Choice {
    let (primaries, hold) = (peers.primaries(), ahead.map_or(Hold::Room, Hold::Faster));
    let mut found = among(peers, (0, primaries), settings, hold, random);
    if !found.up {
        found = among(peers, (primaries, peers.len()), settings, hold, random);
    }
    match found {
        Found { best: Some(i), .. } => Choice::Peer(i),
        Found { up: true, .. } => Choice::Wait,
        _ => Choice::Nobody,
    }
}

/// What was found in one tier.
#[derive(Clone, Copy)]
struct Found {
    best: Option<usize>,
    /// Somebody is up, with room or without.
    up: bool,
}

fn among<P: Peers + ?Sized>(
    peers: &P,
    (from, to): (usize, usize),
    settings: &Settings,
    hold: Hold,
    random: u64,
) -> Found {
    let n = to.saturating_sub(from);
    if n > FEW {
        return two(peers, (from, n), settings, hold != Hold::Never, random);
    }
    match n {
        0..=FEWER => compare::<P, FEWER>(peers, (from, n), settings, hold, random),
        _ => compare::<P, FEW>(peers, (from, n), settings, hold, random),
    }
}

/// All of `n`, which are no more than `MOST`. What is usual among them moves slowly, and only colours what is known but old: among the
/// primary peers it is taken from the last choice.
#[inline]
fn compare<P: Peers + ?Sized, const MOST: usize>(
    peers: &P,
    (from, n): (usize, usize),
    settings: &Settings,
    hold: Hold,
    random: u64,
) -> Found {
    let kept = if from == 0 { peers.usual() } else { None };
    let usual = kept.unwrap_or_else(|| usual(peers, (from, n)));
    let mut race = Race::new(settings.rule, hold != Hold::Never, random, usual);
    let mut i = below(random, n);
    for _ in 0..n {
        peers.enter(from + i, &mut race);
        i = if i + 1 == n { 0 } else { i + 1 };
    }
    if from == 0 && race.means.tell() {
        peers.keep(race.means.usual());
    }
    let best = race.best().filter(|i| match hold {
        Hold::Faster(ahead) if race.full => !pays::<P, MOST>(peers, (from, n), *i, ahead),
        _ => true,
    });
    Found { best, up: race.up }
}

/// A comparison, one peer after the other.
pub struct Race {
    rule: Rule,
    /// Requests can be held: what was learnt of a peer holds. Else it only puts others before it.
    holds: bool,
    random: u64,
    usual: Usual,
    means: Means,
    up: bool,
    /// Somebody is up and can take no more.
    full: bool,
    looks: u32,
    known: Entry,
    /// Of those of which nothing is known: they cost so many times what is usual, which is not found before the end.
    unknown: Entry,
}

/// The best one of those that were looked at.
#[derive(Clone, Copy)]
struct Entry {
    rank: Rank,
    /// Of equals the first one is taken.
    look: u32,
    i: Option<usize>,
}

impl Entry {
    const NONE: Self = Self { rank: (u8::MAX, f64::INFINITY), look: u32::MAX, i: None };

    #[inline]
    fn is_before(&self, other: &Self) -> bool {
        let ((class, cost), (other_class, least)) = (self.rank, other.rank);
        class < other_class
            || class == other_class && (cost < least || cost == least && self.look < other.look)
    }

    #[inline(always)]
    fn meet(&mut self, other: Self) {
        if other.is_before(self) {
            *self = other;
        }
    }
}

impl Race {
    #[inline]
    fn new(rule: Rule, holds: bool, random: u64, usual: Usual) -> Self {
        let (known, unknown) = (Entry::NONE, Entry::NONE);
        let means = Means::default();
        Self { rule, holds, random, usual, means, up: false, full: false, looks: 0, known, unknown }
    }

    /// Peer `i`.
    #[inline(always)]
    pub fn enter(&mut self, i: usize, peer: &Candidate) {
        if !peer.is_up() {
            return;
        }
        self.up = true;
        self.means.add(peer);
        if !may(peer, self.holds) {
            self.full = true;
            return;
        }
        self.looks += 1;
        let is_unknown = peer.is_unknown() && self.rule == Rule::PeakEwma;
        let usual = if is_unknown { Usual { latency_us: 1.0, ..self.usual } } else { self.usual };
        let rank = (class(peer, self.holds, self.random, i), cost(peer, self.rule, &usual));
        let entry = Entry { rank, look: self.looks, i: Some(i) };
        if is_unknown {
            self.unknown.meet(entry);
        } else {
            self.known.meet(entry);
        }
    }

    /// Peer `i`, of which this is known. Whether it has room is within what was learnt.
    #[inline(always)]
    pub fn enter_known(&mut self, i: usize, standing: &Standing, inflight: u32, has_room: bool) {
        self.up = true;
        self.means.add_latency(standing.latency_us);
        if self.holds && !has_room {
            self.full = true;
            return;
        }
        self.looks += 1;
        let rank = (u8::from(!has_room) << 1, standing.cost(inflight));
        self.known.meet(Entry { rank, look: self.looks, i: Some(i) });
    }

    /// What is usual, by which it compares.
    pub fn usual(&self) -> &Usual {
        &self.usual
    }

    #[inline]
    fn best(&self) -> Option<usize> {
        let Entry { rank: (class, times), .. } = self.unknown;
        let unknown = Entry { rank: (class, times * self.means.usual().latency_us.max(1.0)), ..self.unknown };
        if unknown.is_before(&self.known) {
            unknown.i
        } else {
            self.known.i
        }
    }
}

/// What is usual among `n` of them.
#[cold]
fn usual<P: Peers + ?Sized>(peers: &P, (from, n): (usize, usize)) -> Usual {
    let mut means = Means::default();
    let all = (from..from + n).map(|i| peers.candidate(i));
    all.filter(Candidate::is_up).for_each(|peer| means.add(&peer));
    means.usual()
}

/// Whether it pays to wait rather than to go to peer `chosen`, one of `n`.
#[inline(never)]
fn pays<P: Peers + ?Sized, const MOST: usize>(
    peers: &P,
    (from, n): (usize, usize),
    chosen: usize,
    ahead: u32,
) -> bool {
    let all: [Candidate; MOST] =
        core::array::from_fn(|i| if i < n { one(peers, from + i) } else { Candidate::new(1) });
    wait::pays(&all[..n], chosen - from, ahead)
}

/// Where requests can be held, what was learnt of a peer holds; else it only puts others before it.
#[inline]
fn may(peer: &Candidate, holds: bool) -> bool {
    peer.is_up() && if holds { peer.has_room() } else { peer.has_leave() }
}

/// Those with room and those whose turn it is in their slow start go before the others. Where requests can be held, all have room.
#[inline]
fn class(peer: &Candidate, holds: bool, random: u64, i: usize) -> u8 {
    let late = peer.ramp < 1.0 && !peer.is_its_turn(mix(random, i));
    u8::from(!holds && !peer.has_room()) << 1 | u8::from(late)
}

/// Whether it is full and whether it is not its turn, in this order, and the cost.
type Rank = (u8, f64);

/// One of those that are looked at one by one. Apart, because to know a peer takes a lot of code.
#[inline(never)]
fn one<P: Peers + ?Sized>(peers: &P, i: usize) -> Candidate {
    peers.candidate(i)
}

/// The cheaper of two that were drawn.
#[inline(never)]
fn two<P: Peers + ?Sized>(
    peers: &P,
    (from, n): (usize, usize),
    settings: &Settings,
    holds: bool,
    random: u64,
) -> Found {
    let mut drawn: [Option<(usize, Candidate)>; 2] = [None; 2];
    let mut up = false;
    let mut draws = random;
    for _ in 0..DRAWS {
        draws = next(draws);
        let i = from + below(draws, n);
        let peer = one(peers, i);
        up |= peer.is_up();
        let fresh = drawn[0].is_none_or(|(other, _)| other != i);
        if may(&peer, holds) && fresh && peer.is_its_turn(next(draws ^ 1)) {
            let place = usize::from(drawn[0].is_some());
            // its turn has come: now it counts like the other
            drawn[place] = Some((i, Candidate { ramp: 1.0, ..peer }));
            if place == 1 {
                break;
            }
        }
    }
    let best = match drawn {
        [Some((a, one)), Some((b, other))] => {
            let cheaper =
                compare::<_, 2>(&[one, other][..], (0, 2), settings, Hold::Never, next(draws ^ 2)).best;
            cheaper.map(|i| [a, b][i])
        }
        [Some((a, _)), None] => Some(a),
        _ => {
            let start = below(draws, n);
            let all = (start..n).chain(0..start).map(|i| from + i);
            let mut seen = all.map(|i| (i, one(peers, i))).inspect(|(_, peer)| up |= peer.is_up());
            seen.find(|(_, peer)| may(peer, holds)).map(|(i, _)| i)
        }
    };
    Found { best, up }
}

/// An even choice below `n`, from the upper half of a random number (Lemire's multiplication).
fn below(random: u64, n: usize) -> usize {
    (((random >> 32) * n as u64) >> 32) as usize
}

/// The next of a sequence of random numbers (Steele, Lea, Flood: SplitMix64).
fn next(random: u64) -> u64 {
    let z = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A random number for peer `i`, apart from those of the others.
fn mix(random: u64, i: usize) -> u64 {
    next(random ^ (i as u64).wrapping_mul(0xd6e8_feb8_6659_fd93))
}
