//! What outlives the gateway: the contents of the state file.
//!
//! ```text
//! magic | version | header: boot, clocks when it was written | entries: kind, name, words ... | CRC-32
//! ```
//! All numbers are little-endian words of 64 bits, texts are padded to words. An entry says what it is and whose, so a file of a
//! gateway with other policies is as good as any: what nobody asks for is left alone. A file that is cut, changed or of another version
//! is refused as a whole; the checksum tells damage, it does not defend against anybody.
//!
//! Times in the words are microseconds of a clock that begins anew with each boot. [`Saved::shift_us`] says how far they have to be
//! moved: nothing within one boot; else so that they are as old as the wall clock says, which nobody can make less than nothing.

use thiserror::Error;

const MAGIC: u64 = u64::from_le_bytes(*b"autoscal");
const VERSION: u64 = 1;
/// How large a file may be, in bytes.
pub const MOST: usize = 16 << 20;
const MOST_NAME: usize = 1024;
const WORD: usize = 8;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What a policy's place keeps, by the policy's name.
    Policy,
    /// What was said about a peer, by `UPSTREAM/ADDRESS`: one word.
    Peer,
    /// How many peers of a pool are wanted, by the upstream's name: one word.
    Pool,
    /// What tells the gateway's decisions from those of another, when the memory began that this was written from, in milliseconds since
    /// 1970, and the fence of its last leader: three words, without a name.
    Epoch,
}

/// One thing that was remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub what: What,
    pub name: Vec<u8>,
    pub words: Vec<u64>,
}

/// Both clocks at one moment, and the boot that the first one counts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    pub now_us: u64,
    pub unix_ms: u64,
    /// A number that each boot has of its own; 0 is unknown.
    pub boot: u64,
}

/// The contents of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    pub written: Clocks,
    pub entries: Vec<Entry>,
}

/// Why a file is refused. `Display` is the end of a log line.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Damage {
    #[error("it is not a state file")]
    Foreign,
    #[error("it is of version {0}, this is version {VERSION}")]
    Version(u64),
    #[error("it is damaged")]
    Damaged,
    #[error("it is larger than {MOST} bytes")]
    TooLarge,
}

impl Saved {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(Vec::new());
        let Clocks { now_us, unix_ms, boot } = self.written;
        [MAGIC, VERSION, boot, now_us, unix_ms, self.entries.len() as u64]
            .iter()
            .for_each(|word| out.word(*word));
        for entry in &self.entries {
            let kind = match entry.what {
                What::Policy => 1,
                What::Peer => 2,
                What::Pool => 3,
                What::Epoch => 4,
            };
            out.word(kind << 32 | entry.name.len() as u64);
            out.text(&entry.name);
            out.word(entry.words.len() as u64);
            entry.words.iter().for_each(|word| out.word(*word));
        }
        let sum = crc32fast::hash(&out.0);
        out.word(sum.into());
        out.0
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damage> {
        if bytes.len() > MOST {
            return Err(Damage::TooLarge);
        }
        let mut input = Reader(bytes);
        if input.word() != Some(MAGIC) {
            return Err(Damage::Foreign);
        }
        // whatever another version has behind its number
        let version = input.word().ok_or(Damage::Damaged)?;
        if version != VERSION {
            return Err(Damage::Version(version));
        }
        let (body, sum) =
            bytes.split_last_chunk::<WORD>().ok_or(Damage::Damaged).map(|(body, sum)| (body, *sum))?;
        if u64::from_le_bytes(sum) != u64::from(crc32fast::hash(body)) {
            return Err(Damage::Damaged);
        }
        input.0 = body.get(2 * WORD..).ok_or(Damage::Damaged)?;
        input.saved().ok_or(Damage::Damaged)
    }

    /// What is to be added to the times in the words, on the clock of `now`.
    pub fn shift_us(&self, now: &Clocks) -> i64 {
        if self.written.boot != 0 && self.written.boot == now.boot {
            return 0;
        }
        let gone_ms = now.unix_ms.saturating_sub(self.written.unix_ms);
        let then_us = now.now_us as i128 - i128::from(gone_ms) * 1000;
        (then_us - i128::from(self.written.now_us)).clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// Whether it says more than what is to be written: its memory is younger (another nginx, or another configuration, has begun with
    /// what this one had written), or it is of the same memory and was taken later.
    pub fn is_newer_than(&self, other: &Saved) -> bool {
        let same_boot = self.written.boot == other.written.boot;
        let began = |saved: &Saved| saved.words(What::Epoch, b"").and_then(|words| words.get(1)).copied();
        match (began(self), began(other)) {
            (Some(this), Some(other)) if this != other => this > other,
            (Some(_), Some(_)) => same_boot && self.written.now_us > other.written.now_us,
            _ => false,
        }
    }

    /// The words of one thing.
    pub fn words(&self, what: What, name: &[u8]) -> Option<&[u64]> {
        let found = self.entries.iter().find(|entry| entry.what == what && entry.name == name);
        found.map(|entry| entry.words.as_slice())
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn word(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
        self.0.resize(self.0.len().next_multiple_of(WORD), 0);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn word(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk::<WORD>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    /// What comes after magic and version, up to the checksum.
    fn saved(&mut self) -> Option<Saved> {
        let (boot, now_us, unix_ms) = (self.word()?, self.word()?, self.word()?);
        let count = self.word()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let head = self.word()?;
            let what = match head >> 32 {
                1 => What::Policy,
                2 => What::Peer,
                3 => What::Pool,
                4 => What::Epoch,
                _ => return None,
            };
            let len = (head & 0xffff_ffff) as usize;
            let name =
                self.bytes((len <= MOST_NAME).then(|| len.next_multiple_of(WORD))?)?.get(..len)?.to_vec();
            let words = usize::try_from(self.word()?).ok()?;
            let words = self.bytes(words.checked_mul(WORD)?)?;
            let words =
                words.chunks_exact(WORD).map(|word| word.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)));
            entries.push(Entry { what, name, words: words.collect() });
        }
        self.0.is_empty().then_some(Saved { written: Clocks { now_us, unix_ms, boot }, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::policy::State;
    use proptest::prelude::*;

    fn some() -> Saved {
        let state = State { decisions: 7, up_us: 5_000_000, ..State::default() };
        let entry = |what, name: &str, words| Entry { what, name: name.into(), words };
        Saved {
            written: Clocks { now_us: 9_000_000, unix_ms: 1_700_000_000_000, boot: 77 },
            entries: vec![
                entry(What::Policy, "web", state.to_words().to_vec()),
                entry(What::Peer, "app/unix:/run/a.sock", vec![5]),
                entry(What::Peer, "", vec![]),
                entry(What::Pool, "app", vec![3]),
            ],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let saved = some();
        let read = Saved::from_bytes(&saved.to_bytes()).unwrap();
        assert_eq!(read, saved);
        let state = State::from_words(read.words(What::Policy, b"web").unwrap()).unwrap();
        assert_eq!((state.decisions, state.up_us), (7, 5_000_000));
        assert_eq!((read.words(What::Policy, b"app"), read.words(What::Peer, b"web")), (None, None));
        assert_eq!(Saved::from_bytes(&Saved::default().to_bytes()), Ok(Saved::default()));
    }

    #[test]
    fn the_younger_memory_counts_and_of_one_the_later_writing() {
        let of = |epoch: &[u64], boot, now_us| Saved {
            written: Clocks { now_us, unix_ms: 5, boot },
            entries: vec![Entry { what: What::Epoch, name: vec![], words: epoch.to_vec() }],
        };
        let newer = |this: Saved, other: Saved| this.is_newer_than(&other);
        assert!(newer(of(&[7, 200], 1, 10), of(&[7, 100], 1, 20)), "a younger memory");
        assert!(!newer(of(&[7, 100], 1, 20), of(&[7, 200], 1, 10)));
        assert!(newer(of(&[7, 100], 1, 20), of(&[7, 100], 1, 10)), "later");
        assert!(!newer(of(&[7, 100], 1, 10), of(&[7, 100], 1, 10)));
        assert!(!newer(of(&[7, 100], 2, 20), of(&[7, 100], 1, 10)), "clocks of two boots");
        // what does not say so is written over
        assert!(!newer(some(), of(&[7, 100], 1, 1)) && !newer(of(&[7], 1, 9), of(&[7, 100], 1, 1)));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_or_longer_is_refused() {
        let bytes = Saved { entries: some().entries[1..].to_vec(), ..some() }.to_bytes();
        for cut in 0..bytes.len() {
            assert!(Saved::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(Saved::from_bytes(&[&bytes[..], &[0; 8]].concat()), Err(Damage::Damaged));
        assert_eq!(Saved::from_bytes(b"some other file"), Err(Damage::Foreign));
        assert_eq!(Saved::from_bytes(&vec![0; MOST + 1]), Err(Damage::TooLarge));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let bytes = Saved { entries: some().entries[1..].to_vec(), ..some() }.to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            assert!(Saved::from_bytes(&changed).is_err(), "at {at}");
        }
        let mut newer = bytes;
        newer[8] = 2;
        let error = Saved::from_bytes(&newer).unwrap_err();
        assert_eq!(error.to_string(), "it is of version 2, this is version 1");
    }

    #[test]
    fn within_one_boot_nothing_moves_and_after_it_ages_are_kept() {
        let saved = some();
        let at = |now_us, unix_ms, boot| saved.shift_us(&Clocks { now_us, unix_ms, boot });
        // the wall clock may have been set meanwhile
        assert_eq!(at(20_000_000, 5, 77), 0);
        // 60 s later, 2 s after another boot: what was 4 s old is 64 s old
        let shift = at(2_000_000, 1_700_000_060_000, 78);
        assert_eq!(2_000_000 - (5_000_000 + shift), 64_000_000);
        // a wall clock that went back makes nothing younger than it was
        assert_eq!(2_000_000 - (5_000_000 + at(2_000_000, 5, 78)), 4_000_000);
        // without a name of the boot, by the wall clock too
        let unknown = Saved { written: Clocks { boot: 0, ..saved.written.clone() }, ..saved.clone() };
        let now = Clocks { now_us: 10_000_000, unix_ms: 1_700_000_001_000, boot: 0 };
        assert_eq!(unknown.shift_us(&now), 0);
        assert_eq!(at(0, u64::MAX, 1), i64::MIN);
    }

    proptest! {
        #[test]
        fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), sealed: bool) {
            let mut bytes = bytes;
            if sealed {
                // a right checksum over nonsense: whoever wrote it, it must not be the end of us
                bytes = [&MAGIC.to_le_bytes()[..], &VERSION.to_le_bytes(), &bytes].concat();
                let sum = u64::from(crc32fast::hash(&bytes));
                bytes.extend_from_slice(&sum.to_le_bytes());
            }
            if let Ok(saved) = Saved::from_bytes(&bytes) {
                prop_assert_eq!(Saved::from_bytes(&saved.to_bytes()), Ok(saved));
            }
        }
    }
}
