//! All that needs namespaces. Nothing is skipped: where they are refused, these tests fail with the line that says which
//! setting refuses them. `cargo xtask ci --no-attach` leaves this module out.
//!
//! One runs at a time, since what they judge is time and what is left of them.

mod between;
mod browsed;
mod bulk;
mod capture;
mod cases;
mod cdn;
mod faults;
mod floods;
mod grpc;
mod guest;
mod judge;
mod left;
mod proxy;
mod sites;
mod ssh;
mod websocket;
