//! All that awaits: sockets, a deterministic executor, and the protocols on top.
//!
//! Not for: what TCP or IP do (`rt-stack`), when something arrives (`rt-sim`; an application must not see the event
//! queue), byte formats (their libraries).
//!
//! The type to know is [`Net`]: one machine's sockets, clock, dice and tasks. [`Runtime`] owns a stack and drives the
//! applications above it; `rt-devices` makes a node of it.
//!
//! | module | what |
//! |---|---|
//! | `executor`, `clock`, `net`, `socket`, `echo`, `tun`, `runtime`, [`entropy`], `step` | the runtime |
//! | [`dhcp`], [`dns`], [`probe`], [`measure`] | addresses, names, "is it there?", "how good is the way?" |
//! | [`split`], [`l4`], [`balance`] | a TCP proxy on the path, a balancer of connections; who gets the next one |
//! | [`rpc`], [`grpc`] | calls and replies over TCP; gRPC |
//! | [`small`], [`attack`] | echo, discard, chargen; forged packets |
//! | [`wireguard`], [`tcp_tunnel`] | tunnels |
//! | [`ssh`] | SSH: server, client, agent, jump hosts |
//! | [`tls`], `http`, [`server`], [`browser`] | the web |
//! | [`websocket`] | messages both ways |
//! | [`proxy`], [`cache`] | requests passed on; what a CDN's edge keeps |
//! | [`forward`] | a proxy on the client's side: CONNECT, blocking, inspection of TLS |
//!
//! A protocol is written as an async function over [`Net`]; spawn it before the run and it starts at boot. Everything it
//! waits for has a reason ([`rt_base::Wait`]); what bytes cannot show it says with [`Net::say`].

mod clock;
mod echo;
mod executor;
mod http;
mod memo;
pub mod names;
mod net;
mod runtime;
mod socket;
mod step;
mod tun;

pub mod attack;
pub mod balance;
pub mod bridge;
pub mod browser;
pub mod cache;
mod cached;
pub mod dhcp;
pub mod dns;
pub mod entropy;
pub mod forward;
pub mod grpc;
pub mod l4;
pub mod measure;
pub mod ntp;
pub mod probe;
pub mod proxy;
pub mod rpc;
pub mod server;
pub mod small;
pub mod split;
pub mod ssh;
pub mod tcp_tunnel;
pub mod tls;
pub mod websocket;
pub mod wireguard;

pub use clock::{Elapsed, Sleep};
pub use executor::{BoxFuture, JoinHandle};
pub use net::{Net, ReadyHold};
pub use rt_stack::{ConnectOptions, SocketId};
pub use runtime::Runtime;
pub use socket::{HeldSyn, TcpListener, TcpStream, UdpSocket};
pub use step::{StepFn, StepResult, repeat};
pub use tun::TunDevice;
