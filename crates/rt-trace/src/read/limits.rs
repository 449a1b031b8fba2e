//! The bounds of everything that is read.

/// How much is read and kept at most; beyond it the reader stops that part and says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes beyond a hole kept per direction of a TCP connection.
    pub out_of_order: usize,
    /// A handshake message, bytes.
    pub handshake_message: usize,
    /// A header block or an HTTP/1 head, bytes.
    pub head: usize,
    /// A decoded header list, bytes (names and values).
    pub header_list: usize,
    /// A body as it came, bytes kept.
    pub body: usize,
    /// A body after decoding (gzip, br, deflate), bytes.
    pub decoded_body: usize,
    /// All bodies of a connection together, bytes kept.
    pub all_bodies: usize,
    /// Open HTTP/2 streams per connection.
    pub streams: usize,
    /// Items of any list (segments, frames, messages, exchanges, conversations).
    pub items: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            out_of_order: 16 << 20,
            handshake_message: 1 << 20,
            head: 1 << 20,
            header_list: 1 << 20,
            body: 16 << 20,
            decoded_body: 64 << 20,
            all_bodies: 256 << 20,
            streams: 4_096,
            items: 1 << 22,
        }
    }
}
