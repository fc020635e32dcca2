//! Scripts of a client of channels.

use std::time::Duration;

use super::*;
use crate::message::{MessageId, Overflow, Plain};
use crate::session::Session as _;

#[test]
fn a_channel_is_a_topic_and_its_data_are_json() {
    let mut script = Script::open();
    script.say(r#"{"action":"subscribe","channel":"a/b"}"#);
    let actions = script.actions();
    let Action::Subscribe { ticket, subscription } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!((subscription.destination.as_str(), subscription.is_kept), ("/topic/a/b", true));
    script.reply(*ticket, Reply::Done);
    assert_eq!(script.texts(), [r#"{"channel":"system","data":{"channel":"a/b","type":"subscription_confirm"}}"#]);
    let deliver =
        |script: &mut Script, body: &str, position: u64| script.deliver(0, message("/topic/a/b", body, position));
    assert_eq!(deliver(&mut script, "{\"n\": 1}", 3).unwrap(), r#"{"channel":"a/b","data":{"n": 1},"id":"e-3"}"#);
    assert_eq!(deliver(&mut script, "plain \"text\"", 0).unwrap(), r#"{"channel":"a/b","data":"plain \"text\""}"#);
    script.say(r#"{"action":"publish","channel":"c","data":[1]}"#);
    let actions = script.actions();
    let Action::Publish { publication, .. } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!((publication.destination.as_str(), &publication.body[..]), ("/topic/c", &b"[1]"[..]));
}

#[test]
fn what_was_missed_comes_first_and_once() {
    let mut script = Script::open();
    script.say(r#"{"action":"subscribe","channel":"a","since":"e-1"}"#);
    let actions = script.actions();
    let (Action::Subscribe { ticket: first, .. }, Action::CatchUp { ticket: second, since, .. }) =
        (&actions[0], &actions[1])
    else {
        panic!("{actions:?}")
    };
    assert_eq!(*since, Since::After(1));
    script.reply(*first, Reply::Done);
    let missed = Backlog { messages: vec![Arc::new(message("/topic/a", "2", 2))], is_gap: false, position: 2 };
    script.reply(*second, Reply::Missed(Box::new(missed)));
    assert_eq!(script.texts()[1], r#"{"channel":"a","data":2,"id":"e-2"}"#);
    assert_eq!(script.deliver(0, message("/topic/a", "2", 2)), None);
    assert!(script.deliver(0, message("/topic/a", "3", 3)).is_some());
}

#[test]
fn a_channel_is_taken_at_the_limit_and_not_one_past_it() {
    let mut script = Script::open();
    for n in 0..3 {
        script.say(&format!(r#"{{"action":"subscribe","channel":"c{n}"}}"#));
        let Some(Action::Subscribe { ticket, .. }) = script.actions().pop() else { panic!() };
        script.reply(ticket, Reply::Done);
        script.actions();
    }
    script.say(r#"{"action":"subscribe","channel":"c3"}"#);
    assert!(script.texts()[0].contains("this would be channel 4 of the connection; at most 3 are allowed"));
}

#[test]
fn it_is_read_from_no_more_while_requests_are_open() {
    let mut script = Script::open();
    assert!(script.session.wants_read());
    for _ in 0..2 {
        script.say(r#"{"action":"publish","channel":"c","data":1}"#);
    }
    assert!(!script.session.wants_read());
}

#[test]
fn a_client_that_does_not_say_who_it_is_is_closed() {
    let mut script = Script::new();
    script.reply(Ticket(0), Reply::Refused(Refusal::new(401, "Access refused")));
    script.say(r#"{"action":"publish","channel":"c","data":1}"#);
    assert!(script.texts()[0].contains("say who you are first"));
    script.pass(9_999);
    assert_eq!(script.actions(), []);
    script.pass(1);
    assert_eq!(script.actions().pop(), Some(Action::Close(CloseReason::PolicyViolation)));
}

#[test]
fn a_query_is_answered_by_the_handlers_message() {
    let mut script = Script::open();
    script.say(r#"{"type":"query","id":"q","payload":{"query":"metrics"}}"#);
    let Some(Action::Subscribe { ticket, subscription }) = script.actions().pop() else { panic!() };
    assert_eq!(subscription.destination.as_str(), "/app/metrics");
    script.reply(ticket, Reply::Done);
    assert!(!script.actions().iter().any(|action| matches!(action, Action::Transmit(_))));
    let answer = script.deliver(0, message("/app/metrics", "{}", 0)).unwrap();
    assert_eq!(answer, r#"{"type":"response","requestId":"q","payload":{}}"#);
    assert_eq!(script.deliver(0, message("/app/metrics", "{}", 0)), None);
    assert_eq!(script.session.open_tickets(), 0);
}

#[test]
fn what_was_not_yet_carried_out_is_not_done_in_the_name_of_an_expired_session() {
    for (trouble, is_done) in [(Trouble::Expired, false), (Trouble::ShuttingDown, true)] {
        let mut script = Script::open();
        script.say(r#"{"action":"publish","channel":"c","data":1}"#);
        script.session.handle_trouble(script.now, trouble);
        let actions = script.actions();
        assert_eq!(actions.iter().any(|action| matches!(action, Action::Publish { .. })), is_done, "{actions:?}");
        assert!(matches!(actions[..], [.., Action::Transmit(_), Action::Close(_)]), "{actions:?}");
    }
}

#[test]
fn since_is_an_id_a_time_or_milliseconds() {
    for (since, read) in [
        (r#""e-5""#, Some(Since::After(5))),
        (r#""f-5""#, Some(Since::Lost)),
        (r#""2024-01-15T10:30:45.123Z""#, Some(Since::Time(1_705_314_645_123))),
        ("1705314645123", Some(Since::Time(1_705_314_645_123))),
        (r#""yesterday""#, None),
        ("true", None),
    ] {
        let text = format!(r#"{{"action":"subscribe","channel":"a","since":{since}}}"#);
        match (Request::parse(text.as_bytes(), "e"), read) {
            (Ok(Request::Subscribe { since, .. }), Some(read)) => assert_eq!(since, Some(read), "{text}"),
            (Err(wrong), None) => assert!(wrong.reason.starts_with("since must be"), "{text}"),
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
}

struct Script {
    session: Session,
    now: Instant,
}

impl Script {
    #[expect(clippy::disallowed_methods, reason = "any moment will do; none is compared with the clock")]
    fn new() -> Self {
        let now = Instant::now();
        let mut session = Session::new(Arc::new(settings()), &Plain, None, now);
        assert!(matches!(session.poll_action(), Some(Action::Authenticate { ticket: Ticket(0), .. })));
        Self { session, now }
    }

    fn open() -> Self {
        let mut script = Self::new();
        script.reply(Ticket(0), Reply::Authenticated { principal: Principal::Anonymous, expires_at: None });
        script
    }

    fn say(&mut self, text: &str) {
        self.session.handle_bytes(self.now, text.to_owned().into());
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.session.handle_reply(self.now, ticket, reply);
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.session.handle_timeout(self.now);
    }

    fn deliver(&mut self, subscription: u32, message: Message) -> Option<String> {
        let (message, subscription) = (Arc::new(message), SubscriptionId(subscription));
        let delivery = Delivery { subscription, message, retained: false, dropped: 0, count: 0 };
        self.session.delivery_image(self.now, delivery).map(|image| text(&image))
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.session.poll_action()).collect()
    }

    fn texts(&mut self) -> Vec<String> {
        let image = |action: &Action| if let Action::Transmit(image) = action { text(image) } else { String::new() };
        self.actions().iter().map(image).collect()
    }
}

fn settings() -> Settings {
    Settings {
        interval: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(300),
        overflow: Overflow::DropOldest,
        keep_alive: Duration::from_secs(15),
        retry: Duration::from_secs(3),
        auth_timeout: Duration::from_secs(10),
        channels: 3,
        open_requests: 2,
        epoch: "e".into(),
    }
}

fn message(topic: &str, body: &str, position: u64) -> Message {
    let destination = Destination::parse(topic).unwrap();
    let message =
        Message::new(MessageId(1), Publication { destination, headers: vec![], body: body.to_owned().into() }, 0, None);
    message.set_position(position);
    message
}

fn text(image: &Image) -> String {
    String::from_utf8([&image.head[..], &image.tail].concat()).unwrap()
}
