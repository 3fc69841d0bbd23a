//! A process that dies inside a shared dictionary leaves a usable one: proved on the structure itself, in plain memory.
//!
//! A child works on a dictionary in memory that it shares with its parent, which stops it after a number of machine
//! instructions (by single-stepping) or after a random time (by SIGKILL). Then either the dictionary is marked as torn,
//! and recovers, or it is whole: chains, queue and memory agree, and each value is one that somebody has put there.
#![allow(clippy::unwrap_used, clippy::mut_from_ref, unsafe_code)]

use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

#[allow(dead_code, unused_imports)]
#[path = "../../src/ngx/dict/store/mod.rs"]
mod store;

use store::{Arena, End, Found, Init, Put, Refusal, Store, Time, Unfit, Value, When};

const PIECE: usize = 64;

fn ms(ms: u64) -> Time {
    Time { ms, seconds: (ms / 1000) as u32 }
}

/// Pieces of 64 bytes, taken first fit; what is taken, and for how many pieces, is written in front of them.
struct Shared {
    base: NonNull<u8>,
    pieces: usize,
}

/// The root, then how many pieces are free, then a byte a piece: 0 is free, 1 taken, 2 taken with the one before.
const MAP: usize = 16;

impl Shared {
    fn new(pieces: usize) -> Shared {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let size = pieces * PIECE;
        let p = unsafe { libc::mmap(std::ptr::null_mut(), size, prot, flags, -1, 0) };
        assert_ne!(p, libc::MAP_FAILED);
        Shared { base: NonNull::new(p.cast()).unwrap(), pieces }
    }

    /// The same memory, as another process would see it.
    fn again(&self) -> Shared {
        Shared { base: self.base, pieces: self.pieces }
    }

    fn map(&self) -> &mut [u8] {
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(MAP), self.pieces) }
    }

    fn first(&self) -> usize {
        (MAP + self.pieces).div_ceil(PIECE)
    }

    fn taken(&self) -> usize {
        self.map().iter().filter(|b| **b != 0).count() - self.first()
    }
}

impl Arena for Shared {
    fn base(&self) -> NonNull<u8> {
        self.base
    }
    fn size(&self) -> usize {
        self.pieces * PIECE
    }
    fn alloc(&self, n: usize) -> Option<NonNull<u8>> {
        let (map, need) = (self.map(), n.div_ceil(PIECE));
        let mut run = 0;
        for i in 0..map.len() {
            run = if map[i] == 0 { run + 1 } else { 0 };
            if run == need {
                let from = i + 1 - need;
                map[from..=i].fill(2);
                map[from] = 1;
                return NonNull::new(unsafe { self.base.as_ptr().add(from * PIECE) });
            }
        }
        None
    }
    fn room(&self, n: usize) -> usize {
        n.next_multiple_of(PIECE)
    }
    fn free(&self, p: NonNull<u8>) {
        let at = (p.as_ptr() as usize - self.base.as_ptr() as usize) / PIECE;
        let map = self.map();
        assert_eq!(map[at], 1, "freed what is not taken");
        let end = (at + 1..map.len()).find(|i| map[*i] != 2).unwrap_or(map.len());
        map[at..end].fill(0);
    }
    fn reset(&self) {
        let first = self.first();
        let map = self.map();
        map.fill(0);
        map[..first].fill(2);
    }
    fn scarce(&self) -> bool {
        true
    }
    fn root(&self) -> Option<NonNull<u8>> {
        NonNull::new(unsafe { self.base.cast::<*mut u8>().read() })
    }
    fn set_root(&self, p: NonNull<u8>) {
        unsafe { self.base.cast().write(p.as_ptr()) }
    }
}

fn open(pieces: usize) -> Store<Shared> {
    Store::open(Shared::new(pieces), 42).unwrap()
}

fn put<'a>(key: &'a str, value: Value<'a>) -> Put<'a> {
    Put { key: key.as_bytes(), value, ttl: 0, flags: 0, when: When::Always, safe: false }
}

fn number(store: &Store<Shared>, key: &str, now: Time) -> Option<Found> {
    let locked = store.get(key.as_bytes(), false, now, &mut Vec::new()).unwrap();
    // reading without the lock says the same, or nothing
    if let Some(read) = store.read(key.as_bytes(), false, now, &mut Vec::new()) {
        assert_eq!(read, locked);
    }
    locked.map(|r| r.value)
}

const LONG: [u8; 300] = [b'x'; 300];
const OPERATIONS: u64 = 9;

/// One of the operations that change something, in a dictionary that is full.
fn operate(store: &Store<Shared>, which: u64, key: &str, i: u64, text: &mut Vec<u8>) {
    let now = ms(1000 + i);
    let value = Value::Text(&LONG[..(i * 13 % 300) as usize]);
    match which % OPERATIONS {
        0 => drop(store.put(&put(key, value), now)),
        1 => drop(store.put(&Put { ttl: 20, ..put("short-lived", Value::Number(7.0)) }, now)),
        2 => drop(store.incr(b"count", 1.0, Some(&Init { from: 0.0, ttl: 0 }), now)),
        3 => drop(store.push(b"list", if i.is_multiple_of(2) { End::Head } else { End::Tail }, value, now)),
        4 => drop(store.pop(b"list", End::Tail, now, text)),
        5 => drop(store.get(key.as_bytes(), false, now, text)),
        6 => drop(store.put(&put(key, Value::Nil), now)),
        7 if i.is_multiple_of(5) => store.flush_all(),
        _ => drop(store.flush_expired(3, now)),
    }
}

/// A structure that is broken may have rings: whoever walks them is stopped.
fn watch() {
    unsafe { libc::alarm(300) };
}

/// Checks a dictionary whose last user was killed; whether it was torn.
fn inspect(shared: &Shared, at: &str) -> bool {
    let store = Store::open(shared.again(), 1).unwrap();
    let torn = store.is_torn();
    if torn {
        assert_eq!(store.read(b"count", false, ms(5), &mut Vec::new()), None, "{at}: torn, but read");
        store.recover().unwrap();
        assert_eq!(store.check(), Ok(0), "{at}");
    }
    store.check().unwrap_or_else(|e| panic!("{at}: {e}"));
    let mut keys = Vec::new();
    store.keys(0, ms(0), &mut keys).unwrap();
    let mut out = Vec::new();
    let mut rest = &keys[..];
    while let [low, high, tail @ ..] = rest {
        let (key, tail) = tail.split_at(usize::from(u16::from_le_bytes([*low, *high])));
        match store.get(key, true, ms(0), &mut out).map(|r| r.unwrap().value) {
            Ok(Found::Text) => assert!(out.iter().all(|b| *b == b'x'), "{at}: garbage under {key:?}"),
            Ok(Found::Number(n)) => assert!(key == b"count" || n == 7.0, "{at}: {n} under {key:?}"),
            Err(Refusal::IsList) => assert_eq!(key, b"list", "{at}"),
            other => panic!("{at}: {other:?} under {key:?}"),
        }
        rest = tail;
    }
    // it is still a dictionary, and gives all its memory back
    let stored = store.put(&put("again", Value::Text(&[b'y'; 100])), ms(2));
    assert_eq!(stored.result, Ok(()), "{at}");
    store.flush_all();
    store.flush_expired(0, ms(2));
    assert_eq!(store.check(), Ok(0), "{at}");
    let fresh = open(shared.pieces);
    assert_eq!(shared.taken(), fresh.arena().taken(), "{at}: memory is lost");
    torn
}

/// Forks; the child does operation after operation until it is killed. A traced one stops before operation `first`.
fn child(shared: &Shared, traced: bool, first: u64) -> libc::pid_t {
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let store = Store::open(shared.again(), 1).unwrap();
        let (keys, mut text) = (keys(), Vec::with_capacity(1000));
        for i in first.. {
            if traced && i == first {
                unsafe {
                    libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                    libc::raise(libc::SIGSTOP);
                }
            }
            operate(&store, i, &keys[(i * 7) as usize % keys.len()], i, &mut text);
        }
        unsafe { libc::_exit(1) };
    }
    pid
}

fn keys() -> Vec<String> {
    (0..50).map(|i| format!("key {i}")).collect()
}

fn kill(pid: libc::pid_t) {
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        let mut status = 0;
        libc::waitpid(pid, &raw mut status, 0);
        assert!(libc::WIFSIGNALED(status), "the child ended by itself: {status:#x}");
    }
}

/// Runs `pid` for `n` instructions; `false` where that is not allowed.
fn step(pid: libc::pid_t, n: u64) -> bool {
    let mut status = 0;
    unsafe {
        libc::waitpid(pid, &raw mut status, 0);
        for _ in 0..n {
            if libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) != 0 {
                return false;
            }
            libc::waitpid(pid, &raw mut status, 0);
            assert!(libc::WIFSTOPPED(status), "the child ended: {status:#x}");
        }
    }
    true
}

#[test]
fn killed_after_any_number_of_instructions() {
    watch();
    // single steps are slow: a sample by default
    let kills = std::env::var("DICT_KILLS").map_or(270, |n| n.parse().unwrap());
    let (mut torn, mut whole) = (0, 0);
    for n in 0..kills {
        let shared = Shared::new(160);
        let store = Store::open(shared.again(), 42).unwrap();
        let (keys, mut text) = (keys(), Vec::new());
        for i in 0..180 + n {
            operate(&store, i, &keys[(i * 7) as usize % keys.len()], i, &mut text);
        }
        let steps = n * 3000 / kills;
        let pid = child(&shared, true, 180 + n);
        if !step(pid, steps) {
            kill(pid);
            eprintln!("no single-stepping here: nothing is proved by this test");
            return;
        }
        kill(pid);
        let what = format!("killed {steps} instructions into operation {}", n % OPERATIONS);
        *(if inspect(&shared, &what) { &mut torn } else { &mut whole }) += 1;
        unsafe { libc::munmap(shared.base.as_ptr().cast(), shared.size()) };
    }
    println!("{torn} torn, {whole} whole");
    assert!(
        torn > kills / 20 && whole > kills / 20,
        "{torn} torn, {whole} whole: the kills miss the changes"
    );
}

#[test]
fn killed_at_random_moments() {
    watch();
    let shared = Shared::new(160);
    let (mut torn, mut random) = (0, 88172645463325252_u64);
    for n in 0..400 {
        Store::open(shared.again(), 42).unwrap();
        let pid = child(&shared, false, n);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(std::time::Duration::from_micros(200 + random % 3000));
        kill(pid);
        torn += usize::from(inspect(&shared, &format!("kill {n}")));
    }
    println!("{torn} of 400 torn");
    assert!(torn > 10, "only {torn} of 400 were torn: the kills miss the changes");
}

#[test]
fn killed_while_recovering() {
    watch();
    let mut still = 0;
    for n in 0..100 {
        let shared = Shared::new(160);
        let store = Store::open(shared.again(), 42).unwrap();
        for i in 0..60 {
            operate(&store, 0, &keys()[i as usize % 50], i, &mut Vec::new());
        }
        // as a writer leaves it that dies inside a change: the header's second word is odd
        let seq = unsafe { &*shared.root().unwrap().as_ptr().cast::<AtomicU64>().add(1) };
        seq.fetch_add(1, SeqCst);
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            unsafe {
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                libc::raise(libc::SIGSTOP);
            }
            store.recover().unwrap();
            loop {
                std::hint::spin_loop();
            }
        }
        if !step(pid, n * 40) {
            kill(pid);
            return;
        }
        kill(pid);
        still += usize::from(inspect(&shared, &format!("killed {} instructions into recovery", n * 40)));
        unsafe { libc::munmap(shared.base.as_ptr().cast(), shared.size()) };
    }
    println!("{still} of 100 still torn");
    assert!(still > 5);
}

#[test]
fn readers_without_the_lock_never_see_a_mixture() {
    let shared = Shared::new(2048);
    Store::open(shared.again(), 42).unwrap();
    let writer = unsafe { libc::fork() };
    if writer == 0 {
        let store = Store::open(shared.again(), 1).unwrap();
        for i in 0_u64.. {
            let c = b'a' + (i % 26) as u8;
            let text = [c; 200];
            let len = (i / 26 % 200) as usize;
            store.put(&put("text", Value::Text(&text[..len])), ms(1000));
            store.put(&Put { flags: i as u32, ..put("n", Value::Number(f64::from(i as u32))) }, ms(1000));
            store.put(&put(&format!("other {}", i % 90), Value::Text(&text[..(i % 190) as usize])), ms(1000));
            for _ in 0..i % 5000 {
                std::hint::spin_loop();
            }
        }
    }
    let store = Store::open(shared.again(), 1).unwrap();
    let (mut seen, mut told, mut out) = (HashSet::new(), 0, Vec::new());
    for _ in 0..400_000 {
        if let Some(Some(read)) = store.read(b"text", false, ms(1000), &mut out) {
            assert_eq!(read.value, Found::Text);
            assert!(out.windows(2).all(|w| w[0] == w[1]), "mixed: {out:?}");
            seen.insert((out.first().copied(), out.len()));
            told += 1;
        }
        if let Some(Some(read)) = store.read(b"n", false, ms(1000), &mut out) {
            assert_eq!(read.value, Found::Number(f64::from(read.flags)));
        }
    }
    kill(writer);
    println!("{told} told, {} different", seen.len());
    assert!(told > 1000 && seen.len() > 10, "{told} told, {} different", seen.len());
}

#[test]
fn the_oldest_quarter_goes_first() {
    let store = open(600);
    let mut n = 0;
    while !store.put(&put(&format!("k{n}"), Value::Number(0.0)), ms(1000)).forcible {
        n += 1;
    }
    // all are used once, in this order; each again while others come
    let used: Vec<_> = (1..n).map(|i| format!("k{i}")).collect();
    for key in &used {
        store.get(key.as_bytes(), false, ms(5000), &mut Vec::new()).unwrap();
    }
    let favourite = &used[0];
    for i in 0..n * 10 {
        if i % (n / 2) == 0 {
            store.get(favourite.as_bytes(), false, ms(5000 + i as u64), &mut Vec::new()).unwrap();
        }
        assert!(store.put(&put(&format!("new {i}"), Value::Number(1.0)), ms(5000 + i as u64)).forcible);
        assert_eq!(number(&store, favourite, ms(5000 + i as u64)), Some(Found::Number(0.0)), "after {i}");
    }
}

#[test]
fn operations_do_what_their_names_say() {
    let store = open(300);
    let (now, at) = (ms(10_000), |n: u64| ms(10_000 + n));
    assert_eq!(number(&store, "a", now), None);
    assert_eq!(store.put(&put("a", Value::Number(1.5)), now).result, Ok(()));
    assert_eq!(number(&store, "a", now), Some(Found::Number(1.5)));
    let again = Put { when: When::Absent, ..put("a", Value::Number(2.0)) };
    assert_eq!(store.put(&again, now).result, Err(Refusal::Exists));
    let missing = Put { when: When::Present, ..put("b", Value::Number(2.0)) };
    assert_eq!(store.put(&missing, now).result, Err(Refusal::NotFound));
    assert_eq!(store.incr(b"a", 2.0, None, now).result, Ok(3.5));
    assert_eq!(store.incr(b"b", 2.0, None, now).result, Err(Refusal::NotFound));
    let init = Init { from: 10.0, ttl: 100 };
    assert_eq!(store.incr(b"b", 2.0, Some(&init), now).result, Ok(12.0));
    assert_eq!(store.ttl(b"b", at(1)), Some(99));
    assert_eq!(number(&store, "b", at(99)), Some(Found::Number(12.0)));
    assert_eq!(number(&store, "b", at(100)), None);
    assert!(store.get(b"b", true, at(100), &mut Vec::new()).unwrap().unwrap().stale);
    assert!(!store.expire(b"b", 5, at(100)));
    assert!(store.expire(b"a", 5, now));
    assert_eq!(store.flush_expired(0, at(100)), 2);
    assert_eq!(store.check(), Ok(0));
}

#[test]
fn keys_of_any_length_and_bytes_are_told_apart() {
    let store = open(4000);
    let keys: Vec<Vec<u8>> =
        (1..200_usize).flat_map(|n| [vec![0; n], vec![255; n], (0..n).map(|i| i as u8).collect()]).collect();
    for (i, key) in keys.iter().enumerate() {
        let p = Put { key, ..put("", Value::Number(i as f64)) };
        assert_eq!(store.put(&p, ms(1)).result, Ok(()));
    }
    for (i, key) in keys.iter().enumerate() {
        let first = keys.iter().rposition(|k| k == key).unwrap();
        let read = store.get(key, false, ms(1), &mut Vec::new()).unwrap().unwrap();
        assert_eq!(read.value, Found::Number(first as f64), "key {i}");
        if let Some(r) = store.read(key, false, ms(1), &mut Vec::new()) {
            assert_eq!(r, Some(read));
        }
    }
    assert_eq!(store.check(), Ok(keys.iter().collect::<HashSet<_>>().len()));
}

#[test]
fn another_layout_is_refused() {
    let shared = Shared::new(300);
    Store::open(shared.again(), 42).unwrap();
    unsafe { *shared.root().unwrap().as_ptr().cast::<u64>() += 1 };
    assert_eq!(Store::open(shared.again(), 42).err(), Some(Unfit::OtherLayout));
    assert_eq!(Store::open(Shared::new(4), 42).err(), Some(Unfit::TooSmall));
}
