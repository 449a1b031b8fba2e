//! WebSocket (RFC 6455): messages both ways over a connection that began as an HTTP/1.1 request.
//!
//! `frame` writes and reads frames, `reader` makes messages of them and finds what may not be, `socket` does that on a
//! stream; `server` answers at a web server's paths, `room` passes messages on to everybody, `client` is a step's work.
//! Masking keys and the handshake's nonce come from [`rt_base::Rng`].
//!
//! Not for: passing somebody else's WebSocket on (`proxy`, which joins two connections and reads nothing).
//!
//! Deliberate simplifications, and how to notice them: no extensions, so no `permessage-deflate`; no subprotocols; over
//! HTTP/1.1 only (RFC 8441 is not spoken: a browser that has an HTTP/2 connection opens another one, as most do);
//! messages are sent in one frame each; text is checked when a message is whole, so a bad one is refused at its end.

mod client;
mod frame;
mod reader;
mod room;
mod server;
mod socket;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

pub use client::{Talk, talk};
pub use server::{Door, DoorKind, Doors};

/// The longest message that is taken, bytes; a longer one is refused with 1009.
pub const LONGEST: usize = 1 << 20;

/// RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Close codes (RFC 6455, 7.4.1).
mod code {
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const AWAY: u16 = 1001;
    pub(super) const PROTOCOL: u16 = 1002;
    pub(super) const NOT_UTF8: u16 = 1007;
    pub(super) const TOO_BIG: u16 = 1009;
    pub(super) const INTERNAL: u16 = 1011;
    /// By IANA's registry: try again later.
    pub(super) const LATER: u16 = 1013;
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
//= rfc6455#section-4.2.2 SHA-1 of the key as it was sent, followed by the GUID
pub(crate) fn accept(key: &[u8]) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

/// Whether a list field of a request or response has this token, in any case.
pub(crate) fn names(headers: &http::HeaderMap, field: http::HeaderName, token: &str) -> bool {
    let values = headers.get_all(field).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests;
