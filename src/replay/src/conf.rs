//! Policies from files, and the one that is built in.

use logic::autoscale::nginx_conf::{parse, settings, FileError, Files, Found};
use std::path::{Path, PathBuf};

/// The policy that is run when no configuration is given. `{per}` is what one replica takes of the rate at the goal.
const DEFAULT: &str = include_str!("default.conf");
/// Where zone files lie.
const ZONEINFO: &str = "/usr/share/zoneinfo";

/// Files below the directory of the configuration.
struct Disk {
    prefix: PathBuf,
}

impl Files for Disk {
    fn open(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
        let path = self.prefix.join(pattern);
        let is_glob = pattern.contains(['*', '?', '[']);
        let matched =
            glob::glob(&path.to_string_lossy()).map_err(|e| format!("include \"{pattern}\": {e}"))?;
        let mut files: Vec<PathBuf> = matched.filter_map(Result::ok).collect();
        files.sort();
        if files.is_empty() && !is_glob {
            return Err(format!("include \"{pattern}\": no such file"));
        }
        files.into_iter().map(|file| Ok((file.display().to_string(), read(&file)?))).collect()
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}

/// What a configuration file says about autoscaling.
pub fn load(file: &str) -> Result<Found, String> {
    let prefix = Path::new(file).parent().map(Path::to_path_buf).unwrap_or_default();
    parsed(file, &read(Path::new(file))?, prefix).map_err(|e| e.to_string())
}

/// The built-in policy, for replicas of `rate` requests a second at utilisation `goal`.
pub fn built_in(rate: f64, goal: f64, min: u32, max: u32) -> String {
    let per = rate * goal;
    DEFAULT
        .replace("{per}", &format!("{per}"))
        .replace("{min}", &min.to_string())
        .replace("{max}", &max.to_string())
}

/// What a text says.
pub fn parsed(name: &str, text: &str, prefix: PathBuf) -> Result<Found, FileError> {
    let statements = parse(name, text, &Disk { prefix })?;
    settings(&statements, &|zone| {
        let path = Path::new(ZONEINFO).join(zone);
        std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
    })
}
