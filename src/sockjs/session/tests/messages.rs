//! What becomes of messages, both ways, and how many may wait.

use bytes::Buf;

use super::*;

#[test]
fn messages_that_wait_leave_together_with_the_next_poll() {
    // sockjs-protocol XhrPolling test_content_types
    let mut script = Script::polled();
    script.send("m1");
    script.send("m2");
    script.expect(&[]);
    script.attach(B, ReceiverKind::Xhr);
    script.expect(&["2: a[\"m1\",\"m2\"]\\n", "2 ends"]);
    assert_eq!(script.session.queued_bytes(), 0);
}

#[test]
fn an_open_poll_takes_all_messages_that_are_sent_at_once() {
    let mut script = Script::polled();
    script.attach(B, ReceiverKind::Xhr);
    script.expect(&[]);
    assert!(script.session.wants_messages());
    script.send("m1");
    script.send("m2");
    script.expect(&["2: a[\"m1\",\"m2\"]\\n", "2 ends"]);
    assert!(!script.session.wants_messages());
}

#[test]
fn a_streaming_receiver_is_given_messages_again_when_it_took_the_last() {
    let mut script = Script::streaming();
    script.send("m1");
    script.expect(&["1: a[\"m1\"]\\n"]);
    assert!(!script.session.wants_messages());
    script.send("m2");
    script.send("m3");
    script.expect(&[]);
    script.session.handle_receiver_ready(script.now, A);
    script.expect(&["1: a[\"m2\",\"m3\"]\\n"]);
}

#[test]
fn readiness_of_a_receiver_that_is_gone_means_nothing() {
    let mut script = Script::streaming();
    script.send("m1");
    script.expect(&["1: a[\"m1\"]\\n"]);
    script.session.handle_receiver_ready(script.now, B);
    assert!(!script.session.wants_messages());
}

#[test]
fn messages_of_64_kib_are_enough_for_one_frame() {
    let mut script = Script::streaming();
    let message = |size: usize| Image::from(Bytes::from(vec![b'x'; size]));
    assert_eq!(script.session.send(script.now, message(OUTBOX_BYTES - 1)), Ok(()));
    assert!(script.session.wants_messages());
    assert_eq!(script.session.send(script.now, message(1)), Ok(()));
    assert!(!script.session.wants_messages());
    assert_eq!(script.session.queued_bytes(), OUTBOX_BYTES);
}

#[test]
fn a_message_before_the_first_receiver_waits_for_it() {
    let mut script = Script::new();
    script.send("m1");
    script.attach(A, ReceiverKind::EventSource);
    script.expect(&["1: \\r\\n", "1: data: o\\r\\n\\r\\n", "opened", "1: data: a[\"m1\"]\\r\\n\\r\\n"]);
}

#[test]
fn what_the_client_sent_before_it_vanished_is_still_given() {
    let mut script = Script::streaming();
    script.payload(&["m1"]);
    script.session.handle_detach(script.now, A, true);
    script.expect(&["interrupted"]);
    assert_eq!(script.session.poll_incoming().as_deref(), Some("m1"));
}

#[test]
fn a_streaming_receiver_ends_at_the_response_limit_and_the_prelude_does_not_count() {
    // sockjs-protocol XhrStreaming test_response_limit
    let mut script = Script::new();
    script.attach(A, ReceiverKind::XhrStreaming);
    let mut chunks = 0;
    let message = "x".repeat(128);
    while !script.actions().iter().any(|action| action == "1 ends") {
        script.send(&message);
        script.session.handle_receiver_ready(script.now, A);
        chunks += 1;
    }
    assert_eq!(chunks, 31);
}

#[test]
fn a_response_one_octet_below_the_limit_goes_on_and_at_the_limit_ends() {
    for (size, ends) in [(4096 - "o\n".len() - "a[\"\"]\n".len() - 1, false), (4096 - 2 - 6, true)] {
        let mut script = Script::new();
        script.attach(A, ReceiverKind::XhrStreaming);
        script.send(&"x".repeat(size));
        assert_eq!(script.actions().contains(&"1 ends".to_owned()), ends, "{size}");
    }
}

#[test]
fn a_response_without_a_limit_of_its_own_ends_by_octets_and_frames() {
    let kib = |n: usize| n << 10;
    for (bytes, frames, ends) in [
        (kib(128) - 1, 10_000, false),
        (kib(128), 127, false),
        (kib(128), 128, true),
        (kib(8192) - 1, 127, false),
        (kib(8192), 2, true),
    ] {
        assert_eq!(
            ResponseLimit::Auto.is_reached(bytes, frames, kib(128) - 1),
            ends,
            "{bytes} octets, {frames} frames"
        );
    }
    assert!(ResponseLimit::Auto.is_reached(kib(128), 2, kib(128)));
    for (size, count) in [(1_000, 131), (30_000, 127), (100_000, 84), (200_000, 1)] {
        let mut script = Script::with(&Settings { response_limit: ResponseLimit::Auto, ..Settings::conformance() });
        script.attach(A, ReceiverKind::XhrStreaming);
        let (mut sent, message) = (0, "x".repeat(size));
        while !script.actions().contains(&"1 ends".to_owned()) {
            script.send(&message);
            script.session.handle_receiver_ready(script.now, A);
            sent += 1;
        }
        // The first frame is the `o`.
        assert_eq!(sent, count, "of {size} octets");
    }
}

#[test]
fn messages_beyond_the_response_limit_wait_for_the_next_receiver() {
    // sockjs-protocol EventSource test_response_limit
    let mut script = Script::streaming();
    script.send(&"x".repeat(4096));
    assert_eq!(script.actions().last().map(String::as_str), Some("1 ends"));
    script.send("m2");
    script.attach(B, ReceiverKind::Xhr);
    script.expect(&["2: a[\"m2\"]\\n", "2 ends"]);
}

#[test]
fn messages_of_the_client_come_in_order() {
    // sockjs-protocol test_ignoringServerId
    let mut script = Script::polled();
    script.payload(&["a", "b"]);
    script.payload(&["c"]);
    let incoming: Vec<_> = std::iter::from_fn(|| script.session.poll_incoming()).collect();
    assert_eq!(incoming, ["a", "b", "c"]);
    script.expect(&[]);
}

#[test]
fn an_inbox_takes_what_fits_and_gives_the_rest_back() {
    let mut script = Script::polled();
    let overhead = size_of::<String>();
    script.payload(&[&"x".repeat(400 - overhead)]);
    let one_too_many = vec!["y".repeat(601 - overhead)];
    let error = script.session.handle_payload(script.now, one_too_many.clone()).unwrap_err();
    assert_eq!(error.to_string(), "1 messages do not fit the inbox");
    assert_eq!(error.0, one_too_many);
    script.payload(&[&"y".repeat(600 - overhead)]);
    assert!(script.session.poll_incoming().is_some());
    script.payload(&[&"z".repeat(400 - overhead)]);
}

#[test]
fn a_payload_larger_than_the_inbox_fits_an_empty_one() {
    let mut script = Script::polled();
    script.payload(&[&"x".repeat(5000)]);
    let error = script.session.handle_payload(script.now, vec![String::new()]);
    assert_eq!(error, Err(InboxFull(vec![String::new()])));
}

#[test]
fn a_client_that_only_sends_is_not_read_while_64_kib_of_answers_wait() {
    let mut script = Script::polled();
    script.payload(&["a", "b"]);
    let answer = |size: usize| Image::from(Bytes::from(vec![b'x'; size]));
    assert_eq!(script.session.send(script.now, answer(OUTBOX_BYTES - 1)), Ok(()));
    assert_eq!(script.session.poll_incoming().as_deref(), Some("a"));
    assert_eq!(script.session.send(script.now, answer(1)), Ok(()));
    assert_eq!(script.session.poll_incoming(), None);
    script.attach(B, ReceiverKind::Xhr);
    assert_eq!(script.actions().last().map(String::as_str), Some("2 ends"));
    assert_eq!(script.session.poll_incoming().as_deref(), Some("b"));
}

#[test]
fn messages_before_the_first_receiver_or_after_the_end_are_dropped() {
    let mut script = Script::new();
    script.payload(&["a"]);
    assert_eq!(script.session.poll_incoming(), None);
    script.advance(5000);
    script.expect(&["ended"]);
    script.payload(&["b"]);
    assert_eq!(script.session.poll_incoming(), None);
}

#[test]
fn an_idle_session_is_small_and_keeps_no_buffers() {
    assert!(size_of::<Session>() <= 352, "{} octets", size_of::<Session>());
    let mut script = Script::streaming();
    for _ in 0..30 {
        script.send("message");
        script.payload(&["message"]);
    }
    script.actions();
    while script.session.poll_incoming().is_some() {}
    let session = &script.session;
    let capacities = (session.outbox.capacity(), session.inbox.capacity(), session.actions.capacity());
    assert_eq!((capacities, session.outbox_bytes, session.inbox_bytes), ((0, 0, 0), 0, 0));
}

#[test]
fn a_message_is_not_copied_on_its_way_to_a_response() {
    let mut script = Script::streaming();
    let message = Image { head: Bytes::from("\""), tail: Bytes::from([&[b'x'; 2000][..], b"\""].concat()) };
    assert_eq!(script.session.send(script.now, message.clone()), Ok(()));
    let Some(Action::Send { mut octets, .. }) = script.session.poll_action() else { panic!("nothing was sent") };
    octets.advance("a[\"".len());
    assert_eq!(octets.chunk().as_ptr(), message.tail.as_ptr());
}
