//! Drives a shard's queues: requests in, deliveries and answers out, here or to other shards.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tracing::error;

use super::fanout::{Fanout, Slice, WRITE_STEPS, isolate};
use crate::broker::handle::now_ms;
use crate::broker::post::Post;
use crate::broker::queue::{Asker, Consumer, Output, Queues};
use crate::broker::router::ConnectionKey;
use crate::broker::stats::Stats;
use crate::message::Delivery;

/// Serves what is said to the shard about queues; never ends.
pub(super) async fn run(fanout: &Fanout) {
    let broker = fanout.broker();
    let mut queues = Queues::new(*broker.queue_settings(), broker.ledger().clone());
    let mut batch = Vec::new();
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = broker.posts(fanout.shard()).take(&mut batch, BATCH) => {}
            _ = sweep.tick() => drop(contain(broker.stats(), || queues.handle_timeout(now_ms()))),
        }
        let mut slice = Slice::begin();
        let mut dirty = Vec::new();
        for post in batch.drain(..) {
            let mut steps = 1;
            match post {
                Post::Request(request) => {
                    contain(broker.stats(), || queues.handle_request(request));
                    steps = WRITE_STEPS;
                }
                Post::Deliver(consumer, delivery) => deliver(fanout, consumer, delivery, &mut dirty),
                Post::Answer(asker) => answer(fanout, asker),
            }
            slice.step(steps).await;
        }
        loop {
            // What broke down is no longer pending; others may be.
            let has_more = contain(broker.stats(), || queues.dispatch(now_ms(), STEPS as usize)).unwrap_or(true);
            slice.step(STEPS).await;
            while let Some(output) = queues.poll_output() {
                carry_out(fanout, output, &mut dirty);
                slice.step(1).await;
            }
            flush(fanout, &mut dirty, &mut slice).await;
            if !has_more {
                break;
            }
        }
        queues.take_counts().add_to(broker.stats());
    }
}

/// A request or message that breaks down must not take the shard with it; who asked gets no answer.
fn contain<T>(stats: &Stats, act: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(act));
    if done.is_err() {
        stats.panics.add(1);
        error!("what a queue was to do is given up after a panic");
    }
    done.ok()
}

fn carry_out(fanout: &Fanout, output: Output, dirty: &mut Vec<ConnectionKey>) {
    let here = fanout.shard();
    match output {
        Output::Deliver(consumer, delivery) if consumer.shard == here => deliver(fanout, consumer, delivery, dirty),
        Output::Answer(asker) if asker.shard == here => answer(fanout, asker),
        Output::Deliver(consumer, delivery) => {
            fanout.broker().posts(consumer.shard).post(Post::Deliver(consumer, delivery));
        }
        Output::Answer(asker) => fanout.broker().posts(asker.shard).post(Post::Answer(asker)),
        Output::Forward(request) => fanout.broker().post_request(request),
    }
}

/// To a connection that is gone it does nothing: its leaving gives the message back.
fn deliver(fanout: &Fanout, consumer: Consumer, delivery: Delivery, dirty: &mut Vec<ConnectionKey>) {
    if let Some(connection) = fanout.find(consumer.connection)
        && isolate(&connection, |connection| connection.deliver_queued(delivery)) == Some(true)
    {
        dirty.push(consumer.connection);
    }
}

fn answer(fanout: &Fanout, asker: Asker) {
    if let Some(connection) = fanout.find(asker.connection) {
        isolate(&connection, |connection| {
            connection.handle_answer(asker.ticket);
            false
        });
    }
}

async fn flush(fanout: &Fanout, dirty: &mut Vec<ConnectionKey>, slice: &mut Slice) {
    for key in dirty.drain(..) {
        fanout.flush(key, slice, WRITE_STEPS).await;
    }
}

/// How often expired messages are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Posts of one turn.
const BATCH: usize = 64;

/// Messages handed out, or looked at in vain, between two writes and looks at the clock.
const STEPS: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_queue_is_counted_and_goes_no_further() {
        let stats = Stats::default();
        assert_eq!(contain(&stats, || panic!("a test of what a panic does")), None::<()>);
        assert_eq!(contain(&stats, || 7), Some(7));
        assert_eq!(stats.panics.value(), 1);
    }
}
