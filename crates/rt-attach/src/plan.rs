//! What a guest is to be: plain data, made by the caller and read by [`launch`](crate::launch). Nothing here touches the system.

use std::ffi::OsString;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

/// A machine to be: its network, its files and the program that runs on it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The host name inside. At most 64 bytes.
    pub hostname: String,
    /// Network interfaces besides `lo`, in the order of [`Guest::devices`](crate::Guest).
    pub interfaces: Vec<GuestInterface>,
    /// Routes besides those that the addresses bring.
    pub routes: Vec<GuestRoute>,
    /// Files that the guest sees in place of the machine's own, `/etc/resolv.conf` above all. `/etc/nsswitch.conf`,
    /// `/etc/hosts` and `/etc/hostname` are made when not given.
    pub files: Vec<GuestFile>,
    /// Folders whose changes stay inside: the machine's files can be seen there, what is written goes to memory and with the
    /// guest. For what daemons leave in `/var` or `/run`. File systems mounted below such a folder are hidden, and sockets
    /// in it lead nowhere. `/etc` always is one; the folder itself (not those in it) belongs to an ordinary user.
    pub scratch: Vec<PathBuf>,
    /// Environment variables set besides the caller's own environment.
    pub env: Vec<(OsString, OsString)>,
    /// Program and arguments; the program is looked up in `PATH`. Empty: a guest without a program, which stays
    /// until it is killed and can be [joined](crate::join).
    pub command: Vec<OsString>,
    /// Who the program runs as.
    pub user: GuestUser,
    /// Which kind of device connects it.
    pub device: DeviceChoice,
    /// A certificate authority in PEM that programs inside are to trust, besides those of the machine: it is added to the
    /// bundle, named by the usual variables and put into a database for browsers.
    pub certificate: Option<String>,
    /// Whether the program gets a home folder of its own, empty and in memory: what it leaves there goes with it. Else `HOME`
    /// stays what it is, and there is no database for browsers.
    pub own_home: bool,
    /// Whether the kernel inside may hand over segments of up to 64 KiB with unfinished checksums (a virtio-net header goes
    /// before each frame): faster, but the caller has to cut them. See [`Device::read`](crate::Device::read).
    pub offload: bool,
    /// Standard input, output and error.
    pub stdio: [GuestStdio; 3],
}

impl Plan {
    /// A guest with that name and command and nothing else: no interface but `lo`, the caller's user and environment.
    #[must_use]
    pub fn new(hostname: impl Into<String>, command: Vec<OsString>) -> Plan {
        Plan {
            hostname: hostname.into(),
            interfaces: Vec::new(),
            routes: Vec::new(),
            files: Vec::new(),
            scratch: Vec::new(),
            env: Vec::new(),
            command,
            user: GuestUser::Caller,
            device: DeviceChoice::Auto,
            certificate: None,
            own_home: true,
            offload: false,
            stdio: [GuestStdio::Inherit, GuestStdio::Inherit, GuestStdio::Inherit],
        }
    }
}

/// A network interface of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestInterface {
    /// Its name inside, as `eth0`: 1 to 15 bytes, no slash, colon or white space.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The longest IP packet, in bytes: 68 to 65,521 (the most that a TAP takes).
    pub mtu: u32,
    /// Addresses with the length of their prefix; the first one is the primary one.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// A route of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestRoute {
    /// Where to: network and prefix length; `None` is the default route.
    pub to: Option<(Ipv4Addr, u8)>,
    /// The next hop; `None` means that the destination is on the link.
    pub via: Option<Ipv4Addr>,
    /// Index into [`Plan::interfaces`].
    pub interface: usize,
}

/// A file that a guest sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFile {
    /// Absolute path. Under `/etc` anything goes; elsewhere the file must exist, and is covered.
    pub path: PathBuf,
    /// What is in it.
    pub content: Vec<u8>,
}

/// Who a guest's program runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum GuestUser {
    /// The caller (or, under `sudo`, who called `sudo`), able to capture, to configure the network and to bind any port.
    #[default]
    Caller,
    /// Root inside. For an ordinary user it is a root with a single user id, which some servers do not take:
    /// whatever calls `setgroups` or changes to a user of its own fails.
    Root,
}

/// Which kind of device to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A TAP where `/dev/net/tun` can be opened, else a veth pair.
    #[default]
    Auto,
    /// A TAP, or an error.
    Tap,
    /// A veth pair with a packet socket at our end: slower, needs no device node.
    Veth,
}

/// Which kind of device a guest got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A TAP.
    Tap,
    /// A veth pair with a packet socket at our end.
    Veth,
}

/// One of a guest's standard streams.
#[derive(Clone, Debug, Default)]
pub enum GuestStdio {
    /// The caller's own.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// An open file or pipe.
    File(Arc<File>),
}

/// A command to run in a guest that is already there.
#[derive(Clone, Debug)]
pub struct JoinPlan {
    /// The guest: [`Guest::pid`](crate::Guest::pid), maybe of another process of ours.
    pub pid: u32,
    /// Environment variables set besides the caller's own environment and those that the guest was launched with.
    pub env: Vec<(OsString, OsString)>,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Who the command runs as: what the guest was launched with.
    pub user: GuestUser,
    /// Standard input, output and error.
    pub stdio: [GuestStdio; 3],
}

/// One thing that attaching needs, and whether it is to be had here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for, as "user namespaces".
    pub what: &'static str,
    /// Whether it is there.
    pub found: bool,
    /// Whether nothing can be attached without it.
    pub essential: bool,
    /// What was found, or what forbids it and how to allow it.
    pub detail: String,
}
