//! What a client of channels may say, and what is wrong with the rest.

use chrono::DateTime;
use serde_json::{Map, Value};

use crate::message::{Credentials, Destination};
use crate::session::Since;
use crate::stream::command::clipped;
use crate::stream::position::{Position, last_event};

/// One thing that a client wants.
#[derive(Debug)]
pub(super) enum Request {
    Ping,
    Subscribe {
        channel: Channel,
        since: Option<Since>,
    },
    Unsubscribe {
        channel: Channel,
    },
    Publish {
        channel: Channel,
        data: Value,
    },
    /// With an id, which the answer repeats.
    Typed {
        id: Value,
        what: Typed,
    },
}

/// A request that is answered by its id.
#[derive(Debug)]
pub(super) enum Typed {
    Auth(Credentials),
    /// A SEND of that body to one of the server's handlers.
    Send {
        handler: Destination,
        body: String,
        is_event: bool,
    },
    /// A SUBSCRIBE to one of the server's handlers, which answers once.
    Query {
        handler: Destination,
    },
}

/// A channel: a topic without its first word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) topic: Destination,
}

impl Channel {
    /// Whether it may stand for many.
    pub(super) fn is_pattern(&self) -> bool {
        self.name.contains(['*', '#', '>'])
    }
}

/// What is wrong with a request, and which it was.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The id of a typed request.
    pub(super) id: Option<Value>,
    pub(super) reason: String,
}

impl Request {
    pub(super) fn parse(octets: &[u8], epoch: &str) -> Result<Self, Wrong> {
        let wrong = |reason: String| Wrong { id: None, reason };
        let value = serde_json::from_slice(octets).map_err(|error| wrong(format!("this is not JSON: {error}")))?;
        let Value::Object(fields) = value else { return Err(wrong(FORMS.into())) };
        if let Some(action) = fields.get("action") {
            return Self::of_action(action, fields.clone(), epoch).map_err(wrong);
        }
        let Some(kind) = fields.get("type").and_then(Value::as_str) else { return Err(wrong(FORMS.into())) };
        if kind == "ping" {
            return Ok(Self::Ping);
        }
        let id = fields.get("id").cloned().unwrap_or(Value::Null);
        match typed(kind, fields.get("payload").unwrap_or(&Value::Null)) {
            Ok(what) => Ok(Self::Typed { id, what }),
            Err(reason) => Err(Wrong { id: Some(id), reason }),
        }
    }

    fn of_action(action: &Value, mut fields: Map<String, Value>, epoch: &str) -> Result<Self, String> {
        let action = action.as_str().unwrap_or_default();
        match action {
            "ping" => Ok(Self::Ping),
            "subscribe" => {
                let channel = channel(&fields)?;
                let since = fields.get("since").filter(|since| !since.is_null()).map(|since| self::since(since, epoch));
                let since = since.transpose()?;
                if since.is_some() && channel.is_pattern() {
                    return Err("since is for one channel, not for a pattern".into());
                }
                Ok(Self::Subscribe { channel, since })
            }
            "unsubscribe" => Ok(Self::Unsubscribe { channel: channel(&fields)? }),
            "publish" => {
                let channel = channel(&fields)?;
                let data = fields.remove("data").ok_or("publish needs a field data")?;
                Ok(Self::Publish { channel, data })
            }
            _ => Err(format!(
                "the action {:?} is not known; allowed are subscribe, unsubscribe, publish and ping",
                clipped(action)
            )),
        }
    }
}

fn channel(fields: &Map<String, Value>) -> Result<Channel, String> {
    let name = fields.get("channel").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or("channel must be a string: the name of a topic without /topic/ in front")?;
    let topic = Destination::parse(&format!("/topic/{name}")).map_err(|error| format!("channel: {error}"))?;
    Ok(Channel { name: name.into(), topic })
}

fn since(value: &Value, epoch: &str) -> Result<Since, String> {
    let of_time = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
    match value {
        Value::Number(ms) => ms.as_u64().map(Since::Time),
        Value::String(text) => match (Position::parse(text), of_time(text)) {
            (Some(_), _) => Some(last_event(Some(text), epoch).0),
            (None, time) => time.map(|ms| Since::Time(u64::try_from(ms).unwrap_or(0))),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
    .ok_or_else(|| "since must be the id of a message, an RFC 3339 time, or milliseconds since 1970".into())
}

fn typed(kind: &str, payload: &Value) -> Result<Typed, String> {
    let word = |names: [&str; 2]| names.iter().find_map(|name| payload.get(name)?.as_str());
    match kind {
        "auth" => {
            let secret = |names| word(names).map(str::to_owned);
            let token = secret(["token", "access_token"]).map(Credentials::Token);
            let key = || secret(["api_key", "apiKey"]).map(Credentials::ApiKey);
            let password = || {
                let login = secret(["login", "username"])?;
                Some(Credentials::Password { login, passcode: secret(["passcode", "password"])? })
            };
            let found = token.or_else(key).or_else(password);
            found
                .map(Typed::Auth)
                .ok_or_else(|| "the payload of auth is {token}, {api_key} or {login, passcode}".into())
        }
        "event" => Ok(Typed::Send { handler: handler("events")?, body: payload.to_string(), is_event: true }),
        "command" => {
            let name = word(["command", "name"]).ok_or("the payload of command is {command: NAME, data}")?;
            let body = payload.get("data").map_or_else(String::new, Value::to_string);
            Ok(Typed::Send { handler: handler(name)?, body, is_event: false })
        }
        "query" => {
            let name = word(["query", "name"]).ok_or("the payload of query is {query: NAME}")?;
            Ok(Typed::Query { handler: handler(name)? })
        }
        _ => {
            Err(format!("the type {:?} is not known; allowed are auth, event, command, query and ping", clipped(kind)))
        }
    }
}

fn handler(name: &str) -> Result<Destination, String> {
    Destination::parse(&format!("/app/{name}")).map_err(|error| error.to_string())
}

const FORMS: &str = "a request is a JSON object with action (subscribe, unsubscribe, publish, ping) or type (auth, event, \
                     command, query, ping)";
