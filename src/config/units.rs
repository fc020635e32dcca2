//! Durations and sizes as they are written in settings: `500ms`, `10s`, `64KiB`, `4096`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration: a whole number and one of `ms`, `s`, `m`, `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(pub(super) Duration);

impl Time {
    /// Reads a duration; `None` if it has no unit, an unknown one, or no number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_number(text)?;
        let ms = TIME_UNITS.iter().find(|(name, _)| *name == unit)?.1;
        Some(Self(Duration::from_millis(number.checked_mul(ms)?)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms == 0 {
            return f.write_str("0s");
        }
        let whole = TIME_UNITS.iter().find(|(_, unit)| ms.is_multiple_of(u128::from(*unit)));
        whole.map_or(Ok(()), |(name, unit)| write!(f, "{}{name}", ms / u128::from(*unit)))
    }
}

/// A number of octets: a whole number, alone or with `KiB`, `MiB` or `GiB`.
///
/// Powers of ten (`KB`) are not taken: too many read them as powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) usize);

/// A size, or what is right for most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeOrAuto(pub(super) Option<Size>);

/// How [`SizeOrAuto`] is written without a size.
pub(super) const AUTO: &str = "auto";

impl Size {
    /// Reads a size; `None` if the unit is unknown or the number does not fit.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_number(text)?;
        let octets = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?.1;
        Self::from_octets(number.checked_mul(octets)?)
    }

    fn from_octets(octets: u64) -> Option<Self> {
        usize::try_from(octets).ok().map(Self)
    }

    /// The octets, in the width that ranges are written in.
    pub(super) fn octets(self) -> u64 {
        u64::try_from(self.0).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_octets(f, self.octets())
    }
}

/// Octets in the largest unit that divides them.
pub(super) fn write_octets(f: &mut fmt::Formatter<'_>, octets: u64) -> fmt::Result {
    if octets == 0 {
        return f.write_str("0");
    }
    let whole = SIZE_UNITS.iter().find(|(_, unit)| octets.is_multiple_of(*unit));
    whole.map_or(Ok(()), |(name, unit)| write!(f, "{}{name}", octets / unit))
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a duration such as 500ms, 10s, 5m or 1h"))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl Serialize for SizeOrAuto {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(size) => size.serialize(serializer),
            None => serializer.serialize_str(AUTO),
        }
    }
}

impl<'de> Deserialize<'de> for SizeOrAuto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Size(Size),
            Word(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Size(size) => Ok(Self(Some(size))),
            Either::Word(word) if word == AUTO => Ok(Self(None)),
            Either::Word(_) => Err(D::Error::custom("not a size such as 64KiB, and not auto")),
        }
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as 64KiB, 1MiB or 4096")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        Size::parse(text).ok_or_else(|| E::custom("not a size such as 64KiB, 1MiB or 4096"))
    }

    fn visit_u64<E: Error>(self, octets: u64) -> Result<Size, E> {
        Size::from_octets(octets).ok_or_else(|| E::custom("a size too large for this machine"))
    }

    fn visit_i64<E: Error>(self, octets: i64) -> Result<Size, E> {
        let octets = u64::try_from(octets).map_err(|_| E::custom("a size below zero"))?;
        self.visit_u64(octets)
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// Largest first, as printing needs it; the value is in milliseconds.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Largest first, as printing needs it; the value is in octets.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_alike() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(Time::parse(text), Some(Time(Duration::from_millis(ms))), "{text}");
            assert_eq!(Time(Duration::from_millis(ms)).to_string(), text);
        }
        assert_eq!(Time(Duration::from_secs(90)).to_string(), "90s");
    }

    #[test]
    fn a_duration_needs_a_whole_number_and_a_known_unit() {
        for text in
            ["", "10", "s", "1.5s", "-1s", "10 s", "1d", "1m30s", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_printed_alike() {
        for (text, octets) in [("0", 0), ("100", 100), ("64KiB", 65_536), ("1MiB", 1 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(Size::parse(text), Some(Size(octets)), "{text}");
            assert_eq!(Size(octets).to_string(), text);
        }
        assert_eq!(Size::parse("65536").map(|size| size.to_string()).as_deref(), Some("64KiB"));
    }

    #[test]
    fn a_size_needs_a_whole_number_and_a_power_of_two() {
        for text in ["", "KiB", "1KB", "1kib", "1.5MiB", "-1", "18446744073709551616", "18446744073709551615KiB"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }
}
