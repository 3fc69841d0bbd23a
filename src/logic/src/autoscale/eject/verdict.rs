//! What an attempt says about the health of its peer.

/// How an attempt ended, as nginx knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The peer's status; 0 when it sent none.
    pub status: u16,
    pub connected: bool,
    /// nginx counts it as a failure of the peer.
    pub failed: bool,
    pub timed_out: bool,
    /// The answer began and did not come to its end.
    pub broke_off: bool,
    pub client_gone: bool,
    /// Over a connection that had been idle, and that the peer may have closed just then.
    pub reused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It says nothing: the client left, an idle connection was stale, or the gateway could not even try.
    Nothing,
    Passed,
    Failed {
        /// There was no connection.
        dead: bool,
    },
}

impl Verdict {
    #[inline]
    pub fn of(ended: &Ended) -> Self {
        let is_answer = matches!(ended.status, 1..=499 | 501 | 505..);
        if is_answer && !(ended.broke_off || ended.timed_out || ended.client_gone) {
            return Self::Passed;
        }
        Self::of_others(ended)
    }

    #[cold]
    fn of_others(ended: &Ended) -> Self {
        let is_stale = ended.reused && ended.status == 0 && !ended.timed_out;
        if ended.client_gone || is_stale {
            return Self::Nothing;
        }
        match ended.status {
            500 | 502..=504 => Self::Failed { dead: false },
            _ if ended.broke_off || ended.timed_out && ended.connected => Self::Failed { dead: false },
            0 if ended.failed || ended.timed_out => Self::Failed { dead: !ended.connected },
            0 => Self::Nothing,
            _ => Self::Passed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: Ended = Ended {
        status: 200,
        connected: true,
        failed: false,
        timed_out: false,
        broke_off: false,
        client_gone: false,
        reused: false,
    };
    const NONE: Ended = Ended { status: 0, ..ANSWER };

    #[test]
    fn what_counts() {
        let failed = |dead| Verdict::Failed { dead };
        let table = [
            ("an answer", ANSWER, Verdict::Passed),
            ("not found", Ended { status: 404, failed: true, ..ANSWER }, Verdict::Passed),
            ("too many requests", Ended { status: 429, failed: true, ..ANSWER }, Verdict::Passed),
            ("not implemented", Ended { status: 501, ..ANSWER }, Verdict::Passed),
            ("an error", Ended { status: 500, ..ANSWER }, failed(false)),
            ("a bad gateway behind it", Ended { status: 502, ..ANSWER }, failed(false)),
            ("unavailable", Ended { status: 503, failed: true, ..ANSWER }, failed(false)),
            ("a timeout behind it", Ended { status: 504, ..ANSWER }, failed(false)),
            ("refused", Ended { connected: false, failed: true, ..NONE }, failed(true)),
            (
                "no connection in time",
                Ended { connected: false, timed_out: true, failed: true, ..NONE },
                failed(true),
            ),
            ("no answer in time", Ended { timed_out: true, failed: true, ..NONE }, failed(false)),
            ("closed before an answer", Ended { failed: true, ..NONE }, failed(false)),
            ("closed in the middle", Ended { broke_off: true, ..ANSWER }, failed(false)),
            ("silent in the middle", Ended { timed_out: true, ..ANSWER }, failed(false)),
            (
                "an idle connection that was closed",
                Ended { reused: true, failed: true, ..NONE },
                Verdict::Nothing,
            ),
            (
                "an idle connection, and then silence",
                Ended { reused: true, timed_out: true, failed: true, ..NONE },
                failed(false),
            ),
            (
                "given up for want of what the gateway has not",
                Ended { connected: false, ..NONE },
                Verdict::Nothing,
            ),
        ];
        for (what, ended, verdict) in table {
            assert_eq!(Verdict::of(&ended), verdict, "{what}");
        }
    }

    proptest! {
        #[test]
        fn a_client_that_leaves_says_nothing(
            status in prop_oneof![Just(0u16), 100u16..600], connected: bool, failed: bool, timed_out: bool, broke_off: bool, reused: bool,
        ) {
            let ended = Ended { status, connected, failed, timed_out, broke_off, reused, client_gone: true };
            prop_assert_eq!(Verdict::of(&ended), Verdict::Nothing);
        }
    }
}
