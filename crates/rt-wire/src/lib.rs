//! Bytes to typed values and back, for the layers that we forward and rewrite. No state, no time.

mod mac;

pub use mac::MacAddr;
