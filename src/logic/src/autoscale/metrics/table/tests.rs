use super::*;
use std::cell::RefCell;
use std::collections::HashSet;

#[derive(Clone, Copy)]
struct Small;
impl Kind for Small {
    const TABLE: usize = 0;
    const NAME_WORDS: usize = 2;
    const PROBES: usize = 16;
    const DATA_WORDS: usize = 0;
}

struct Memory {
    states: Vec<Word>,
    entries: Vec<Word>,
    changes: Word,
}

impl Memory {
    fn new(places: usize) -> Self {
        let words = |n| (0..n).map(|_| Word::new(0)).collect();
        Self { states: words(places), entries: words(places * Small::ENTRY_WORDS), changes: Word::new(0) }
    }

    fn table(&self) -> Table<'_, Small> {
        Table::new(&self.states, &self.entries, &self.changes, 42)
    }
}

/// Evicts the coldest by heat.
struct Coldest<'a>(&'a Table<'a, Small>, Now);
impl Tenancy for Coldest<'_> {
    fn coldness(&self, index: usize, _: u16) -> Option<u64> {
        let (warm, idle) = self.0.heat(index, self.1);
        Some((u64::from(u32::MAX) - warm) << 32 | idle)
    }
    fn move_in(&self, _: usize) {}
}

/// Evicts nobody.
struct Forever(RefCell<Vec<usize>>);
impl Tenancy for Forever {
    fn coldness(&self, _: usize, _: u16) -> Option<u64> {
        None
    }
    fn move_in(&self, index: usize) {
        self.0.borrow_mut().push(index);
    }
}

fn forever() -> Forever {
    Forever(RefCell::default())
}

fn at(s: u64) -> Now {
    Now::from_ms(s * 1000)
}

#[test]
fn what_is_inserted_is_found_by_owner_and_name() {
    let memory = Memory::new(16);
    let (table, tenancy) = (memory.table(), forever());
    let part = table.whole();
    let a = table.insert(part, 1, b"a", at(0), &tenancy).unwrap();
    let b = table.insert(part, 2, b"a", at(0), &tenancy).unwrap();
    assert_ne!(a, b);
    assert_eq!(table.insert(part, 1, b"a", at(0), &tenancy), Ok(a));
    assert_eq!((table.find(part, 1, b"a"), table.find(part, 2, b"a")), (Some(a), Some(b)));
    assert_eq!((table.find(part, 3, b"a"), table.find(part, 1, b"a\0")), (None, None));
    assert_eq!((table.owner(b), table.name(b)), (2, Some(b"a".to_vec())));
    assert_eq!(tenancy.0.borrow().len(), 2, "moved in once each");
    assert_eq!(table.changes(), 2);
    assert_eq!(Ref::<Small>::from_bits(a.to_bits()), a);
}

#[test]
fn long_names_are_told_apart_by_what_is_not_kept() {
    let memory = Memory::new(8);
    let (table, tenancy) = (memory.table(), forever());
    let a = table.insert(table.whole(), 0, b"0123456789abcdef-one", at(0), &tenancy).unwrap();
    let b = table.insert(table.whole(), 0, b"0123456789abcdef-two", at(0), &tenancy).unwrap();
    assert_ne!(a, b);
    assert_eq!(table.find(table.whole(), 0, b"0123456789abcdef-two"), Some(b));
    assert_eq!(table.name(a), Some(b"0123456789abcdef".to_vec()));
}

#[test]
fn a_full_table_says_so_and_a_removed_place_is_used_again() {
    let memory = Memory::new(8);
    let (table, tenancy) = (memory.table(), forever());
    let all: Vec<_> =
        (0..8u8).map(|i| table.insert(table.whole(), 0, &[i], at(0), &tenancy).unwrap()).collect();
    assert_eq!(table.insert(table.whole(), 0, b"x", at(0), &tenancy), Err(Refused::Full));
    assert!(table.remove(all[3]));
    assert!(!table.remove(all[3]));
    assert!(!table.is_current(all[3]));
    assert_eq!(table.name(all[3]), None);
    let x = table.insert(table.whole(), 0, b"x", at(0), &tenancy).unwrap();
    assert_eq!((x.index(), x.gen()), (all[3].index(), all[3].gen() + 1));
    assert_eq!(table.entries(table.whole()).count(), 8);
    for (i, entry) in all.iter().enumerate().filter(|(i, _)| *i != 3) {
        assert_eq!(table.find(table.whole(), 0, &[i as u8]), Some(*entry));
    }
}

#[test]
fn ten_times_the_limit_keeps_the_warm_and_the_size() {
    let memory = Memory::new(64);
    let table = memory.table();
    let hot: Vec<_> = (0..16u32).map(|i| format!("hot{i}")).collect();
    let insert = |name: &str, s| {
        let now = at(s);
        let entry = table.insert(table.whole(), 0, name.as_bytes(), now, &Coldest(&table, now)).unwrap();
        table.touch(entry.index(), now);
        entry
    };
    let first: Vec<_> = hot.iter().map(|name| insert(name, 100)).collect();
    for round in 0..40u64 {
        (0..64).map(|i| insert(&hot[i % 16], 100 + round)).for_each(|_| ());
        (0..16).map(|i| insert(&format!("cold{round}-{i}"), 100 + round)).for_each(|_| ());
    }
    assert_eq!(table.entries(table.whole()).count(), 64);
    for (name, first) in hot.iter().zip(first) {
        assert_eq!(table.find(table.whole(), 0, name.as_bytes()), Some(first), "{name} was evicted");
    }
    // what was hot and is no longer makes room
    (0..640u32).map(|i| insert(&format!("new{i}"), 2000)).for_each(|_| ());
    assert!(hot.iter().all(|name| table.find(table.whole(), 0, name.as_bytes()).is_none()));
}

#[test]
fn parts_do_not_disturb_each_other() {
    let memory = Memory::new(32);
    let table = memory.table();
    let (left, right) = (Part { start: 0, len: 8 }, Part { start: 8, len: 24 });
    let kept: Vec<_> = (0..16u8).map(|i| table.insert(right, 2, &[i], at(0), &forever()).unwrap()).collect();
    for i in 0..200u16 {
        let entry = table.insert(left, 1, &i.to_le_bytes(), at(0), &Coldest(&table, at(0))).unwrap();
        assert!(entry.index() < 8);
    }
    assert!(kept.iter().all(|entry| table.is_current(*entry)));
}

/// A claimer may die before, in, or after writing the name.
#[test]
fn a_claim_that_was_never_finished_is_taken_over() {
    for steps in 0..3 {
        let memory = Memory::new(8);
        let (table, tenancy) = (memory.table(), forever());
        let hash = hash::of(42, 0, b"name");
        let index = Table::<Small>::probes(table.whole(), hash).next().unwrap();
        let claim = State::make(Phase::Claimed, 1, 100, hash);
        assert!(table.swap(index, State(0), claim));
        match steps {
            0 => {}
            1 => put(&table.entry(index)[HASH], hash),
            _ => table.write(index, 0, b"name", hash),
        }
        assert_eq!(table.find(table.whole(), 0, b"name"), None);
        assert_eq!(table.insert(table.whole(), 0, b"name", at(101), &tenancy), Err(Refused::Busy));
        let entry = table.insert(table.whole(), 0, b"name", at(103), &tenancy).unwrap();
        assert_eq!((entry.index(), entry.gen()), (index, 2));
        // the claimer was not dead but slow: it finds what has become of its name
        let late = table.move_in(table.whole(), index, claim, 0, b"name", hash, 103, &tenancy);
        assert_eq!(late, Ok(entry));
        assert!(table.is_current(entry));
    }
}

#[test]
fn racing_inserts_of_the_same_names_leave_one_each() {
    for _ in 0..20 {
        let memory = Memory::new(256);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let (table, tenancy) = (memory.table(), forever());
                    for i in 0..64u8 {
                        while table.insert(table.whole(), 0, &[i], at(0), &tenancy).is_err() {
                            std::hint::spin_loop();
                        }
                    }
                });
            }
        });
        let table = memory.table();
        let names: Vec<_> = table.entries(table.whole()).map(|entry| table.name(entry).unwrap()).collect();
        assert_eq!(names.len(), 64);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 64);
    }
}

/// Lets other things happen at two points of an insertion: when it looks at the entry in place `.0`, and between its claim and the
/// end of it.
struct Pause<'a>(usize, RefCell<Option<Box<dyn FnOnce() + 'a>>>, RefCell<Option<Box<dyn FnOnce() + 'a>>>);
impl Pause<'_> {
    fn run(hook: &RefCell<Option<Box<dyn FnOnce() + '_>>>) {
        let hook = hook.borrow_mut().take();
        hook.into_iter().for_each(|hook| hook());
    }
}
impl Tenancy for Pause<'_> {
    fn coldness(&self, index: usize, _: u16) -> Option<u64> {
        if index == self.0 {
            Self::run(&self.1);
        }
        None
    }
    fn move_in(&self, _: usize) {
        Self::run(&self.2);
    }
}

fn at_scan<'a>(index: usize, hook: impl FnOnce() + 'a) -> Pause<'a> {
    Pause(index, RefCell::new(Some(Box::new(hook))), RefCell::new(None))
}

fn at_claim<'a>(hook: impl FnOnce() + 'a) -> Pause<'a> {
    Pause(usize::MAX, RefCell::new(None), RefCell::new(Some(Box::new(hook))))
}

/// Two entries, in the home of `name` and in the place after it.
fn two_before(table: &Table<'_, Small>, name: &[u8]) -> [Ref<Small>; 2] {
    let home = |name: &[u8]| Table::<Small>::probes(table.whole(), hash::of(42, 0, name)).next().unwrap();
    let mut names = (0..=255u8).filter(|i| home(&[*i]) == home(name));
    [(); 2].map(|()| table.insert(table.whole(), 0, &[names.next().unwrap()], at(0), &forever()).unwrap())
}

/// B finishes while A is looking for a place: A finds B's entry and never makes a second one.
#[test]
fn a_name_that_came_while_one_looked_for_a_place_is_found() {
    let memory = Memory::new(16);
    let table = memory.table();
    let [_, second] = two_before(&table, b"name");
    let b = RefCell::new(None);
    let scanning = at_scan(second.index(), || {
        b.replace(table.insert(table.whole(), 0, b"name", at(0), &forever()).ok());
    });
    *scanning.2.borrow_mut() = Some(Box::new(|| panic!("a second place")));
    let a = table.insert(table.whole(), 0, b"name", at(0), &scanning).ok();
    assert!(a.is_some() && a == *b.borrow());
}

/// A looked where the nearer place was still taken, B claims that place after it became free: of both claims one is given up.
#[test]
fn two_claims_of_one_name_do_not_both_succeed() {
    let memory = Memory::new(16);
    let table = memory.table();
    let [first, second] = two_before(&table, b"name");
    let (claimed, is_claimed) = std::sync::mpsc::channel();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let memory = &memory;
        let b = RefCell::new(None);
        let scanning = at_scan(second.index(), || {
            assert!(table.remove(first));
            b.replace(Some(scope.spawn(move || {
                let wait = at_claim(|| {
                    claimed.send(()).unwrap();
                    is_done.recv().unwrap();
                });
                let table = memory.table();
                table.insert(table.whole(), 0, b"name", at(0), &wait)
            })));
            is_claimed.recv().unwrap();
        });
        let a = table.insert(table.whole(), 0, b"name", at(0), &scanning);
        done.send(()).unwrap();
        let b = b.take().unwrap().join().unwrap();
        assert_eq!((a, b.map(|b| b.index())), (Err(Refused::Busy), Ok(first.index())));
        assert_eq!(table.insert(table.whole(), 0, b"name", at(0), &forever()), b);
        assert_eq!(table.entries(table.whole()).count(), 2);
    });
}

/// A claims a place and stands still for so long that its claim counts for nothing; B gives the name a place nearer to home, or C
/// farther from it. Whoever is first to be ready, the nearer one stays.
#[test]
fn a_claimer_that_wakes_up_leaves_one_place_to_the_name() {
    for nearer in [true, false] {
        let memory = Memory::new(16);
        let table = memory.table();
        let part = table.whole();
        let [first, second] = two_before(&table, b"name");
        let asleep = RefCell::new(None);
        if !nearer {
            assert!(table.remove(first));
        }
        let sleeper = at_claim(|| {
            assert!(table.remove(if nearer { first } else { second }));
            let hash = hash::of(42, 0, b"name");
            let place = if nearer { first.index() } else { second.index() };
            // what an insertion two seconds later does, at a place that it may choose
            let claim = State::make(Phase::Claimed, 7, 10, hash);
            assert!(table.swap(place, table.state(place), claim));
            asleep.replace(Some(table.move_in(part, place, claim, 0, b"name", hash, 10, &forever())));
        });
        let a = table.insert(part, 0, b"name", at(0), &sleeper);
        let other = asleep.take().unwrap();
        let left: Vec<_> = table.entries(part).filter(|e| table.name(*e).unwrap() == b"name").collect();
        assert_eq!(left, [a.unwrap()]);
        assert_eq!(other == a, nearer);
    }
}

/// Holes come and go while several processes give the same names places: nobody ever sees a name twice.
#[test]
fn racing_inserts_among_holes_never_show_a_name_twice() {
    let memory = Memory::new(32);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let inserters: Vec<_> = (0..3u8)
            .map(|thread| {
                let memory = &memory;
                scope.spawn(move || {
                    let table = memory.table();
                    for i in 0..4_000u32 {
                        // a hole of one's own, somewhere
                        let own = table.insert(table.whole(), 1, &[thread, i as u8], at(0), &forever());
                        let name = (i / 4).to_le_bytes();
                        let shared = loop {
                            if let Ok(entry) = table.insert(table.whole(), 0, &name, at(0), &forever()) {
                                break entry;
                            }
                            std::thread::yield_now();
                        };
                        own.map(|own| table.remove(own)).ok();
                        if i % 4 == 3 {
                            table.remove(shared);
                        }
                    }
                })
            })
            .collect();
        let (memory, stop) = (&memory, &stop);
        scope.spawn(move || {
            let table = memory.table();
            while !stop.load(Acquire) {
                let listed: Vec<_> = table.entries(table.whole()).collect();
                let mut names: Vec<_> =
                    listed.iter().filter_map(|e| Some((table.owner(*e), table.name(*e)?, *e))).collect();
                names.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
                for pair in names.windows(2) {
                    let same = (pair[0].0, &pair[0].1) == (pair[1].0, &pair[1].1);
                    // one that has left while the list was made is no second
                    let both = || table.is_current(pair[0].2) && table.is_current(pair[1].2);
                    assert!(!(same && both()), "{:?} twice", pair[0].1);
                }
            }
        });
        inserters.into_iter().for_each(|thread| thread.join().unwrap());
        stop.store(true, std::sync::atomic::Ordering::Release);
    });
}

#[test]
fn racing_evictions_never_show_a_torn_name() {
    let memory = Memory::new(16);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let memory = &memory;
            scope.spawn(move || {
                let table = memory.table();
                for i in 0..5_000u64 {
                    let name = [thread << 32 | i; 2].map(u64::to_le_bytes).concat();
                    if let Ok(entry) = table.insert(table.whole(), 0, &name, at(0), &Coldest(&table, at(0))) {
                        table.touch(entry.index(), at(0));
                    }
                    for entry in table.entries(table.whole()) {
                        if let Some(name) = table.name(entry) {
                            assert_eq!(name[..8], name[8..], "torn");
                        }
                    }
                }
            });
        }
    });
    assert!(memory.table().entries(memory.table().whole()).count() <= 16);
}
