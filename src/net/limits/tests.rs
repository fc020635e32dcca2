use super::*;

const fn over(per_second: u32, of: &'static str) -> Exceeded {
    Exceeded::Rate { per_second, what: "messages", of }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

#[test]
fn all_together_have_as_many_connections_as_they_may_and_no_more() {
    let limiter = Limiter::new(Settings { connections: 2, ..Settings::default() }, 100, Arc::default());
    let first = limiter.enter(Some(address(1))).unwrap();
    let _second = limiter.enter(None).unwrap();
    assert_eq!(limiter.enter(Some(address(2))).unwrap_err(), Exceeded::Connections { max: 2 });
    drop(first);
    assert!(limiter.enter(Some(address(2))).is_ok());
}

#[test]
fn the_descriptors_bound_the_connections_whatever_the_settings_say() {
    for connections in [0, 10] {
        let limiter = Limiter::new(Settings { connections, ..Settings::default() }, 1, Arc::default());
        let _first = limiter.enter(None).unwrap();
        assert_eq!(limiter.enter(None).unwrap_err(), Exceeded::Connections { max: 1 });
    }
}

#[test]
fn an_address_has_as_many_connections_and_sessions_as_it_may_and_then_leaves_nothing_behind() {
    let limiter = Limiter::new(Settings { connections_per_address: 1, ..Settings::default() }, 100, Arc::default());
    let seat = limiter.enter(Some(address(1))).unwrap();
    let mapped = "::ffff:10.0.0.1".parse().unwrap();
    assert_eq!(limiter.enter(Some(mapped)).unwrap_err(), Exceeded::OfAddress { max: 1 });
    let session = limiter.enter_session(address(1)).unwrap();
    assert_eq!(limiter.enter_session(mapped).err(), Some(Exceeded::OfAddress { max: 1 }));
    assert!(limiter.enter(Some(address(2))).is_ok());
    drop((seat, session));
    assert!(limiter.enter(Some(address(1))).is_ok());
    assert_eq!(limiter.0.addresses().len(), 0);
    assert_eq!(limiter.0.connections.load(Ordering::Relaxed), 0);
}

#[test]
fn who_was_turned_away_is_listened_to_by_descriptors_that_are_kept_back_and_no_more() {
    let limiter = Limiter::new(Settings::default(), 1, Arc::default());
    let mut outside: Vec<_> = (0..MAX_OUTSIDE).map(|_| limiter.stay_outside().unwrap()).collect();
    assert!(limiter.stay_outside().is_none() && limiter.enter(None).is_ok());
    outside.pop();
    assert!(limiter.stay_outside().is_some());
}

#[test]
fn a_connection_that_counts_for_an_address_later_leaves_nothing_behind() {
    let limiter = Limiter::new(Settings { connections_per_address: 1, ..Settings::default() }, 100, Arc::default());
    let (mut first, mut second) = (limiter.enter(None).unwrap(), limiter.enter(None).unwrap());
    assert_eq!(first.count_for(address(1)), Ok(()));
    assert_eq!(second.count_for(address(1)), Err(Exceeded::OfAddress { max: 1 }));
    drop((first, second));
    assert_eq!((limiter.0.addresses().len(), limiter.0.connections.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn a_user_has_as_many_sessions_as_it_may_and_no_more() {
    let limiter = Limiter::new(Settings { sessions_per_user: 1, ..Settings::default() }, 100, Arc::default());
    let mut first = limiter.enter_session(address(1)).unwrap();
    let mut second = limiter.enter_session(address(2)).unwrap();
    assert_eq!(first.on_user("ann"), Ok(()));
    assert_eq!(first.on_user("ann"), Ok(()));
    assert_eq!(second.on_user("ann"), Err(Exceeded::OfUser { max: 1 }));
    assert_eq!(second.on_user("bob"), Ok(()));
    drop((first, second));
    assert!(limiter.0.users().is_empty());
}

#[test]
fn a_limit_that_comes_with_other_settings_counts_for_those_who_are_there() {
    let limiter = Limiter::new(Settings::default(), 100, Arc::default());
    let mut first = limiter.enter_session(address(1)).unwrap();
    assert_eq!((first.on_connect(), first.on_user("ann")), (Ok(()), Ok(())));
    let settings = Settings {
        connects_per_minute: 1,
        sessions_per_user: 1,
        address: Rate { messages: 1, bytes: 0 },
        ..Settings::default()
    };
    limiter.set(settings);
    let mut second = limiter.enter_session(address(1)).unwrap();
    assert_eq!(second.on_connect(), Ok(()));
    assert_eq!(second.on_user("ann"), Err(Exceeded::OfUser { max: 1 }));
    let mut rates = second.rates().unwrap();
    assert_eq!(rates.on_messages(2), Ok(()));
    assert!(rates.waits());
    limiter.set(Settings { connections: 7, ..settings });
    assert_eq!(first.on_connect(), Err(Exceeded::Connects { per_minute: 1 }), "what is owed stays owed");
}

#[tokio::test(start_paused = true)]
async fn an_address_connects_as_often_in_a_minute_as_it_may_and_reconnecting_does_not_help() {
    let limiter = Limiter::new(Settings { connects_per_minute: 3, ..Settings::default() }, 100, Arc::default());
    for _ in 0..3 {
        assert_eq!(limiter.enter_session(address(1)).unwrap().on_connect(), Ok(()));
    }
    let session = limiter.enter_session(address(1)).unwrap();
    assert_eq!(session.on_connect(), Err(Exceeded::Connects { per_minute: 3 }));
    assert_eq!(limiter.enter_session(address(2)).unwrap().on_connect(), Ok(()));
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(session.on_connect(), Ok(()));
    assert_eq!(session.on_connect(), Err(Exceeded::Connects { per_minute: 3 }));
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_taken_at_the_limit_and_one_past_it_waits_or_ends() {
    let rate = Rate { messages: 10, bytes: 1000 };
    let settings = Settings { session: rate, ..Settings::default() };
    let now = super::super::clock::now;
    let seat = Limiter::new(settings, 1, Arc::default()).enter_session(address(1)).unwrap();
    let mut rates = seat.rates().unwrap();
    for _ in 0..10 {
        assert_eq!((rates.on_messages(1), rates.on_bytes(now(), 100)), (Ok(()), Ok(())));
    }
    assert!(!rates.waits());
    assert_eq!(rates.on_messages(1), Ok(()));
    assert_eq!(rates.deadline(), Some(now() + Duration::from_millis(100)));
    tokio::time::advance(Duration::from_millis(100)).await;
    assert_eq!(rates.handle_timeout(now()), Ok(()));
    assert!(!rates.waits());
    // More at once than a second allows is taken, and waited for in full.
    let begun = now();
    assert_eq!(rates.on_bytes(now(), 5_100), Ok(()));
    while rates.waits() {
        tokio::time::advance(rates.deadline().unwrap() - now()).await;
        assert_eq!(rates.handle_timeout(now()), Ok(()));
    }
    assert_eq!(now() - begun, Duration::from_secs(5));

    let seat = Limiter::new(Settings { ends: true, ..settings }, 1, Arc::default()).enter_session(address(1)).unwrap();
    let mut rates = seat.rates().unwrap();
    assert_eq!((rates.on_messages(10), rates.on_messages(1)), (Ok(()), Err(over(10, "session"))));
}

#[tokio::test(start_paused = true)]
async fn the_sessions_of_an_address_share_its_rate() {
    let settings = Settings { address: Rate { messages: 2, bytes: 0 }, ends: true, ..Settings::default() };
    let limiter = Limiter::new(settings, 1, Arc::default());
    let (first, second) = (limiter.enter_session(address(1)).unwrap(), limiter.enter_session(address(1)).unwrap());
    let (mut first, mut second) = (first.rates().unwrap(), second.rates().unwrap());
    assert_eq!((first.on_messages(1), second.on_messages(1)), (Ok(()), Ok(())));
    assert_eq!(first.on_messages(1), Err(over(2, "address")));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_sends_nothing_is_idle_after_its_time_and_not_before() {
    let idle = Duration::from_secs(5);
    let seat =
        Limiter::new(Settings { idle, ..Settings::default() }, 1, Arc::default()).enter_session(address(1)).unwrap();
    let mut rates = seat.rates().unwrap();
    let begun = super::super::clock::now();
    assert_eq!(rates.deadline(), Some(begun + idle));
    assert_eq!(rates.handle_timeout(begun + idle - Duration::from_millis(1)), Ok(()));
    assert_eq!(rates.handle_timeout(begun + idle), Err(Exceeded::Idle { after: idle }));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_made_to_wait_is_not_idle_and_its_time_begins_when_it_is_read_again() {
    let settings =
        Settings { session: Rate { messages: 0, bytes: 1000 }, idle: Duration::from_secs(2), ..Settings::default() };
    let seat = Limiter::new(settings, 1, Arc::default()).enter_session(address(1)).unwrap();
    let mut rates = seat.rates().unwrap();
    let now = super::super::clock::now;
    assert_eq!(rates.on_bytes(now(), 6_000), Ok(()));
    while rates.waits() {
        let deadline = rates.deadline().unwrap();
        assert!(deadline > now(), "it would be looked at again and again");
        tokio::time::advance(deadline - now()).await;
        assert_eq!(rates.handle_timeout(now()), Ok(()));
    }
    assert_eq!(rates.deadline(), Some(now() + settings.idle));
}

#[tokio::test(start_paused = true)]
async fn who_owes_much_gets_on_although_others_of_its_address_keep_sending() {
    let settings = Settings { address: Rate { messages: 80, bytes: 0 }, ..Settings::default() };
    let limiter = Limiter::new(settings, 1, Arc::default());
    let (owes, sends) = (limiter.enter_session(address(1)).unwrap(), limiter.enter_session(address(1)).unwrap());
    let (mut owes, mut sends) = (owes.rates().unwrap(), sends.rates().unwrap());
    let now = super::super::clock::now;
    assert_eq!(owes.on_messages(400), Ok(()));
    let begun = now();
    while owes.waits() {
        tokio::time::advance(Duration::from_millis(100)).await;
        for rates in [&mut owes, &mut sends] {
            assert_eq!(rates.handle_timeout(now()), Ok(()));
        }
        if !sends.waits() {
            assert_eq!(sends.on_messages(1), Ok(()));
        }
        assert!(now() - begun < Duration::from_secs(20), "it waits for ever");
    }
}

#[test]
fn without_rates_nothing_is_counted_for_a_message() {
    let limiter = Limiter::new(Settings { connections_per_address: 7, ..Settings::default() }, 1, Arc::default());
    assert!(limiter.enter_session(address(1)).unwrap().rates().is_none());
}
