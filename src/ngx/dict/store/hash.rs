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
    #[inline(always)]
    pub fn new(text: &'a [u8], seed: u64) -> Key<'a> {
        let tail = tail(text);
        let other = seed.rotate_left(32) ^ PI[0];
        let mut h = seed ^ (text.len() as u64).wrapping_mul(PI[1]);
        let mut rest = text;
        while rest.len() >= 16 {
            h = fold(word(rest, 0) ^ h, word(rest, 8) ^ other);
            rest = &rest[16..];
        }
        let (a, b) = if rest.len() >= 8 { (word(rest, 0), tail) } else { (tail, 0) };
        h = fold(a ^ h, b ^ other);
        Key { text, hash: fold(h ^ PI[2], other), tail }
    }

    /// A byte of the hash that does not choose the chain.
    #[inline(always)]
    pub fn tag(&self) -> u8 {
        (self.hash >> 56) as u8
    }

    /// Number of its whole words.
    #[inline(always)]
    pub fn words(&self) -> usize {
        self.text.len() / 8
    }

    /// Whole word `i`, which must be one of them.
    #[inline(always)]
    pub fn word(&self, i: usize) -> u64 {
        word(self.text, i * 8)
    }

    /// Whether there is something behind the whole words.
    #[inline(always)]
    pub fn has_tail(&self) -> bool {
        !self.text.len().is_multiple_of(8)
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The 8 bytes of `s` from `from` on.
#[inline(always)]
fn word(s: &[u8], from: usize) -> u64 {
    debug_assert!(from + 8 <= s.len());
    // SAFETY: all callers stay inside `s`.
    unsafe { s.as_ptr().add(from).cast::<u64>().read_unaligned() }
}

/// The bytes behind the last whole word of `s`.
#[inline(always)]
fn tail(s: &[u8]) -> u64 {
    let n = s.len() % 8;
    if n == 0 {
        return 0;
    }
    // SAFETY: `n` bytes lie between the last whole word and the end, and only they are read.
    let w = unsafe {
        let p = s.as_ptr().add(s.len() - n);
        if n >= 4 {
            // two halves that overlap; where they do they agree
            let half = |from: usize| u64::from(u32::from_le(p.add(from).cast::<u32>().read_unaligned()));
            half(0) | half(n - 4) << (8 * (n - 4))
        } else {
            // first, middle and last byte are all there are
            let byte = |i: usize| u64::from(*p.add(i)) << (8 * i);
            byte(0) | byte(n / 2) | byte(n - 1)
        }
    };
    w.to_le()
}
