//! The three versions, and how one is agreed on.

use std::fmt;

/// A version of the protocol. The order is the order of age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// STOMP 1.0.
    V1_0,
    /// STOMP 1.1.
    V1_1,
    /// STOMP 1.2.
    V1_2,
}

impl Version {
    /// Every version, the newest first.
    pub const ALL: [Self; 3] = [Self::V1_2, Self::V1_1, Self::V1_0];

    /// As `accept-version` and `version` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// As a WebSocket subprotocol is called.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::V1_0 => "v10.stomp",
            Self::V1_1 => "v11.stomp",
            Self::V1_2 => "v12.stomp",
        }
    }

    /// Which dialect of the image cache is this version's, below [`crate::message::DIALECTS`].
    pub fn dialect(self) -> usize {
        match self {
            Self::V1_0 => 0,
            Self::V1_1 => 1,
            Self::V1_2 => 2,
        }
    }

    /// The highest version in a comma-separated `accept-version`; no header at all means 1.0.
    pub fn highest_common(accept_version: Option<&str>) -> Option<Self> {
        // STOMP 1.1 "Protocol Negotiation": a missing header is 1.0.
        let Some(offered) = accept_version else { return Some(Self::V1_0) };
        Self::ALL.into_iter().find(|version| offered.split(',').any(|o| o.trim() == version.as_str()))
    }

    /// The highest version among the WebSocket subprotocols that a client offers in
    /// `Sec-WebSocket-Protocol`.
    pub fn highest_subprotocol(offered: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| offered.split(',').any(|o| o.trim() == version.subprotocol()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The versions as an ERROR lists them.
pub const SUPPORTED_VERSIONS: &str = "1.0,1.1,1.2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_wins_and_none_offered_is_1_0() {
        assert_eq!(Version::highest_common(None), Some(Version::V1_0));
        assert_eq!(Version::highest_common(Some("1.0,1.1,1.2")), Some(Version::V1_2));
        assert_eq!(Version::highest_common(Some("1.1, 1.0")), Some(Version::V1_1));
        assert_eq!(Version::highest_common(Some("2.0,1.0")), Some(Version::V1_0));
        assert_eq!(Version::highest_common(Some("2.0")), None);
        assert_eq!(Version::highest_common(Some("")), None);
    }

    #[test]
    fn the_highest_offered_subprotocol_wins() {
        assert_eq!(Version::highest_subprotocol("v10.stomp, v11.stomp, v12.stomp"), Some(Version::V1_2));
        assert_eq!(Version::highest_subprotocol("v11.stomp,v10.stomp"), Some(Version::V1_1));
        assert_eq!(Version::highest_subprotocol("chat"), None);
    }
}
