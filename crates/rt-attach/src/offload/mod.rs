//! What a kernel leaves to its network card: cutting long segments and finishing checksums.

/// Bytes of the virtio-net header before each frame of a device with [`Plan::offload`](crate::Plan::offload).
pub const HEADER: usize = 10;
