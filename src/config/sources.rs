//! Where settings come from, and how they are put together: defaults, then the file, then
//! the environment, then flags, each overriding the one before.

use std::ffi::OsString;
use std::path::{Path as FilePath, PathBuf};

use figment::providers::Serialized;
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use toml::{Table, Value};

use super::error::{ConfigError, Place};
use super::path::{Path, line_and_column};
use super::raw::Raw;
use super::rules::{self, Fault, What};

/// What the operator gave, not yet looked at. It has no `Debug`, for secrets are among it.
#[derive(Clone, Default)]
pub struct Sources {
    file: Option<File>,
    variables: Vec<(String, OsString)>,
    flags: Vec<(String, String, String)>,
}

#[derive(Clone)]
struct File {
    path: PathBuf,
    text: String,
}

impl Sources {
    /// Takes the file's text.
    ///
    /// # Errors
    /// A file that does not exist, may not be read, or is not UTF-8.
    pub fn read_file(self, path: &FilePath) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Ok(self.file(path, text))
    }

    /// Takes a text as if it had been read from the file `path`.
    pub fn file(self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { file: Some(File { path: path.into(), text: text.into() }), ..self }
    }

    /// Takes those variables of an environment that begin with `STOMPBOX_`.
    ///
    /// The rest of the name is the key: `STOMPBOX_SERVER__LISTEN` is `server.listen`.
    pub fn variables(mut self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = environment.into_iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
        self.variables.extend(named.filter(|(name, _)| name.starts_with(PREFIX) && !is_service_variable(name)));
        self.variables.sort();
        self
    }

    /// Takes the value that `flag` gave for the setting `key`.
    pub fn flag(mut self, flag: &str, key: &str, value: impl Into<String>) -> Self {
        self.flags.push((flag.to_owned(), key.to_owned(), value.into()));
        self
    }

    /// Checks each source by itself and puts them together.
    pub(super) fn merge(self) -> Result<Merged, ConfigError> {
        let mut layers = Vec::new();
        if let Some(file) = &self.file {
            layers.push(file.layer()?);
        }
        for (name, value) in &self.variables {
            let key = name.strip_prefix(PREFIX).unwrap_or_default().to_lowercase().replace(NESTING, ".");
            let place = Place::Variable(name.clone());
            let Some(text) = value.to_str() else {
                let value = "…".to_owned();
                return Err(ConfigError::Refused { place, key, value, allowed: "UTF-8".to_owned() });
            };
            layers.push(given(place, &key, text)?);
        }
        for (flag, key, text) in &self.flags {
            layers.push(given(Place::Flag(flag.clone()), key, text)?);
        }
        let defaults = Figment::from(Serialized::defaults(Raw::default()));
        let figment = layers.iter().fold(defaults, |figment, layer| figment.merge(layer));
        let raw = figment.extract::<Raw>().map_err(|error| ConfigError::Merge(error.kind.to_string()))?;
        let places = layers.into_iter().map(|layer| layer.place).collect();
        Ok(Merged { raw, figment, places, file: self.file })
    }
}

impl File {
    fn layer(&self) -> Result<Layer, ConfigError> {
        let table = toml::from_str::<Table>(&self.text).map_err(|error| self.syntax_error(&error))?;
        let value = Value::Table(table);
        rules::check(&Path::default(), &value).map_err(|fault| fault.at(self.place(fault.path.find_in(&self.text))))?;
        Ok(Layer { place: self.place(None), value })
    }

    fn syntax_error(&self, error: &toml::de::Error) -> ConfigError {
        let at = error.span().map(|span| line_and_column(&self.text, span.start));
        let line = at.and_then(|(line, _)| self.line_without_secrets(line));
        let message = error.message().trim();
        let message = line.map_or_else(|| message.to_owned(), |line| format!("{message}, in: {line}"));
        ConfigError::Syntax { place: self.place(at), message }
    }

    /// A line of the file, unless a secret may stand there: in a text that could not be
    /// parsed, it may in each line after the first that speaks of secrets.
    fn line_without_secrets(&self, number: usize) -> Option<&str> {
        let speaks_of_secrets = |line: &str| ["auth", "passcode", "token"].iter().any(|word| line.contains(word));
        let lines = self.text.lines().take(number).map(str::trim).filter(|line| !line.starts_with('#'));
        if lines.clone().any(speaks_of_secrets) { None } else { lines.last() }
    }

    fn place(&self, at: Option<(usize, usize)>) -> Place {
        Place::File { path: self.path.clone(), at }
    }
}

/// Checks the value of one variable or flag.
fn given(place: Place, key: &str, text: &str) -> Result<Layer, ConfigError> {
    let path = Path::of(key);
    let Some(rule) = rules::rule(key) else {
        return Err(Fault { path, what: What::Unknown }.at(place));
    };
    let value = rule.kind.read(text);
    match rules::check(&path, &value) {
        Ok(()) => Ok(Layer { place, value: nested(key, value) }),
        Err(fault) => Err(fault.at(place)),
    }
}

/// The value within the tables that its dotted key names.
fn nested(key: &str, value: Value) -> Value {
    key.rsplit('.').fold(value, |value, key| Value::Table(Table::from_iter([(key.to_owned(), value)])))
}

impl Fault {
    fn at(&self, place: Place) -> ConfigError {
        let key = self.path.to_string();
        match self.what.clone() {
            What::Unknown => ConfigError::Unknown { allowed: self.siblings(&place), place, key },
            What::Missing { allowed } => ConfigError::Missing { place, key, allowed },
            What::Refused { value, allowed } => ConfigError::Refused { place, key, value, allowed },
        }
    }

    /// The names there are in the innermost table that exists, as that source writes them.
    fn siblings(&self, place: &Place) -> Vec<String> {
        let mut table = self.path.clone();
        while rules::children(&table.pattern()).is_empty()
            && let Some(parent) = table.parent()
        {
            table = parent;
        }
        let children = rules::children(&table.pattern()).into_iter();
        if !matches!(place, Place::Variable(_)) {
            return children.map(str::to_owned).collect();
        }
        let names = children.map(|child| {
            let path = table.key(child);
            let name = format!("{PREFIX}{}", path.root().to_uppercase().replace('.', NESTING));
            if rules::rule(&path.root()).is_some() { name } else { format!("{name}{NESTING}…") }
        });
        names.collect()
    }
}

/// All settings together, and where each came from.
pub(super) struct Merged {
    pub(super) raw: Raw,
    figment: Figment,
    places: Vec<Place>,
    file: Option<File>,
}

impl Merged {
    /// The error for a value that is right by itself and wrong beside others.
    pub(super) fn refuse(&self, path: &Path, allowed: impl Into<String>) -> ConfigError {
        let value = self.shown(path);
        ConfigError::Refused { place: self.place_of(path), key: path.to_string(), value, allowed: allowed.into() }
    }

    /// The error for a value that is not there although another makes it needed.
    pub(super) fn missing(&self, path: &Path, allowed: impl Into<String>) -> ConfigError {
        ConfigError::Missing { place: self.place_of(path), key: path.to_string(), allowed: allowed.into() }
    }

    /// The error for a value that names a file which is not what it must be.
    pub(super) fn refuse_file(&self, path: &Path, reason: impl Into<String>) -> ConfigError {
        let value = self.shown(path);
        ConfigError::File { place: self.place_of(path), key: path.to_string(), value, reason: reason.into() }
    }

    fn shown(&self, path: &Path) -> String {
        let value = Value::try_from(&self.raw).ok().and_then(|all| path.value_in(&all).cloned());
        value.map_or_else(String::new, |value| rules::shown(path, &value))
    }

    /// Where that value was given.
    pub(super) fn place_of(&self, path: &Path) -> Place {
        let name = self.figment.find_metadata(&path.root()).map(|metadata| metadata.name.as_ref());
        let place = self.places.iter().find(|place| Some(place.to_string().as_str()) == name);
        match (place, &self.file) {
            (Some(Place::File { .. }), Some(file)) => file.place(path.find_in(&file.text)),
            (Some(place), _) => place.clone(),
            (None, _) => Place::Default,
        }
    }
}

/// One source as figment takes it, under the name of its place.
struct Layer {
    place: Place,
    value: Value,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(&self.value).data()
    }
}

/// Whether Kubernetes sets such a variable by itself, for a service called `stompbox`.
fn is_service_variable(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    let is = |word: &str| rest.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    is("PORT") || is("SERVICE_HOST") || is("SERVICE_PORT")
}

/// What the names of our variables begin with.
const PREFIX: &str = "STOMPBOX_";

/// What stands between a table and its key in the name of a variable.
const NESTING: &str = "__";
