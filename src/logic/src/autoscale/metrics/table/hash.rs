//! The hash of a name: folded multiplication (as in wyhash), seeded by the zone so that a client cannot choose who collides.

const K: u64 = 0x9e37_79b9_7f4a_7c15;

/// The name in words of eight bytes, the last one filled with zeros.
#[inline]
pub fn chunks(name: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let (whole, rest) = name.as_chunks::<8>();
    let last =
        (!rest.is_empty()).then(|| rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    whole.iter().map(|chunk| u64::from_le_bytes(*chunk)).chain(last)
}

#[inline]
pub fn of(seed: u64, owner: u32, name: &[u8]) -> u64 {
    let start = fold(seed ^ K, u64::from(owner) << 32 | name.len() as u64 & 0xffff_ffff);
    fold(chunks(name).fold(start, fold), K)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ b) * u128::from(K ^ b.rotate_left(32) | 1);
    product as u64 ^ (product >> 64) as u64
}
