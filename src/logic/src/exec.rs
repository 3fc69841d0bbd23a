//! How `execvp(3)` finds a program, so that only the system calls are left to be made between fork and exec.

/// Where a program is looked for when the environment has no `PATH`: the C library's own default.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The paths under which `program` may lie, in the order to try them. One with a slash is no name but a path; an empty
/// directory in `path` is the current one.
pub fn candidates(program: &[u8], path: Option<&[u8]>) -> Vec<Vec<u8>> {
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let directories = path.unwrap_or(DEFAULT_PATH).split(|c| *c == b':');
    directories
        .map(|directory| match directory {
            b"" => program.to_vec(),
            _ => [directory, b"/", program].concat(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_each_directory() {
        assert_eq!(candidates(b"ls", Some(b"/a:/b")), [b"/a/ls".to_vec(), b"/b/ls".to_vec()]);
        assert_eq!(candidates(b"ls", None), [b"/bin/ls".to_vec(), b"/usr/bin/ls".to_vec()]);
    }

    #[test]
    fn an_empty_directory_is_the_current_one() {
        assert_eq!(candidates(b"ls", Some(b"")), [b"ls".to_vec()]);
        assert_eq!(candidates(b"ls", Some(b":/a:")), [b"ls".to_vec(), b"/a/ls".to_vec(), b"ls".to_vec()]);
    }

    #[test]
    fn a_path_is_not_looked_for() {
        assert_eq!(candidates(b"./ls", Some(b"/a")), [b"./ls".to_vec()]);
        assert_eq!(candidates(b"", Some(b"/a")), Vec::<Vec<u8>>::new());
    }
}
