//! One record in a fixed number of bytes.
//!
//! First what has a fixed size, then texts, each with its length, in the order of their worth: policy, target, reason, the rule that
//! wished, the signals, what each rule said. The reason may take half of the room, so that there is some for the others. What does not
//! fit is shortened (it ends in "...") or left out, and a bit says so.

use super::Entry;
use crate::autoscale::policy::decision::{rfc3339, Decision, Input, Said};

/// Words of a record, without its result.
pub const BODY: usize = 124;
/// Words of a result.
pub const RESULT: usize = 17;

const ACTIONS: [&str; 3] = ["scale", "would", "stay"];
const DOTS: &str = "...";

const UNIX_MS: usize = 0;
const AT_US: usize = 1;
const ID: usize = 2;
const WISH: usize = 3;
const AFTER: usize = 4;
const REPLICAS: usize = 5;
const FLAGS: usize = 6;
const TEXT: usize = 7;
const TEXT_BYTES: usize = (BODY - TEXT) * 8;

const HAS_TARGET: u64 = 1 << 8;
const HAS_RULE: u64 = 1 << 9;
const HAS_CURRENT: u64 = 1 << 10;
const HAS_READY: u64 = 1 << 11;
const CUT: u64 = 1 << 12;
/// The age of a signal without one is kept as infinity, its samples in 31 bits beside the bit for stale.
const STALE: u32 = 1 << 31;

const fn pair(a: u32, b: u32) -> u64 {
    (a as u64) << 32 | b as u64
}

const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// The record of a decision; its result is not part of it.
pub fn encode(decision: &Decision, unix_ms: u64, at_us: u64) -> [u64; BODY] {
    let mut text = Pack { bytes: [0; TEXT_BYTES], at: 0, cut: false };
    text.text(&decision.policy, 64);
    text.text(decision.target.as_deref().unwrap_or(""), 64);
    text.text(&decision.reason, TEXT_BYTES / 2);
    text.text(decision.rule.as_deref().unwrap_or(""), TEXT_BYTES / 4);
    text.list(&decision.signals, Pack::signal);
    text.list(&decision.rules, Pack::said);

    let action = ACTIONS.iter().position(|action| *action == decision.action).unwrap_or(ACTIONS.len());
    let flags = [
        (decision.target.is_some(), HAS_TARGET),
        (decision.rule.is_some(), HAS_RULE),
        (decision.current.is_some(), HAS_CURRENT),
        (decision.ready.is_some(), HAS_READY),
        (text.cut, CUT),
    ];
    let mut body = [0; BODY];
    body[UNIX_MS] = unix_ms;
    body[AT_US] = at_us;
    body[ID] = decision.id.unwrap_or(0);
    body[WISH] = pair(decision.wish, decision.after_limits);
    body[AFTER] = pair(decision.after_cooldown, 0);
    body[REPLICAS] = pair(decision.current.unwrap_or(0), decision.ready.unwrap_or(0));
    body[FLAGS] = flags.into_iter().filter(|(set, _)| *set).fold(action as u64, |all, (_, bit)| all | bit);
    let (words, _) = text.bytes.as_chunks::<8>();
    body[TEXT..].iter_mut().zip(words).for_each(|(to, bytes)| *to = u64::from_le_bytes(*bytes));
    body
}

pub fn id(body: &[u64; BODY]) -> u64 {
    body[ID]
}

pub fn at_us(body: &[u64; BODY]) -> u64 {
    body[AT_US]
}

/// Whether it is a record of the policy.
pub fn is_of(body: &[u64; BODY], policy: &str) -> bool {
    let bytes = bytes(body);
    Unpack { bytes: &bytes, at: 0 }.text().is_some_and(|name| name == policy)
}

/// `None` when it is not what [`encode`] makes.
pub fn decode(body: &[u64; BODY], result: Option<&[u64; RESULT]>) -> Option<Entry> {
    let bytes = bytes(body);
    let mut text = Unpack { bytes: &bytes, at: 0 };
    let flags = body[FLAGS];
    let has = |bit: u64| flags & bit != 0;
    let (wish, after_limits) = halves(body[WISH]);
    let (current, ready) = halves(body[REPLICAS]);
    let (policy, target) = (text.text()?, text.text()?);
    let (reason, rule) = (text.text()?, text.text()?);
    let (result, latency_ms) = result.and_then(decode_result).unzip();
    let decision = Decision {
        time: rfc3339(body[UNIX_MS]),
        policy,
        target: Some(target).filter(|_| has(HAS_TARGET)),
        id: Some(body[ID]).filter(|id| *id != 0),
        action: ACTIONS.get((flags & 0xff) as usize).copied().unwrap_or("other"),
        reason,
        rule: Some(rule).filter(|_| has(HAS_RULE)),
        current: Some(current).filter(|_| has(HAS_CURRENT)),
        ready: Some(ready).filter(|_| has(HAS_READY)),
        wish,
        after_limits,
        after_cooldown: halves(body[AFTER]).0,
        signals: text.list(Unpack::signal)?,
        rules: text.list(Unpack::said)?,
        result,
        latency_ms,
    };
    Some(Entry { decision, unix_ms: body[UNIX_MS], at_us: body[AT_US], cut: has(CUT) })
}

/// What a write led to, and how long it took.
pub fn encode_result(result: &str, latency_ms: f64) -> [u64; RESULT] {
    let mut text = Pack { bytes: [0; (RESULT - 1) * 8], at: 0, cut: false };
    text.text(result, usize::MAX);
    let mut words = [0; RESULT];
    words[0] = latency_ms.to_bits();
    let (chunks, _) = text.bytes.as_chunks::<8>();
    words[1..].iter_mut().zip(chunks).for_each(|(to, bytes)| *to = u64::from_le_bytes(*bytes));
    words
}

fn decode_result(words: &[u64; RESULT]) -> Option<(String, f64)> {
    let bytes: Vec<u8> = words[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
    Some((Unpack { bytes: &bytes, at: 0 }.text()?, f64::from_bits(words[0])))
}

fn bytes(body: &[u64; BODY]) -> [u8; TEXT_BYTES] {
    let mut bytes = [0; TEXT_BYTES];
    let (chunks, _) = bytes.as_chunks_mut::<8>();
    chunks.iter_mut().zip(&body[TEXT..]).for_each(|(to, word)| *to = word.to_le_bytes());
    bytes
}

/// Texts and numbers one after the other, as long as there is room.
struct Pack<const N: usize> {
    bytes: [u8; N],
    at: usize,
    cut: bool,
}

impl<const N: usize> Pack<N> {
    fn room(&self) -> usize {
        N - self.at
    }

    /// Nothing of it is written when there is not room for all.
    fn raw(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.room();
        if fits {
            self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
            self.at += bytes.len();
        }
        fits
    }

    /// A text of at most `most` bytes behind its length. Without room for the length there is nothing, which reads as empty.
    fn text(&mut self, text: &str, most: usize) -> bool {
        let most = most.min(self.room().saturating_sub(2)).min(usize::from(u16::MAX));
        let (kept, dots) = if text.len() <= most { (text, "") } else { shortened(text, most) };
        self.cut |= kept.len() < text.len();
        let len = (kept.len() + dots.len()) as u16;
        self.raw(&len.to_le_bytes()) && self.raw(kept.as_bytes()) && self.raw(dots.as_bytes())
    }

    /// The length of a list, and as many of its items as there is room for, whole.
    fn list<T>(&mut self, items: &[T], put: fn(&mut Self, &T) -> bool) {
        let count_at = self.at;
        if !self.raw(&[0]) {
            self.cut |= !items.is_empty();
            return;
        }
        for item in items.iter().take(255) {
            let (at, cut) = (self.at, core::mem::replace(&mut self.cut, false));
            let whole = put(self, item) && !self.cut;
            self.cut = cut;
            if !whole {
                self.at = at;
                break;
            }
            self.bytes[count_at] += 1;
        }
        self.cut |= usize::from(self.bytes[count_at]) < items.len();
    }

    fn signal(&mut self, input: &Input) -> bool {
        let samples = input.samples.min(u64::from(STALE - 1)) as u32;
        self.raw(&input.value.unwrap_or(f64::NAN).to_le_bytes())
            && self.raw(&(input.age as f32).to_le_bytes())
            && self.raw(&(samples | if input.stale { STALE } else { 0 }).to_le_bytes())
            && self.text(&input.signal, usize::MAX)
    }

    fn said(&mut self, said: &Said) -> bool {
        self.text(&said.rule, usize::MAX) && self.text(&said.says, usize::MAX)
    }
}

/// A text that is too long: its beginning, and what shows that there was more.
fn shortened(text: &str, most: usize) -> (&str, &'static str) {
    let Some(mut end) = most.checked_sub(DOTS.len()) else { return ("", "") };
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (&text[..end], DOTS)
}

struct Unpack<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Unpack<'_> {
    fn raw<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.bytes.get(self.at..self.at + N)?.try_into().ok()?;
        self.at += N;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        let Some(len) = self.raw() else { return Some(String::new()) };
        let len = usize::from(u16::from_le_bytes(len));
        let text = core::str::from_utf8(self.bytes.get(self.at..self.at + len)?).ok()?;
        self.at += len;
        Some(text.to_owned())
    }

    fn list<T>(&mut self, take: fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let [count] = self.raw().unwrap_or([0]);
        (0..count).map(|_| take(self)).collect()
    }

    fn signal(&mut self) -> Option<Input> {
        let value = f64::from_le_bytes(self.raw()?);
        let age = f32::from_le_bytes(self.raw()?);
        let samples = u32::from_le_bytes(self.raw()?);
        Some(Input {
            signal: self.text()?,
            value: Some(value).filter(|value| value.is_finite()),
            age: f64::from(age),
            samples: u64::from(samples & !STALE),
            stale: samples & STALE != 0,
        })
    }

    fn said(&mut self) -> Option<Said> {
        Some(Said { rule: self.text()?, says: self.text()? })
    }
}
