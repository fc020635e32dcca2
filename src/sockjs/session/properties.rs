//! What holds for every order of inputs.

use bytes::Buf;
use proptest::prelude::*;

use super::super::framing::SOCKJS_QUOTED;
use super::*;
use crate::message::Framing;

proptest! {
    #[test]
    fn messages_arrive_in_order_once_and_receivers_end_once(inputs in proptest::collection::vec(input(), 0..80)) {
        let mut run = Run::new();
        for input in inputs {
            run.apply(&input);
            run.drain();
        }
        // Messages are numbers: each follows the last, and a gap is only at the very end.
        prop_assert!(run.received.iter().copied().eq(0..run.received.len() as u64), "{:?}", run.received);
        prop_assert!(run.ended_count <= 1);
    }
}

#[derive(Debug, Clone)]
enum Input {
    Attach(bool),
    Detach(u64, bool),
    Ready(u64),
    Send(u8),
    Payload(u8),
    Incoming,
    Close,
    Pass(u64),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => any::<bool>().prop_map(Input::Attach),
        2 => (0..4_u64, prop::bool::weighted(0.2)).prop_map(|(back, aborted)| Input::Detach(back, aborted)),
        3 => (0..2_u64).prop_map(Input::Ready),
        5 => (1..4_u8).prop_map(Input::Send),
        2 => (0..3_u8).prop_map(Input::Payload),
        2 => Just(Input::Incoming),
        1 => Just(Input::Close),
        3 => (0..40_000_u64).prop_map(Input::Pass),
    ]
}

struct Run {
    session: Session,
    now: Instant,
    receivers: u64,
    ended: Vec<ReceiverId>,
    sent: u64,
    received: Vec<u64>,
    ended_count: u32,
}

impl Run {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the artificial clock has to start somewhere")]
        let now = Instant::now();
        let session = Session::new(&Settings::conformance(), now);
        Self { session, now, receivers: 0, ended: Vec::new(), sent: 0, received: Vec::new(), ended_count: 0 }
    }

    fn apply(&mut self, input: &Input) {
        let (now, back) = (self.now, |count: u64| ReceiverId(self.receivers.saturating_sub(count)));
        match *input {
            Input::Attach(streams) => {
                self.receivers += 1;
                let kind = if streams { ReceiverKind::XhrStreaming } else { ReceiverKind::Xhr };
                self.session.handle_attach(now, ReceiverId(self.receivers), kind);
            }
            Input::Detach(count, aborted) => self.session.handle_detach(now, back(count), aborted),
            Input::Ready(count) => self.session.handle_receiver_ready(now, back(count)),
            Input::Send(count) => {
                for _ in 0..count {
                    let image = SOCKJS_QUOTED.whole(self.sent.to_string().as_bytes(), true);
                    self.sent += u64::from(self.session.send(now, image).is_ok());
                }
            }
            Input::Payload(count) => {
                let _ = self.session.handle_payload(now, vec!["m".into(); usize::from(count)]);
            }
            Input::Incoming => drop(self.session.poll_incoming()),
            Input::Close => self.session.close(now, 3000, "Go away!"),
            Input::Pass(milliseconds) => {
                self.now += Duration::from_millis(milliseconds);
                self.session.handle_timeout(self.now);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Send { receiver, mut octets } => {
                    assert!(!self.ended.contains(&receiver), "octets after the end of {receiver:?}");
                    let octets = octets.copy_to_bytes(octets.len());
                    if let Some(array) = octets.strip_prefix(b"a") {
                        let texts: Vec<String> = serde_json::from_slice(array).expect("a JSON array");
                        self.received.extend(texts.iter().filter_map(|text| text.parse::<u64>().ok()));
                    }
                }
                Action::EndReceiver { receiver } => {
                    assert!(!self.ended.contains(&receiver), "a second end of {receiver:?}");
                    self.ended.push(receiver);
                }
                Action::Ended => self.ended_count += 1,
                Action::Opened | Action::Interrupted => {}
            }
        }
    }
}
