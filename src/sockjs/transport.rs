//! The transports by name, and which of them are offered.

/// A way that a session takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// SockJS frames on a WebSocket.
    WebSocket,
    /// A WebSocket without SockJS.
    RawWebSocket,
    /// One frame a request.
    Xhr,
    /// Frame after frame in a response.
    XhrStreaming,
    /// Server-sent events.
    EventSource,
    /// A page of scripts in an iframe.
    HtmlFile,
    /// A script a frame.
    Jsonp,
}

impl Transport {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::WebSocket,
        Self::RawWebSocket,
        Self::Xhr,
        Self::XhrStreaming,
        Self::EventSource,
        Self::HtmlFile,
        Self::Jsonp,
    ];

    /// Its name in settings, logs and counters: the last part of its path.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::RawWebSocket => "raw-websocket",
            Self::Xhr => "xhr",
            Self::XhrStreaming => "xhr_streaming",
            Self::EventSource => "eventsource",
            Self::HtmlFile => "htmlfile",
            Self::Jsonp => "jsonp",
        }
    }

    /// The transport of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name() == name)
    }
}

/// A set of transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transports(u8);

impl Transports {
    /// Every transport.
    pub const ALL: Self = Self(0x7f);

    /// Whether it is among them.
    pub fn has(self, transport: Transport) -> bool {
        self.0 & 1 << transport as u8 != 0
    }

    /// The set without it.
    pub fn without(self, transport: Transport) -> Self {
        Self(self.0 & !(1 << transport as u8))
    }
}

impl FromIterator<Transport> for Transports {
    fn from_iter<I: IntoIterator<Item = Transport>>(transports: I) -> Self {
        Self(transports.into_iter().fold(0, |set, transport| set | 1 << transport as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transport_has_its_own_name_and_place() {
        assert_eq!(Transport::ALL.into_iter().collect::<Transports>(), Transports::ALL);
        for (n, transport) in Transport::ALL.into_iter().enumerate() {
            assert_eq!(Transport::of_name(transport.name()), Some(transport));
            assert_eq!(transport as usize, n);
            let others = Transports::ALL.without(transport);
            assert!(!others.has(transport));
            assert!(Transport::ALL.into_iter().all(|other| other == transport || others.has(other)));
        }
        assert_eq!(Transport::of_name("XHR"), None);
    }
}
