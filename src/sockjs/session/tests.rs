//! Receivers that come and go, time, and closes; [`messages`] is about what passes meanwhile.

mod messages;

use bytes::{Buf, Bytes};

use super::super::framing::{Callback, SOCKJS_QUOTED};
use super::*;
use crate::message::Framing;

const A: ReceiverId = ReceiverId(1);
const B: ReceiverId = ReceiverId(2);
const C: ReceiverId = ReceiverId(3);

#[test]
fn the_first_receiver_opens_the_session() {
    // sockjs-protocol test_simpleSession
    let mut script = Script::new();
    script.attach(A, ReceiverKind::Xhr);
    script.expect(&["1: o\\n", "1 ends", "opened"]);
}

#[test]
fn a_streaming_receiver_stays_after_the_prelude_and_the_open_frame() {
    let mut script = Script::new();
    script.attach(A, ReceiverKind::EventSource);
    script.expect(&["1: \\r\\n", "1: data: o\\r\\n\\r\\n", "opened"]);
    assert!(script.session.wants_messages());
}

#[test]
fn each_transport_gets_the_open_frame_in_its_own_wrapping() {
    let callback = Callback::parse(Some("cb")).expect("a name");
    for (kind, frame) in [
        (ReceiverKind::Jsonp(callback.clone()), "/**/cb(\"o\");\r\n"),
        (ReceiverKind::HtmlFile(callback), "<script>\np(\"o\");\n</script>\r\n"),
        (ReceiverKind::XhrStreaming, "o\n"),
    ] {
        let mut script = Script::new();
        let prelude = kind.prelude();
        script.attach(A, kind);
        let sent = script.sent_to(A);
        assert_eq!(sent, [prelude.unwrap_or_default(), Bytes::from(frame)].concat());
    }
}

#[test]
fn a_second_receiver_is_refused_and_the_first_goes_on() {
    // sockjs-protocol test_close_request, test_simpleSession
    let mut script = Script::streaming();
    script.attach(B, ReceiverKind::Xhr);
    script.expect(&["2: c[2010,\"Another connection still open\"]\\n", "2 ends"]);
    script.session.handle_detach(script.now, B, false);
    script.send("m1");
    script.expect(&["1: a[\"m1\"]\\n"]);
}

#[test]
fn a_second_streaming_receiver_gets_its_prelude_before_the_refusal() {
    // sockjs-protocol test_close_request
    let mut script = Script::streaming();
    script.attach(B, ReceiverKind::EventSource);
    let refusal = "2: data: c[2010,\"Another connection still open\"]\\r\\n\\r\\n";
    script.expect(&["2: \\r\\n", refusal, "2 ends"]);
}

#[test]
fn a_refused_receiver_that_aborts_ends_nothing() {
    let mut script = Script::streaming();
    script.attach(B, ReceiverKind::Xhr);
    script.expect(&["2: c[2010,\"Another connection still open\"]\\n", "2 ends"]);
    script.session.handle_detach(script.now, B, true);
    script.expect(&[]);
}

#[test]
fn a_session_whose_receiver_aborts_is_interrupted() {
    // sockjs-protocol test_abort_xhr_streaming
    let mut script = Script::streaming();
    script.session.handle_detach(script.now, A, true);
    script.expect(&["interrupted"]);
    script.attach(B, ReceiverKind::Xhr);
    script.expect(&["2: c[1002,\"Connection interrupted\"]\\n", "2 ends"]);
    assert_eq!(script.session.send(script.now, image("m1")), Err(Closed));
}

#[test]
fn a_session_whose_poll_aborts_is_interrupted() {
    // sockjs-protocol test_abort_xhr_polling
    let mut script = Script::polled();
    script.attach(B, ReceiverKind::Xhr);
    script.attach(C, ReceiverKind::Xhr);
    script.expect(&["3: c[2010,\"Another connection still open\"]\\n", "3 ends"]);
    script.session.handle_detach(script.now, B, true);
    script.expect(&["interrupted"]);
    script.attach(C, ReceiverKind::Xhr);
    script.expect(&["3: c[1002,\"Connection interrupted\"]\\n", "3 ends"]);
}

#[test]
fn a_response_that_was_ended_but_lost_its_last_octets_interrupts() {
    let mut script = Script::polled();
    script.attach(B, ReceiverKind::Xhr);
    script.send("m1");
    script.expect(&["2: a[\"m1\"]\\n", "2 ends"]);
    script.send("m2");
    script.session.handle_detach(script.now, B, true);
    script.expect(&["interrupted"]);
    assert_eq!(script.session.queued_bytes(), 0);
}

#[test]
fn an_earlier_response_is_forgotten_once_the_next_is_there() {
    let mut script = Script::new();
    script.attach(A, ReceiverKind::Xhr);
    script.expect(&["1: o\\n", "1 ends", "opened"]);
    script.attach(B, ReceiverKind::Xhr);
    script.session.handle_detach(script.now, A, true);
    script.expect(&[]);
    assert!(script.session.wants_messages());
}

#[test]
fn a_receiver_that_ends_normally_may_be_followed_until_the_disconnect_delay() {
    let mut script = Script::streaming();
    script.session.handle_detach(script.now, A, false);
    script.expect(&[]);
    script.advance(4999);
    script.expect(&[]);
    script.attach(B, ReceiverKind::Xhr);
    script.send("m1");
    script.expect(&["2: a[\"m1\"]\\n", "2 ends"]);
}

#[test]
fn a_session_without_a_receiver_for_the_disconnect_delay_is_gone() {
    let mut script = Script::polled();
    script.send("m1");
    script.advance(4999);
    script.expect(&[]);
    script.advance(1);
    script.expect(&["interrupted", "ended"]);
    assert_eq!((script.session.poll_timeout(), script.session.queued_bytes()), (None, 0));
}

#[test]
fn a_session_that_nobody_ever_received_is_gone_without_the_application_knowing() {
    let mut script = Script::new();
    script.advance(5000);
    script.expect(&["ended"]);
}

#[test]
fn a_waiting_receiver_does_not_expire() {
    let mut script = Script::polled();
    script.advance(4999);
    script.attach(B, ReceiverKind::Xhr);
    script.advance(24_999);
    script.expect(&[]);
}

#[test]
fn a_silent_receiver_gets_a_heartbeat_each_25_seconds() {
    let mut script = Script::streaming();
    for _ in 0..3 {
        script.advance(24_999);
        script.expect(&[]);
        script.advance(1);
        script.expect(&["1: h\\n"]);
        script.session.handle_receiver_ready(script.now, A);
    }
}

#[test]
fn a_message_puts_the_heartbeat_off() {
    let mut script = Script::streaming();
    script.advance(20_000);
    script.send("m1");
    script.expect(&["1: a[\"m1\"]\\n"]);
    script.session.handle_receiver_ready(script.now, A);
    script.advance(24_999);
    script.expect(&[]);
    script.advance(1);
    script.expect(&["1: h\\n"]);
}

#[test]
fn a_heartbeat_ends_a_poll() {
    let mut script = Script::polled();
    script.attach(B, ReceiverKind::Xhr);
    script.advance(25_000);
    script.expect(&["2: h\\n", "2 ends"]);
}

#[test]
fn a_receiver_that_takes_nothing_for_a_heartbeat_is_given_up() {
    let mut script = Script::streaming();
    script.send("m1");
    script.expect(&["1: a[\"m1\"]\\n"]);
    script.advance(24_999);
    script.expect(&[]);
    script.advance(1);
    script.expect(&["1 ends", "interrupted"]);
}

#[test]
fn a_receiver_that_does_not_take_the_heartbeat_is_given_up_at_the_next() {
    let mut script = Script::streaming();
    script.advance(25_000);
    script.expect(&["1: h\\n"]);
    script.send("m1");
    script.expect(&[]);
    script.advance(25_000);
    script.expect(&["1 ends", "interrupted"]);
}

#[test]
fn a_slow_receiver_that_takes_some_is_not_given_up() {
    let mut script = Script::streaming();
    script.send("m1");
    script.expect(&["1: a[\"m1\"]\\n"]);
    for _ in 0..3 {
        script.advance(24_999);
        script.session.handle_receiver_progress(script.now, A);
        script.session.handle_receiver_progress(script.now, B);
        script.expect(&[]);
    }
    script.advance(25_000);
    script.expect(&["1 ends", "interrupted"]);
}

#[test]
fn a_receiver_that_took_its_messages_late_is_not_given_up() {
    let mut script = Script::streaming();
    script.send("m1");
    script.expect(&["1: a[\"m1\"]\\n"]);
    script.advance(24_999);
    script.session.handle_receiver_ready(script.now, A);
    script.advance(1);
    script.expect(&["1: h\\n"]);
}

#[test]
fn a_slow_client_may_take_the_end_of_a_response_for_longer_than_the_disconnect_delay() {
    let mut script = Script::streaming();
    script.send(&"x".repeat(5000));
    let _ = script.actions();
    script.advance(6000);
    script.expect(&[]);
    script.session.handle_detach(script.now, A, false);
    script.advance(4999);
    script.expect(&[]);
    script.advance(1);
    script.expect(&["interrupted", "ended"]);
}

#[test]
fn a_close_is_told_and_repeated_to_every_later_poll() {
    // sockjs-protocol test_closeSession
    let mut script = Script::polled();
    script.session.close(script.now, 3000, "Go away!");
    script.expect(&[]);
    for (receiver, name) in [(B, 2), (C, 3)] {
        script.attach(receiver, ReceiverKind::Xhr);
        script.expect(&[&format!("{name}: c[3000,\"Go away!\"]\\n"), &format!("{name} ends")]);
        script.advance(4999);
    }
    script.expect(&[]);
    script.advance(1);
    script.expect(&["ended"]);
}

#[test]
fn a_close_between_two_polls_is_kept_for_the_whole_disconnect_delay() {
    let mut script = Script::polled();
    script.advance(4000);
    script.session.close(script.now, 3000, "Go away!");
    script.advance(4999);
    script.expect(&[]);
    script.advance(1);
    script.expect(&["ended"]);
}

#[test]
fn a_close_is_owed_until_a_receiver_is_told_or_the_session_is_over() {
    let close = |script: &mut Script| script.session.close(script.now, 3000, "Go away!");
    let mut script = Script::polled();
    close(&mut script);
    assert!(script.session.owes_close());
    script.attach(B, ReceiverKind::Xhr);
    assert!(!script.session.owes_close());
    let mut script = Script::polled();
    close(&mut script);
    script.advance(5000);
    assert!(!script.session.owes_close());
    // Nobody is there who could fetch it.
    let mut script = Script::new();
    close(&mut script);
    assert!(!script.session.owes_close());
    let mut script = Script::streaming();
    script.session.handle_detach(script.now, A, true);
    assert!(!script.session.owes_close());
}

#[test]
fn a_close_unlinks_the_receiver_so_that_the_next_gets_the_same_close() {
    // sockjs-protocol test_close_frame
    let mut script = Script::streaming();
    script.session.close(script.now, 3000, "Go away!");
    script.expect(&["1: c[3000,\"Go away!\"]\\n", "1 ends"]);
    script.attach(B, ReceiverKind::EventSource);
    script.expect(&["2: \\r\\n", "2: data: c[3000,\"Go away!\"]\\r\\n\\r\\n", "2 ends"]);
}

#[test]
fn what_was_sent_before_a_close_leaves_before_it() {
    let mut script = Script::streaming();
    script.send("m1");
    script.expect(&["1: a[\"m1\"]\\n"]);
    script.send("m2");
    script.session.close(script.now, 3000, "Go away!");
    script.expect(&["1: a[\"m2\"]\\n", "1: c[3000,\"Go away!\"]\\n", "1 ends"]);
}

#[test]
fn a_poll_gets_the_last_messages_and_the_next_poll_the_close() {
    let mut script = Script::polled();
    script.send("m1");
    script.session.close(script.now, 3000, "Go away!");
    script.attach(B, ReceiverKind::Xhr);
    script.expect(&["2: a[\"m1\"]\\n", "2 ends"]);
    script.attach(C, ReceiverKind::Xhr);
    script.expect(&["3: c[3000,\"Go away!\"]\\n", "3 ends"]);
}

#[test]
fn the_first_close_counts_and_nothing_is_sent_after_it() {
    let mut script = Script::streaming();
    script.session.close(script.now, 3001, "first");
    script.session.close(script.now, 3002, "second");
    script.expect(&["1: c[3001,\"first\"]\\n", "1 ends"]);
    assert_eq!(script.session.send(script.now, image("m1")), Err(Closed));
    assert_eq!(Closed.to_string(), "the session is closed");
}

#[test]
fn an_application_that_closed_hears_of_no_interruption_and_no_message() {
    let mut script = Script::streaming();
    script.payload(&["m1"]);
    script.session.close(script.now, 3000, "Go away!");
    script.payload(&["m2"]);
    assert_eq!(script.session.poll_incoming(), None);
    script.expect(&["1: c[3000,\"Go away!\"]\\n", "1 ends"]);
    script.session.handle_detach(script.now, A, true);
    script.expect(&[]);
    script.advance(5000);
    script.expect(&["ended"]);
}

#[test]
fn a_receiver_that_comes_after_the_end_is_sent_away() {
    let mut script = Script::polled();
    script.advance(5000);
    script.expect(&["interrupted", "ended"]);
    script.attach(B, ReceiverKind::Xhr);
    script.expect(&["2: c[3000,\"Go away!\"]\\n", "2 ends"]);
    assert_eq!(script.session.poll_timeout(), None);
}

#[test]
fn delays_beyond_the_end_of_time_never_come() {
    let settings = Settings { heartbeat: Duration::MAX, disconnect_delay: Duration::MAX, ..Settings::conformance() };
    let start = Script::new().now;
    let mut session = Session::new(&settings, start);
    session.handle_attach(start, A, ReceiverKind::XhrStreaming);
    assert_eq!(session.poll_timeout(), None);
}

/// A session and its artificial clock. Actions are compared as text: `1: octets` with CR and
/// LF escaped, `1 ends`, `opened`, `interrupted`, `ended`.
struct Script {
    session: Session,
    now: Instant,
}

impl Script {
    fn new() -> Self {
        Self::with(&Settings::conformance())
    }

    fn with(settings: &Settings) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the artificial clock has to start somewhere")]
        let now = Instant::now();
        Self { session: Session::new(settings, now), now }
    }

    /// Open, by a poll of A that is over.
    fn polled() -> Self {
        let mut script = Self::new();
        script.attach(A, ReceiverKind::Xhr);
        script.expect(&["1: o\\n", "1 ends", "opened"]);
        script.session.handle_detach(script.now, A, false);
        script
    }

    /// Open, with A streaming.
    fn streaming() -> Self {
        let mut script = Self::new();
        script.attach(A, ReceiverKind::XhrStreaming);
        let prelude = format!("1: {}\\n", "h".repeat(2048));
        script.expect(&[&prelude, "1: o\\n", "opened"]);
        script
    }

    fn attach(&mut self, receiver: ReceiverId, kind: ReceiverKind) {
        self.session.handle_attach(self.now, receiver, kind);
    }

    fn send(&mut self, text: &str) {
        assert_eq!(self.session.send(self.now, image(text)), Ok(()));
    }

    fn payload(&mut self, messages: &[&str]) {
        let messages = messages.iter().map(|&message| message.to_owned()).collect();
        assert_eq!(self.session.handle_payload(self.now, messages), Ok(()));
    }

    fn advance(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
        self.session.handle_timeout(self.now);
    }

    fn actions(&mut self) -> Vec<String> {
        let text = |action| match action {
            Action::Send { receiver, mut octets } => {
                let octets = octets.copy_to_bytes(octets.len());
                format!("{}: {}", receiver.0, octets.escape_ascii()).replace("\\\"", "\"")
            }
            Action::EndReceiver { receiver } => format!("{} ends", receiver.0),
            Action::Opened => "opened".into(),
            Action::Interrupted => "interrupted".into(),
            Action::Ended => "ended".into(),
        };
        std::iter::from_fn(|| self.session.poll_action()).map(text).collect()
    }

    fn expect(&mut self, expected: &[&str]) {
        assert_eq!(self.actions(), expected);
    }

    fn sent_to(&mut self, expected: ReceiverId) -> Vec<u8> {
        let mut sent = Vec::new();
        while let Some(action) = self.session.poll_action() {
            if let Action::Send { receiver, mut octets } = action {
                assert_eq!(receiver, expected);
                sent.extend_from_slice(&octets.copy_to_bytes(octets.len()));
            }
        }
        sent
    }
}

fn image(text: &str) -> Image {
    SOCKJS_QUOTED.whole(text.as_bytes(), true)
}
