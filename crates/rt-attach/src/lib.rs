//! Real programs inside a simulated network: the only crate that touches the operating system's network, its namespaces and
//! its processes.
//!
//! [`launch`] starts an unmodified program in namespaces of its own. What it takes for its network card is a [`Device`], whose
//! other end the caller holds: every frame that the kernel in there sends can be read, and every frame written arrives. There
//! is no other way out. [`Poller`] waits for devices and programs, [`WallClock`] says what time it is.
//!
//! It is *not* for pacing, virtual time or recording (that is `rt-lab`), nor for the meaning of a frame (`rt-wire`).
//!
//! # What a guest can and cannot do
//!
//! - It has its own network, process ids, host name, System V IPC and mounts. Files are the machine's own, with the caller's
//!   rights: a guest is a simulated network card around an ordinary program, not a prison for a hostile one.
//! - Nothing outside changes: no interface, route, setting or mount of the machine is touched, and everything that was made
//!   goes when the guest ends, or when we do, however that happens.
//! - Nothing of it is IPv6: it is switched off inside.
//!
//! # Simplifications
//!
//! Linux only; elsewhere every call answers [`AttachError::NotHere`]. A program in a guest sees the machine's real time, so
//! certificates that it is to accept must be valid today.

mod clock;
mod error;
pub mod offload;
mod plan;

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

pub use clock::WallClock;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{
    Device, Door, Guest, Interrupts, Loopback, Poller, Visitor, Watch, join, launch, survey,
};
pub use error::AttachError;
#[cfg(target_os = "linux")]
pub use linux::{Device, Door, Guest, Interrupts, Loopback, Poller, Visitor, Watch, join, launch, survey};
pub use plan::{
    DeviceChoice, DeviceKind, Finding, GuestFile, GuestInterface, GuestRoute, GuestStdio, GuestUser,
    JoinPlan, Plan,
};

/// The longest frame that a device can give: the longest packet that Linux makes, an Ethernet header and two VLAN tags. A
/// guest may raise its own MTU, so a buffer for [`Device::read`] has at least this many bytes unless what is longer
/// may be lost.
pub const MAX_FRAME: usize = 65_535 + 14 + 8;
