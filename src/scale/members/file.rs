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
    size: u64,
    inode: u64,
}

pub async fn run(line: &Line, name: &str) {
    let path = PathBuf::from(std::ffi::OsString::from_vec(full_path(name.as_bytes())));
    let mut seen = None;
    loop {
        match stamp(&path) {
            Ok(now) if seen == Some(now) => {}
            Ok(now) => {
                // one that is wrong is read again when it is another one
                seen = Some(now);
                match read(&path) {
                    Ok(wanted) => {
                        line.tell(wanted);
                        line.is_well();
                    }
                    Err(why) => line.fail(&why),
                }
            }
            Err(why) => {
                seen = None;
                line.fail(&why);
            }
        }
        sleep(Duration::from_millis(line.conf.every_ms.unwrap_or(EVERY_MS))).await;
    }
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    let about = fs::metadata(path).map_err(|e| words(&e))?;
    // asked first: to open a pipe would wait for its writer
    if !about.is_file() || about.len() > MOST {
        return Err("this is no file of a sensible size".into());
    }
    Ok(Stamp { modified: (about.mtime(), about.mtime_nsec()), size: about.len(), inode: about.ino() })
}

fn read(path: &Path) -> Result<Vec<Wanted>, String> {
    let bytes = fs::read(path).map_err(|e| words(&e))?;
    let text = core::str::from_utf8(&bytes).map_err(|_| "this is no text".to_owned())?;
    lines::parse(text).map_err(|e| e.to_string())
}
