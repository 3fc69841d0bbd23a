//! Child processes of a worker.
//!
//! nginx's handler of SIGCHLD waits for whatever child ends (`waitpid(-1)`), and would take away the status of ours; a
//! child made with another signal, or none, does not help, because `execve(2)` gives it SIGCHLD back. But only the master
//! has children of nginx's own. So a worker that makes a child lets the signal's disposition be the default one, which
//! neither reaps nor interrupts, and learns of the end from a descriptor of the process (`pidfd_open(2)`) on the event loop.

mod end;
mod spawn;
mod watch;

pub use spawn::{reason, send_signal, spawn, Command, SpawnError};
pub use watch::{reap, ChildWatch, Ended};
