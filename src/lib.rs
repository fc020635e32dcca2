//! stompbox: a STOMP message broker that browsers can talk to, in one binary.
//!
//! The `README.md` says how to run and use it; this says how it is built.
//!
//! # Layout
//!
//! Folders by protocol. What stands higher in this table knows nothing of what stands lower.
//!
//! | module | what lives there |
//! |---|---|
//! | [`message`] | the nouns of every layer: destination, message, delivery, principal |
//! | [`condition`] | what a subscriber wants of a destination's messages |
//! | [`session`] | what every protocol's session is to its driver |
//! | [`stomp`] | the STOMP wire format, and a session of it |
//! | [`stream`] | log and metric streams and channels: JSON sessions beside STOMP's |
//! | [`sockjs`] | SockJS frames, payloads, routes, and a session of it; [`sockjs::service`] joins them to HTTP |
//! | [`broker`] | who wants what and who may do what; the bounded places where messages wait |
//! | [`net`] | sockets and tasks: shards, WebSocket, the task that drives a session |
//! | [`feeds`] | what publishes by itself: event metrics, their demo, scheduled broadcasts |
//! | [`config`] | settings: read, checked, with their units in types |
//! | [`http`] | the REST API, the page, and where SockJS is mounted; the only folder that names warp |
//! | [`app`] | the whole program, from checked settings to a clean exit |
//! | [`cli`] | the commands, the load generator among them |
//!
//! One exception: [`sockjs::service`] is on the level of [`net`], whose transports it uses.
//!
//! # Sessions without sockets
//!
//! [`stomp::Session`] and [`sockjs::Session`] have no socket, no clock, no task and no source of
//! randomness. What happened goes in with the time (`handle_bytes`, `handle_reply`,
//! `handle_timeout`); what is to be done comes out (`poll_action`, `poll_timeout`). Whoever drives
//! one does the rest: [`net::connection`] on a server, a script of inputs and expected actions in
//! a test.
//!
//! # Shards
//!
//! One thread for each core, each with a single-threaded runtime, its own listening socket on the
//! same address, its own connections and its own table of subscriptions. Nothing of a connection
//! is touched by another thread, so fan-out takes no lock. Shards share the [`broker::Broker`]:
//! which shard has interest in which destination, the retained values, and an inbox for each shard.
//!
//! # The way of one message
//!
//! 1. [`net::websocket`] makes one message of a client's octets (or [`sockjs::service`] of a
//!    request), and [`net::connection`] hands it to the session.
//! 2. [`stomp::Decoder`] makes a [`stomp::Frame`] of it; [`stomp::Session`] checks it and answers
//!    with [`session::Action::Publish`].
//! 3. [`broker::Broker::admit`] checks the permission and the headers, numbers the message and keeps
//!    it if it is to be retained; [`broker::Broker::broadcast`] asks [`broker::interest`] which
//!    shards have a subscriber.
//! 4. Each of these shards gets the message, shared and not copied, into its [`broker::inbox`].
//!    A full inbox makes the publisher wait, which is then not read.
//! 5. The shard's [`net::fanout`] takes a batch, finds its subscribers with [`broker::router`] and
//!    puts a delivery into the [`broker::mailbox`] of each, where the subscription's
//!    [`message::Overflow`] decides what happens if it is full.
//! 6. The finished MESSAGE frame, framing included, comes from the message's own
//!    [`message::ImageCache`], built by the first session that needs it. All that waits for one
//!    socket leaves in one vectored write; where the socket is not ready, the connection's task
//!    goes on when it is.
//! 7. The publisher's session hears that it is done, and only then its RECEIPT leaves.
//!
//! # Bounds
//!
//! Octets of a peer wait only in counted places, each with a limit: the decoder
//! ([`stomp::Limits`]), transactions and unacknowledged messages (the same), open requests to
//! the broker, the SockJS inbox ([`sockjs::Settings`]), a shard's inbox
//! ([`broker::inbox::Limits`]), a session's mailbox ([`broker::mailbox::Limits`]), the retained
//! values ([`broker::topic::RetainedLimits`]), and the kernel's send buffer.
//!
//! # Who may come in: the threat model
//!
//! Whoever reaches a port is a stranger until [`broker::auth`] says otherwise; what a stranger can
//! do is bounded before it is checked: octets (`unconnected_frame_bytes` of a STOMP frame, and up to
//! `sockjs.payload_bytes` of the WebSocket message around it), attempts that wait or fail, time.
//!
//! - **Guessing.** Of one address only so many attempts in a minute may fail, by CONNECT, SUBSCRIBE,
//!   REST and streams together. Passwords are argon2id hashes; one core at most checks them, and
//!   one address takes only some of the places. A name that nobody has takes as long as the
//!   costliest hash of the settings, answers never say what was wrong, and secrets are compared in
//!   constant time. Hashes of different cost, and a passcode that stands in the settings as it is,
//!   give up the first of these; of the latter the log warns.
//! - **Forged tokens.** A key is bound to one algorithm when it is read ([`broker::auth::jwt`]),
//!   so a token does not choose how it is checked. Keys come from files of the operator, or from
//!   one URL that only the operator chooses; headers that bring keys along (`jwk`, `jku`) are not
//!   read, any `crit` is refused. Whoever controls that URL, or its TLS roots, is trusted.
//! - **Stolen tokens.** They are good until `exp`: there is no list of those withdrawn. A session
//!   ends with its token. What leaves the settings (a user, a hash, a token, a key file's key) ends
//!   its sessions at SIGHUP; a key that is no longer published is no longer taken after the next
//!   fetch that succeeds, and sessions on it stand until `exp`.
//! - **Reaching further than allowed.** [`broker::acl`] decides each SUBSCRIBE, SEND, call and REST
//!   request, by one function. A pattern is never wider than one rule; a name in `{user}` is one
//!   word, never a wildcard. Retained values follow the same decision. Other rules at SIGHUP end the
//!   subscriptions that they do not allow.
//! - **Reading the log or `check`.** [`message::Credentials`] has no `Debug` that shows them, and
//!   frames, headers and queries, which may hold them, are not logged; `check` masks passwords,
//!   tokens, keys, their hashes and the password of a URL. Names with control characters are let in
//!   nowhere, and no text of a peer begins a line of the log.
//! - **Not defended against:** who reads the settings file or the memory of this process; whoever
//!   is on the path without TLS; an identity provider that lies.
//!
//! # Threat model: the network side
//!
//! Peers are hostile: whoever reaches a port may send any octets at any pace, open as many
//! connections as the network gives, and vanish. What they must not be able to do: stop others
//! being served, make memory grow without a bound, end the process, read or send as somebody else.
//!
//! - **Memory and descriptors.** Every place above is bounded; [`net::limits`] bounds what the
//!   sessions of an address, a user and all together may have, and how fast they may send. At the
//!   limit on open files accepting pauses and goes on. Lines that tell of refusals are bounded, too.
//! - **Time.** A head, a body, a TLS handshake, a PROXY header, CONNECT, a farewell: each has a
//!   deadline. A connection has its turn and gives way to the shard's others.
//! - **Panics** are a bug; one costs its connection, is counted and logged.
//! - **Whence.** `X-Forwarded-For`, `Forwarded` and the PROXY protocol count from the addresses in
//!   `server.trusted_proxies` alone ([`net::proxy`]); without them the socket's address counts.
//! - **Whose page.** What a browser sends by itself (cookies, certificates, `Basic`) counts from
//!   the server's own origin or a listed one; credentials that a page gives itself from everywhere.
//! - **TLS** is rustls's, 1.2 and 1.3, its defaults. A certificate's subject is trusted as far as
//!   the authority in `tls_client_ca` is; revocation is not looked up.
//!
//! Not covered: who owns the machine, the settings or the keys; an attacker with more bandwidth
//! than the network in front; what authenticated users send one another.

mod address;
pub mod app;
pub mod broker;
pub mod cli;
pub mod condition;
pub mod config;
pub mod feeds;
pub mod http;
pub mod message;
pub mod net;
pub mod session;
pub mod sockjs;
pub mod stomp;
pub mod stream;
