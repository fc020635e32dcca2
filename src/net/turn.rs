//! How a task that has more to do gives way to others.

use std::future::Future;
use std::pin::pin;
use std::task::Context;

/// Has the task polled again after the shard's other tasks, and after a look at its sockets and
/// timers. One that only woke itself would be polled again at once where no other is ready, and
/// what came for the others meanwhile would be noticed after 61 polls.
pub(super) fn give_way(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn sockets_are_looked_at_between_the_turns_of_a_busy_task() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let turns = Rc::new(Cell::new(0));
        let busy = poll_fn({
            let turns = Rc::clone(&turns);
            move |cx| {
                turns.set(turns.get() + 1);
                give_way(cx);
                Poll::<()>::Pending
            }
        });
        let local = LocalSet::new();
        local.spawn_local(busy);
        local
            .run_until(async {
                let mut most = 0;
                for _ in 0..20 {
                    near.write_all(b"x").await.unwrap();
                    let before = turns.get();
                    far.read_u8().await.unwrap();
                    most = most.max(turns.get() - before);
                }
                assert!(most <= 10, "{most} turns before what came was read");
            })
            .await;
    }
}
