//! The state file of `autoscale_zone`: what policies have learnt, and what was said about peers, from one nginx to the next.
//!
//! A worker writes it while nginx runs and when it stops: into another file, which then takes the name, so that there is a whole one at
//! any time. Nothing waits for the disk: what a power failure cuts is refused by its checksum. The master reads it before there are
//! workers, if the memory is new (a reload keeps the memory, and need not read). A file that it cannot use is set aside, and nginx
//! begins as if there were none.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use logic::autoscale::metrics::zone::Zone;
use logic::autoscale::saved::{Clocks, Entry, Saved, What, MOST};

use crate::ngx::{clock, full_path, log_cycle, process, ConfError, Level};

/// `state=FILE`
#[derive(Clone)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// Refuses what cannot be a file's name; whether the workers may write it is for them to find out.
    pub fn new(name: &str) -> Result<StateFile, ConfError> {
        let path = PathBuf::from(std::ffi::OsString::from_vec(full_path(name.as_bytes())));
        let wrong = |why: &str| Err(ConfError(format!("invalid state={name}: {why}")));
        if name.is_empty() || path.file_name().is_none() || path.is_dir() {
            return wrong("write the name of a file");
        }
        match path.parent() {
            Some(directory) if directory.is_dir() => Ok(StateFile(path)),
            _ => wrong("the directory does not exist"),
        }
    }

    /// Reads it. In the master, which may read whatever a worker wrote.
    pub fn read(&self) -> Option<Saved> {
        self.sweep();
        let bytes = read(&self.0);
        let bytes = bytes.inspect_err(|e| {
            if e.kind() != ErrorKind::NotFound {
                self.log(Level::Error, &format!("cannot be read: {e}"));
            }
        });
        match Saved::from_bytes(&bytes.ok()?) {
            Ok(saved) => Some(saved),
            Err(damage) => {
                let aside = self.beside(".bad");
                let done = match fs::rename(&self.0, &aside) {
                    Ok(()) => format!("set aside as \"{}\"", aside.display()),
                    Err(e) => format!("it stays where it is: {e}"),
                };
                self.log(Level::Error, &format!("is not used: {damage}; {done}"));
                None
            }
        }
    }

    /// Brings back what it says about what has a place in this memory, which is new.
    pub fn bring_back(&self, zone: &Zone<'_>, saved: &Saved) {
        let (policies, peers) = (policies(zone, saved, 0), peers(zone, saved));
        self.log(Level::Notice, &format!("has been read: {policies} policies, {peers} peers"));
    }

    /// Takes up what another nginx, which has led until now, has written: its policies and pools. By the worker that leads next, with this
    /// fence.
    pub fn go_on(&self, zone: &Zone<'_>, fence: u64) {
        let Some(saved) = read(&self.0).ok().and_then(|bytes| Saved::from_bytes(&bytes).ok()) else { return };
        let board = zone.board();
        let words = saved.words(What::Epoch, b"").unwrap_or_default();
        board.begin(clock::unix_ms(), board.began_ms().max(words.get(1).copied().unwrap_or(0)));
        for upstream in zone.upstreams() {
            if let (Some(name), before @ Some(_)) = (zone.name(upstream), zone.pool(upstream)) {
                let words = saved.words(What::Pool, &name).unwrap_or_default();
                let wanted = words.first().and_then(|wanted| u32::try_from(*wanted).ok());
                if wanted.is_some() && wanted != before {
                    zone.set_pool(upstream, before, wanted);
                }
            }
        }
        let policies = policies(zone, &saved, fence);
        self.log(Level::Notice, &format!("has been read again: {policies} policies go on"));
    }

    /// Writes what is remembered now, unless the file says more. The error is the end of a log line.
    pub fn write(&self, zone: &Zone<'_>) -> Result<(), String> {
        let saved = Saved { written: clocks(), entries: remembered(zone) };
        let bytes = saved.to_bytes();
        let temporary = self.beside(&format!(".{}.tmp", process::pid()));
        let replace = || {
            // a worker that drains may know an older memory, and one that was stopped until now an older state
            let found = read(&self.0).ok().and_then(|bytes| Saved::from_bytes(&bytes).ok());
            if found.is_some_and(|found| found.is_newer_than(&saved)) {
                self.log(Level::Info, "is left as it is: who wrote it knows more");
                return fs::remove_file(&temporary);
            }
            fs::rename(&temporary, &self.0)
        };
        let written = put(&temporary, &bytes).and_then(|()| replace());
        written.map_err(|e| {
            let _ = fs::remove_file(&temporary);
            match (e.kind(), process::worker_user(), self.0.parent()) {
                (ErrorKind::PermissionDenied, Some(user), Some(directory)) => format!(
                    "{e}; the workers run as \"{user}\", who must be able to make files in \"{0}\": chown {user} {0}",
                    directory.display()
                ),
                _ => e.to_string(),
            }
        })
    }

    pub fn log(&self, level: Level, what: &str) {
        log_cycle(level, &format!("state file \"{}\" {what}", self.0.display()));
    }

    /// The file's name with something behind it.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    /// Removes what workers were writing when they were killed.
    fn sweep(&self) {
        let (Some(directory), Some(name)) = (self.0.parent(), self.0.file_name()) else { return };
        let Ok(files) = fs::read_dir(directory) else { return };
        let is_rest = |file: &std::ffi::OsStr| {
            let rest = file.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
            let pid = rest.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(b".tmp"));
            pid.is_some_and(|pid| !pid.is_empty() && pid.iter().all(u8::is_ascii_digit))
        };
        for file in files.flatten().filter(|file| is_rest(&file.file_name())) {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// No more of it than a state file may have.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

fn clocks() -> Clocks {
    // "xxxxxxxx-xxxx-…": its first digits are a number
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = boot.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    Clocks {
        now_us: clock::monotonic().us,
        unix_ms: u64::try_from(clock::wall_clock().0).unwrap_or(0) * 1000,
        boot: u64::from_str_radix(&digits, 16).unwrap_or(0),
    }
}

fn remembered(zone: &Zone<'_>) -> Vec<Entry> {
    let places = zone.board().places().into_iter().filter_map(|(name, place)| {
        Some(Entry { what: What::Policy, name: name.into_bytes(), words: place.kept()? })
    });
    let peers = zone.overrides().into_iter().map(|(upstream, addr, bits)| Entry {
        what: What::Peer,
        name: [&upstream[..], b"/", &addr].concat(),
        words: vec![bits],
    });
    let pools = zone.upstreams().into_iter().filter_map(|upstream| {
        let (name, wanted) = (zone.name(upstream)?, zone.pool(upstream)?);
        Some(Entry { what: What::Pool, name, words: vec![wanted.into()] })
    });
    // there is one since the configuration was read, or nobody needs it
    let board = zone.board();
    let words = vec![board.known_epoch(), board.began_ms(), board.fence()];
    let epoch = Entry { what: What::Epoch, name: Vec::new(), words };
    core::iter::once(epoch).chain(places).chain(peers).chain(pools).collect()
}

/// What the orders of the gateway are told from others by stays the same, so that one under way is repeated under its own key. Before
/// policies have places, in a memory that is new.
pub fn begin(zone: &Zone<'_>, saved: Option<&Saved>) {
    let words = saved.and_then(|saved| saved.words(What::Epoch, b"")).unwrap_or_default();
    if let Some(epoch) = words.first().filter(|epoch| **epoch != 0) {
        zone.board().epoch(*epoch);
    }
    zone.board().begin(clock::unix_ms(), words.get(1).copied().unwrap_or(0));
    // whoever keeps fences refuses one that a clock which was set back would begin with
    zone.board().after_fence(words.get(2).copied().unwrap_or(0));
}

/// How many policies go on where they were.
fn policies(zone: &Zone<'_>, saved: &Saved, fence: u64) -> usize {
    let shift_us = saved.shift_us(&clocks());
    let taken_up = zone.board().places().into_iter().filter(|(name, place)| {
        let words = saved.words(What::Policy, name.as_bytes());
        words.is_some_and(|words| place.take_up(words, shift_us, fence))
    });
    taken_up.count()
}

/// How many peers have what was said about them.
fn peers(zone: &Zone<'_>, saved: &Saved) -> usize {
    let mut count = 0;
    for upstream in zone.all_upstreams() {
        // whether it is a pool under this configuration is for the workers to tell
        let wanted = zone.name(upstream).and_then(|name| match saved.words(What::Pool, &name)? {
            [wanted] => u32::try_from(*wanted).ok(),
            _ => None,
        });
        if wanted.is_some() {
            zone.set_pool(upstream, None, wanted);
        }
        for peer in zone.all_peers(upstream) {
            let (Some(name), Some(addr)) = (zone.name(upstream), zone.name(peer)) else { continue };
            let words = saved.words(What::Peer, &[&name[..], b"/", &addr].concat());
            if let Some([bits]) = words {
                count += usize::from(zone.restore_control(peer, *bits));
            }
        }
    }
    count
}
