//! The world around the guests of these tests: a router at 10.0.0.1 that answers ARP and ICMP echo requests for every
//! address in sight and sends UDP back.

use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rt_attach::{
    Device, Guest, GuestFile, GuestInterface, GuestRoute, GuestStdio, MAX_FRAME, Plan, Poller, Watch, launch,
};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A laptop at 10.0.0.7 that runs a shell script.
pub(crate) fn laptop(script: &str) -> Plan {
    let mut plan = Plan::new("laptop", ["sh", "-c", script].map(Into::into).to_vec());
    plan.interfaces.push(interface(7));
    let via = Some(Ipv4Addr::new(10, 0, 0, 1));
    plan.routes.push(GuestRoute { to: None, via, interface: 0 });
    let content = b"nameserver 10.0.0.1\n".to_vec();
    plan.files.push(GuestFile { path: "/etc/resolv.conf".into(), content });
    plan.stdio[0] = GuestStdio::Null;
    plan
}

pub(crate) fn interface(n: u8) -> GuestInterface {
    let addresses = vec![(Ipv4Addr::new(10, 0, 0, n), 24)];
    GuestInterface { name: "eth0".into(), mac: [2, 0, 0, 0, 0, n], mtu: 1500, addresses }
}

/// What became of a program.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    /// Standard output and error.
    pub(crate) said: String,
}

/// Runs a plan to its end in the world.
#[track_caller]
pub(crate) fn run(plan: &Plan) -> Outcome {
    let (guest, output) = start(plan);
    finish(guest, output)
}

/// Starts a plan; what its program says can be read from the pipe.
#[track_caller]
pub(crate) fn start(plan: &Plan) -> (Guest, io::PipeReader) {
    let (output, input) = io::pipe().unwrap();
    let input = Arc::new(File::from(OwnedFd::from(input)));
    let mut plan = plan.clone();
    plan.stdio[1] = GuestStdio::File(input.clone());
    plan.stdio[2] = GuestStdio::File(input);
    let guest = launch(&plan).unwrap_or_else(|error| panic!("{error}"));
    (guest, output)
}

#[track_caller]
pub(crate) fn finish(mut guest: Guest, mut output: io::PipeReader) -> Outcome {
    let code = serve(&mut guest);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    Outcome { code, said }
}

/// Answers the guest's frames until its program ends.
#[track_caller]
pub(crate) fn serve(guest: &mut Guest) -> i32 {
    let start = Instant::now();
    let mut poller = Poller::new();
    let mut frame = vec![0; MAX_FRAME];
    while start.elapsed() < PATIENCE {
        let watched: Vec<Watch<'_>> =
            guest.devices.iter().map(Device::watch).chain([guest.watch()]).collect();
        poller.wait(&watched, Some(Duration::from_secs(1))).unwrap();
        for device in &mut guest.devices {
            while let Ok(length) = device.read(&mut frame) {
                if let Some(answer) = answer(&mut frame[..length]) {
                    device.write(answer).unwrap();
                }
            }
        }
        if let Some(code) = guest.try_wait().unwrap() {
            return code;
        }
    }
    panic!("the guest's program is still running after {PATIENCE:?}")
}

/// The answer to a frame, made in its place.
fn answer(frame: &mut [u8]) -> Option<&[u8]> {
    let sender: [u8; 6] = frame[6..12].try_into().unwrap();
    frame[..6].copy_from_slice(&sender);
    frame[6..12].copy_from_slice(&ROUTER);
    let kind = u16::from_be_bytes([frame[12], frame[13]]);
    if kind == 0x0806 && frame[21] == 1 {
        // Whoever is asked for, we are.
        let (asker, asked) = (frame[22..32].to_vec(), frame[38..42].to_vec());
        frame[21] = 2;
        frame[22..28].copy_from_slice(&ROUTER);
        frame[28..32].copy_from_slice(&asked);
        frame[32..42].copy_from_slice(&asker);
        return Some(frame);
    }
    if kind != 0x0800 {
        return None;
    }
    let (source, target) = (frame[26..30].to_vec(), frame[30..34].to_vec());
    frame[26..30].copy_from_slice(&target);
    frame[30..34].copy_from_slice(&source);
    match frame[23] {
        // An echo request becomes a reply: its type goes from 8 to 0, so its checksum goes up by 0x0800.
        1 if frame[34] == 8 => {
            frame[34] = 0;
            let (sum, carry) = u16::from_be_bytes([frame[36], frame[37]]).overflowing_add(0x0800);
            frame[36..38].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
            Some(frame)
        }
        17 => {
            let (from, to) = (frame[34..36].to_vec(), frame[36..38].to_vec());
            frame[34..36].copy_from_slice(&to);
            frame[36..38].copy_from_slice(&from);
            Some(frame)
        }
        _ => None,
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "{what}: still not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes whose command line contains a word.
pub(crate) fn processes(word: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).split('\0').any(|argument| argument == word) {
            found.push(pid);
        }
    }
    found
}
