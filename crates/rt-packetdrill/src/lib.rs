//! A shared library for the original packetdrill (`--so_filename`): its C interface on one side, [`rt_drill::machine`] on
//! the other.
//!
//! The tool calls [`packetdrill_interface_init`] once and drives everything through the table that it fills: every system
//! call, every packet and the clock. So a script runs in virtual time, and gives the same verdict on every run.
//!
//! - `c`: types, structures and numbers of C.
//! - `host`: the machine behind a mutex, its clock, and calls that block.
//! - `calls`, `data`: the functions of the table.
//!
//! # Unsafe
//!
//! A C interface cannot be had without it. All of it is here: reading and writing memory that the tool owns, by the
//! pointers and lengths that it gives. No panic crosses the border (`calls::border`).
//!
//! # Simplifications
//!
//! - 64-bit Linux on x86-64 or AArch64: structures are laid out by hand, and `fcntl` and `ioctl`, which C declares with a
//!   variable number of arguments, take a fixed one (on these two both are passed alike).
//! - Ancillary data is empty but for `TCP_INQ`; there is no error queue.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("rt-packetdrill lays out C structures of 64-bit Linux; leave it out of the build elsewhere");

mod c;
mod calls;
mod data;
mod host;

pub use c::{EpollEvent, Interface, IoVec, MsgHdr, PollFd, SockAddrIn, TimeVal};
pub use calls::packetdrill_interface_init;
