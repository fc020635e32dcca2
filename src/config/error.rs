//! What can be wrong with settings, said so that one message is enough to put it right.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why settings were not taken. The operator is at fault, and the message is for them: it
/// names the place, the key, the value and what is allowed, and never shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: not valid TOML: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser missed there.
        message: String,
    },
    /// There is no setting of that name.
    #[error("{place}: there is no setting {key}; allowed here: {}", allowed.join(", "))]
    Unknown {
        /// Where.
        place: Place,
        /// The name.
        key: String,
        /// The names there are in that table.
        allowed: Vec<String>,
    },
    /// An entry of a list lacks a key that it must have.
    #[error("{place}: {key} is missing; it must be {allowed}")]
    Missing {
        /// Where.
        place: Place,
        /// The missing key.
        key: String,
        /// What it may be.
        allowed: String,
    },
    /// The value has the wrong type, is out of range, or contradicts another setting.
    #[error("{place}: {key} = {value} is refused: it must be {allowed}")]
    Refused {
        /// Where.
        place: Place,
        /// The setting.
        key: String,
        /// Its value as TOML; `***` for a secret.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// A file that the setting names is not what it must be.
    #[error("{place}: {key} = {value} cannot be used: {reason}")]
    File {
        /// Where.
        place: Place,
        /// The setting.
        key: String,
        /// The file as TOML.
        value: String,
        /// What is wrong with the file; nothing of what is in it.
        reason: String,
    },
    /// The sources could not be put together.
    #[error("the settings cannot be put together: {0}")]
    Merge(String),
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file; lines and columns count from 1.
    File {
        /// The file.
        path: PathBuf,
        /// Line and column, if they are known.
        at: Option<(usize, usize)>,
    },
    /// In an environment variable.
    Variable(String),
    /// In a flag of the command line.
    Flag(String),
    /// Nowhere: the value is the default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, at: Some((line, column)) } => {
                write!(f, "{}, line {line}, column {column}", path.display())
            }
            Self::File { path, at: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}
