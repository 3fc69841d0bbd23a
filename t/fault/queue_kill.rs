//! A process that dies at any instruction while it works on the queue of an upstream leaves one that others can use.
//!
//! A child works on memory that it shares with its parent, which stops it after a number of machine instructions. What it held is swept
//! then, and nothing else: those of the parent wait on, are let go in the end, and nobody is left.
#![allow(clippy::unwrap_used, unsafe_code)]

use std::sync::atomic::AtomicU64;

use logic::autoscale::metrics::columns::Owner;
use logic::autoscale::queue::{Entry, Lane, Pace, Phase, Pressure, Queues, Slot, LANE_WORDS};

const WORDS: usize = 2048;
const ROUNDS: u64 = 60;
const ME: Owner = Owner { pid: 1, stamp: 1 };
const CHILD: Owner = Owner { pid: 2, stamp: 1 };
const PACE: Pace = Pace { service_us: 20_000.0, inflight: 4 };

fn shared() -> &'static [AtomicU64] {
    let (flags, prot) = (libc::MAP_SHARED | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
    unsafe {
        let p = libc::mmap(std::ptr::null_mut(), (WORDS + LANE_WORDS) * 8, prot, flags, -1, 0);
        assert_ne!(p, libc::MAP_FAILED);
        std::slice::from_raw_parts(p.cast(), WORDS + LANE_WORDS)
    }
}

/// What a worker does, for ever; from operation `first` on it is stepped through.
fn work(queues: &Queues<'_>, lane: &Lane<'_>, first: u64) -> ! {
    let mut held = [None::<Slot>; 4];
    for i in 0u64.. {
        if i == first {
            unsafe {
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                libc::raise(libc::SIGSTOP);
            }
        }
        let now = 1_000_000 + i * 1000;
        let place = (i % 4) as usize;
        if let Some(slot) = held[place].take() {
            if i % 3 != 0 || !queues.withdraw(slot) {
                queues.leave(slot);
            }
        }
        let entry = Entry { key: i % 3, bytes: 10, ..Entry::default() };
        if let Ok((slot, _)) = queues.enter(lane, (CHILD, 1), &entry, (100, 1 << 20), now) {
            held[place] = Some(slot);
        }
        // whoever it may be: the parent is told by the state of its slot
        queues.grant(lane, now, &PACE, |_| 2);
    }
    unreachable!()
}

/// Runs a child for so many instructions after it has stopped, and kills it; false where that is not allowed.
fn kill_after(steps: u32, child: impl FnOnce()) -> bool {
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            child();
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        assert!(libc::WIFSTOPPED(status), "{status:x}");
        let mut may = true;
        for _ in 0..steps {
            may = libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) == 0;
            if !may {
                break;
            }
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            assert!(libc::WIFSTOPPED(status), "{status:x}");
        }
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, &raw mut status, 0);
        may
    }
}

#[test]
fn a_killed_worker_leaves_a_queue_that_others_can_use() {
    let words = shared();
    let (queue_words, lane_words) = words.split_at(WORDS);
    let (queues, lane) = (Queues::over(queue_words).unwrap(), Lane::new(0, lane_words).unwrap());
    let (mut swept, mut seed) = (0, 12345u32);
    for round in 0..ROUNDS {
        let now = 900_000 + round * 10;
        let entry = |i: u64| Entry { key: i, bytes: 10, ..Entry::default() };
        let mine: Vec<Slot> = (0..5)
            .map(|i| queues.enter(&lane, (ME, 0), &entry(i % 2), (100, 1 << 20), now).unwrap().0)
            .collect();
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (steps, first) = (u64::from(seed >> 8) % 2500, u64::from(seed >> 4) % 9);
        if !kill_after(steps as u32, || work(&queues, &lane, first)) {
            eprintln!("this machine does not let processes be traced: nothing was killed");
            return;
        }
        swept += queues.sweep(ME, |owner| owner.pid != CHILD.pid);
        let Pressure { waiting, granted } = queues.pressure(&lane);
        assert_eq!(waiting + granted, 5, "all of the parent's are left, and nobody else, in round {round}");
        // the child may have died between its change and the flag
        queues.insist(&lane);
        let mut gone = 0;
        while gone < 5 {
            while queues.grant(&lane, now + 5000, &PACE, |_| 2).is_some() {}
            for slot in mine.iter().filter(|slot| queues.phase(**slot) == Phase::Granted) {
                queues.leave(*slot);
                gone += 1;
            }
        }
        assert_eq!(queues.grant(&lane, now + 6000, &PACE, |_| 2), None);
        assert_eq!(queues.pressure(&lane), Pressure::default());
        assert!(lane.is_idle());
    }
    assert!(swept > ROUNDS as usize, "the child held something most times: {swept}");
    let free =
        (0..queues.slots()).map(|_| queues.enter(&lane, (ME, 0), &Entry::default(), (u32::MAX, 1 << 40), 1));
    assert_eq!(free.filter(Result::is_ok).count(), queues.slots(), "no slot is lost");
}
