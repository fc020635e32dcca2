//! `stompbox check`: whether settings are good, and what their rules say.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::broker::access::Access;
use crate::broker::address;
use crate::config::{Config, Sources};
use crate::message::{Destination, Operation, Principal, User};

/// What `check` takes.
#[derive(Debug, Default, Args)]
pub struct CheckArgs {
    /// The TOML file with the settings; without it, the defaults are checked.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Asks what the rules say of that user; its roles are those of the settings, which may
    /// differ by what it shows.
    #[arg(long = "as", value_name = "USER", conflicts_with = "anonymous")]
    pub user: Option<String>,
    /// Asks what the rules say of those without a name.
    #[arg(long)]
    pub anonymous: bool,
    /// One more role of the user, as a token may bring it.
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// With --as or --anonymous: subscribe, send or app, and a destination.
    #[arg(value_name = "OPERATION DESTINATION", num_args = 0..=2)]
    pub asked: Vec<String>,
}

impl CheckArgs {
    /// The settings in effect as TOML, each secret masked, or what their rules say.
    ///
    /// # Errors
    /// The settings are not good, or the question is none.
    pub fn run(
        mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<String, Box<dyn Error>> {
        let is_question = self.user.is_some() || self.anonymous;
        // A file may stand before the question, and need not.
        if is_question
            && self.asked.len() == 1
            && let Some(operation) = self.file.take()
        {
            self.asked.insert(0, operation.to_string_lossy().into_owned());
        }
        let sources = Sources::default().variables(environment);
        let sources = match &self.file {
            Some(path) => sources.read_file(path)?,
            None => sources,
        };
        let config = Config::load(sources)?;
        match (is_question, self.asked.as_slice()) {
            (true, [operation, destination]) => self.explain(config, operation, destination),
            (false, []) => Ok(config.to_toml()?),
            (true, _) => Err(format!("--as and --anonymous take {QUESTION}").into()),
            (false, _) => Err(format!("{QUESTION} goes with --as USER or --anonymous").into()),
        }
    }

    fn explain(&self, config: Config, operation: &str, destination: &str) -> Result<String, Box<dyn Error>> {
        let operation =
            Operation::of_word(operation).ok_or(format!("{operation:?} is not one of subscribe, send, app"))?;
        let written = Destination::parse(destination)?;
        let principals = self.principals(&config);
        let separators = config.topics.separators;
        let access = Access::new(config.auth);
        let mut answer = String::new();
        for (shown, principal) in principals {
            let destination = match operation {
                Operation::Subscribe => address::subscribed(&written, &principal, || "KEY".into())?,
                Operation::Send | Operation::App => address::sent(&written, || "KEY".into())?,
            };
            let decision = access.acl().decide(&principal, operation, &destination, separators);
            let word = if decision.allowed { "may" } else { "may not" };
            let roles = principal.user().map(User::roles).filter(|roles| !roles.is_empty());
            let roles = roles.map_or_else(String::new, |roles| format!(" (roles: {})", roles.join(", ")));
            answer += &format!("{principal}{shown}{roles} {word} {operation} {destination}: {}\n", decision.by);
        }
        Ok(answer)
    }

    /// Whom the name stands for, by what is shown: one, or several whose roles differ.
    fn principals(&self, config: &Config) -> Vec<(&'static str, Principal)> {
        let Some(name) = &self.user else { return vec![("", Principal::Anonymous)] };
        let auth = &config.auth;
        let users = auth.users.iter().map(|(user, _)| (" with a password", user));
        let tokens = auth.tokens.iter().map(|(user, _)| (" with a token", user));
        let api_keys = auth.api_keys.iter().map(|(user, _)| (" with an API key", user));
        let known = users.chain(tokens).chain(api_keys).filter(|(_, user)| user.name() == name);
        let mut named: Vec<_> = known.map(|(shown, user)| (shown, self.roles_with(user.roles()))).collect();
        if named.iter().all(|(_, roles)| *roles == named[0].1) {
            named = vec![("", named.pop().map_or_else(|| self.roles_with(&[]), |(_, roles)| roles))];
        }
        let principal = |roles| Principal::User(User::new(name, roles, Vec::new()));
        named.into_iter().map(|(shown, roles)| (shown, principal(roles))).collect()
    }

    fn roles_with(&self, known: &[Box<str>]) -> Vec<Box<str>> {
        let added = self.roles.iter().map(|role| role.as_str().into());
        let mut roles: Vec<Box<str>> = known.iter().cloned().chain(added).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }
}

const QUESTION: &str = "an operation (subscribe, send or app) and a destination";
