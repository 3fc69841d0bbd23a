//! A file of peers: an address a line, `weight=N` behind it, and `#` before what is said to people.

use super::{address, Wanted, MOST};

/// What is wrong with a file, and in which line.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {why}")]
pub struct Wrong {
    pub line: usize,
    pub why: String,
}

/// The peers that a file names, each once. One line that is wrong is wrong with all of it: who writes the file may not have come to its
/// end.
pub fn parse(text: &str) -> Result<Vec<Wanted>, Wrong> {
    let mut found: Vec<Wanted> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (i, line) in text.lines().enumerate() {
        let wrong = |why: String| Wrong { line: i + 1, why };
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(first) = words.next() else { continue };
        let addr = address::parse(first).map_err(|e| wrong(e.to_string()))?;
        let mut weight = 1;
        for word in words {
            let value = word.strip_prefix("weight=").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
            weight = value
                .ok_or_else(|| wrong(format!("\"{word}\" is unknown: write weight=1 to weight=65535")))?;
        }
        if seen.insert(addr.clone()) {
            found.push(Wanted { addr, weight });
        }
        if found.len() > MOST {
            return Err(wrong(format!("these are more than {MOST} peers")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_peers_is_read() {
        let text = "# the fleet\n10.0.0.1:80\n\n  10.0.0.2:80  weight=5 # large\nunix:/run/a.sock\n10.0.0.1:80 weight=9\n";
        let peers = parse(text).unwrap();
        let shown: Vec<_> = peers.iter().map(|peer| (peer.addr.as_str(), peer.weight)).collect();
        assert_eq!(shown, [("10.0.0.1:80", 1), ("10.0.0.2:80", 5), ("unix:/run/a.sock", 1)]);
        assert_eq!(parse("# nobody\n"), Ok(vec![]));
    }

    #[test]
    fn a_line_that_is_wrong_is_told() {
        let table = [
            ("10.0.0.1:80\napp:80\n", "line 2: \"app:80\" is a name"),
            ("10.0.0.1:80 weight=0", "line 1: \"weight=0\" is unknown"),
            ("10.0.0.1:80 down", "line 1: \"down\" is unknown"),
            ("10.0.0", "line 1: \"10.0.0\" is no address"),
        ];
        for (text, start) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
