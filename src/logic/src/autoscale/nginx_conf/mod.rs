//! Reads an nginx.conf, as far as a replay needs it, and the block of a policy in nginx: blocks, comments, quotes, includes, Lua blocks.
//!
//! [`tokens`] splits text by the rules of `ngx_conf_read_token` of nginx; [`tree`] builds statements with their files and lines;
//! [`autoscale`] takes out what [`super::conf`] understands. [`raw`] finds the end of a block in text that arrives in pieces. Nothing is read from disk here: [`Files`] brings the text of included
//! files.

mod autoscale;
mod raw;
mod tokens;
mod tree;

pub use autoscale::{policy, settings, split, Found};
pub use raw::RawBlock;
pub use tree::{parse, Block, Files, Statement};

use thiserror::Error;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{file}:{line}: {what}")]
pub struct FileError {
    pub file: String,
    pub line: usize,
    pub what: String,
}

#[cfg(test)]
mod tests;
