//! What is said when.

use super::frame::{self, entry, entry_true, method, short, sized, Fields, Frame, Kind, OVERHEAD};
use super::MAX_FRAME;
use crate::wire::login::Login;

/// Methods, as class and number.
mod id {
    pub const START: (u16, u16) = (10, 10);
    pub const START_OK: (u16, u16) = (10, 11);
    pub const TUNE: (u16, u16) = (10, 30);
    pub const TUNE_OK: (u16, u16) = (10, 31);
    pub const OPEN: (u16, u16) = (10, 40);
    pub const OPEN_OK: (u16, u16) = (10, 41);
    pub const CLOSE: (u16, u16) = (10, 50);
    pub const CLOSE_OK: (u16, u16) = (10, 51);
    pub const CHANNEL_OPEN: (u16, u16) = (20, 10);
    pub const CHANNEL_OPEN_OK: (u16, u16) = (20, 11);
    pub const CHANNEL_CLOSE: (u16, u16) = (20, 40);
    pub const PUBLISH: (u16, u16) = (60, 40);
    pub const RETURN: (u16, u16) = (60, 50);
    pub const ACK: (u16, u16) = (60, 80);
    pub const NACK: (u16, u16) = (60, 120);
    pub const SELECT: (u16, u16) = (85, 10);
    pub const SELECT_OK: (u16, u16) = (85, 11);
}

/// The one channel that we open.
const CHANNEL: u16 = 1;
/// The least that a server must take in a frame.
const LEAST_FRAME: usize = 4096;
/// How many frames a server may send before all is said: a returned message comes back in as many as it was sent in.
const MAX_FRAMES: u32 = 1000;
/// Properties of a message that we set, in their order: content-type, delivery-mode, message-id, timestamp, app-id.
const PROPERTIES: u16 = 1 << 15 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 3;
const PERSISTENT: u8 = 2;

/// Why a message was not published, or is not known to have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("not AMQP 0-9-1")]
    Malformed,
    #[error("more than a server has to say")]
    TooMuch,
    #[error("the server does not take PLAIN for a login")]
    NoPlain,
    /// The server's code and words.
    #[error("{0} {1}")]
    Refused(u16, String),
    #[error("unroutable: {0} {1}")]
    Unroutable(u16, String),
    #[error("not confirmed by the server (nack)")]
    Nacked,
    #[error("unexpected method {0}.{1}")]
    Unexpected(u16, u16),
    #[error("the {0} is longer than 255 bytes")]
    LongName(&'static str),
}

impl Fault {
    /// Whether the same again may come to something else.
    pub fn may_pass(&self) -> bool {
        match self {
            // what only an administrator changes: no such virtual host, user, right, exchange
            Fault::Refused(code, _) => !matches!(code, 402..=406 | 501..=540),
            Fault::Unroutable(..) | Fault::Nacked => true,
            _ => false,
        }
    }
}

/// What is published, and where.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a str,
    /// The same for repetitions of the message.
    pub id: &'a str,
    pub unix_s: u64,
    pub json: &'a str,
}

/// What a frame came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do but to wait.
    More,
    Send(Vec<u8>),
    /// [`Session::publish`] is next.
    Ready,
    /// The message is the server's to keep.
    Confirmed,
    /// The farewell was answered.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Start,
    Tune,
    OpenOk,
    ChannelOpenOk,
    SelectOk,
    Publish,
    Confirm,
    Nothing,
    CloseOk,
}

pub struct Session {
    login: Login,
    awaits: Awaits,
    /// The longest frame that the server takes.
    frame: usize,
    frames: u32,
    returned: Option<Fault>,
    /// The server wants an end.
    closing: bool,
}

impl Session {
    /// After [`super::HELLO`] was sent.
    pub fn new(login: Login) -> Session {
        Session {
            login,
            awaits: Awaits::Start,
            frame: LEAST_FRAME,
            frames: 0,
            returned: None,
            closing: false,
        }
    }

    /// Takes the frame that `input` begins with: what it comes to, and its length. `None` when more of it has to come.
    pub fn take(&mut self, input: &[u8]) -> Result<Option<(Step, usize)>, Fault> {
        let Some((frame, length)) = frame::read(input)? else { return Ok(None) };
        self.frames += 1;
        if self.frames > MAX_FRAMES {
            return Err(Fault::TooMuch);
        }
        self.frame(frame).map(|step| Some((step, length)))
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<Step, Fault> {
        match frame.kind {
            Kind::Method => {}
            Kind::Heartbeat => return Ok(Step::More),
            // of a message that is returned
            Kind::Header | Kind::Body if self.returned.is_some() => return Ok(Step::More),
            Kind::Header | Kind::Body => return Err(Fault::Malformed),
        }
        let mut fields = Fields(frame.payload);
        let id = (fields.u16()?, fields.u16()?);
        if frame.channel != if id.0 == 10 { 0 } else { CHANNEL } {
            return Err(Fault::Malformed);
        }
        self.method(id, fields)
    }

    fn method(&mut self, id: (u16, u16), mut fields: Fields<'_>) -> Result<Step, Fault> {
        let mut out = Vec::new();
        self.awaits = match (self.awaits, id) {
            (Awaits::CloseOk, id::CLOSE_OK) => {
                self.awaits = Awaits::Nothing;
                return Ok(Step::Closed);
            }
            // whatever was on its way when we took our leave
            (Awaits::CloseOk, _) => return Ok(Step::More),
            (_, id::CLOSE | id::CHANNEL_CLOSE) => {
                self.closing = id == id::CLOSE;
                return Err(Fault::Refused(fields.u16()?, text(fields.short()?)));
            }
            (Awaits::Start, id::START) => {
                let _version = fields.take(2)?;
                let _properties = fields.long()?;
                if !fields.long()?.split(|b| *b == b' ').any(|mechanism| mechanism == b"PLAIN") {
                    return Err(Fault::NoPlain);
                }
                self.start_ok(&mut out);
                Awaits::Tune
            }
            (Awaits::Tune, id::TUNE) => {
                let (channels, most) = (fields.u16()?, fields.u32()? as usize);
                self.tune_and_open(channels, most, &mut out);
                Awaits::OpenOk
            }
            (Awaits::OpenOk, id::OPEN_OK) => {
                method(CHANNEL, id::CHANNEL_OPEN, &mut out, |out| short(out, ""));
                Awaits::ChannelOpenOk
            }
            (Awaits::ChannelOpenOk, id::CHANNEL_OPEN_OK) => {
                method(CHANNEL, id::SELECT, &mut out, |out| out.push(0));
                Awaits::SelectOk
            }
            (Awaits::SelectOk, id::SELECT_OK) => {
                self.awaits = Awaits::Publish;
                return Ok(Step::Ready);
            }
            (Awaits::Confirm, id::RETURN) => {
                self.returned = Some(Fault::Unroutable(fields.u16()?, text(fields.short()?)));
                return Ok(Step::More);
            }
            // there is but one message that it can be about
            (Awaits::Confirm, id::ACK) if fields.u64()? == 1 => {
                self.awaits = Awaits::Nothing;
                return self.returned.take().map_or(Ok(Step::Confirmed), Err);
            }
            (Awaits::Confirm, id::NACK) => return Err(Fault::Nacked),
            _ => return Err(Fault::Unexpected(id.0, id.1)),
        };
        Ok(Step::Send(out))
    }

    fn start_ok(&self, out: &mut Vec<u8>) {
        method(0, id::START_OK, out, |out| {
            sized(out, |out| {
                entry(out, "product", "autoscale-lua");
                entry(out, "version", env!("CARGO_PKG_VERSION"));
                short(out, "capabilities");
                out.push(b'F');
                sized(out, |out| {
                    entry_true(out, "publisher_confirms");
                    // to be told that a login is wrong, and not just to be left
                    entry_true(out, "authentication_failure_close");
                });
            });
            short(out, "PLAIN");
            let user = self.login.user.as_deref().unwrap_or("guest");
            sized(out, |out| {
                // RFC 4616
                out.extend_from_slice(format!("\0{user}\0{}", self.login.password).as_bytes());
            });
            short(out, "en_US");
        });
    }

    /// No heartbeats: no connection is idle for longer than its deadline.
    fn tune_and_open(&mut self, channels: u16, most: usize, out: &mut Vec<u8>) {
        let most = if most == 0 { MAX_FRAME } else { most.clamp(LEAST_FRAME, MAX_FRAME) };
        self.frame = most;
        method(0, id::TUNE_OK, out, |out| {
            out.extend_from_slice(&channels.to_be_bytes());
            out.extend_from_slice(&(most as u32).to_be_bytes());
            out.extend_from_slice(&0u16.to_be_bytes());
        });
        method(0, id::OPEN, out, |out| {
            short(out, "/");
            short(out, "");
            out.push(0);
        });
    }

    /// What publishes the message, once the session is ready for it.
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Vec<u8>, Fault> {
        let names =
            [("exchange", message.exchange), ("routing key", message.routing_key), ("key", message.id)];
        if let Some((what, _)) = names.iter().find(|(_, name)| name.len() > 255) {
            return Err(Fault::LongName(what));
        }
        self.awaits = Awaits::Confirm;
        let mut out = Vec::with_capacity(message.json.len() + 256);
        method(CHANNEL, id::PUBLISH, &mut out, |out| {
            out.extend_from_slice(&0u16.to_be_bytes());
            short(out, message.exchange);
            short(out, message.routing_key);
            // mandatory
            out.push(1);
        });
        frame::write(Kind::Header, CHANNEL, &mut out, |out| {
            out.extend_from_slice(&id::PUBLISH.0.to_be_bytes());
            out.extend_from_slice(&0u16.to_be_bytes());
            out.extend_from_slice(&(message.json.len() as u64).to_be_bytes());
            out.extend_from_slice(&PROPERTIES.to_be_bytes());
            short(out, "application/json");
            out.push(PERSISTENT);
            short(out, message.id);
            out.extend_from_slice(&message.unix_s.to_be_bytes());
            short(out, "autoscale-lua");
        });
        for piece in message.json.as_bytes().chunks(self.frame - OVERHEAD) {
            frame::write(Kind::Body, CHANNEL, &mut out, |out| out.extend_from_slice(piece));
        }
        Ok(out)
    }

    /// What ends the connection as it should end; [`Step::Closed`] comes back unless the server has begun it.
    pub fn farewell(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.closing {
            self.awaits = Awaits::Nothing;
            method(0, id::CLOSE_OK, &mut out, |_| {});
        } else {
            self.awaits = Awaits::CloseOk;
            method(0, id::CLOSE, &mut out, |out| {
                out.extend_from_slice(&200u16.to_be_bytes());
                short(out, "");
                out.extend_from_slice(&[0; 4]);
            });
        }
        out
    }

    /// Whether the server has something to answer to the farewell.
    pub fn awaits_end(&self) -> bool {
        self.awaits == Awaits::CloseOk
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
