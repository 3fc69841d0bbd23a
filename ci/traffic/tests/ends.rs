//! The client before a peer, with no gateway between them: each way of a peer is an end of a request.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use traffic::load::{play, End, Record};
use traffic::peers::Peers;
use traffic::report::report;
use traffic::scenario::{Mix, Phase, Scenario};
use traffic::trace::shots;

/// A quarter of a second of traffic on the first peer, which becomes `way` before it.
fn played(way: &str) -> (Vec<Record>, serde_json::Value) {
    let (tell, told) = mpsc::channel::<(SocketAddr, SocketAddr)>();
    // they end by themselves
    thread::spawn(move || {
        let mut peers = Peers::new(0, 0).unwrap();
        tell.send(peers.addresses(0).unwrap()).unwrap();
        peers.run(10)
    });
    let (gateway, control) = told.recv().unwrap();
    let scenario = Scenario {
        name: "slow",
        phases: vec![Phase { seconds: 0.25, load: 0.06 }],
        faults: vec![(0.0, format!("0 {way}"))],
        window: (0.0, 0.25),
        mix: Mix::Plain,
    };
    let shots = shots(&scenario, 1);
    assert!(shots.len() >= 5, "{}", shots.len());
    // no connections beforehand: they may come before the fault
    let (records, stats) = play(&scenario, &shots, gateway, control, 0).unwrap();
    assert_eq!(records.len(), shots.len());
    assert!(report(&scenario, &records)["late_p99"].is_number());
    (records, stats)
}

fn statuses(records: &[Record]) -> Vec<Option<u16>> {
    records.iter().map(Record::status).collect()
}

#[test]
fn a_peer_that_is_well_does_the_work_that_came_with_the_request() {
    let (records, stats) = played("well");
    assert_eq!(statuses(&records), vec![Some(200); records.len()]);
    assert!(records.iter().all(|it| it.latency_ns() >= it.shot.work_us as u64 * 1000));
    assert!(records.iter().all(|it| it.held_ns.is_some()));
    assert_eq!(stats[0]["served"], records.len());
}

#[test]
fn a_slow_peer_takes_longer() {
    let (records, _) = played("slow 3");
    assert!(records.iter().all(|it| it.latency_ns() >= it.shot.work_us as u64 * 3000));
}

#[test]
fn peers_that_fail_or_are_busy_say_so() {
    assert_eq!(statuses(&played("fail 1").0)[..5], [Some(500); 5]);
    let (records, stats) = played("busy");
    assert!(records.iter().all(|it| it.status() == Some(429) && it.refused()));
    assert!(records
        .iter()
        .all(|it| matches!(it.end, End::Answered(answer) if answer.retry_after == Some(1))));
    assert_eq!(stats[0]["served"], 0);
}

#[test]
fn a_peer_that_hangs_is_given_up_and_a_dead_one_refuses() {
    let (records, _) = played("hang");
    assert!(records.iter().all(|it| it.end == End::GaveUp && it.latency_ns() >= 1_000_000_000));
    assert!(played("dead").0.iter().all(|it| it.end == End::Broken));
}
