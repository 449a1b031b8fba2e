//! The door of a running world: a Unix socket in its folder, through which other processes of the same user ask to be let in. What
//! comes through it is somebody else's: lines are bounded, and a visitor that says nonsense is shown out by the caller.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::Watch;

/// A line is not longer.
const LONGEST_LINE: usize = 64 << 10;

/// Our end of the door. Dropping it takes the socket away.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Opens a door at `path`; one that was left behind there is replaced.
    ///
    /// # Errors
    ///
    /// The path is too long for a socket (some hundred bytes), or cannot be written; `AddrInUse` when somebody is behind the
    /// door that is there.
    pub fn open(path: &Path) -> io::Result<Door> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(ErrorKind::AddrInUse, "a world is up there already"));
        }
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Door { listener, path: path.to_path_buf() })
    }

    /// The next visitor, if one stands there.
    ///
    /// # Errors
    ///
    /// Too many files are open.
    pub fn admit(&mut self) -> io::Result<Option<Visitor>> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                Ok(Some(Visitor { stream, got: Vec::new() }))
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// To be handed to a [`Poller`](crate::Poller): ready when a visitor has come.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// One side of a conversation through a door, in lines.
#[derive(Debug)]
pub struct Visitor {
    stream: UnixStream,
    got: Vec<u8>,
}

impl Visitor {
    /// Knocks at the door at `path`.
    ///
    /// # Errors
    ///
    /// Nobody is there.
    pub fn knock(path: &Path) -> io::Result<Visitor> {
        Ok(Visitor { stream: UnixStream::connect(path)?, got: Vec::new() })
    }

    /// The next line, without its end. `None` when there is none yet (only at the door's own side: a visitor waits).
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` or `ConnectionReset` when the other side has gone, `InvalidData` for a line that is too long or no text.
    pub fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.got.iter().position(|b| *b == b'\n') {
                let rest = self.got.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.got, rest);
                line.pop();
                return String::from_utf8(line)
                    .map(Some)
                    .map_err(|e| io::Error::new(ErrorKind::InvalidData, e));
            }
            if self.got.len() > LONGEST_LINE {
                return Err(io::Error::new(ErrorKind::InvalidData, "a line without end"));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.got.extend_from_slice(&buffer[..len]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Says a line.
    ///
    /// # Errors
    ///
    /// The other side has gone, or does not listen.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes())
    }

    /// To be handed to a [`Poller`](crate::Poller): ready when there is something to read, or the other side has gone.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_through_a_door_both_ways() {
        let path = std::env::temp_dir().join(format!("rt-door-{}", std::process::id()));
        let mut door = Door::open(&path).unwrap();
        assert_eq!(Door::open(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(door.admit().unwrap().unwrap().line().is_err());
        assert!(door.admit().unwrap().is_none());
        let mut outside = Visitor::knock(&path).unwrap();
        let mut inside = door.admit().unwrap().unwrap();
        assert_eq!(inside.line().unwrap(), None);
        outside.say("let me in").unwrap();
        outside.stream.write_all(b"half").unwrap();
        assert_eq!(inside.line().unwrap().as_deref(), Some("let me in"));
        assert_eq!(inside.line().unwrap(), None);
        inside.say("no").unwrap();
        assert_eq!(outside.line().unwrap().as_deref(), Some("no"));
        outside.stream.write_all(&vec![b'x'; LONGEST_LINE + 5_000]).unwrap();
        assert_eq!(inside.line().unwrap_err().kind(), ErrorKind::InvalidData);
        drop(inside);
        // It left with lines unread.
        assert_eq!(outside.line().unwrap_err().kind(), ErrorKind::ConnectionReset);
        drop(door);
        assert!(!path.exists() && Visitor::knock(&path).is_err());
    }
}
