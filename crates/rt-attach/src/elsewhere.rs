//! The face of this crate on a system without network namespaces: nothing can be made, so nothing can be called.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use rt_base::Carried;

use crate::{AttachError, DeviceKind, Finding, JoinPlan, Plan};

/// Something that a [`Poller`] can wait for. On Linux this is a `BorrowedFd`.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a>(PhantomData<&'a ()>);

#[derive(Clone, Copy, Debug)]
enum Never {}

/// A running guest. Dropping it kills whatever runs in it and waits until it is gone.
#[derive(Debug)]
pub struct Guest {
    /// Its network interfaces, in the order of the plan; none for a guest that was [joined](join).
    pub devices: Vec<Device>,
    /// What could not be had and was done without, in words: things to say with `--verbose`.
    pub notes: Vec<String>,
    never: Never,
}

impl Guest {
    /// The guest's first process, as seen from here: what [`join`] takes.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match self.never {}
    }

    /// The exit code of the program if it has ended: its own, or 128 + n when signal n ended it. Never blocks; the
    /// answer stays the same once there is one. When it has ended, nothing of the guest runs any more.
    ///
    /// # Errors
    ///
    /// The guest cannot be waited for (somebody else has reaped it).
    pub fn try_wait(&mut self) -> io::Result<Option<i32>> {
        match self.never {}
    }

    /// Sends a signal to the program (not to its children).
    ///
    /// # Errors
    ///
    /// The guest has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let _ = signal;
        match self.never {}
    }

    /// Kills everything in the guest at once. [`try_wait`](Guest::try_wait) then gives 137.
    ///
    /// # Errors
    ///
    /// The guest cannot be signalled.
    pub fn kill(&mut self) -> io::Result<()> {
        match self.never {}
    }

    /// To be handed to a [`Poller`]: ready when the guest has ended.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        match self.never {}
    }
}

/// Our end of a guest's network interface: whole Ethernet frames, without checksum at the end. Never blocks.
#[derive(Debug)]
pub struct Device {
    never: Never,
}

impl Device {
    /// Reads one frame that the guest has sent; the number of its bytes. With [`Plan::offload`], a virtio-net header of
    /// 10 bytes goes before the frame.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none; `NotConnected` when the interface is gone for good.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = buffer;
        match self.never {}
    }

    /// Gives a frame to the guest. One that the guest cannot take now (its interface is down, its queue full) is
    /// dropped and counted, as a real card would.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no frame (fewer than 14 bytes, or longer than the guest's interface takes),
    /// `NotConnected` when the interface is gone for good.
    pub fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let _ = frame;
        match self.never {}
    }

    /// Gives a frame as a wire carries it to the guest, joined to others of its flow with [`Plan::offload`].
    ///
    /// # Errors
    ///
    /// Those of [`write`](Device::write), for this frame or earlier ones.
    pub fn queue(&mut self, frame: &[u8]) -> io::Result<()> {
        let _ = frame;
        match self.never {}
    }

    /// Gives all that is queued to the guest: to be called before waiting.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Device::write).
    pub fn flush(&mut self) -> io::Result<()> {
        match self.never {}
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        match self.never {}
    }

    /// Frames lost here so far: longer than the buffer, refused by the guest, or sent by it faster than they were read (which
    /// only a veth pair counts).
    #[must_use]
    pub fn lost(&mut self) -> u64 {
        match self.never {}
    }

    /// To be handed to a [`Poller`]: ready when there is a frame to read, or the interface is gone.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        match self.never {}
    }
}

/// Waits until something is ready.
#[derive(Debug, Default)]
pub struct Poller {
    ready: Vec<bool>,
}

impl Poller {
    /// A poller that waits for nothing yet.
    #[must_use]
    pub fn new() -> Poller {
        Poller::default()
    }

    /// Waits until one of `watched` is ready, the time is over, or a signal came; says which are ready, in the same order.
    /// Without a timeout it waits for ever. The timeout is kept to the nanosecond as far as the kernel's timers allow.
    ///
    /// # Errors
    ///
    /// The kernel refuses (out of memory).
    pub fn wait(&mut self, watched: &[Watch<'_>], timeout: Option<Duration>) -> io::Result<&[bool]> {
        let _ = timeout;
        self.ready.clear();
        self.ready.resize(watched.len(), false);
        Ok(&self.ready)
    }
}

/// Ctrl-C and its like as something to wait for, instead of the end of this process. One at a time.
#[derive(Debug)]
pub struct Interrupts {
    never: Never,
}

impl Interrupts {
    /// From now on, SIGINT, SIGQUIT, SIGTERM and SIGHUP are kept for [`take`](Interrupts::take). Programs in guests get them as usual.
    ///
    /// # Errors
    ///
    /// There is one already, or the kernel refuses.
    pub fn catch() -> io::Result<Interrupts> {
        Err(io::Error::new(io::ErrorKind::Unsupported, AttachError::NotHere))
    }

    /// The signal that has come since the last call, if any.
    pub fn take(&mut self) -> Option<i32> {
        match self.never {}
    }

    /// To be handed to a [`Poller`]: ready when a signal has come.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        match self.never {}
    }
}

/// The door of a running world.
#[derive(Debug)]
pub struct Door {
    never: Never,
}

impl Door {
    /// Opens a door at `path`.
    ///
    /// # Errors
    ///
    /// Always, here.
    pub fn open(path: &std::path::Path) -> io::Result<Door> {
        let _ = path;
        Err(io::Error::new(io::ErrorKind::Unsupported, AttachError::NotHere))
    }

    /// The next visitor, if one stands there.
    ///
    /// # Errors
    ///
    /// Too many files are open.
    pub fn admit(&mut self) -> io::Result<Option<Visitor>> {
        match self.never {}
    }

    /// To be handed to a [`Poller`]: ready when a visitor has come.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        match self.never {}
    }
}

/// One side of a conversation through a door, in lines.
#[derive(Debug)]
pub struct Visitor {
    never: Never,
}

impl Visitor {
    /// Knocks at the door at `path`.
    ///
    /// # Errors
    ///
    /// Always, here.
    pub fn knock(path: &std::path::Path) -> io::Result<Visitor> {
        let _ = path;
        Err(io::Error::new(io::ErrorKind::Unsupported, AttachError::NotHere))
    }

    /// The next line, without its end.
    ///
    /// # Errors
    ///
    /// The other side has gone, or says nonsense.
    pub fn line(&mut self) -> io::Result<Option<String>> {
        match self.never {}
    }

    /// Says a line.
    ///
    /// # Errors
    ///
    /// The other side has gone.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        let _ = line;
        match self.never {}
    }

    /// To be handed to a [`Poller`]: ready when there is something to read.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        match self.never {}
    }
}

/// Starts a guest.
///
/// # Errors
///
/// See [`AttachError`].
pub fn launch(plan: &Plan) -> Result<Guest, AttachError> {
    let _ = plan;
    Err(AttachError::NotHere)
}

/// Runs a command in a guest that is already there, with the same rights. The result has no devices.
///
/// # Errors
///
/// See [`AttachError`]; a process that is no guest is a [`AttachError::Misuse`].
pub fn join(plan: &JoinPlan) -> Result<Guest, AttachError> {
    let _ = plan;
    Err(AttachError::NotHere)
}

/// What attaching needs, and whether it is to be had here.
#[must_use]
pub fn survey() -> Vec<Finding> {
    let detail = AttachError::NotHere.to_string();
    vec![Finding { what: "network namespaces", found: false, essential: true, detail }]
}

/// Real TCP connections over this computer's loopback interface.
#[derive(Debug)]
pub struct Loopback {
    never: Never,
}

impl Loopback {
    /// No port yet.
    ///
    /// # Errors
    ///
    /// Always: not on this system.
    pub fn new() -> io::Result<Loopback> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Listens on 127.0.0.1 for real programs; the bridge's number.
    ///
    /// # Errors
    ///
    /// The port is taken or may not be used.
    pub fn listen(&mut self, port: u16) -> io::Result<u16> {
        let _ = port;
        match self.never {}
    }

    /// Connections will be made to a server on 127.0.0.1; the bridge's number.
    pub fn connect_to(&mut self, port: u16) -> u16 {
        let _ = port;
        match self.never {}
    }

    /// Hands on what the simulated side says.
    pub fn send(&mut self, bridge: u16, id: u32, carried: Carried) {
        let _ = (bridge, id, carried);
        match self.never {}
    }

    /// Takes what has come, a bounded amount. `heard`: what [`Loopback::watch`] gives was readable, or may be.
    pub fn take(&mut self, heard: bool, each: impl FnMut(u16, u32, Carried)) {
        let _ = (heard, each);
        match self.never {}
    }

    /// Whether there is more to take at once.
    #[must_use]
    pub fn has_more(&self) -> bool {
        match self.never {}
    }

    /// To be handed to a [`Poller`].
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        match self.never {}
    }
}
