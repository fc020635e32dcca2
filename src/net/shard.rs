//! [`Shard`]: one thread with a runtime of its own.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::task::LocalSet;

/// A thread that serves its own connections and nobody else's.
#[derive(Debug)]
pub struct Shard {
    thread: JoinHandle<()>,
}

impl Shard {
    /// Starts the thread and runs what `main` makes of it until that ends.
    ///
    /// # Errors
    /// The system gives no thread or no runtime.
    pub fn spawn<F>(index: usize, main: impl FnOnce() -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()> + 'static,
    {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            LocalSet::new().block_on(&runtime, async move { main().await });
        })?;
        Ok(Self { thread })
    }

    /// Whether its work has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its work to end; answers whether it did not panic.
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// Opens a listening socket; each shard opens its own for the same address, and the kernel
/// spreads the connections among them.
///
/// `send_buffer_bytes` bounds what the kernel takes of one connection before it blocks: by
/// default it would take up to 4 MB, and what is newest would wait behind that.
///
/// # Errors
/// The address is in use, or not one of this machine's.
pub fn listen(address: SocketAddr, send_buffer_bytes: usize) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_send_buffer_size(send_buffer_bytes)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether another process listens there. `SO_REUSEPORT` would let two servers of one user
/// share a port in silence, so the address is tried without it first.
///
/// # Errors
/// The address is in use, or not one of this machine's.
pub fn probe(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// Takes a listening socket into the runtime of the calling shard.
///
/// # Errors
/// The runtime does not take it.
pub fn into_tokio(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener)
}

/// The kernel cuts it to `somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_noticed_though_shards_share_it() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = listen(any, 65536).unwrap();
        let address = first.local_addr().unwrap();
        assert!(listen(address, 65536).is_ok());
        assert_eq!(probe(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(probe(any).is_ok());
    }
}
