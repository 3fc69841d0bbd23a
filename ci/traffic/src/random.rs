//! Numbers that only look random: the same seed is the same traffic on every machine. SplitMix64 (Steele, Lea, Flood,
//! "Fast splittable pseudorandom number generators", 2014).

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..1`, with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Exponential with that mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        let mut random = Random::new(1234567);
        // the published test vector of SplitMix64
        assert_eq!(random.bits(), 6457827717110365317);
        assert_eq!(random.bits(), 3203168211198807973);
    }

    #[test]
    fn exponential_numbers_have_their_mean_and_tail() {
        let mut random = Random::new(1);
        let drawn: Vec<f64> = (0..100_000).map(|_| random.exponential(20.0)).collect();
        let mean = drawn.iter().sum::<f64>() / 1e5;
        assert!((mean - 20.0).abs() < 0.2, "{mean}");
        let beyond = drawn.iter().filter(|&&x| x > 20.0 * 100f64.ln()).count();
        assert!((900..1100).contains(&beyond), "{beyond}");
    }
}
