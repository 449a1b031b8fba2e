//! What passes a bridge between a simulated TCP connection and a real one, in either direction.

use crate::PortId;

/// [`crate::Input::Outside`] with this port tells a machine with applications that something has come over a bridge; no
/// interface has this number.
pub const BRIDGE_PORT: PortId = PortId(u16::MAX);

/// So many bytes at most are on their way over a bridge in one direction: whoever has sent them waits for
/// [`Carried::Room`].
pub const BRIDGE_WINDOW: u32 = 256 << 10;

/// The code of the note that a connection was made for a program outside; the note's text ends with the address it has in the
/// world.
pub const OPENED_OUTSIDE: &str = "bridge.connected";

/// Something that passes a bridge, about one connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carried {
    /// The connection exists: asks for the other half, or answers that it is there.
    Open,
    /// Bytes of the stream.
    Bytes(Vec<u8>),
    /// No more bytes from that side: a half close.
    Finished,
    /// The connection broke, or could not be made.
    Reset,
    /// The other side may send so many bytes more.
    Room(u32),
}
