//! `stompbox hash-password`: what stands in the settings in place of a secret.

use std::error::Error;
use std::io::{self, BufRead as _, IsTerminal as _};

use clap::Args;

use crate::broker::auth::{Digest, hash_password};

/// What `hash-password` takes. Never the secret: the command line is for all to see.
#[derive(Debug, Default, Args)]
pub struct HashArgs {
    /// Hashes a token or an API key (SHA-256) instead of a password (argon2id).
    #[arg(long)]
    pub token: bool,
}

impl HashArgs {
    /// Reads the secret from the terminal, without showing it, or from the first line of
    /// standard input, and answers its hash and a line break.
    ///
    /// # Errors
    /// There is none, it is too long, or the system cannot hash it.
    pub fn run(&self) -> Result<String, Box<dyn Error>> {
        let secret = if io::stdin().is_terminal() { ask()? } else { read(io::stdin().lock())? };
        Ok(format!("{}\n", self.hash(&secret)?))
    }

    fn hash(&self, secret: &str) -> Result<String, Box<dyn Error>> {
        if secret.is_empty() {
            return Err("there is nothing to hash: write the secret on standard input".into());
        }
        Ok(if self.token { Digest::of(secret).to_string() } else { hash_password(secret)? })
    }
}

fn ask() -> Result<String, Box<dyn Error>> {
    let secret = rpassword::prompt_password("Secret: ")?;
    if rpassword::prompt_password("Again: ")? != secret {
        return Err("the two are not the same".into());
    }
    Ok(secret)
}

fn read(input: impl io::BufRead) -> Result<String, Box<dyn Error>> {
    let mut line = String::new();
    input.take(MAX_BYTES + 2).read_line(&mut line)?;
    let secret = line.strip_suffix('\n').unwrap_or(&line);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.len() as u64 > MAX_BYTES {
        return Err(format!("the secret is too long: at most {MAX_BYTES} octets are allowed").into());
    }
    Ok(secret.to_owned())
}

/// A `passcode` header of a client holds no more.
const MAX_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_secret() {
        for (input, secret) in [("a b \n", "a b "), ("a\r\nb\n", "a"), ("a", "a"), ("", "")] {
            assert_eq!(read(input.as_bytes()).unwrap(), secret, "{input:?}");
        }
        let longest = "a".repeat(4096);
        assert_eq!(read(format!("{longest}\n").as_bytes()).unwrap(), longest);
        assert!(read(format!("{longest}a\n").as_bytes()).is_err());
    }

    #[test]
    fn a_token_has_a_digest_and_nothing_has_no_hash() {
        let digest = HashArgs { token: true }.hash("t0ken").unwrap();
        assert!(Digest::parse(&digest).unwrap().is_of("t0ken"));
        assert!(HashArgs::default().hash("").is_err());
    }
}
