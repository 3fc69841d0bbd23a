use super::lead::Candidate;
use super::*;
use crate::autoscale::policy::{store, Replicas, State};
use proptest::prelude::*;

const PLACES: usize = 4;

fn memory() -> Vec<Word> {
    (0..words(PLACES)).map(|_| Word::new(0)).collect()
}

fn owner(pid: u32) -> Owner {
    Owner { pid, stamp: 7 }
}

fn candidate(pid: u32, now_s: u64) -> Candidate {
    Candidate {
        me: owner(pid),
        seat: pid as usize,
        now_us: now_s * 1_000_000,
        unix_ms: 500,
        tick_us: 1_000_000,
    }
}

fn scale(target: &str, replicas: u32) -> Command {
    Command::Scale { target: target.into(), replicas, reason: "because".into() }
}

#[test]
fn one_leads_until_it_resigns_dies_or_is_silent() {
    let memory = memory();
    let board = Board::new(&memory);
    assert_eq!((board.leader(), board.seat()), (None, None));
    assert_eq!(board.compete(&candidate(1, 100), |_| true), Some(500));
    assert_eq!((board.leads(owner(1)), board.seat()), (true, Some(1)));
    assert_eq!(board.compete(&candidate(2, 101), |_| true), None);
    assert_eq!(board.compete(&candidate(1, 105), |_| true), None, "it leads already");
    // dead
    assert_eq!(board.compete(&candidate(2, 106), |o| o.pid != 1), Some(501));
    assert_eq!((board.leads(owner(1)), board.leads(owner(2)), board.seat()), (false, true, Some(2)));
    assert!(!board.resign(owner(1)) && board.resign(owner(2)));
    assert_eq!(board.compete(&candidate(3, 107), |_| true), Some(502));
    // stopped, or stuck: alive, and silent for more than ten seconds
    assert_eq!(board.compete(&candidate(4, 117), |_| true), None);
    assert_eq!(board.compete(&candidate(4, 118), |_| true), Some(503));
    assert_eq!(board.compete(&candidate(5, 118), |_| true), None, "the new one is at work from the start");
    assert_eq!(board.silent_since(), 118_000_000);
    // what a state file says of the one before; this clock is behind it
    assert_eq!(board.fence(), 503);
    board.after_fence(700);
    board.after_fence(600);
    assert!(board.resign(owner(4)));
    assert_eq!(board.compete(&candidate(5, 119), |_| true), Some(701));
}

#[test]
fn racing_candidates_have_one_winner_and_fences_grow() {
    let memory = memory();
    let board = Board::new(&memory);
    let mut last = 0;
    for round in 0..200 {
        let wins: Vec<u64> = std::thread::scope(|scope| {
            let one = |pid| scope.spawn(move || board.compete(&candidate(pid, 100 + round), |_| true));
            let threads: Vec<_> = (1..5).map(one).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(wins.len(), 1);
        assert!(wins[0] > last);
        last = wins[0];
        assert!(board.resign(board.leader().unwrap()));
    }
}

#[test]
fn policies_keep_their_places_by_name() {
    let memory = memory();
    let board = Board::new(&memory);
    assert!(board.register(&["a", "b", "target:c"]).is_empty());
    let (a, b) = (board.find("a").unwrap(), board.find("b").unwrap());
    assert!(a.save(0, &State { decisions: 3, ..State::default() }));
    assert!(b.save(0, &State { decisions: 4, ..State::default() }));
    board.set_in_force(b.bit(), true);
    // b is dropped, others come: the free place first, then that of b
    assert!(board.register(&["d", "a", "target:c"]).is_empty());
    assert_eq!(board.find("b").and_then(|b| b.state()).unwrap().decisions, 4, "it may come back");
    assert!(board.register(&["d", "a", "target:c", "e"]).is_empty());
    assert!(board.find("b").is_none() && !b.is_mine() && a.is_mine());
    assert_eq!(board.in_force(), 0, "what the dropped one said is not in force");
    let e = board.find("e").unwrap();
    assert_eq!((e.index, e.state(), e.version()), (b.index, None, 0));
    // a former worker of b writes on
    assert!(!b.save(9, &State::default()));
    b.note(1, &OrderNote { unix_ms: 1, reason: "old".into() });
    b.learn(Known { replicas: Replicas { wanted: 9, ready: 9 }, at_us: 1, source: Source::Told });
    assert_eq!((e.state(), e.noted(1), e.known()), (None, None, None));
    assert_eq!(board.find("a").unwrap().state().unwrap().decisions, 3);
    // no place for a fifth, nor for a name that is too long
    let long = "x".repeat(MOST_NAME + 1);
    assert_eq!(board.register(&["a", "d", "e", "target:c", "f"]), ["f"]);
    assert_eq!(board.register(&["a", &long]), [&long]);
    assert_eq!(board.places().len(), PLACES);
}

#[test]
fn a_former_leader_saves_nothing() {
    let memory = memory();
    let board = Board::new(&memory);
    board.register(&["a"]);
    let place = board.find("a").unwrap();
    let state = |decisions| State { decisions, ..State::default() };
    assert!(place.take_over(7, &state(1)) && place.save(7, &state(2)));
    assert!(place.take_over(9, &state(2)) && place.is_led(9) && !place.is_led(7));
    assert!(!place.save(7, &state(5)), "it was stopped meanwhile");
    assert!(!place.take_over(8, &state(6)), "it has led for a moment, and comes too late");
    assert!(place.save(9, &state(3)));
    assert_eq!(place.state(), Some(state(3)));
    // a state file is read before anybody leads
    assert!(!place.save(0, &state(0)));
}

proptest! {
    /// A leader that was stopped after so many words of a save goes on when another one has taken over and saved so many times.
    #[test]
    fn what_a_stopped_leader_had_begun_is_not_believed(begun in 0usize..=store::STORE_WORDS / 2, saves in 0u64..4) {
        let (memory, finished) = (memory(), memory());
        let state = |decisions| State { decisions, ..State::default() };
        for words in [&memory, &finished] {
            let board = Board::new(words);
            board.register(&["a"]);
            let place = board.find("a").unwrap();
            prop_assert!(place.take_over(7, &state(1)));
        }
        let before: Vec<u64> = memory.iter().map(get).collect();
        prop_assert!(Board::new(&finished).find("a").unwrap().save(7, &state(99)));
        // what the save changes, its number (which is before the words) last
        let mut writes: Vec<usize> = (0..before.len()).filter(|i| get(&finished[*i]) != before[*i]).collect();
        let number = writes.iter().position(|i| before[*i] == 1 && get(&finished[*i]) == 3).unwrap();
        let number = writes.remove(number);
        writes.push(number);
        let (first, rest) = writes.split_at(begun.min(writes.len() - 1));
        let go_on = |writes: &[usize]| writes.iter().for_each(|i| put(&memory[*i], get(&finished[*i])));
        go_on(first);
        let place = Board::new(&memory).find("a").unwrap();
        prop_assert_eq!(place.state(), Some(state(1)));
        prop_assert!(place.take_over(9, &state(10)));
        for n in 1..=saves {
            prop_assert!(place.save(9, &state(10 + n)));
        }
        go_on(rest);
        let believed = place.state().unwrap().decisions;
        prop_assert!(believed == 10 + saves || believed + 1 == 10 + saves, "{} of {}", believed, saves);
        prop_assert!(place.save(9, &state(20)));
        prop_assert_eq!(place.state(), Some(state(20)));
    }
}

#[test]
fn an_order_is_believed_whole() {
    let memory = memory();
    let board = Board::new(&memory);
    board.register(&["a"]);
    let place = board.find("a").unwrap();
    assert_eq!(place.noted(0), None);
    let note = OrderNote { unix_ms: 77, reason: "from 2 to 4: 4 wanted".into() };
    place.note(5, &note);
    assert_eq!((place.noted(5), place.noted(4)), (Some(note), None));
    let long = OrderNote { unix_ms: 78, reason: "ä".repeat(MOST_REASON) };
    place.note(6, &long);
    assert_eq!(place.noted(6).unwrap().reason, "ä".repeat(MOST_REASON / 2), "cut between letters");
}

#[test]
fn replicas_are_of_one_target() {
    let memory = memory();
    let board = Board::new(&memory);
    board.register(&["a"]);
    let place = board.find("a").unwrap();
    assert!(!place.bind(11), "the first one is no change");
    let known = Known { replicas: Replicas { wanted: 4, ready: 3 }, at_us: 9, source: Source::Written };
    assert_eq!(place.known(), None);
    place.learn(known);
    assert_eq!(place.known(), Some(known));
    assert!(!place.bind(11) && place.known().is_some());
    assert_eq!((board.known_of(11), board.known_of(12), board.known_of(0)), (Some(known), None, None));
    assert!(place.bind(12));
    assert_eq!((place.known(), board.known_of(12)), (None, None));
}

#[test]
fn bits_of_requests_are_told_once() {
    let memory = memory();
    let board = Board::new(&memory);
    assert!(board.mark_due(0b01) && !board.mark_due(0b01) && board.mark_due(0b11));
    assert_eq!((board.take_due(), board.take_due()), (0b11, 0));
    assert!(board.mark_due(0b01));
    assert_eq!((board.epoch(8), board.epoch(9)), (8, 8));
}

#[test]
fn commands_come_out_in_order_and_once() {
    let memory = memory();
    let (board, leader) = (Board::new(&memory), owner(9));
    let queue = board.queue();
    assert!(queue.is_empty() && queue.take(leader).is_none());
    let commands = [
        scale("app", 4),
        Command::Change { target: "app".into(), delta: -2, reason: String::new() },
        Command::Notify { target: "chat".into(), json: "{\"a\":\"ü\"}".into() },
        Command::Hold { policy: "orders".into(), seconds: 2.5 },
    ];
    let tickets: Vec<u64> = commands.iter().map(|command| queue.put(owner(1), command).unwrap()).collect();
    assert!(tickets.is_sorted() && !queue.is_empty());
    for (command, ticket) in commands.iter().zip(&tickets) {
        let asked = queue.take(leader).unwrap();
        assert_eq!((&asked.command, asked.ticket), (command, *ticket));
        queue.done(leader, &asked);
    }
    assert!(queue.take(leader).is_none());
}

/// What a leader does that remembers the last turn done, as the state of a policy does.
fn run(queue: &Queue<'_>, me: Owner, last: &mut u64, sum: &mut i64) -> bool {
    let Some(asked) = queue.take(me) else { return false };
    if asked.turn > *last {
        let Command::Change { delta, .. } = asked.command else { panic!() };
        (*last, *sum) = (asked.turn, *sum + i64::from(delta));
    }
    queue.done(me, &asked);
    true
}

fn change(delta: i32) -> Command {
    Command::Change { target: "app".into(), delta, reason: "x".repeat(200) }
}

#[test]
fn who_has_the_smaller_number_may_be_slower() {
    let (memory, whole) = (memory(), memory());
    let queue_at = words(PLACES) - QUEUE_WORDS;
    let queue = Board::new(&memory).queue();
    Board::new(&whole).queue().put(owner(1), &change(1)).unwrap();
    // worker 1 has its slot and its ticket, and nothing more, while worker 2 is done and the leader looks
    put(&memory[queue_at], owner(1).word());
    let ticket = queue.put(owner(2), &change(10)).unwrap();
    let (mut last, mut sum) = (0, 0);
    assert!(run(&queue, owner(9), &mut last, &mut sum) && !run(&queue, owner(9), &mut last, &mut sum));
    for i in (1..20).chain([0]) {
        put(&memory[queue_at + i], get(&whole[queue_at + i]));
    }
    put(&memory[queue_at + 1], ticket - 1);
    assert!(run(&queue, owner(9), &mut last, &mut sum));
    assert_eq!(sum, 11);
}

#[test]
fn what_was_done_and_not_said_so_is_not_done_twice_and_what_is_put_off_is_not_lost() {
    let memory = memory();
    let queue = Board::new(&memory).queue();
    let (mut last, mut sum) = (0, 0);
    queue.put(owner(1), &change(1)).unwrap();
    queue.put(owner(1), &change(10)).unwrap();
    // the leader has done the second one, put off the first one, and is killed
    let first = queue.take(owner(8)).unwrap();
    let second = queue.take(owner(8)).unwrap();
    (last, sum) = (last.max(second.turn), sum + 10);
    queue.back(owner(8), &first);
    queue.sweep(owner(9), |_| false);
    while run(&queue, owner(9), &mut last, &mut sum) {}
    assert_eq!(sum, 11);
    // taken, and not yet done
    queue.put(owner(1), &change(100)).unwrap();
    queue.take(owner(9)).unwrap();
    queue.sweep(owner(7), |_| false);
    queue.put(owner(1), &change(1000)).unwrap();
    while run(&queue, owner(7), &mut last, &mut sum) {}
    assert_eq!(sum, 1111);
    assert!(queue.is_empty());
}

#[test]
fn workers_that_ask_in_the_same_instant_all_count() {
    let memory = memory();
    let board = Board::new(&memory);
    let (workers, each) = (4, 3000);
    let sum = std::thread::scope(|scope| {
        let put = |pid: u32| {
            scope.spawn(move || {
                for _ in 0..each {
                    while board.queue().put(owner(pid), &change(1)).is_err() {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let threads: Vec<_> = (1..=workers).map(put).collect();
        let (queue, mut last, mut sum, mut turns) = (board.queue(), 0, 0, 0u32);
        while !threads.iter().all(|thread| thread.is_finished()) || !queue.is_empty() {
            turns += 1;
            // leaders come and go: what they had taken is taken again
            let me = owner(100 + turns / 50);
            if turns % 50 == 49 {
                queue.take(me);
                queue.sweep(owner(101 + turns / 50), |o| o.pid < 100);
            } else {
                run(&queue, me, &mut last, &mut sum);
            }
        }
        sum
    });
    assert_eq!(sum, i64::from(workers * each));
}

#[test]
fn the_queue_is_bounded() {
    let memory = memory();
    let queue = Board::new(&memory).queue();
    let long = |n: usize| Command::Notify { target: "t".into(), json: "x".repeat(n) };
    assert_eq!(queue.put(owner(1), &long(MOST_TEXT + 1)), Err(Denied::LongText(MOST_TEXT + 1)));
    assert_eq!(queue.put(owner(1), &scale(&"x".repeat(81), 1)), Err(Denied::LongName(81)));
    queue.put(owner(1), &Command::Notify { target: "t".repeat(80), json: "x".repeat(MOST_TEXT) }).unwrap();
    while queue.put(owner(1), &scale("app", 1)).is_ok() {}
    assert_eq!(queue.put(owner(1), &scale("app", 1)), Err(Denied::Full));
    let first = queue.take(owner(9)).unwrap();
    assert!(matches!(&first.command, Command::Notify { json, .. } if json.len() == MOST_TEXT));
    queue.done(owner(9), &first);
    assert!(queue.put(owner(1), &scale("app", 1)).is_ok());
}

#[test]
fn what_the_dead_had_claimed_is_given_back() {
    let memory = memory();
    let queue = Board::new(&memory).queue();
    // the leader is killed while it carries out one command
    queue.put(owner(1), &scale("app", 4)).unwrap();
    queue.put(owner(1), &scale("app", 5)).unwrap();
    assert_eq!(queue.take(owner(8)).unwrap().command, scale("app", 4));
    queue.sweep(owner(9), |_| false);
    assert_eq!(queue.take(owner(9)).unwrap().command, scale("app", 4), "begun again");
    queue.sweep(owner(9), |_| false);
    let second = queue.take(owner(9)).unwrap();
    assert_eq!(second.command, scale("app", 5), "what the leader itself has begun stays its own");
    queue.give_back(owner(9));
    assert_eq!(queue.take(owner(9)).unwrap().command, scale("app", 4));
}

proptest! {
    /// A worker that is killed after so many of its writes leaves a queue that works, and a command that is whole or absent.
    #[test]
    fn a_writer_killed_anywhere_leaves_the_queue_usable(killed in 0usize..16, reason in ".{0,40}") {
        let (whole, torn) = (memory(), memory());
        let command = Command::Scale { target: "app".into(), replicas: 4, reason };
        Board::new(&whole).queue().put(owner(1), &command).unwrap();
        // the order of the writes: holder, ticket, kind, number, lengths, bytes, holder again
        let queue_at = words(PLACES) - QUEUE_WORDS;
        put(&torn[queue_at], owner(1).word());
        for i in 1..=killed {
            put(&torn[queue_at + i], get(&whole[queue_at + i]));
        }
        let queue = Board::new(&torn).queue();
        prop_assert!(queue.take(owner(9)).is_none(), "not whole");
        queue.sweep(owner(9), |o| o.pid != 1);
        prop_assert!(queue.take(owner(9)).is_none());
        (0..32).for_each(|_| assert!(queue.put(owner(2), &command).is_ok()));
        prop_assert_eq!(queue.take(owner(9)).unwrap().command, command);
    }

    /// The same of a name, an order and a claim.
    #[test]
    fn a_writer_killed_anywhere_leaves_names_whole(killed in 0usize..200) {
        let (memory, after) = (memory(), memory());
        for (words, name) in [(&memory, "before"), (&after, "after-it")] {
            let board = Board::new(words);
            board.register(&[name]);
            assert!(board.find(name).unwrap().save(0, &State { decisions: 3, ..State::default() }));
        }
        // the second claim stops after so many words
        put(&memory[HEAD], 0);
        for i in 2..2 + killed {
            put(&memory[HEAD + i], get(&after[HEAD + i]));
        }
        let board = Board::new(&memory);
        prop_assert!(board.places().is_empty());
        prop_assert!(board.register(&["after-it", "x", "y", "z"]).is_empty());
        let place = board.find("after-it").unwrap();
        prop_assert_eq!(place.state(), None);
        prop_assert!(place.save(0, &State::default()));
        prop_assert_eq!(place.state(), Some(State::default()));
    }
}
