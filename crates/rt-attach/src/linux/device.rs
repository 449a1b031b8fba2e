//! Our end of a guest's network interface. What comes out of it was made by whatever runs in the guest: it is only handed on,
//! within the bounds of the caller's buffer.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::offload::{Coalescer, HEADER};
use crate::{DeviceKind, MAX_FRAME, Watch};

/// Our end of a guest's network interface: whole Ethernet frames, without checksum at the end. Never blocks.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
    kind: DeviceKind,
    /// Bytes before each frame.
    header: usize,
    lost: u64,
    gone: bool,
    /// Joins what is queued, with offload.
    coalescer: Option<Coalescer>,
}

/// Length of an Ethernet header, and so of the shortest frame.
const SHORTEST: usize = 14;
/// Frames longer than the buffer that one call skips, so that a flood of them does not keep the caller.
const SKIPPED: usize = 64;

impl Device {
    pub(super) fn new(fd: OwnedFd, kind: DeviceKind, offload: bool) -> Device {
        let (header, coalescer) = if offload { (HEADER, Some(Coalescer::new())) } else { (0, None) };
        Device { fd, kind, header, lost: 0, gone: false, coalescer }
    }

    /// Reads one frame that the guest has sent; the number of its bytes. With [`Plan::offload`](crate::Plan::offload), a
    /// virtio-net header of 10 bytes goes before the frame: [`Segments`](crate::offload::Segments) makes frames of it.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none; `NotConnected` when the interface is gone for good.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..SKIPPED {
            match self.read_once(buffer) {
                Ok(length) if length > buffer.len() || length < SHORTEST + self.header => self.lost += 1,
                Ok(length) => return Ok(length),
                Err(Errno::INTR) => {}
                // Cut in a way for which the virtio-net header has no word.
                Err(Errno::INVAL) => self.lost += 1,
                Err(error) => return Err(self.failure(error)),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Gives a frame (with offload, a header and a frame) to the guest. One that the guest cannot take now (its interface is down, its queue full) is
    /// dropped and counted, as a real card would.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no frame (fewer than 14 bytes, or more than any interface takes), `NotConnected`
    /// when the interface is gone for good.
    pub fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        if !(SHORTEST + self.header..=MAX_FRAME + self.header).contains(&frame.len()) {
            let what = format!("a frame of {} bytes cannot be sent", frame.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        if self.gone {
            return Err(self.failure(Errno::NODEV));
        }
        let sent = loop {
            let sent = match self.kind {
                DeviceKind::Tap => rustix::io::write(&self.fd, frame),
                DeviceKind::Veth => rustix::net::send(&self.fd, frame, SendFlags::NOSIGNAL),
            };
            if sent != Err(Errno::INTR) {
                break sent;
            }
        };
        match sent {
            Ok(_) => Ok(()),
            // Down, full, out of memory, longer than its MTU, or an offload that makes no sense to it.
            Err(Errno::IO | Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN | Errno::MSGSIZE | Errno::INVAL) => {
                self.lost += 1;
                Ok(())
            }
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Gives a frame as a wire carries it to the guest: with [`Plan::offload`](crate::Plan::offload) joined to others of its
    /// flow, at the latest by [`flush`](Device::flush); else at once, as [`write`](Device::write) does.
    ///
    /// # Errors
    ///
    /// Those of `write`, for this frame or earlier ones.
    pub fn queue(&mut self, frame: &[u8]) -> io::Result<()> {
        let Some(coalescer) = &mut self.coalescer else { return self.write(frame) };
        if !(SHORTEST..=MAX_FRAME).contains(&frame.len()) {
            let what = format!("a frame of {} bytes cannot be sent", frame.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        coalescer.offer(frame);
        self.write_done()
    }

    /// Gives all that is queued to the guest: to be called before waiting.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Device::write).
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(coalescer) = &mut self.coalescer {
            coalescer.flush();
        }
        self.write_done()
    }

    fn write_done(&mut self) -> io::Result<()> {
        while let Some(bytes) = self.coalescer.as_mut().and_then(Coalescer::next_done) {
            self.write(&bytes)?;
            if let Some(coalescer) = &mut self.coalescer {
                coalescer.recycle(bytes);
            }
        }
        Ok(())
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// Frames lost here so far: longer than the buffer, refused by the guest, or sent by it faster than they were read (which
    /// only a veth pair counts).
    #[must_use]
    pub fn lost(&mut self) -> u64 {
        if self.kind == DeviceKind::Veth {
            self.lost += u64::from(super::sys::dropped(self.fd.as_fd()));
        }
        self.lost
    }

    /// To be handed to a [`Poller`](crate::Poller): ready when there is a frame to read, or the interface is gone.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        self.fd.as_fd()
    }

    /// The length of the next frame, which is more than the buffer's when it did not fit.
    fn read_once(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        if self.gone {
            return Err(Errno::NODEV);
        }
        match self.kind {
            DeviceKind::Tap => {
                // One byte more than there is room for shows that a frame was cut.
                let mut spare = [0u8; 1];
                rustix::io::readv(&self.fd, &mut [IoSliceMut::new(buffer), IoSliceMut::new(&mut spare)])
            }
            DeviceKind::Veth => {
                let (_, length) = rustix::net::recv(&self.fd, buffer, RecvFlags::TRUNC)?;
                Ok(length)
            }
        }
    }

    fn failure(&mut self, error: Errno) -> io::Error {
        match error {
            Errno::BADFD | Errno::FAULT | Errno::NODEV | Errno::NXIO | Errno::NETDOWN => {
                self.gone = true;
                let what = "the guest's network interface is gone: something inside has removed it";
                io::Error::new(io::ErrorKind::NotConnected, what)
            }
            other => other.into(),
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
