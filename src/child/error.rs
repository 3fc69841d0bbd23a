//! Why an operation on a child failed, in the words that scripts compare with.

use std::io;

use crate::ngx::child::reason;

#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("closed")]
    Closed,
    #[error("timeout")]
    Timeout,
    /// Another thread has closed what this one waited for.
    #[error("aborted")]
    Aborted,
    #[error("pipe busy {0}")]
    Busy(&'static str),
    #[error("merged to stdout")]
    Merged,
    #[error("exited")]
    Exited,
    #[error("invalid signal")]
    InvalidSignal,
    #[error("no connection")]
    NoConnection,
    /// Some other code of the worker has waited for any child.
    #[error("status lost")]
    Lost,
    #[error("{}", reason(.0))]
    Io(#[source] io::Error),
}

impl ChildError {
    /// There is no room for what the child has written.
    pub fn no_memory() -> ChildError {
        ChildError::Io(io::Error::from_raw_os_error(libc::ENOMEM))
    }
}
