//! A set of bytes as a table, built at compile time, and percent-escaping by such a set.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Which bytes to escape, refuse or look for.
pub struct ByteSet([bool; 256]);

impl ByteSet {
    pub const EMPTY: Self = Self([false; 256]);

    /// The set and these bytes.
    pub const fn with(mut self, bytes: &[u8]) -> Self {
        let mut i = 0;
        while i < bytes.len() {
            self.0[bytes[i] as usize] = true;
            i += 1;
        }
        self
    }

    /// The set without these bytes.
    pub const fn without(mut self, bytes: &[u8]) -> Self {
        let mut i = 0;
        while i < bytes.len() {
            self.0[bytes[i] as usize] = false;
            i += 1;
        }
        self
    }

    /// The set and all bytes from `first` to `last`, both included.
    pub const fn range(mut self, first: u8, last: u8) -> Self {
        let mut byte = first as usize;
        while byte <= last as usize {
            self.0[byte] = true;
            byte += 1;
        }
        self
    }

    #[inline]
    pub const fn contains(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }

    /// Where the first member is.
    #[inline]
    pub fn find(&self, src: &[u8]) -> Option<usize> {
        src.iter().position(|&byte| self.contains(byte))
    }

    /// How long `src` becomes when `escape` writes it; at most three times its length.
    pub fn escaped_len(&self, src: &[u8]) -> usize {
        src.len() + 2 * src.iter().filter(|&&byte| self.contains(byte)).count()
    }

    /// Appends `src`, each member as `%XX` in upper case.
    pub fn escape(&self, src: &[u8], out: &mut Vec<u8>) {
        self.escape_as(b"%", src, out);
    }

    /// Appends `src`, each member as `prefix` and two upper-case hex digits.
    pub(super) fn escape_as(&self, prefix: &[u8], src: &[u8], out: &mut Vec<u8>) {
        let mut rest = src;
        while let Some(i) = self.find(rest) {
            let byte = rest[i];
            out.extend_from_slice(&rest[..i]);
            out.extend_from_slice(prefix);
            out.extend_from_slice(&[HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]);
            rest = &rest[i + 1..];
        }
        out.extend_from_slice(rest);
    }
}
