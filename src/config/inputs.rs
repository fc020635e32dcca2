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

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn each_mistake_in_an_alert_names_its_place_what_stands_there_and_what_may() {
        let good = "name = \"a\"\nmetric = \"system.cpu\"\nabove = 1";
        assert!(refused(good).is_none());
        let name = "it must be a name of 1 to 255 octets without control characters";
        let number = "it must be a number from 0.0 to 1000000000000000.0";
        let time = "it must be a duration from 100ms to 24h, or 0s";
        let metric = format!("it must be {METRICS}");
        for (settings, line, error) in [
            ("metric = \"system.cpu\"\nabove = 1", 1, format!("alerts[0].name is missing; {name}")),
            ("name = \"\"\nmetric = \"system.cpu\"\nabove = 1", 2, format!("alerts[0].name = \"\" is refused: {name}")),
            ("name = \"a\"\nabove = 1", 1, format!("alerts[0].metric is missing; {metric}")),
            (
                "name = \"a\"\nmetric = \"cpu\"\nabove = 1",
                3,
                format!("alerts[0].metric = \"cpu\" is refused: {metric}"),
            ),
            (
                "name = \"a\"\nmetric = \"system.cpu\"",
                1,
                "alerts[0].above is missing; it must be there, or below in its place".into(),
            ),
            (
                &format!("{good}\nbelow = 1"),
                5,
                "alerts[0].below = 1.0 is refused: it must be absent where above stands".into(),
            ),
            (&good.replace('1', "-1"), 4, format!("alerts[0].above = -1 is refused: {number}")),
            (&good.replace('1', "\"90\""), 4, format!("alerts[0].above = \"90\" is refused: {number}")),
            (
                &good.replace("above = 1", "below = 1e16"),
                4,
                format!("alerts[0].below = 10000000000000000.0 is refused: {number}"),
            ),
            (&format!("{good}\nfor = 60"), 5, format!("alerts[0].for = 60 is refused: {time}")),
            (&format!("{good}\nfor = \"99ms\""), 5, format!("alerts[0].for = \"99ms\" is refused: {time}")),
            (&format!("{good}\nfor = \"25h\""), 5, format!("alerts[0].for = \"25h\" is refused: {time}")),
            (&format!("{good}\nhysteresis = -1"), 5, format!("alerts[0].hysteresis = -1 is refused: {number}")),
            (
                &format!("{good}\nseverity = \"bad\""),
                5,
                "alerts[0].severity = \"bad\" is refused: it must be \"info\" or \"warning\" or \"critical\"".into(),
            ),
            (
                &format!("{good}\nwhen = 1"),
                5,
                "there is no setting alerts[0].when; allowed here: name, metric, above, below, for, hysteresis, severity"
                    .into(),
            ),
            (
                &format!("{good}\n[[alerts]]\n{good}"),
                6,
                "alerts[1].name = \"a\" is refused: it must be unique, and alerts[0] has it too".into(),
            ),
        ] {
            assert_eq!(refused(settings), Some(format!("stompbox.toml, line {line}, column 1: {error}")), "{settings}");
        }
    }

    fn refused(settings: &str) -> Option<String> {
        Config::from_toml(&format!("[[alerts]]\n{settings}\n")).err().map(|error| error.to_string())
    }

    const METRICS: &str = "events.rate, events.error_rate, events.latency, system.cpu, system.memory, system.disk, \
                           connections, licenses.utilization, licenses.available, licenses.FEATURE.utilization or \
                           licenses.FEATURE.available";
}
