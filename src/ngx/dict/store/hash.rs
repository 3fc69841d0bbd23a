//! Keys, and their hash.

/// Digits of pi.
const PI: [u64; 3] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0];

/// A key with what is computed of it once per operation.
pub struct Key<'a> {
    pub text: &'a [u8],
    pub hash: u64,
    /// The bytes behind the last whole word, as a word filled up with zeros.
    pub tail: u64,
}

impl<'a> Key<'a> {
    /// The hash is a folded multiplication per 16 bytes, after Wang Yi's wyhash. Both factors depend on the zone's
    /// secret seed: who does not know it cannot make keys that meet in one chain.
    #[inline]
    pub fn new(text: &'a [u8], seed: u64) -> Key<'a> {
        let (words, tail) = text.split_at(text.len() & !7);
        let tail = partial(tail);
        let other = seed.rotate_left(32) ^ PI[0];
        let mut h = seed ^ (text.len() as u64).wrapping_mul(PI[1]);
        let mut rest = words;
        while rest.len() >= 16 {
            h = fold(word(rest, 0) ^ h, word(rest, 8) ^ other);
            rest = &rest[16..];
        }
        let (a, b) = if rest.len() == 8 { (word(rest, 0), tail) } else { (tail, 0) };
        h = fold(a ^ h, b ^ other);
        Key { text, hash: fold(h ^ PI[2], other), tail }
    }

    /// A byte of the hash that does not choose the chain.
    pub fn tag(&self) -> u8 {
        (self.hash >> 56) as u8
    }

    /// Its whole words.
    pub fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.text.chunks_exact(8).map(|w| word(w, 0))
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn word(s: &[u8], from: usize) -> u64 {
    let mut w = [0; 8];
    w.copy_from_slice(&s[from..from + 8]);
    u64::from_ne_bytes(w)
}

/// Fewer than 8 bytes as a word.
#[inline]
fn partial(s: &[u8]) -> u64 {
    let half = |from: usize| {
        let mut w = [0; 4];
        w.copy_from_slice(&s[from..from + 4]);
        u64::from(u32::from_le_bytes(w))
    };
    let n = s.len();
    let w = match n {
        0 => 0,
        // first, middle and last byte are all there are
        1..=3 => {
            let (mid, last) = (n / 2, n - 1);
            u64::from(s[0]) | u64::from(s[mid]) << (8 * mid) | u64::from(s[last]) << (8 * last)
        }
        // the two halves overlap; where they do they agree
        _ => half(0) | half(n - 4) << (8 * (n - 4)),
    };
    w.to_le()
}
