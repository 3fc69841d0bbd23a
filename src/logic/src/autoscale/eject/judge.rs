//! What becomes of a peer by what is heard of it.

use super::standing::{read, swap};
use super::{of_peer, of_upstream, Change, Phase, Settings, Standing, Why};
use crate::autoscale::metrics::series::{Class, Peer, Upstream};
use crate::autoscale::metrics::table::Ref;
use crate::autoscale::metrics::word::{add, get, high, low, pair, put, Word};
use crate::autoscale::metrics::zone::{self, Zone};
use crate::autoscale::metrics::Now;
use std::sync::atomic::Ordering::{AcqRel, Acquire, SeqCst};

/// An error rate is of so many answers at least (Envoy asks for 50 to 100, of a window as long).
const LEAST_ANSWERS: u32 = 20;
/// Bounds of the time over which failures are counted.
const LEAST_WINDOW_MS: u64 = 1000;
const MOST_WINDOW_MS: u64 = 60_000;
/// How long nobody is tried to be ejected after somebody could not be: counting them all takes time.
const LEAST_PAUSE_MS: u64 = 10;
const MOST_PAUSE_MS: u64 = 1000;

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Nobody was there: no connection.
    pub dead: bool,
    /// When the attempt began: what began before the peer came back says nothing about it now.
    pub began_us: u64,
}

/// The peers that requests may be sent to but for their ejection.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    pub primary: Vec<Ref<Peer>>,
    pub backup: Vec<Ref<Peer>>,
}

impl Rotation {
    /// The group of a peer, and whether others take over when nobody of it is left.
    fn around(&self, peer: Ref<Peer>) -> (&[Ref<Peer>], bool) {
        match self.backup.contains(&peer) {
            true => (&self.backup, false),
            false => (&self.primary, !self.backup.is_empty()),
        }
    }
}

/// Judges the peers of one upstream at one moment, and says what has changed.
pub struct Judge<'z, 'a> {
    pub(super) zone: &'z Zone<'a>,
    pub(super) settings: &'z Settings,
    pub(super) now: Now,
    upstream: &'a [Word],
    /// Peers and what has changed; `None` is the upstream.
    pub told: Vec<(Option<Ref<Peer>>, Change)>,
}

impl<'z, 'a> Judge<'z, 'a> {
    /// `None` when the upstream has no place in the zone.
    pub fn new(
        zone: &'z Zone<'a>,
        settings: &'z Settings,
        upstream: Ref<Upstream>,
        now: Now,
    ) -> Option<Self> {
        let upstream = &zone.side(upstream)?[zone::of_upstream::EJECT];
        Some(Self { zone, settings, now, upstream, told: Vec::new() })
    }

    fn now_ms(&self) -> u64 {
        self.now.us / 1000
    }

    fn words(&self, peer: Ref<Peer>) -> Option<&'a [Word]> {
        Some(&self.zone.side(peer)?[zone::of_peer::EJECT])
    }

    /// Where a peer stands after what time has made of it.
    pub(super) fn standing(&mut self, peer: Ref<Peer>) -> Option<(&'a [Word], Standing)> {
        let words = self.words(peer)?;
        loop {
            let seen = read(&words[of_peer::STANDING]);
            let due = seen.at(self.now_ms());
            if due == seen {
                return Some((words, seen));
            }
            if swap(&words[of_peer::STANDING], seen, due) {
                if due.phase == Phase::Probation {
                    self.came_back(peer, words, Change::Probation { by_check: false });
                }
                return Some((words, due));
            }
        }
    }

    fn came_back(&mut self, peer: Ref<Peer>, words: &[Word], change: Change) {
        put(&words[of_peer::LATER_MS], 0);
        self.change_room();
        self.told.push((Some(peer), change));
    }

    /// Somebody came or went: who was spared may be looked at again.
    fn change_room(&self) {
        put(&self.upstream[of_upstream::FULL], 0);
        put(&self.upstream[of_upstream::SAID], 0);
    }

    /// Has time make of a peer what it does, for balancers that do not look at the clock.
    pub fn look(&mut self, peer: Ref<Peer>) {
        let _ = self.standing(peer);
    }

    /// An attempt that began then was answered.
    pub fn passed(&mut self, peer: Ref<Peer>, began_us: u64) {
        while let Some((words, seen)) = self.standing(peer) {
            let streak = seen.streak + 1;
            let next = match seen.phase {
                Phase::Well if seen.streak > 0 => Standing { streak: 0, ..seen },
                Phase::Probation if began_us / 1000 < seen.at_ms => return,
                Phase::Probation if streak < self.settings.proof() => Standing { streak, ..seen },
                Phase::Probation => {
                    Standing { phase: Phase::Well, streak: 0, dead: false, at_ms: self.now_ms(), ..seen }
                }
                Phase::Well | Phase::Claimed | Phase::Ejected => return,
            };
            if swap(&words[of_peer::STANDING], seen, next) {
                if next.phase != seen.phase {
                    self.came_back(peer, words, Change::Well);
                }
                return;
            }
        }
    }

    /// An attempt has failed, and is not counted in the peer's series yet.
    pub fn failed(&mut self, peer: Ref<Peer>, failure: Failure, rotation: impl FnOnce() -> Rotation) {
        let Some(words) = self.words(peer) else { return };
        let failures = words[of_peer::FAILURES].fetch_add(1, AcqRel) + 1;
        let rate = self.rate(peer, words, failures as u32);
        while let Some((words, seen)) = self.standing(peer) {
            if seen.at_ms > failure.began_us / 1000 {
                return;
            }
            match seen.phase {
                Phase::Claimed | Phase::Ejected => return,
                Phase::Probation => {
                    return self.eject(peer, words, seen, (Why::Relapse, failure.dead), rotation)
                }
                Phase::Well => {}
            }
            let streak = seen.streak.saturating_add(1);
            let counted = Standing::of(Standing { streak, ..seen }.to_bits());
            if !swap(&words[of_peer::STANDING], seen, counted) {
                continue;
            }
            let in_a_row =
                self.settings.failures.filter(|most| streak >= *most).map(|_| Why::Failures(streak));
            if let Some(why) = in_a_row.or(rate) {
                self.eject(peer, words, counted, (why, failure.dead), rotation);
            }
            return;
        }
    }

    /// Whether more of its answers fail than may. Two moments are kept, half a window apart, and what has come since the earlier one is
    /// looked at: workers that race may make that a little more or less.
    fn rate(&self, peer: Ref<Peer>, words: &[Word], failures: u32) -> Option<Why> {
        let most = self.settings.error_rate?;
        let window_ms = self.settings.time_ms.clamp(LEAST_WINDOW_MS, MOST_WINDOW_MS);
        let totals = self.zone.series(peer)?.totals();
        let answers: u64 = totals.classes[..Class::Aborted as usize].iter().sum();
        let before = pair(answers as u32, failures.wrapping_sub(1));
        let since_ms = get(&words[of_peer::LATER_MS]);
        let age_ms = self.now_ms().saturating_sub(since_ms);
        if since_ms == 0 || age_ms >= window_ms {
            put(&words[of_peer::EARLIER], before);
        } else if age_ms >= window_ms / 2 {
            put(&words[of_peer::EARLIER], get(&words[of_peer::LATER]));
        }
        if since_ms == 0 || age_ms >= window_ms / 2 {
            put(&words[of_peer::LATER], before);
            put(&words[of_peer::LATER_MS], self.now_ms());
        }
        let earlier = get(&words[of_peer::EARLIER]);
        let of = (answers as u32).wrapping_sub(high(earlier) as u32).wrapping_add(1);
        let failed = failures.wrapping_sub(low(earlier) as u32).min(of);
        let too_many = of >= LEAST_ANSWERS && f64::from(failed) >= most * f64::from(of);
        too_many.then_some(Why::Rate { failed, of })
    }

    /// A check of a peer has gone well or not.
    pub fn checked(&mut self, peer: Ref<Peer>, well: bool, rotation: impl FnOnce() -> Rotation) {
        let Some(words) = self.words(peer) else { return };
        if well {
            put(&words[of_peer::CHECKS], 0);
            return self.reached(peer);
        }
        // there is one who checks
        let failed = get(&words[of_peer::CHECKS]).saturating_add(1).min(u64::from(u32::MAX));
        put(&words[of_peer::CHECKS], failed);
        let hold_ms = self.now_ms() + self.settings.check.as_ref().map_or(0, super::Check::hold_ms);
        let why = (Why::Checks(failed as u32), true);
        while let Some((words, seen)) = self.standing(peer) {
            match seen.phase {
                Phase::Well if failed >= u64::from(self.settings.proof()) => {
                    return self.eject(peer, words, seen, why, rotation);
                }
                Phase::Probation => return self.eject(peer, words, seen, why, rotation),
                Phase::Ejected => {
                    let longer = Standing { dead: true, at_ms: seen.at_ms.max(hold_ms), ..seen };
                    if swap(&words[of_peer::STANDING], seen, longer) {
                        return;
                    }
                }
                Phase::Well | Phase::Claimed => return,
            }
        }
    }

    /// A check went well: a peer that nobody had reached may show itself, and one that does is a step further.
    fn reached(&mut self, peer: Ref<Peer>) {
        while let Some((words, seen)) = self.standing(peer) {
            match seen.phase {
                Phase::Probation => return self.passed(peer, self.now.us),
                Phase::Ejected if seen.dead => {}
                _ => return,
            }
            let next = Standing { phase: Phase::Probation, streak: 0, at_ms: self.now_ms(), ..seen };
            if swap(&words[of_peer::STANDING], seen, next) {
                return self.came_back(peer, words, Change::Probation { by_check: true });
            }
        }
    }

    /// Ejects a peer unless too many are. First it is claimed, then all that are claimed or ejected are counted: of two who claim at
    /// once the second one at least sees both, so that never too many remain.
    pub(super) fn eject(
        &mut self,
        peer: Ref<Peer>,
        words: &[Word],
        from: Standing,
        (why, dead): (Why, bool),
        rotation: impl FnOnce() -> Rotation,
    ) {
        let (word, now_ms) = (&words[of_peer::STANDING], self.now_ms());
        // one on probation begins anew, if it stays there
        let stays = Standing { streak: if from.phase == Phase::Well { from.streak } else { 0 }, ..from };
        if self.upstream[of_upstream::FULL].load(Acquire) > now_ms {
            swap(word, from, stays);
            return;
        }
        let level = from.remembered(self.settings, now_ms);
        let claim = Standing { phase: Phase::Claimed, streak: 0, level, dead, at_ms: now_ms };
        if !swap(word, from, claim) {
            return;
        }
        let rotation = rotation();
        let (group, has_spare) = rotation.around(peer);
        let out = group.iter().filter(|other| **other != peer && self.is_out(**other)).count();
        let is_in = group.contains(&peer);
        if !is_in || out + 1 > self.settings.cap(group.len(), has_spare) {
            swap(word, claim, stays);
            if !is_in {
                return;
            }
            let pause_ms = (self.settings.time_ms / 10).clamp(LEAST_PAUSE_MS, MOST_PAUSE_MS);
            put(&self.upstream[of_upstream::FULL], now_ms + pause_ms);
            if self.upstream[of_upstream::SAID].swap(1, AcqRel) == 0 {
                self.told.push((Some(peer), Change::Spared { why, out, of: group.len() }));
            }
            return;
        }
        let longer_ms = self.settings.ejection_ms(level);
        // a check that fails is followed by another one before its time is over
        let hold_ms = self.settings.check.as_ref().filter(|_| matches!(why, Why::Checks(_)));
        let ms = longer_ms.max(hold_ms.map_or(0, super::Check::hold_ms));
        // no further than where it grows no more, so that it is forgotten in time
        let is_longest = level > 0 && self.settings.ejection_ms(level - 1) == longer_ms;
        let level = if is_longest { level } else { level + 1 };
        let ejected = Standing { phase: Phase::Ejected, level, at_ms: now_ms + ms, ..claim };
        if swap(word, claim, Standing::of(ejected.to_bits())) {
            add(&words[of_peer::EJECTIONS], 1);
            self.change_room();
            self.told.push((Some(peer), Change::Ejected { ms, why }));
        }
    }

    fn is_out(&mut self, peer: Ref<Peer>) -> bool {
        // who comes back by this count does so for all: a clock that is late cannot keep it out
        let standing = self.standing(peer);
        standing.is_some_and(|(_, seen)| matches!(seen.phase, Phase::Ejected | Phase::Claimed))
    }

    /// Has ejections ignored while too few peers are left: to be called when somebody comes or goes.
    pub fn count(&mut self, rotation: &Rotation) {
        let is_out = |judge: &mut Self, peer: Ref<Peer>| {
            judge.standing(peer).is_some_and(|(_, seen)| seen.phase == Phase::Ejected)
        };
        let of = rotation.primary.len();
        let out = rotation.primary.iter().filter(|peer| is_out(self, **peer)).count();
        let has_spare = rotation.backup.iter().any(|peer| !is_out(self, *peer));
        let too_few = out > 0 && !has_spare && (out == of || out > self.settings.cap(of, false));
        let word = &self.upstream[of_upstream::IGNORED];
        let seen = word.load(SeqCst);
        let next = match seen {
            _ if too_few => u64::MAX,
            u64::MAX => 0,
            until_ms if until_ms <= self.now_ms() => 0,
            until_ms => until_ms,
        };
        if next != seen && word.compare_exchange(seen, next, SeqCst, SeqCst).is_ok() {
            let was_told = seen != 0 && next != 0;
            let change = if next == 0 { Change::Obeyed } else { Change::Ignored { out, of } };
            if !was_told {
                self.told.push((None, change));
            }
        }
    }

    /// The balancer has nobody left: ejections are ignored for a while, if there are any. False when that helps nobody.
    pub fn relieve(&mut self, rotation: &Rotation) -> bool {
        let word = &self.upstream[of_upstream::IGNORED];
        let (seen, now_ms) = (word.load(SeqCst), self.now_ms());
        let all = rotation.primary.iter().chain(&rotation.backup);
        let held_back = |phase| matches!(phase, Phase::Ejected | Phase::Probation);
        let (mut out, mut of) = (0, 0);
        for peer in all {
            of += 1;
            out += usize::from(self.standing(*peer).is_some_and(|(_, seen)| held_back(seen.phase)));
        }
        if out == 0 || seen > now_ms {
            return false;
        }
        let until_ms = now_ms + self.settings.time_ms;
        if word.compare_exchange(seen, until_ms, SeqCst, SeqCst).is_ok() {
            self.told.push((None, Change::Ignored { out, of }));
        }
        true
    }

    /// Somebody says that a peer is up: what was heard of it before is forgotten.
    pub fn pardon(&mut self, peer: Ref<Peer>) {
        while let Some((words, seen)) = self.standing(peer) {
            let next = Standing { at_ms: self.now_ms(), ..Standing::default() };
            if seen.phase == Phase::Well || swap(&words[of_peer::STANDING], seen, next) {
                if seen.phase != Phase::Well {
                    self.came_back(peer, words, Change::Well);
                }
                return;
            }
        }
    }

    /// Whether it is this caller's turn to do what one worker does once a period.
    pub fn takes_turn(&self, every_ms: u64) -> bool {
        let word = &self.upstream[of_upstream::COMPARED];
        let (seen, now_ms) = (word.load(Acquire), self.now_ms());
        let is_due = now_ms.saturating_sub(seen) >= every_ms;
        is_due && word.compare_exchange(seen, now_ms, AcqRel, Acquire).is_ok()
    }
}
