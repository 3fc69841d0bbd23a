//! `file:PATH`: an address a line, read again when the file has changed.

use core::time::Duration;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use logic::autoscale::members::{lines, Wanted};

use super::line::Line;
use crate::http::words;
use crate::ngx::{full_path, sleep};

const EVERY_MS: u64 = 1000;
const MOST: u64 = 4 << 20;

/// What tells one content of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    /// A time of modification can be set back, and its clock ticks slowly; this one is not set.
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

pub async fn run(line: &Line, name: &str) {
    let path = PathBuf::from(std::ffi::OsString::from_vec(full_path(name.as_bytes())));
    let mut look = Look::default();
    loop {
        match look.at(&path) {
            Ok(Some(wanted)) => {
                line.tell(wanted);
                line.is_well();
            }
            Ok(None) => {}
            Err(why) => line.fail(&why),
        }
        sleep(Duration::from_millis(line.conf.every_ms.unwrap_or(EVERY_MS))).await;
    }
}

/// What was read last.
#[derive(Default)]
struct Look {
    seen: Option<Stamp>,
    /// Its last line had no end: somebody may have been writing it.
    is_open: Option<Stamp>,
}

impl Look {
    /// Whom the file names, when that is new.
    fn at(&mut self, path: &Path) -> Result<Option<Vec<Wanted>>, String> {
        let is_new = |now: &Stamp| self.seen != Some(*now);
        let read = stamp(path).and_then(|now| if is_new(&now) { read(path, now) } else { Ok(None) });
        // what could not be read is tried again; a text that is wrong is not, until it is another one
        let Some((text, now)) = read.inspect_err(|_| self.seen = None)? else { return Ok(None) };
        let is_open = !text.is_empty() && !text.ends_with(b"\n");
        if is_open && self.is_open.replace(now) != Some(now) {
            return Ok(None);
        }
        self.seen = Some(now);
        let text = core::str::from_utf8(&text).map_err(|_| "this is no text".to_owned())?;
        lines::parse(text).map(Some).map_err(|e| e.to_string())
    }
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    let about = fs::metadata(path).map_err(|e| words(&e))?;
    // asked first: to open a pipe would wait for its writer
    if !about.is_file() || about.len() > MOST {
        return Err("this is no file of a sensible size".into());
    }
    Ok(Stamp {
        modified: (about.mtime(), about.mtime_nsec()),
        changed: (about.ctime(), about.ctime_nsec()),
        size: about.len(),
        inode: about.ino(),
    })
}

/// The text of the file that had this stamp before, and has it afterwards; `None` of one that changes meanwhile.
fn read(path: &Path, before: Stamp) -> Result<Option<(Vec<u8>, Stamp)>, String> {
    let text = fs::read(path).map_err(|e| words(&e))?;
    Ok((stamp(path)? == before).then_some((text, before)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_is_whole_and_new() {
        let path = std::env::temp_dir().join(format!("autoscale-peers-{}", std::process::id()));
        let mut look = Look::default();
        let mut at = |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            look.at(&path).map(|found| {
                found.map(|all| all.iter().map(|p| p.addr.clone()).collect::<Vec<_>>().join(" "))
            })
        };
        let one = || Ok(Some("10.0.0.1:80".to_owned()));
        assert_eq!(at(Some("10.0.0.1:80\n")), one());
        assert_eq!(at(None), Ok(None), "known");
        // somebody is at 10.0.0.2:8080
        assert_eq!(at(Some("10.0.0.1:80\n10.0.0.2:80")), Ok(None), "no end");
        assert_eq!(at(Some("10.0.0.1:80\n10.0.0.2:8080")), Ok(None), "not yet");
        assert_eq!(at(None), Ok(Some("10.0.0.1:80 10.0.0.2:8080".into())), "it stays so");
        assert_eq!(at(None), Ok(None));
        assert!(at(Some("what\n")).is_err());
        assert_eq!(at(None), Ok(None), "wrong, and known");
        assert_eq!(at(Some("10.0.0.1:80\n")), one());
        let about = fs::metadata(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(look.at(&path).is_err() && look.seen.is_none());
        fs::write(&path, "10.0.0.1:81\n").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(about.modified().unwrap()).unwrap();
        assert_eq!(look.at(&path).unwrap().unwrap()[0].addr, "10.0.0.1:81");
        fs::write(&path, "10.0.0.1:82\n").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(about.modified().unwrap()).unwrap();
        assert_eq!(look.at(&path).unwrap().unwrap()[0].addr, "10.0.0.1:82", "same time, size and inode");
        fs::remove_file(&path).unwrap();
    }
}
