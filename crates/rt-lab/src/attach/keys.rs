//! The key log that a real program writes (`SSLKEYLOGFILE`), read while it grows. What is in there is the program's word:
//! lines that are no key log are passed over, and there is a limit.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A key log may be so long.
const LONGEST: u64 = 16 << 20;
/// So much is read at once.
const AT_ONCE: u64 = 64 << 10;
/// A line may be so long (RFC 9850 lines are about 200 bytes).
const LONGEST_LINE: usize = 1024;

/// The name of a machine's key log in a run's folder.
pub(crate) fn file_name(machine: &str) -> String {
    format!(".keys-{machine}.log")
}

/// Whether a file of that name in a run's folder is a key log: one that is there without its run was left by one that was killed.
pub(crate) fn is_key_log(name: &str) -> bool {
    name.starts_with(".keys-") && name.ends_with(".log")
}

/// A key log under way. The file goes with it.
#[derive(Debug)]
pub(crate) struct KeyLog {
    path: PathBuf,
    file: File,
    read: u64,
    part: Vec<u8>,
}

impl KeyLog {
    /// Makes the file, which anybody may write: the program may be another user.
    pub(crate) fn make(path: &Path) -> io::Result<KeyLog> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = fs::OpenOptions::new().read(true).append(true).create_new(true).open(path)?;
        open_to_all(&file)?;
        Ok(KeyLog { path: fs::canonicalize(path)?, file, read: 0, part: Vec::new() })
    }

    /// Where the program is to write.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whole lines that have come since, a bounded amount; an error of the file is as good as no line.
    pub(crate) fn take(&mut self) -> Vec<String> {
        let len = self.file.metadata().map_or(0, |m| m.len()).min(LONGEST);
        if len <= self.read {
            return Vec::new();
        }
        let mut new = Vec::new();
        let wanted = (len - self.read).min(AT_ONCE);
        let got = self.file.by_ref().take(wanted).read_to_end(&mut new).unwrap_or(0);
        self.read += got as u64;
        self.part.extend_from_slice(&new);
        let whole = self.part.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        let rest = self.part.split_off(whole);
        let lines = std::mem::replace(&mut self.part, rest);
        if self.part.len() > LONGEST_LINE {
            self.part.clear();
        }
        lines.split(|b| *b == b'\n').filter_map(key_line).collect()
    }
}

impl Drop for KeyLog {
    /// What it held is in the captures.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(unix)]
fn open_to_all(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn open_to_all(_: &File) -> io::Result<()> {
    Ok(())
}

/// `LABEL client-random secret`, both in hexadecimal (RFC 9850, 2).
fn key_line(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?.trim_end_matches('\r');
    let mut words = line.split(' ');
    let (label, random, secret) = (words.next()?, words.next()?, words.next()?);
    let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let hex = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_hexdigit());
    let fits = line.len() <= LONGEST_LINE && label.chars().all(upper) && random.len() == 64;
    (fits && hex(random) && hex(secret) && words.next().is_none()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn whole_lines_of_a_key_log_and_nothing_else() {
        let path = std::env::temp_dir().join(format!("roundtrip-keys-{}", std::process::id()));
        let mut keys = KeyLog::make(&path).unwrap();
        let mut out = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let random = "ab".repeat(32);
        let good = format!("CLIENT_RANDOM {random} 00ff");
        assert!(keys.take().is_empty());
        write!(out, "# made by curl\n{good}\r\n{good}").unwrap();
        assert_eq!(keys.take(), std::slice::from_ref(&good));
        write!(out, "11\nCLIENT_RANDOM {random} zz\n\u{7f}\0\n{}\n", "A".repeat(5_000)).unwrap();
        assert_eq!(keys.take(), [format!("{good}11")]);
        out.write_all(&[b'A'; 100_000]).unwrap();
        out.write_all(format!("\n{good}\n").as_bytes()).unwrap();
        assert_eq!([keys.take(), keys.take(), keys.take()].concat(), [good]);
        drop(keys);
        assert!(!path.exists());
    }
}
