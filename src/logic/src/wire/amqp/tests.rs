use proptest::prelude::*;

use super::frame::{self, method, short, sized, Kind};
use super::*;
use crate::wire::login::Login;

const MESSAGE: Message<'_> =
    Message { exchange: "", routing_key: "q", id: "k-1", unix_s: 7, json: "{\"to\":3}" };

fn session() -> Session {
    Session::new(Login { user: Some("app".into()), password: "pw".into() })
}

fn said(channel: u16, id: (u16, u16), arguments: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    method(channel, id, &mut out, |out| out.extend_from_slice(arguments));
    out
}

fn start(mechanisms: &str) -> Vec<u8> {
    let mut arguments = vec![0, 9];
    sized(&mut arguments, |out| frame::entry(out, "product", "test"));
    sized(&mut arguments, |out| out.extend_from_slice(mechanisms.as_bytes()));
    sized(&mut arguments, |out| out.extend_from_slice(b"en_US"));
    said(0, (10, 10), &arguments)
}

fn tune(most: u32) -> Vec<u8> {
    said(0, (10, 30), &[&2047u16.to_be_bytes()[..], &most.to_be_bytes(), &60u16.to_be_bytes()].concat())
}

fn close(channel: u16, id: (u16, u16), code: u16, why: &str) -> Vec<u8> {
    let mut arguments = code.to_be_bytes().to_vec();
    short(&mut arguments, why);
    arguments.extend_from_slice(&[0; 4]);
    said(channel, id, &arguments)
}

fn ack() -> Vec<u8> {
    said(1, (60, 80), &[&1u64.to_be_bytes()[..], &[0]].concat())
}

/// What a server says until a message can be published.
fn greeting(most: u32) -> Vec<Vec<u8>> {
    vec![
        start("AMQPLAIN PLAIN"),
        tune(most),
        said(0, (10, 41), &[0]),
        said(1, (20, 11), &[0; 4]),
        said(1, (85, 11), &[]),
    ]
}

fn greeted(most: u32) -> Session {
    let mut session = session();
    let steps: Vec<Step> =
        greeting(most).iter().map(|frame| session.take(frame).unwrap().unwrap().0).collect();
    assert_eq!(steps[4], Step::Ready);
    assert!(steps[..4].iter().all(|step| matches!(step, Step::Send(_))));
    session
}

/// The kinds, channels and payloads of frames.
fn frames(mut bytes: &[u8]) -> Vec<(Kind, u16, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((frame, length)) = frame::read(bytes).unwrap() {
        all.push((frame.kind, frame.channel, frame.payload.to_vec()));
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty());
    all
}

#[test]
fn a_login_is_sent_once_the_server_takes_plain() {
    let mut session = session();
    let Some((Step::Send(out), _)) = session.take(&start("PLAIN")).unwrap() else { panic!() };
    let payload = &frames(&out)[0].2;
    assert_eq!(payload[..4], [0, 10, 0, 11]);
    assert!(memchr::memmem::find(payload, b"\x05PLAIN\0\0\0\x07\0app\0pw\x05en_US").is_some());
    assert_eq!(super::session::Session::take(&mut self::session(), &start("AMQPLAIN")), Err(Fault::NoPlain));
}

#[test]
fn heartbeats_are_turned_off_and_frames_bounded() {
    for (offered, taken) in [(0, MAX_FRAME), (1, 4096), (8192, 8192), (u32::MAX, MAX_FRAME)] {
        let mut session = session();
        session.take(&start("PLAIN")).unwrap();
        let Some((Step::Send(out), _)) = session.take(&tune(offered)).unwrap() else { panic!() };
        let all = frames(&out);
        let expected = [&[0, 10, 0, 31, 7, 255][..], &(taken as u32).to_be_bytes(), &[0, 0]].concat();
        assert_eq!(all[0].2, expected);
        assert_eq!(all[1].2, [0, 10, 0, 40, 1, b'/', 0, 0]);
    }
}

#[test]
fn a_message_is_mandatory_persistent_and_named() {
    let mut session = greeted(0);
    let all = frames(&session.publish(&MESSAGE).unwrap());
    assert_eq!(all[0].2, b"\0\x3c\0\x28\0\0\0\x01q\x01");
    assert_eq!(
        all[1].2,
        b"\0\x3c\0\0\0\0\0\0\0\0\0\x08\x90\xc8\x10application/json\x02\x03k-1\0\0\0\0\0\0\0\x07\x0dautoscale-lua"
    );
    assert_eq!(all[2], (Kind::Body, 1, MESSAGE.json.as_bytes().to_vec()));
    assert_eq!(session.take(&ack()), Ok(Some((Step::Confirmed, ack().len()))));
    assert_eq!(frames(&session.farewell())[0].2, b"\0\x0a\0\x32\0\xc8\0\0\0\0\0");
    // what crosses it is let pass
    assert_eq!(session.take(&close(0, (10, 50), 320, "shutdown")).unwrap().unwrap().0, Step::More);
    assert_eq!(session.take(&said(0, (10, 51), &[])).unwrap().unwrap().0, Step::Closed);
}

#[test]
fn a_long_message_goes_in_frames_that_the_server_takes() {
    let json = "x".repeat(10_000);
    let mut session = greeted(4096);
    let all = frames(&session.publish(&Message { json: &json, ..MESSAGE }).unwrap());
    assert_eq!(all[2..].iter().map(|(_, _, body)| body.len()).collect::<Vec<_>>(), [4088, 4088, 1824]);
}

#[test]
fn what_was_returned_is_not_published_though_it_is_acknowledged() {
    let mut session = greeted(0);
    let sent = session.publish(&MESSAGE).unwrap();
    let mut arguments = 312u16.to_be_bytes().to_vec();
    short(&mut arguments, "NO_ROUTE");
    arguments.extend_from_slice(&[0, 0]);
    assert_eq!(session.take(&said(1, (60, 50), &arguments)).unwrap().unwrap().0, Step::More);
    let mut rest = &sent[frame::read(&sent).unwrap().unwrap().1..];
    while !rest.is_empty() {
        let (step, length) = session.take(rest).unwrap().unwrap();
        assert_eq!(step, Step::More);
        rest = &rest[length..];
    }
    let fault = session.take(&ack()).unwrap_err();
    assert_eq!(fault.to_string(), "unroutable: 312 NO_ROUTE");
    assert!(fault.may_pass());
}

#[test]
fn a_server_that_closes_says_why_and_is_answered() {
    let mut session = session();
    session.take(&start("PLAIN")).unwrap();
    let fault = session.take(&close(0, (10, 50), 403, "ACCESS_REFUSED")).unwrap_err();
    assert_eq!((fault.to_string().as_str(), fault.may_pass()), ("403 ACCESS_REFUSED", false));
    assert_eq!(frames(&session.farewell())[0].2, b"\0\x0a\0\x33");
    assert!(!session.awaits_end());

    let mut session = greeted(0);
    session.publish(&MESSAGE).unwrap();
    let fault = session.take(&close(1, (20, 40), 404, "NOT_FOUND")).unwrap_err();
    assert!(!fault.may_pass());
    session.farewell();
    assert!(session.awaits_end());
    assert!(Fault::Refused(320, String::new()).may_pass(), "it is being restarted");
}

#[test]
fn what_is_out_of_turn_or_out_of_bounds_is_refused() {
    assert_eq!(session().take(b"AMQP\0\0\x09\x01"), Err(Fault::Malformed));
    assert_eq!(session().take(&ack()), Err(Fault::Unexpected(60, 80)));
    assert_eq!(session().take(&[1, 0, 0, 0, 2, 0, 0]), Err(Fault::TooMuch));
    assert_eq!(session().take(&[1, 0, 0, 0, 0, 0, 0, 0]), Err(Fault::Malformed), "no end");
    assert_eq!(session().take(&[3, 0, 1, 0, 0, 0, 0, 0xce]), Err(Fault::Malformed), "a body of nothing");
    let mut session = greeted(0);
    assert_eq!(session.take(&ack()), Err(Fault::Unexpected(60, 80)), "before the message");
    let long = "x".repeat(256);
    assert_eq!(session.publish(&Message { exchange: &long, ..MESSAGE }), Err(Fault::LongName("exchange")));
    session.publish(&MESSAGE).unwrap();
    let nack = said(1, (60, 120), &[&1u64.to_be_bytes()[..], &[0]].concat());
    assert_eq!(session.take(&nack), Err(Fault::Nacked));
    let heartbeat = [8, 0, 0, 0, 0, 0, 0, 0xce];
    for _ in 0..993 {
        assert_eq!(session.take(&heartbeat), Ok(Some((Step::More, 8))));
    }
    assert_eq!(session.take(&heartbeat), Err(Fault::TooMuch));
}

proptest! {
    #[test]
    fn anything_at_all_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), greeted_before: bool) {
        let mut session = if greeted_before { greeted(0) } else { session() };
        if greeted_before {
            session.publish(&MESSAGE).unwrap();
        }
        if let Ok(Some((_, length))) = session.take(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }

    /// Frames that are whole, of methods that exist, with arguments of noise.
    #[test]
    fn methods_with_any_arguments_are_read_or_refused(
        which in 0usize..17, channel in 0u16..2, arguments in proptest::collection::vec(any::<u8>(), 0..60), at in 0usize..6,
    ) {
        const IDS: [(u16, u16); 17] = [
            (10, 10), (10, 11), (10, 30), (10, 31), (10, 40), (10, 41), (10, 50), (10, 51), (20, 10), (20, 11), (20, 40),
            (60, 40), (60, 50), (60, 80), (60, 120), (85, 10), (85, 11),
        ];
        let mut session = session();
        for frame in greeting(0).iter().take(at) {
            session.take(frame).unwrap();
        }
        if at == 5 {
            session.publish(&MESSAGE).unwrap();
        }
        let frame = said(channel, IDS[which], &arguments);
        if let Ok(taken) = session.take(&frame) {
            prop_assert_eq!(taken.unwrap().1, frame.len());
        }
    }

    #[test]
    fn a_frame_that_is_cut_is_waited_for(cut in 0usize..1000) {
        for frame in greeting(0) {
            let cut = cut % frame.len();
            prop_assert_eq!(session().take(&frame[..cut]), Ok(None));
        }
    }
}
