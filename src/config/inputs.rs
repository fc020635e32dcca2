//! `[logs]`, `[licenses]` and `[[alerts]]`: from what is written to what the feeds work with.

use super::path::Path;
use super::raw;
use super::sources::Merged;
use super::{ConfigError, Logs};
use crate::feeds::alerts::{Bound, Metric, Rule};
use crate::feeds::licenses::command;
use crate::feeds::logs::follow;
use crate::feeds::logs::parse::Parser;

pub(super) fn logs(raw: &raw::Logs) -> Logs {
    let parser = match raw.parser.as_str() {
        "json" => Parser::Json,
        "logfmt" => Parser::Logfmt,
        "plain" => Parser::Plain,
        _ => Parser::Auto,
    };
    let (patterns, files) = (raw.tail.clone(), raw.files);
    Logs { follow: follow::Settings { patterns, from_start: raw.from == "start", parser, files }, own: raw.own }
}

pub(super) fn licenses(raw: &raw::Licenses) -> Option<command::Settings> {
    let settings = command::Settings { command: raw.command.clone(), interval: raw.interval.0, timeout: raw.timeout.0 };
    (!settings.command.is_empty()).then_some(settings)
}

pub(super) fn alerts(merged: &Merged) -> Result<Vec<Rule>, ConfigError> {
    merged.raw.alerts.iter().enumerate().map(|(n, raw)| alert(merged, n, raw)).collect()
}

fn alert(merged: &Merged, n: usize, raw: &raw::Alert) -> Result<Rule, ConfigError> {
    let path = Path::of("alerts").index(n);
    let bound = match (raw.above, raw.below) {
        (Some(above), None) => Bound::Above(above),
        (None, Some(below)) => Bound::Below(below),
        (Some(_), Some(_)) => return Err(merged.refuse(&path.key("below"), "absent where above stands")),
        (None, None) => return Err(merged.missing(&path.key("above"), "there, or below in its place")),
    };
    let metric =
        Metric::parse(&raw.metric).ok_or_else(|| merged.refuse(&path.key("metric"), super::texts::METRIC.allowed))?;
    Ok(Rule {
        name: raw.name.clone(),
        metric,
        bound,
        lasting: raw.lasting.map(|time| time.0).unwrap_or_default(),
        hysteresis: raw.hysteresis,
        severity: raw.severity.clone(),
    })
}
