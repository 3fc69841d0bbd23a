//! The option string of `ngx.re.match` and its family, as `ngx.re.match`'s documentation lists it.
//!
//! Options may come in any order and more than once, and none excludes another: `u` with `U` is `U`, and `j` does
//! nothing for a pattern run by the DFA matcher (`d`), which has no JIT.

/// What an option string asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReOpts {
    /// `a`: match only where matching starts.
    pub anchored: bool,
    /// `d`: the DFA matcher, which finds the longest alternative and has no captures.
    pub dfa: bool,
    /// `D`: names may repeat; their captures are lists.
    pub dup_names: bool,
    /// `i`
    pub caseless: bool,
    /// `j`: compile to machine code.
    pub jit: bool,
    /// `J`: JavaScript's idea of some constructs.
    pub javascript: bool,
    /// `m`: `^` and `$` match at each line.
    pub multiline: bool,
    /// `o`: keep the compiled pattern.
    pub compile_once: bool,
    /// `s`: `.` matches line ends.
    pub dotall: bool,
    /// `u` or `U`: text is UTF-8.
    pub utf: bool,
    /// `U`: the subject is not checked to be UTF-8.
    pub no_utf_check: bool,
    /// `x`: blanks and comments in patterns.
    pub extended: bool,
}

/// An option that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", String::from_utf8_lossy(&self.message()))]
pub struct UnknownFlag<'a> {
    pub flag: u8,
    pub flags: &'a [u8],
}

impl UnknownFlag<'_> {
    /// The text for the script's error, with the option string byte for byte.
    pub fn message(&self) -> Vec<u8> {
        [b"unknown flag \"", &[self.flag][..], b"\" (flags \"", self.flags, b"\")"].concat()
    }
}

impl ReOpts {
    pub fn parse(flags: &[u8]) -> Result<Self, UnknownFlag<'_>> {
        let mut opts = Self::default();
        for &flag in flags {
            match flag {
                b'a' => opts.anchored = true,
                b'd' => opts.dfa = true,
                b'D' => opts.dup_names = true,
                b'i' => opts.caseless = true,
                b'j' => opts.jit = true,
                b'J' => opts.javascript = true,
                b'm' => opts.multiline = true,
                b'o' => opts.compile_once = true,
                b's' => opts.dotall = true,
                b'u' => opts.utf = true,
                b'U' => {
                    opts.utf = true;
                    opts.no_utf_check = true;
                }
                b'x' => opts.extended = true,
                _ => return Err(UnknownFlag { flag, flags }),
            }
        }
        Ok(opts)
    }

    /// Compile options of PCRE 8 (pcre.h).
    pub fn pcre1(&self) -> u32 {
        self.bits([0x1, 0x2, 0x4, 0x8, 0x10, 0x800, 0x8_0000, 0x200_0000])
    }

    /// Compile options of PCRE2 (pcre2.h). What PCRE 8 has as one JavaScript option is three there.
    pub fn pcre2(&self) -> u32 {
        self.bits([0x8, 0x400, 0x20, 0x80, 0x8000_0000, 0x8_0000, 0x40, 0x1 | 0x2 | 0x200])
    }

    fn bits(&self, values: [u32; 8]) -> u32 {
        [
            self.caseless,
            self.multiline,
            self.dotall,
            self.extended,
            self.anchored,
            self.utf,
            self.dup_names,
            self.javascript,
        ]
        .into_iter()
        .zip(values)
        .filter(|(set, _)| *set)
        .fold(0, |bits, (_, value)| bits | value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_sets_its_bits_in_both_libraries() {
        for (flags, pcre1, pcre2) in [
            ("", 0, 0),
            ("i", 0x1, 0x8),
            ("m", 0x2, 0x400),
            ("s", 0x4, 0x20),
            ("x", 0x8, 0x80),
            ("a", 0x10, 0x8000_0000),
            ("u", 0x800, 0x8_0000),
            ("U", 0x800, 0x8_0000),
            ("D", 0x8_0000, 0x40),
            ("J", 0x200_0000, 0x203),
            ("djo", 0, 0),
            ("imsxi", 0xf, 0x4a8),
        ] {
            let opts = ReOpts::parse(flags.as_bytes()).unwrap();
            assert_eq!((opts.pcre1(), opts.pcre2()), (pcre1, pcre2), "{flags:?}");
        }
    }

    #[test]
    fn options_that_are_not_of_the_library() {
        let opts = ReOpts::parse(b"jodU").unwrap();
        let want = ReOpts {
            jit: true,
            compile_once: true,
            dfa: true,
            utf: true,
            no_utf_check: true,
            ..ReOpts::default()
        };
        assert_eq!(opts, want);
        assert!(!ReOpts::parse(b"u").unwrap().no_utf_check);
    }

    #[test]
    fn unknown_flag_is_named() {
        for (flags, want) in [
            (&b"Hm"[..], "unknown flag \"H\" (flags \"Hm\")"),
            (b"jo i", "unknown flag \" \" (flags \"jo i\")"),
            (b"jy\xff", "unknown flag \"y\" (flags \"jy\u{fffd}\")"),
        ] {
            assert_eq!(ReOpts::parse(flags).unwrap_err().to_string(), want);
        }
        assert_eq!(ReOpts::parse(b"\xff").unwrap_err().message(), b"unknown flag \"\xff\" (flags \"\xff\")");
    }
}
