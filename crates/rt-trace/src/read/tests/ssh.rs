//! SSH from bytes that nobody vouches for.

use proptest::prelude::*;

use crate::read::ssh::Ssh;
use crate::read::{Limits, Mark, Secrets, Side, Span};

/// Feeds pieces as they come, each side's offsets counted.
fn read(pieces: &[(Side, Vec<u8>)], secrets: &Secrets) -> crate::read::SshSession {
    let mut ssh = Ssh::new(secrets, Limits::default());
    let mut at = [0; 2];
    for (side, bytes) in pieces {
        let start = &mut at[side.index()];
        ssh.feed(*side, bytes, Span::of_frame(*start, bytes.len() as u64, Mark::default()));
        *start += bytes.len() as u64;
    }
    ssh.finish()
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 16 - (payload.len() + 5) % 8;
    let mut out = u32::try_from(payload.len() + 1 + padding).unwrap().to_be_bytes().to_vec();
    out.push(padding as u8);
    out.extend(payload);
    out.resize(out.len() + padding, 0);
    out
}

#[test]
fn without_secrets_the_clear_part_is_told_and_the_rest_counted() {
    let version = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n".to_vec();
    let clear = [packet(&[20; 40]), packet(&[30, 0, 0, 0, 1, 7]), packet(&[21])].concat();
    let session = read(
        &[(Side::Client, [&version[..], &clear].concat()), (Side::Client, vec![9; 500])],
        &Secrets::default(),
    );
    assert_eq!(session.versions[0], "SSH-2.0-OpenSSH_9.2p1 Debian-2");
    let names: Vec<&str> = session.messages.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["version", "KEXINIT", "ECDH_INIT", "NEWKEYS"]);
    assert_eq!((session.readable, session.sealed), (false, [500, 0]));
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(
        pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()), 0..12)
    ) {
        let mut all = vec![(Side::Client, b"SSH-2.0-a\r\n".to_vec()), (Side::Server, b"x\nSSH-2.0-b\n".to_vec())];
        for (client, bytes, whole) in pieces {
            let side = if client { Side::Client } else { Side::Server };
            all.push((side, if whole { packet(&bytes) } else { bytes }));
        }
        read(&all, &Secrets::from_lines(["00000000000000000000000000000000 SHARED_SECRET 00"]));
    }
}
