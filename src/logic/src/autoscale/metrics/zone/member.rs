//! Peers that are added while nginx runs: who has named them, and until when they stay.
//!
//! A peer may be named by several *sources* at once, a script and the lines of `autoscale_peers`; it stays as long as one of them names
//! it, so that none can take away what another one gave. All of that is one word of the peer, changed by compare and swap, and carries
//! the generation of its place: what is said about a peer whose place has a new owner means nothing. A worker that is killed at any
//! instant leaves a peer that is added or one that is not.
//!
//! Whoever is taken back by all drains: it gets nothing new, and goes when nothing is in flight or its time is over. Afterwards its
//! place keeps its history like that of any peer that is gone.

use super::control::{CONFIGURED, GONE};
use super::side::{of_peer, of_upstream};
use super::{Denied, Zone};
use crate::autoscale::metrics::columns::Levels;
use crate::autoscale::metrics::series::{Peer, Shape, Upstream};
use crate::autoscale::metrics::table::{Kind, Ref};
use crate::autoscale::metrics::word::{get, put, Word};
use crate::autoscale::metrics::Now;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// Of a peer's words: who has named it, when it came, and for how long it is spared.
const STATE: usize = 0;
const SINCE: usize = 1;
const SLOW_START: usize = 2;
/// Of an upstream's words: how often its members have changed, a sum of what they are, and two for each source of the configuration.
const CHANGED: usize = 0;
const SUM: usize = 1;
const SOURCES: usize = 2;
/// In place of a line: it is not in the configuration any more, and its peers are being taken back.
const LEAVING: u64 = u64::MAX;

/// How often somebody who changes the same word at this moment is waited for.
const PATIENCE: usize = 64;

/// Who names peers: scripts, or a line of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(u8);

impl Source {
    /// `as.peer_add`
    pub const SCRIPT: Self = Self(0);
    /// How many lines an upstream may have.
    pub const MOST_LINES: usize = 7;

    fn bit(self) -> u8 {
        1 << self.0
    }

    /// Its words in the upstream; scripts have none.
    fn place(self) -> Option<usize> {
        (self.0 > 0).then(|| SOURCES + 2 * (usize::from(self.0) - 1))
    }
}

/// What a source says of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub weight: u16,
    /// Milliseconds; `None` leaves it to the upstream.
    pub slow_start_ms: Option<u32>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { weight: 1, slow_start_ms: None }
    }
}

/// A peer that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What the first of its sources has said.
    pub weight: u16,
    /// Nobody names it any more: nothing new is sent to it.
    pub draining: bool,
    /// When it was added.
    pub since_us: u64,
    /// For how long it is spared after that, when that was said.
    pub slow_start_ms: Option<u32>,
    sources: u8,
}

impl Member {
    pub fn is_named_by(&self, source: Source) -> bool {
        self.sources & source.bit() != 0
    }

    /// Whether others than `source` name it.
    pub fn has_others(&self, source: Source) -> bool {
        self.sources & !source.bit() != 0
    }
}

/// The word: generation of the place (16 bits), weight (16), sources (8), and when a drain ends (24 bits of seconds; zero is no drain).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    gen: u16,
    weight: u16,
    sources: u8,
    until: u32,
}

const UNTIL: u64 = 0xff_ffff;

impl State {
    fn of(bits: u64) -> Self {
        Self {
            gen: bits as u16,
            weight: (bits >> 16) as u16,
            sources: (bits >> 32) as u8,
            until: (bits >> 40) as u32,
        }
    }

    fn bits(self) -> u64 {
        u64::from(self.until) << 40
            | u64::from(self.sources) << 32
            | u64::from(self.weight) << 16
            | u64::from(self.gen)
    }

    fn is_member(self, gen: u16) -> bool {
        self.gen == gen && (self.sources != 0 || self.until != 0)
    }
}

/// The second at which a drain ends that may take so long; never zero.
fn until(now: Now, drain_s: u64) -> u32 {
    (((now.s() + drain_s.min(UNTIL / 4)) & UNTIL) as u32).max(1)
}

fn is_over(until: u32, now: Now) -> bool {
    let left = (u64::from(until) + UNTIL + 1 - (now.s() & UNTIL)) & UNTIL;
    left == 0 || left > UNTIL / 2
}

/// What a control word says.
pub(super) fn is_configured(control: u64) -> bool {
    control & (CONFIGURED | GONE) == CONFIGURED
}

/// Adding and taking back.
impl<'a> Zone<'a> {
    /// Adds a peer that `source` names, by its address as nginx prints it; again, to say something else about it. True when anything
    /// has changed.
    pub fn add_peer(
        &self,
        upstream: Ref<Upstream>,
        addr: &[u8],
        source: Source,
        terms: Terms,
        now: Now,
    ) -> Result<bool, Denied> {
        let busy = || Denied::Busy { what: "peer", name: String::from_utf8_lossy(addr).into_owned() };
        for _ in 0..PATIENCE {
            let peer = self.reserve_peer(upstream, addr, now)?;
            let Some(words) = self.member_words(peer) else { continue };
            // it is not silent any more
            self.table::<Peer>().touch(peer.index(), now);
            let seen = words[STATE].load(Acquire);
            let before = State::of(seen);
            let known = before.is_member(peer.gen());
            let before = if known { before } else { State::default() };
            // of several sources, the first one says what weight it has
            let first = before.sources & (source.bit() - 1) == 0;
            let weight = if first { terms.weight.max(1) } else { before.weight };
            let after = State { gen: peer.gen(), weight, sources: before.sources | source.bit(), until: 0 };
            let spared = terms.slow_start_ms.map_or(0, |ms| u64::from(ms) + 1);
            if !known {
                // before it can be seen
                put(&words[SINCE], now.us);
                put(&words[SLOW_START], spared);
            }
            let changes = after.bits() != seen || known && first && get(&words[SLOW_START]) != spared;
            if !changes {
                return Ok(false);
            }
            if words[STATE].compare_exchange(seen, after.bits(), AcqRel, Acquire).is_err() {
                continue;
            }
            if !self.is_current(peer) {
                // it lost its place to somebody else before it was a member
                continue;
            }
            if first {
                put(&words[SLOW_START], spared);
            }
            self.appear(peer);
            self.changed_members(upstream);
            return Ok(true);
        }
        Err(busy())
    }

    /// Takes a peer's place away, which nobody has named. Whoever has done so in the meantime has it again, in a place of its own.
    pub(super) fn drop_peer(&self, peer: Ref<Peer>, now: Now) {
        let upstream = self.upstream_of(peer);
        let name = self.name(peer).filter(|name| self.find_peer(upstream, name) == Some(peer));
        if !self.table::<Peer>().remove(peer) {
            return;
        }
        let words = &self.data::<Peer>(peer.index())[Peer::WORDS..][of_peer::MEMBER];
        let spared = get(&words[SLOW_START]);
        let state = State::of(words[STATE].load(Acquire));
        let Some(name) = name.filter(|_| state.is_member(peer.gen())) else { return };
        let slow_start_ms = spared.checked_sub(1).map(|ms| ms as u32);
        let terms = Terms { weight: state.weight, slow_start_ms };
        let sources = (0..=Source::MOST_LINES as u8).map(Source);
        for source in sources.filter(|source| state.sources & source.bit() != 0) {
            // no room: it is refused like any other
            let _ = self.add_peer(upstream, &name, source, terms, now);
        }
    }

    /// It is listed from now on. What the configuration once said about it is no reason to keep it longer than its sources do.
    fn appear(&self, peer: Ref<Peer>) {
        let word = self.table::<Peer>().control(peer.index());
        let listed = |seen| (seen & GONE != 0).then_some(seen & !(GONE | CONFIGURED));
        // not gone: nothing to do
        let _ = word.fetch_update(AcqRel, Acquire, listed);
    }

    /// `source` does not name the peer any more; false when it did not. Nobody else does: it drains for so long at most, and goes.
    pub fn withdraw_peer(&self, peer: Ref<Peer>, source: Source, drain_s: u64, now: Now) -> bool {
        let Some(words) = self.member_words(peer) else { return false };
        for _ in 0..PATIENCE {
            let seen = words[STATE].load(Acquire);
            let before = State::of(seen);
            if !before.is_member(peer.gen()) || before.sources & source.bit() == 0 {
                return false;
            }
            let sources = before.sources & !source.bit();
            let last = sources == 0;
            let after = State { sources, until: if last { until(now, drain_s) } else { 0 }, ..before };
            if words[STATE].compare_exchange(seen, after.bits(), AcqRel, Acquire).is_ok() {
                if last && drain_s == 0 {
                    self.disappear(peer, after);
                }
                self.changed_members(self.upstream_of(peer));
                return true;
            }
        }
        false
    }

    /// Ends a drain, unless somebody has named the peer meanwhile.
    fn disappear(&self, peer: Ref<Peer>, drained: State) {
        let Some(words) = self.member_words(peer) else { return };
        if words[STATE].compare_exchange(drained.bits(), 0, AcqRel, Acquire).is_ok() {
            let word = self.table::<Peer>().control(peer.index());
            // a server line names it too: it is that one's
            let gone = |seen| (seen & CONFIGURED == 0).then_some(seen | GONE);
            let _ = word.fetch_update(AcqRel, Acquire, gone);
        }
    }

    /// Once a tick, by one worker: who has drained goes, and what a worker has changed and not told, because it was killed, is told.
    pub fn tend_members(&self, now: Now) {
        for upstream in self.all_upstreams() {
            // of what a server line names too, the line is all that counts
            let counts = |peer| !self.is_configured(peer);
            let Some(words) = self.side(upstream).map(|side| &side[of_upstream::MEMBERS]) else { continue };
            let (mut sum, mut ended) = (0u64, false);
            for (peer, state) in self.member_states(upstream) {
                let drains = state.sources == 0;
                if drains && (is_over(state.until, now) || self.levels(peer) == Levels::default()) {
                    self.disappear(peer, state);
                    ended = true;
                } else if counts(peer) {
                    sum = sum.wrapping_add(
                        (state.bits() ^ peer.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
                    );
                }
            }
            if words[SUM].swap(sum, AcqRel) != sum || ended {
                self.changed_members(upstream);
            }
        }
    }

    fn changed_members(&self, upstream: Ref<Upstream>) {
        if let Some(side) = self.side(upstream) {
            side[of_upstream::MEMBERS][CHANGED].fetch_add(1, AcqRel);
        }
        self.changed_controls();
    }
}

/// Who there is.
impl<'a> Zone<'a> {
    /// A number that changes with the members of an upstream; [`Zone::controls`] changes with it.
    #[inline]
    pub fn membership(&self, upstream: Ref<Upstream>) -> u64 {
        self.side(upstream).map_or(0, |side| side[of_upstream::MEMBERS][CHANGED].load(Acquire))
    }

    /// What a peer is that was added; `None` for others.
    #[inline]
    pub fn member(&self, peer: Ref<Peer>) -> Option<Member> {
        let words = self.member_words(peer)?;
        let state = State::of(words[STATE].load(Acquire));
        state.is_member(peer.gen()).then(|| Member {
            weight: state.weight,
            draining: state.sources == 0,
            since_us: get(&words[SINCE]),
            slow_start_ms: get(&words[SLOW_START]).checked_sub(1).map(|ms| ms as u32),
            sources: state.sources,
        })
    }

    /// The peers that were added to an upstream, those that drain included, in the order in which they came. Without those that a
    /// `server` line names: nginx has them, and they stay when their sources leave.
    pub fn members(&self, upstream: Ref<Upstream>) -> Vec<(Ref<Peer>, Member)> {
        let peers = self.member_states(upstream).filter(|(peer, _)| !self.is_configured(*peer));
        let mut members: Vec<_> = peers.filter_map(|(peer, _)| Some((peer, self.member(peer)?))).collect();
        members.sort_by_key(|(peer, member)| (member.since_us, peer.index()));
        members
    }

    /// The peers that a source names.
    pub fn members_of(&self, upstream: Ref<Upstream>, source: Source) -> Vec<Ref<Peer>> {
        let named = |(peer, state): (Ref<Peer>, State)| (state.sources & source.bit() != 0).then_some(peer);
        self.member_states(upstream).filter_map(named).collect()
    }

    fn member_states(
        &self,
        upstream: Ref<Upstream>,
    ) -> impl Iterator<Item = (Ref<Peer>, State)> + use<'_, 'a> {
        let state = |peer| Some(State::of(self.member_words(peer)?[STATE].load(Acquire)));
        let peers = self.all_peers(upstream).into_iter();
        peers.filter_map(move |peer| Some((peer, state(peer).filter(|state| state.is_member(peer.gen()))?)))
    }

    fn upstream_of(&self, peer: Ref<Peer>) -> Ref<Upstream> {
        let owner = self.table::<Peer>().owner(peer) as usize;
        self.all_upstreams().into_iter().find(|upstream| upstream.index() == owner).unwrap_or(Ref::NONE)
    }

    /// Whether the one that has the place, or had it until just now, was added: it stays.
    pub(super) fn has_been_added(&self, peer: Ref<Peer>) -> bool {
        let words = &self.data::<Peer>(peer.index())[Peer::WORDS..][of_peer::MEMBER];
        State::of(words[STATE].load(Acquire)).is_member(peer.gen())
    }

    #[inline]
    fn member_words(&self, peer: Ref<Peer>) -> Option<&'a [Word]> {
        self.side(peer).map(|side| &side[of_peer::MEMBER])
    }
}

/// Lines of the configuration.
impl<'a> Zone<'a> {
    /// The source that a line is, by a number that stands for its text: the one that it was before a reload. `None` when the upstream
    /// has no room for another one.
    pub fn source(&self, upstream: Ref<Upstream>, line: u64) -> Option<Source> {
        let words = &self.side(upstream)?[of_upstream::MEMBERS];
        let line = line.max(1);
        let all = || (1..=Source::MOST_LINES as u8).map(Source);
        let word = |source: Source| source.place().map(|place| &words[place]);
        let is_ours = |source: &Source| word(*source).is_some_and(|word| word.load(Acquire) == line);
        let take = |source: &Source| {
            word(*source).is_some_and(|word| match word.compare_exchange(0, line, AcqRel, Acquire) {
                Ok(_) => true,
                // another worker, just now
                Err(seen) => seen == line,
            })
        };
        all().find(is_ours).or_else(|| all().find(take))
    }

    /// The word by which workers take turns at asking a source.
    pub fn source_turns(&self, upstream: Ref<Upstream>, source: Source) -> Option<&'a Word> {
        let words = &self.side(upstream)?[of_upstream::MEMBERS];
        source.place().map(|place| &words[place + 1])
    }

    /// What the configuration that begins has: the members that only other lines named go, and those of scripts if scripts may add
    /// none to this upstream. What is in flight is not cut off.
    pub fn keep_sources(&self, upstream: Ref<Upstream>, lines: &[u64], scripts: bool, now: Now) {
        let Some(side) = self.side(upstream) else { return };
        let words = &side[of_upstream::MEMBERS];
        let is_kept = |line: u64| line == 0 || lines.iter().any(|kept| (*kept).max(1) == line);
        let leaves = |source: &Source| {
            let Some(place) = source.place() else { return !scripts };
            let line = words[place].load(Acquire);
            // of the workers that begin together, one does it
            !is_kept(line) && words[place].compare_exchange(line, LEAVING, AcqRel, Acquire).is_ok()
        };
        let others: Vec<Source> = (0..=Source::MOST_LINES as u8).map(Source).filter(leaves).collect();
        if others.is_empty() {
            return;
        }
        for source in others {
            self.leave(upstream, source, now);
        }
    }

    /// Takes back what a source has named that leaves, and gives its place away. Another worker may do the same, and be done first: then
    /// the place may have a new line.
    fn leave(&self, upstream: Ref<Upstream>, source: Source, now: Now) {
        let Some(side) = self.side(upstream) else { return };
        let words = &side[of_upstream::MEMBERS];
        let leaves = || source.place().is_none_or(|place| words[place].load(Acquire) == LEAVING);
        for peer in self.members_of(upstream, source) {
            if !leaves() {
                return;
            }
            self.withdraw_peer(peer, source, 0, now);
        }
        if let Some(place) = source.place().filter(|_| leaves()) {
            // last, so that whoever gets the place finds nobody of the former line there
            words[place + 1].store(0, Release);
            let _ = words[place].compare_exchange(LEAVING, 0, AcqRel, Acquire);
        }
    }

    /// The same for the upstreams that it does not have: nobody may add to them.
    pub fn keep_members_of(&self, named: &[Ref<Upstream>], now: Now) {
        let others = self.all_upstreams().into_iter().filter(|upstream| !named.contains(upstream));
        others.for_each(|upstream| self.keep_sources(upstream, &[], false, now));
    }

    /// Whether a `server` line, or what it resolves to, names it.
    pub fn is_configured(&self, peer: Ref<Peer>) -> bool {
        self.is_current(peer) && is_configured(get(self.table::<Peer>().control(peer.index())))
    }

    /// Whether the peer is hidden: it was named once, and is no more.
    pub(super) fn is_gone(&self, peer: Ref<Peer>) -> bool {
        let is_marked = get(self.table::<Peer>().control(peer.index())) & GONE != 0;
        is_marked && self.member(peer).is_none()
    }
}

const _: () = assert!(SOURCES + 2 * Source::MOST_LINES <= 16 && Peer::TABLE == 1);

#[cfg(test)]
mod tests;
