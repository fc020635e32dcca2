//! A broadcast to many subscribers is cut, so that the shard serves others in between.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use stompbox::broker::access::Access;
use stompbox::broker::{self, Broker, inbox, topic};
use stompbox::config::Config;
use stompbox::message::{Destination, Framing, Image, Plain, Publication};
use stompbox::net::clock;
use stompbox::net::fanout::Fanout;
use stompbox::net::io::{Close, Incoming, MessageIo, Written};
use stompbox::net::live::Live;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// A subscriber whose every write takes a while.
struct Slow {
    opening: RefCell<VecDeque<&'static str>>,
    writes: Rc<Cell<u32>>,
    receipts: Rc<Cell<u32>>,
}

impl MessageIo for Slow {
    fn framing(&self) -> &'static dyn Framing {
        &Plain
    }

    fn transport(&self) -> &'static str {
        "slow"
    }

    fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        let receipts = queue.iter().filter(|image| image.head.starts_with(b"RECEIPT")).count();
        self.receipts.set(self.receipts.get() + u32::try_from(receipts).unwrap());
        let bytes = queue.drain(..).map(|image| image.len()).sum();
        let begin = clock::now();
        while begin.elapsed() < WRITE {}
        self.writes.set(self.writes.get() + 1);
        Ok(Written { bytes, is_blocked: false, is_cut: false })
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_read(&self, _: &mut Context<'_>) -> Poll<Incoming> {
        let next = self.opening.borrow_mut().pop_front();
        next.map_or(Poll::Pending, |frame| Poll::Ready(Incoming::Octets(frame.into())))
    }

    fn farewell(&self, _: &Close, queue: &mut VecDeque<Image>) {
        queue.clear();
    }
}

#[tokio::test]
async fn no_broadcast_holds_a_shard_for_more_than_a_millisecond() {
    // One message, and two that leave together.
    for messages in [1, 2] {
        LocalSet::new().run_until(check(messages)).await;
    }
}

async fn check(messages: usize) {
    let config = Config::from_toml("").unwrap();
    let settings = broker::Settings {
        shards: 1,
        inbox: inbox::Limits { messages: 100, bytes: 1 << 20 },
        mailbox: broker::mailbox::Limits { messages: 100, bytes: 1 << 20 },
        retained: topic::RetainedLimits { destinations: 1, bytes: 1 },
        history: broker::history::Limits { topics: 2, messages: 8, bytes: 1024 },
        kept_topics: Vec::new(),
        queues: config.queues,
        separators: config.topics.separators,
        refuses_binary: true,
    };
    let broker = Broker::new(settings, Access::new(config.auth.clone()), HashMap::new());
    let fanout = Fanout::new(0, broker.clone(), Live::new(config.stomp.clone()));
    let (writes, receipts) = <(Rc<Cell<u32>>, Rc<Cell<u32>>)>::default();
    for _ in 0..SUBSCRIBERS {
        let subscribe = "SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:1\n\n\0";
        let opening = RefCell::new(["CONNECT\naccept-version:1.2\nhost:h\n\n\0", subscribe].into());
        let io = Slow { opening, writes: Rc::clone(&writes), receipts: Rc::clone(&receipts) };
        fanout.connect(Box::new(io), "test", None);
    }
    let running = tokio::task::spawn_local(Rc::clone(&fanout).run());
    // Another client of the shard: what it reads goes through the kernel.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    while receipts.get() < SUBSCRIBERS {
        tokio::task::yield_now().await;
    }
    let destination = Destination::parse("/topic/a").unwrap();
    for _ in 0..messages {
        let publication = Publication { destination: destination.clone(), headers: vec![], body: "x".into() };
        broker.publish(publication).unwrap();
    }
    let all = writes.get() + SUBSCRIBERS;
    let mut longest = 0;
    while writes.get() < all {
        let before = writes.get();
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        longest = longest.max(writes.get() - before);
    }
    running.abort();
    // In writes, not in time: a machine that is busy with other things makes them fewer.
    let allowed = u32::try_from(Duration::from_millis(1).as_micros() / WRITE.as_micros()).unwrap();
    assert!(longest <= allowed, "{longest} writes of {WRITE:?} between two reads of another client");
    assert!(longest > 0);
}

const SUBSCRIBERS: u32 = 500;

const WRITE: Duration = Duration::from_micros(20);
