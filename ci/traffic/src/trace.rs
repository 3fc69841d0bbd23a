//! The traffic itself, made before it is sent: every gateway gets the same requests with the same work at the same
//! times.

use crate::random::Random;
use crate::scenario::{rate, Mix, Scenario};
use crate::{PEERS, WORK_US};

pub const TENANTS: usize = 8;
/// The one that a noisy tenant's name is.
pub const NOISY: u8 = 0;
const POST_SHARE: f64 = 0.2;
const CHECKOUT_SHARE: f64 = 0.2;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shot {
    /// When it is to be sent, from the beginning.
    pub at_ns: u64,
    pub work_us: u32,
    /// Not idempotent.
    pub post: bool,
    pub checkout: bool,
    pub tenant: u8,
}

/// All requests of a scenario, in order: Poisson arrivals, exponential work.
pub fn shots(scenario: &Scenario, seed: u64) -> Vec<Shot> {
    // neighbouring seeds are far apart, and scenarios of one seed are not the same traffic
    let mut random = Random::new(seed.wrapping_mul(PEERS as u64 + 1) ^ hash(scenario.name));
    let mut shots = Vec::new();
    let mut begins = 0.0;
    for phase in &scenario.phases {
        let mean = 1.0 / rate(phase.load);
        let noise = Scenario::noise(phase.load, TENANTS);
        let mut at = begins + random.exponential(mean);
        begins += phase.seconds;
        while at < begins {
            shots.push(Shot {
                at_ns: (at * 1e9) as u64,
                work_us: random.exponential(WORK_US).round().max(1.0) as u32,
                post: random.unit() < POST_SHARE,
                checkout: scenario.mix == Mix::Checkout && random.unit() < CHECKOUT_SHARE,
                tenant: tenant(scenario.mix, noise, &mut random),
            });
            at += random.exponential(mean);
        }
    }
    shots
}

fn tenant(mix: Mix, noise: f64, random: &mut Random) -> u8 {
    if mix == Mix::Noisy {
        if random.unit() < noise {
            return NOISY;
        }
        return 1 + (random.unit() * (TENANTS - 1) as f64) as u8;
    }
    (random.unit() * TENANTS as f64) as u8
}

/// FNV-1a.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ byte as u64).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Times;

    const TIMES: Times = Times { warm: 2.0, measured: 20.0, after: 2.0 };

    fn made(name: &str, seed: u64) -> Vec<Shot> {
        shots(&Scenario::named(name, TIMES).unwrap(), seed)
    }

    #[test]
    fn a_seed_is_the_same_traffic_and_another_is_not() {
        assert_eq!(made("slow", 1), made("slow", 1));
        assert_ne!(made("slow", 1)[..10], made("slow", 2)[..10]);
        assert_ne!(made("slow", 1)[..10], made("hang", 1)[..10]);
    }

    #[test]
    fn arrivals_are_in_order_at_the_rate_of_their_phase() {
        let shots = made("overload", 3);
        assert!(shots.windows(2).all(|pair| pair[0].at_ns <= pair[1].at_ns));
        let during =
            shots.iter().filter(|shot| (2_000_000_000..22_000_000_000).contains(&shot.at_ns)).count();
        assert!((31_000..33_000).contains(&during), "{during}");
        let before = shots.iter().filter(|shot| shot.at_ns < 2_000_000_000).count();
        assert!((840..1080).contains(&before), "{before}");
    }

    #[test]
    fn shares_are_as_they_are_said_to_be() {
        let share = |shots: &[Shot], what: fn(&Shot) -> bool| {
            shots.iter().filter(|shot| what(shot)).count() as f64 / shots.len() as f64
        };
        let checkout = made("checkout", 1);
        assert!((share(&checkout, |shot| shot.post) - 0.2).abs() < 0.01);
        assert!((share(&checkout, |shot| shot.checkout) - 0.2).abs() < 0.01);
        assert_eq!(share(&made("overload", 1), |shot| shot.checkout), 0.0);
        let noisy: Vec<_> = made("tenant", 1).into_iter().filter(|shot| shot.at_ns > 2_000_000_000).collect();
        let noisy = &noisy[..20_000];
        assert!((share(noisy, |shot| shot.tenant == NOISY) - 0.7375).abs() < 0.01);
        assert!(noisy.iter().all(|shot| (shot.tenant as usize) < TENANTS));
        let work = noisy.iter().map(|shot| shot.work_us as f64).sum::<f64>() / 20_000.0;
        assert!((work - WORK_US).abs() < 400.0, "{work}");
    }
}
