//! A lock in Redis by which one of several gateways leads, and how long its holder may believe in it.
//!
//! `SET NX PX` with a value that nobody else has, renewed and released only by who holds it (redis.io, "Distributed Locks with Redis").
//! No lock keeps a process that was stopped from writing after its end; therefore the holder stops by its own clock, measured from
//! *before* it asked, with a margin for clocks that run at different speeds, and each leader has a greater fencing number than those
//! before it (Kleppmann 2016, "How to do distributed locking"). The number is not less than the server's time in milliseconds, as with
//! leaders of other kinds ([`crate::autoscale::outward::fence`]): so it grows when gateways come here from one of those, and when the
//! server has lost its data.

use super::resp::Reply;

/// Takes the lock `KEYS[1]`, or renews it: value `ARGV[1]`, for `ARGV[2]` milliseconds. `{1, fence}`, or `{0, what the other has left}`.
/// Whether the answer to an earlier attempt got lost makes no difference. From a worker of the same gateway, whose value begins with
/// `ARGV[3]`, it is taken at once: that one is known to be gone.
pub const TAKE: &str = "\
local holder = redis.call('get', KEYS[1])
local mine = holder == ARGV[1]
if holder and not mine and string.sub(holder, 1, #ARGV[3]) ~= ARGV[3] then return {0, redis.call('pttl', KEYS[1])} end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
local before = tonumber(redis.call('get', KEYS[2]) or 0) or 0
if mine and before > 0 then return {1, before} end
local now = redis.call('time')
local fence = math.max(before + 1, now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('set', KEYS[2], string.format('%.0f', fence))
return {1, fence}";

/// Gives the lock `KEYS[1]` back if its value still is `ARGV[1]`.
pub const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

/// What one contender knows of the lock. All times are microseconds of one clock that nobody sets.
#[derive(Clone, Debug)]
pub struct Lock {
    ttl_us: u64,
    held: Option<Held>,
    last: Last,
    /// The look that was answered last: when it was begun, and by when a lock that was another's would have ended.
    look: Option<(u64, Option<u64>)>,
    others_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    fence: u64,
    until_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Ours,
    /// For so long, says the server.
    Theirs(Option<u64>),
    Failed,
}

impl Lock {
    pub fn new(ttl_ms: u64) -> Lock {
        Lock { ttl_us: ttl_ms.saturating_mul(1000), held: None, last: Last::Failed, look: None, others_us: 0 }
    }

    /// Takes in the answer to [`TAKE`], which was sent no earlier than `asked_us` and came no later than `now_us`; false when it is
    /// none.
    pub fn answered(&mut self, asked_us: u64, now_us: u64, reply: &Reply) -> bool {
        let Reply::Array(Some(parts)) = reply else { return false };
        match parts[..] {
            [Reply::Int(1), Reply::Int(fence)] if fence > 0 => {
                // a tenth for clocks that differ, and for bytes under way
                let until_us = asked_us.saturating_add(self.ttl_us - self.ttl_us / 10);
                self.held = Some(Held { fence: fence.unsigned_abs(), until_us });
                self.last = Last::Ours;
                self.look = Some((asked_us, None));
            }
            [Reply::Int(0), Reply::Int(left_ms)] => {
                self.held = None;
                let left_us = u64::try_from(left_ms).ok().map(|ms| ms.saturating_mul(1000));
                self.last = Last::Theirs(left_us);
                // an end that is later than the one before may have been: the lock was taken or renewed meanwhile
                let renewed = |ends_us: Option<u64>| match (ends_us, left_us) {
                    (Some(ends_us), Some(left_us)) => asked_us + left_us > ends_us + 2000,
                    (None, _) => true,
                    _ => false,
                };
                if let Some((before_us, _)) = self.look.filter(|(_, ends_us)| renewed(*ends_us)) {
                    self.others_us = before_us;
                }
                self.look = Some((asked_us, Some(now_us + left_us.unwrap_or(u64::MAX / 2))));
            }
            _ => return false,
        }
        true
    }

    /// There was no answer: what is held is held until its end.
    pub fn failed(&mut self) {
        self.last = Last::Failed;
    }

    /// Nothing is held any more, whatever the server may believe.
    pub fn give_up(&mut self) {
        self.held = None;
    }

    /// Whether the server may believe that it is held: not when it has just said that it is another's.
    pub fn is_in_doubt(&self) -> bool {
        !matches!(self.last, Last::Theirs(_))
    }

    /// Another gateway held the lock, and was alive, at this time or later; 0 while nothing is known of others.
    pub fn others_us(&self) -> u64 {
        self.others_us
    }

    /// The fencing number, while the lock is held.
    pub fn fence(&self, now_us: u64) -> Option<u64> {
        self.held.filter(|held| now_us < held.until_us).map(|held| held.fence)
    }

    /// How long to wait before it is asked for again: a holder has three tries before its end, and others look as soon as it ends.
    pub fn pause_us(&self, random: u64) -> u64 {
        let third = self.ttl_us / 3;
        let (pause, spread) = match self.last {
            Last::Ours => (third - third / 5, third / 5),
            Last::Theirs(Some(left)) if left < third => (left, 50_000),
            Last::Theirs(_) => (third - third / 5, third / 5),
            Last::Failed => (self.ttl_us / 20, self.ttl_us / 10),
        };
        pause + random % (spread + 1)
    }

    /// How long one try may take.
    pub fn limit_ms(&self) -> u64 {
        (self.ttl_us / 4000).clamp(1, 5000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ours(fence: i64) -> Reply {
        Reply::Array(Some(vec![Reply::Int(1), Reply::Int(fence)]))
    }

    fn theirs(left_ms: i64) -> Reply {
        Reply::Array(Some(vec![Reply::Int(0), Reply::Int(left_ms)]))
    }

    #[test]
    fn it_is_held_from_before_it_was_asked_for_and_ends_early() {
        let mut lock = Lock::new(10_000);
        assert_eq!(lock.fence(0), None);
        assert!(lock.answered(1_000_000, 1_000_000, &ours(7)));
        assert_eq!(lock.fence(1_000_001), Some(7));
        assert_eq!(lock.fence(9_999_999), Some(7));
        assert_eq!(lock.fence(10_000_000), None, "nine seconds after it was asked for");
        // nobody answers: it ends when it would have
        lock.failed();
        assert_eq!(lock.fence(9_999_999), Some(7));
        assert!(lock.answered(5_000_000, 5_000_000, &theirs(4000)));
        assert_eq!(lock.fence(5_000_001), None, "somebody else has it");
    }

    #[test]
    fn what_is_no_answer_changes_nothing() {
        let mut lock = Lock::new(10_000);
        assert!(lock.is_in_doubt());
        lock.answered(0, 0, &theirs(1));
        assert!(!lock.is_in_doubt());
        lock.answered(0, 0, &ours(7));
        for reply in [
            Reply::Int(1),
            Reply::Array(None),
            Reply::Array(Some(vec![Reply::Int(1)])),
            Reply::Array(Some(vec![Reply::Int(2), Reply::Int(1)])),
            ours(0),
            ours(-1),
        ] {
            assert!(!lock.answered(5_000_000, 5_000_000, &reply), "{reply:?}");
        }
        assert_eq!(lock.fence(8_999_999), Some(7));
        assert_eq!(lock.fence(9_000_000), None);
    }

    #[test]
    fn others_are_known_to_be_alive_by_an_end_that_moves() {
        let mut lock = Lock::new(10_000);
        lock.answered(1_000_000, 1_100_000, &theirs(5000));
        assert_eq!(lock.others_us(), 0, "who is seen for the first time may be dead");
        // the answer took less long this time: the same end
        lock.answered(2_000_000, 2_000_000, &theirs(4090));
        assert_eq!(lock.others_us(), 0);
        lock.failed();
        lock.answered(4_000_000, 4_000_000, &theirs(9000));
        assert_eq!(lock.others_us(), 2_000_000, "renewed after that look was begun");
        lock.answered(5_000_000, 5_000_000, &ours(7));
        lock.answered(9_000_000, 9_000_000, &ours(7));
        lock.answered(20_000_000, 20_000_000, &theirs(1));
        assert_eq!(lock.others_us(), 9_000_000, "taken after this one held it last");
    }

    #[test]
    fn a_holder_has_three_tries_and_others_come_when_it_ends() {
        let mut lock = Lock::new(15_000);
        for random in [0, 1, u64::MAX] {
            lock.answered(0, 0, &ours(1));
            assert!((4_000_000..=5_000_000).contains(&lock.pause_us(random)));
            lock.answered(0, 0, &theirs(-1));
            assert!((4_000_000..=5_000_000).contains(&lock.pause_us(random)));
            lock.answered(0, 0, &theirs(300));
            assert!((300_000..=350_000).contains(&lock.pause_us(random)));
            lock.failed();
            assert!((750_000..=2_250_000).contains(&lock.pause_us(random)));
        }
    }

    /// What Redis would do with [`TAKE`], by a clock of its own speed.
    #[derive(Default)]
    struct Server {
        holder: Option<(usize, u64)>,
        fence: i64,
    }

    impl Server {
        fn take(&mut self, who: usize, now: u64, ttl_us: u64) -> Reply {
            match self.holder {
                Some((holder, until)) if now < until && holder != who => {
                    theirs(((until - now) / 1000) as i64)
                }
                Some((holder, until)) if now < until && holder == who => {
                    self.holder = Some((who, now + ttl_us));
                    ours(self.fence)
                }
                _ => {
                    self.holder = Some((who, now + ttl_us));
                    self.fence += 1;
                    ours(self.fence)
                }
            }
        }
    }

    proptest! {
        /// Whatever the network delays and loses, and though the server's clock runs up to 5 % fast.
        #[test]
        fn two_never_lead_at_once_and_the_fence_grows(
            steps in proptest::collection::vec((0usize..3, 0u64..800_000, 0u64..3_000_000, 0u64..3_000_000, 0u8..4), 1..120),
            fast in 100u64..=105,
        ) {
            let ttl_us = 2_000_000;
            let (mut server, mut locks) = (Server::default(), vec![Lock::new(2000); 3]);
            // when each contender may ask again, and who has led
            let (mut free, mut now, mut greatest, mut last) = ([0u64; 3], 0u64, 0, None);
            let mut due: Vec<(u64, u64, usize, bool)> = Vec::new();
            let mut replies: Vec<(u64, usize, u64, Reply)> = Vec::new();
            for (who, wait, there, back, fate) in steps {
                let until = now + wait;
                while now <= until {
                    due.sort_by_key(|d| d.0);
                    while let Some(&(at, asked, who, lost)) = due.first().filter(|d| d.0 <= now) {
                        due.remove(0);
                        let reply = server.take(who, at * fast / 100, ttl_us);
                        if !lost {
                            replies.push((at + back, who, asked, reply));
                        }
                    }
                    let (ready, later): (Vec<_>, Vec<_>) = replies.into_iter().partition(|r| r.0 <= now);
                    replies = later;
                    for (_, who, asked, reply) in ready {
                        // a contender has one request under way; what comes after its next one was begun is not read
                        if free[who] != asked {
                            continue;
                        }
                        locks[who].answered(asked, now, &reply);
                    }
                    let leaders: Vec<(usize, u64)> =
                        (0..3).filter_map(|who| Some((who, locks[who].fence(now)?))).collect();
                    prop_assert!(leaders.len() < 2, "{leaders:?} at {now}");
                    if let Some((who, fence)) = leaders.first().copied() {
                        prop_assert!(fence > greatest || last == Some((who, fence)), "{fence} after {last:?}");
                        (greatest, last) = (fence, Some((who, fence)));
                    }
                    now += 50_000;
                }
                free[who] = now;
                due.push((now + there, now, who, fate == 0));
            }
        }
    }
}
