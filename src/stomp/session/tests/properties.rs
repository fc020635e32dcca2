use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_frames_in_any_cut_ask_for_the_same_and_never_panic(
        version in prop::sample::select(&["1.0", "1.1", "1.2"][..]),
        frames in prop::collection::vec(frame(), 0..12),
        cuts in prop::collection::vec(0.0..1.0f64, 0..8),
    ) {
        let text = frames.concat();
        prop_assert_eq!(run(version, &text, &cuts), run(version, &text, &[]));
    }
}

/// All actions; each ticket is answered at once.
fn run(version: &str, text: &str, cuts: &[f64]) -> Vec<Action> {
    let mut peer = Peer::connected(version);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| (text.len() as f64 * cut) as usize).collect();
    ends.push(text.len());
    ends.sort_unstable();
    let (mut actions, mut from) = (Vec::new(), 0);
    for end in ends {
        peer.send(&text[from..end]);
        from = end;
        loop {
            let new = peer.actions();
            if new.is_empty() {
                break;
            }
            for action in &new {
                if let Action::Publish { ticket, .. }
                | Action::Subscribe { ticket, .. }
                | Action::Settle { ticket, .. }
                | Action::Commit { ticket, .. } = action
                {
                    peer.reply(ticket.0, Reply::Done);
                }
            }
            actions.extend(new);
        }
    }
    // When an answer comes is the broker's matter: receipts are compared among themselves.
    let is_receipt = |action: &Action| matches!(action, Action::Transmit(image) if image.head.starts_with(b"RECEIPT"));
    let receipts: Vec<_> = actions.iter().filter(|action| is_receipt(action)).cloned().collect();
    actions.retain(|action| !is_receipt(action));
    let ended = actions.iter().any(|action| matches!(action, Action::Close(_)));
    actions.extend(receipts.into_iter().filter(|_| !ended));
    actions
}

fn frame() -> impl Strategy<Value = String> {
    let command = prop::sample::select(
        &["SEND", "SEND", "SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT"]
            [..],
    );
    let headers = prop::sample::subsequence(
        vec![
            "destination:/topic/a",
            "id:0",
            "message-id:1",
            "subscription:0",
            "transaction:t",
            "receipt:r",
            "ack:client",
        ],
        4..=7,
    );
    (command, headers).prop_map(|(command, headers)| format!("{command}\n{}\n\n\0\n", headers.join("\n")))
}
