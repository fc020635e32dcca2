//! Scripts of a stream: inputs with their time, and the exact actions.

use super::super::tests::{log, message};
use super::*;
use crate::message::Plain;
use crate::session::Session as _;

#[test]
fn a_stream_says_who_its_client_is_and_subscribes_to_what_it_carries() {
    let mut script = Script::of(Feed::Combined, Form::Json, Filter::default());
    assert!(matches!(script.actions()[..], [Action::Authenticate { ticket: Ticket(0), .. }]));
    script.reply(0, Reply::Authenticated { principal: Principal::Anonymous, expires_at: None });
    let actions = script.actions();
    let topics: Vec<_> = actions.iter().filter_map(subscribed).map(|of| of.destination.to_string()).collect();
    assert_eq!(topics, ["/topic/logs", "/topic/alerts", "/topic/system"]);
    assert_eq!(actions.last(), Some(&Action::Pace { interval: Some(Duration::from_secs(5)) }));
}

#[test]
fn a_key_that_is_not_good_is_told_and_ends_the_stream() {
    let mut script = Script::of(Feed::Logs, Form::Json, Filter::default());
    script.actions();
    script.reply(0, Reply::Refused(Refusal::new(401, "Access refused")));
    let actions = script.actions();
    assert!(sent(&actions[0]).starts_with(r#"{"type":"error","code":"UNAUTHORIZED","message":"the key is missing"#));
    assert_eq!(actions[1], Action::Close(CloseReason::PolicyViolation));
    assert!(script.session.is_closed());
}

#[test]
fn a_new_filter_takes_the_place_of_the_former_and_looks_at_what_is_on_its_way() {
    let mut script = Script::open(Feed::Logs, Form::Json);
    script.say(r#"{"action":"filter","filter":{"level":"error"}}"#);
    let actions = script.actions();
    assert_eq!(actions[0], Action::Unsubscribe { subscription: SubscriptionId(0) });
    let subscription = subscribed(&actions[1]).unwrap();
    assert_eq!((subscription.id, subscription.condition.is_some()), (SubscriptionId(1), true));
    assert_eq!(script.deliver(0, log("warn", "s", "late")), None);
    assert!(script.deliver(0, log("error", "s", "late")).is_some());
    script.say(r#"{"action":"filter","filter":null}"#);
    let actions = script.actions();
    assert!(subscribed(&actions[1]).unwrap().condition.is_none());
}

#[test]
fn metrics_come_at_the_clients_interval_and_the_newest_of_those_between() {
    let mut script = Script::open(Feed::Metrics, Form::Json);
    script.say(r#"{"action":"configure","interval":1000}"#);
    assert_eq!(script.actions(), [Action::Pace { interval: Some(Duration::from_secs(1)) }]);
    let metrics = |n: u32| message("/topic/system", &[], &format!(r#"{{"type":"metrics","timestamp":"{n}"}}"#));
    assert!(script.deliver(0, metrics(1)).is_some());
    script.pass(300);
    assert_eq!(script.deliver(0, metrics(2)), None);
    script.pass(300);
    assert_eq!(script.deliver(0, metrics(3)), None);
    assert_eq!(script.session.poll_timeout(), Some(script.now + Duration::from_millis(400)));
    script.pass(399);
    assert_eq!(script.actions(), []);
    script.pass(1);
    assert_eq!(sent(&script.actions()[0]), r#"{"type":"metrics","timestamp":"3"}"#);
}

#[test]
fn a_client_that_is_silent_for_the_idle_time_is_closed_and_a_ping_keeps_it() {
    let mut script = Script::open(Feed::Logs, Form::Json);
    script.pass(299_999);
    script.say(r#"{"action":"ping"}"#);
    assert_eq!(sent(&script.actions()[0]), r#"{"type":"pong","timestamp":"1970-01-01T00:04:59.999Z"}"#);
    script.pass(299_999);
    assert_eq!(script.actions(), []);
    script.pass(1);
    let actions = script.actions();
    assert!(sent(&actions[0]).contains("IDLE_TIMEOUT"), "{actions:?}");
    assert_eq!(actions[1], Action::Close(CloseReason::Disconnect));
}

#[test]
fn an_event_stream_begins_with_where_it_is_and_a_comment_keeps_it_alive() {
    let mut script = Script::of(Feed::Logs, events(Since::Now, false), Filter::default());
    script.open_events(vec![], false, 7);
    assert_eq!(script.texts(), ["retry: 3000\nid: e-7\n\n"]);
    script.pass(14_999);
    assert_eq!(script.actions(), []);
    script.pass(1);
    assert_eq!(script.texts(), [": keep-alive\n\n"]);
    script.session.handle_bytes(script.now, Bytes::from_static(b"{}"));
    assert_eq!(script.actions(), []);
}

#[test]
fn what_was_missed_comes_in_order_before_what_is_new_and_once() {
    let mut script = Script::of(Feed::Combined, events(Since::After(4), true), Filter::default());
    let alert = message("/topic/alerts", &[], r#"{"type":"alert","timestamp":"t","severity":"info","message":"m"}"#);
    let missed = [at(5, log("error", "s", "a")), at(6, alert)];
    script.open_events(missed.map(Arc::new).to_vec(), false, 6);
    let texts = script.texts();
    assert_eq!(texts[0], "retry: 3000\nid: e-4\n\n");
    assert!(texts[1].starts_with("id: e-5\nevent: error_log\ndata: {"), "{texts:?}");
    assert!(texts[2].starts_with("id: e-6m\ndata: {") && texts[2].contains("id: e-6\nevent: alert\n"), "{texts:?}");
    assert_eq!(script.deliver(0, at(6, log("info", "s", "late"))), None);
    assert!(script.deliver(0, at(7, log("info", "s", "new"))).unwrap().contains("id: e-7\nevent: log\n"));
    let metrics = message("/topic/system", &[], r#"{"type":"metrics","timestamp":"t"}"#);
    assert!(script.deliver(2, metrics).unwrap().contains("id: e-7.1\nevent: metrics\n"));
}

#[test]
fn a_gap_is_told_where_it_is() {
    let mut script = Script::of(Feed::Logs, events(Since::After(1), false), Filter::default());
    script.open_events(vec![Arc::new(at(9, log("warn", "s", "a")))], true, 9);
    let texts = script.texts();
    assert_eq!(
        texts[1],
        "id: e-8\nevent: gap\ndata: {\"type\":\"gap\",\"reason\":\"not kept\",\"timestamp\":\"1970-01-01T00:00:00.000Z\"}\n\n"
    );
    assert!(texts[2].contains("id: e-9\nevent: warning_log\n"));
}

#[test]
fn a_slow_client_is_told_how_much_it_lost() {
    let lost = |form| {
        let mut script = Script::open(Feed::Logs, form);
        script.actions();
        let delivery = Delivery {
            subscription: SubscriptionId(0),
            message: Arc::new(at(8, log("info", "s", "m"))),
            retained: false,
            dropped: 3,
            count: 0,
        };
        text(&script.session.delivery_image(script.now, delivery).unwrap())
    };
    assert!(lost(Form::Json).contains("3 messages were dropped before the next"));
    assert!(lost(events(Since::Now, false)).contains("\"reason\":\"slow\",\"dropped\":3"));
}

struct Script {
    session: Session,
    now: Instant,
}

impl Script {
    fn of(feed: Feed, form: Form, filter: Filter) -> Self {
        let now = epoch();
        let opening = Opening { feed, form, filter, interval: None, who: Who::Named(None) };
        Self { session: Session::new(Arc::new(settings()), &Plain, opening, now, 0), now }
    }

    fn open(feed: Feed, form: Form) -> Self {
        let mut script = Self::of(feed, form, Filter::default());
        script.open_events(Vec::new(), false, 0);
        script.actions();
        script
    }

    /// Answers all that is asked.
    fn open_events(&mut self, messages: Vec<Arc<Message>>, is_gap: bool, position: u64) {
        self.reply(0, Reply::Authenticated { principal: Principal::Anonymous, expires_at: None });
        for action in self.actions() {
            match action {
                Action::Subscribe { ticket, .. } => self.reply(ticket.0, Reply::Done),
                Action::CatchUp { ticket, .. } => {
                    let missed = Backlog { messages: messages.clone(), is_gap, position };
                    self.reply(ticket.0, Reply::Missed(Box::new(missed)));
                }
                Action::Transmit(_)
                | Action::Authenticate { .. }
                | Action::Publish { .. }
                | Action::Unsubscribe { .. }
                | Action::Settle { .. }
                | Action::Commit { .. }
                | Action::Pace { .. }
                | Action::Close(_) => {}
            }
        }
        assert!(matches!(self.session.phase, Phase::Open));
    }

    fn say(&mut self, text: &str) {
        self.session.handle_bytes(self.now, text.to_owned().into());
    }

    fn reply(&mut self, ticket: u64, reply: Reply) {
        self.session.handle_reply(self.now, Ticket(ticket), reply);
    }

    fn deliver(&mut self, subscription: u32, message: Message) -> Option<String> {
        let message = Arc::new(message);
        let subscription = SubscriptionId(subscription);
        let delivery = Delivery { subscription, message, retained: false, dropped: 0, count: 0 };
        self.session.delivery_image(self.now, delivery).map(|image| text(&image))
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.session.handle_timeout(self.now);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.session.poll_action()).collect()
    }

    fn texts(&mut self) -> Vec<String> {
        self.actions().iter().map(sent).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "any moment will do; none is compared with the clock")]
fn epoch() -> Instant {
    Instant::now()
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

fn events(since: Since, is_half: bool) -> Form {
    Form::Events { names: Names::Both, since, is_half }
}

fn at(position: u64, message: Message) -> Message {
    message.set_position(position);
    message
}

fn subscribed(action: &Action) -> Option<&Subscription> {
    if let Action::Subscribe { subscription, .. } = action { Some(subscription) } else { None }
}

fn sent(action: &Action) -> String {
    let Action::Transmit(image) = action else { panic!("{action:?}") };
    text(image)
}

fn text(image: &Image) -> String {
    String::from_utf8([&image.head[..], &image.tail].concat()).unwrap()
}
