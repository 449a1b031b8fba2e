//! A shell in a guest, on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::roles;
use crate::world::PATIENCE;

/// The other side of a terminal: what a person types and sees.
struct Person {
    typing: File,
    seen: String,
    screen: Receiver<Vec<u8>>,
}

impl Person {
    fn types(&mut self, text: &str) {
        self.typing.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until some text is seen after what was seen before.
    #[track_caller]
    fn sees(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("waiting for {text:?} on: {}", self.seen),
            }
        }
    }
}

#[test]
fn bash_is_interactive_with_job_control() {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let size = Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
    let words = roles::command("terminal");
    let mut command = Command::new(&words[0]);
    let end = |fd: &OwnedFd| fd.try_clone().unwrap();
    command.args(&words[1..]).stdin(end(&terminal)).stdout(end(&terminal)).stderr(end(&terminal));
    // SAFETY: three system calls, which allocate nothing.
    unsafe {
        command.pre_exec(|| {
            // Whoever runs the tests in the background of a script ignores it, and a shell cannot undo that.
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    drop((command, terminal));
    let mut reading = File::from(master.try_clone().unwrap());
    let (send, screen) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length) = reading.read(&mut bytes) {
            if length == 0 || send.send(bytes[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut person = Person { typing: File::from(master), seen: String::new(), screen };
    person.sees("prompt> ");
    person.types("stty size; echo $((6*7))\n");
    person.sees("33 77");
    person.sees("42");
    // Ctrl-C ends what runs in the shell, not the shell. What runs says that it does, in words that were not typed: a key
    // that comes earlier is the shell's.
    person.types("sh -c 'echo run\"\"ning; exec sleep 100'\n");
    person.sees("running");
    person.types("\x03");
    person.types("echo code $?\n");
    person.sees("code 130");
    // Ctrl-Z stops it, and it can be taken up again.
    person
        .types("bash -c 'trap \"echo contin\"\"ued\" CONT; echo run\"\"ning; while :; do sleep 0.1; done'\n");
    person.sees("running");
    person.types("\x1a");
    person.sees("Stopped");
    person.types("jobs\n");
    person.sees("Stopped");
    person.types("fg\n");
    person.sees("continued");
    person.types("\x03");
    person.types("echo again $?\n");
    person.sees("again 130");
    assert!(!person.seen.contains("no job control"));
    person.types("exit 12\n");
    let code = child.wait().unwrap().code();
    let rest: Vec<u8> = person.screen.try_iter().flatten().collect();
    assert_eq!(code, Some(12), "{}{}", person.seen, String::from_utf8_lossy(&rest));
}
