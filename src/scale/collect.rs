//! Counts what happens to requests at upstreams.

use crate::conf::MainConf;
use crate::ngx::Request;

/// One request at one peer.
pub struct Attempt {
    pub upstream: u32,
}

/// How an attempt ended, as far as nginx knows.
pub struct Outcome {
    /// The peer's status; 0 when it sent none.
    pub status: u16,
    pub connect_ms: Option<u32>,
    pub first_byte_ms: Option<u32>,
    /// nginx counts it as a failure of the peer.
    pub failed: bool,
    pub timed_out: bool,
}

/// `peer` was chosen for a request to upstream number `upstream`.
pub fn start(_main: &MainConf, upstream: u32, _peer: &[u8]) -> Option<Attempt> {
    Some(Attempt { upstream })
}

/// No peer could be chosen.
pub fn refused(_main: &MainConf, _upstream: u32) {}

/// The response header of the attempt is being sent on.
pub fn first_byte(_main: &MainConf, _attempt: &mut Attempt) {}

/// The attempt is over: answered, failed or abandoned.
pub fn end(_main: &MainConf, _request: Request, _attempt: Attempt, _outcome: &Outcome) {}
