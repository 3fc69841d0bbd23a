//! Frames and the fields in them.

use super::session::Fault;
use super::MAX_FRAME;

/// Type, channel and size before the payload, and an octet behind it.
pub const OVERHEAD: usize = 8;
const END: u8 = 0xce;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Method,
    Header,
    Body,
    Heartbeat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: Kind,
    pub channel: u16,
    pub payload: &'a [u8],
}

/// The frame that `input` begins with, and its length; `None` when more of it has to come.
pub fn read(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Fault> {
    let Some(first) = input.first() else { return Ok(None) };
    let kind = match first {
        1 => Kind::Method,
        2 => Kind::Header,
        3 => Kind::Body,
        8 => Kind::Heartbeat,
        // a server that speaks another version answers with that one's header
        _ => return Err(Fault::Malformed),
    };
    let mut fields = Fields(&input[1..]);
    let (Ok(channel), Ok(size)) = (fields.u16(), fields.u32()) else { return Ok(None) };
    let size = size as usize;
    if size > MAX_FRAME - OVERHEAD {
        return Err(Fault::TooMuch);
    }
    match (fields.0.get(..size), fields.0.get(size)) {
        (Some(payload), Some(&END)) => Ok(Some((Frame { kind, channel, payload }, size + OVERHEAD))),
        (Some(_), Some(_)) => Err(Fault::Malformed),
        _ => Ok(None),
    }
}

/// Appends a frame whose payload `fill` writes.
pub fn write(kind: Kind, channel: u16, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(match kind {
        Kind::Method => 1,
        Kind::Header => 2,
        Kind::Body => 3,
        Kind::Heartbeat => 8,
    });
    out.extend_from_slice(&channel.to_be_bytes());
    sized(out, fill);
    out.push(END);
}

/// Appends a method's frame; `fill` writes its arguments.
pub fn method(channel: u16, id: (u16, u16), out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    write(Kind::Method, channel, out, |out| {
        out.extend_from_slice(&id.0.to_be_bytes());
        out.extend_from_slice(&id.1.to_be_bytes());
        fill(out);
    });
}

/// Appends what `fill` writes, with its length in four octets before it.
pub fn sized(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a short string; the caller has checked that it is one.
pub fn short(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(255)];
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

/// Appends an entry of a field table whose value is a long string.
pub fn entry(out: &mut Vec<u8>, name: &str, value: &str) {
    short(out, name);
    out.push(b'S');
    sized(out, |out| out.extend_from_slice(value.as_bytes()));
}

/// Appends an entry that is true.
pub fn entry_true(out: &mut Vec<u8>, name: &str) {
    short(out, name);
    out.extend_from_slice(b"t\x01");
}

/// What is left to read of a payload.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| Fault::Malformed)
    }

    pub fn u16(&mut self) -> Result<u16, Fault> {
        self.number().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Fault> {
        self.number().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Fault> {
        self.number().map(u64::from_be_bytes)
    }

    pub fn short(&mut self) -> Result<&'a [u8], Fault> {
        let [length] = self.number()?;
        self.take(length.into())
    }

    /// A long string, or a table as a whole.
    pub fn long(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.u32()?;
        self.take(length as usize)
    }
}
