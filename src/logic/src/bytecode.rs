//! Makes a script's main chunk a function that takes no `...`, by one bit of its bytecode.
//!
//! LuaJIT starts no trace at a function with variable arguments, which every chunk is. A script that is called once per
//! request and has no loop would stay interpreted for ever. The layout is that of LuaJIT's `lj_bcdump.h`: a header, then
//! the functions, inner ones first, each with its length and a byte of flags in front.

const MAGIC: &[u8] = b"\x1bLJ";
/// The format of LuaJIT 2.1.
const VERSION: u8 = 2;
/// In the header: no debug information, so no name.
const STRIPPED: u64 = 2;
/// In a function: it takes `...`.
const VARARG: u8 = 2;

/// Clears the bit in `dump`, the bytecode of a chunk that does not use its `...`; `None` if this is no bytecode we know.
pub fn fix_arguments(dump: &mut [u8]) -> Option<()> {
    let mut at = MAGIC.len();
    if !dump.starts_with(MAGIC) || *dump.get(at)? != VERSION {
        return None;
    }
    at += 1;
    let flags = uleb(dump, &mut at)?;
    if flags & STRIPPED == 0 {
        let name = usize::try_from(uleb(dump, &mut at)?).ok()?;
        at = at.checked_add(name)?;
    }
    let mut main = None;
    loop {
        let len = usize::try_from(uleb(dump, &mut at)?).ok()?;
        if len == 0 {
            break;
        }
        main = Some(at);
        at = at.checked_add(len)?;
    }
    if at != dump.len() {
        return None;
    }
    let flags = dump.get_mut(main?)?;
    if *flags & VARARG == 0 {
        return None;
    }
    *flags &= !VARARG;
    Some(())
}

/// Seven bits a byte, lowest first; the last one has its top bit clear.
fn uleb(dump: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = *dump.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header with name `=n`, then functions of the given lengths, whose first byte is their flags.
    fn dump(functions: &[&[u8]]) -> Vec<u8> {
        let mut out = b"\x1bLJ\x02\x08\x02=n".to_vec();
        for f in functions {
            out.push(f.len() as u8);
            out.extend_from_slice(f);
        }
        out.push(0);
        out
    }

    #[test]
    fn only_the_last_function_changes() {
        let mut code = dump(&[&[2, 1, 1], &[3, 9]]);
        assert_eq!(fix_arguments(&mut code), Some(()));
        assert_eq!(code, dump(&[&[2, 1, 1], &[1, 9]]));
    }

    #[test]
    fn a_stripped_dump_has_no_name() {
        let mut code = b"\x1bLJ\x02\x0a\x02\x02\x07\x00".to_vec();
        assert_eq!(fix_arguments(&mut code), Some(()));
        assert_eq!(code, b"\x1bLJ\x02\x0a\x02\x00\x07\x00");
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let good = dump(&[&[2, 1]]);
        let mut cases: Vec<Vec<u8>> = (0..good.len()).map(|n| good[..n].to_vec()).collect();
        cases.push([&good[..], b"x"].concat());
        cases.push(good.iter().enumerate().map(|(i, b)| if i == 3 { 1 } else { *b }).collect());
        cases.push(dump(&[&[1, 1]]));
        cases.push(dump(&[]));
        for case in cases {
            let mut code = case.clone();
            assert_eq!(fix_arguments(&mut code), None, "{case:?}");
            assert_eq!(code, case);
        }
    }
}
