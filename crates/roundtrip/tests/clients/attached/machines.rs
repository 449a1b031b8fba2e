//! Programs that speak with real servers on other machines, with the machine's own services, or that look at packets.

use std::path::Path;

use super::group;
use crate::play::{Group, Row};

/// `sshd` as root wants its folder in /run, which is the host's: a fresh /run covers it, for this machine only.
const BENCH: &str = "\
ssh-keygen -q -t ed25519 -N '' -f host_key; ssh-keygen -q -t ed25519 -N '' -f user_key; cp user_key.pub allowed
printf '%s\\n' \"HostKey $PWD/host_key\" \"AuthorizedKeysFile $PWD/allowed\" 'PidFile none' 'StrictModes no' >sshd_config
sed \"s/^/bench.example /\" host_key.pub >known
if [ \"$(id -u)\" = 0 ]; then mount -t tmpfs none /run && mkdir /run/sshd; fi
nc -d -l 9000 >arrived &
nc -d -u -l -W 1 9001 >arrived_udp &
exec $(command -v sshd) -D -e -p 2222 -f sshd_config";

group! {
    Group {
        others: &[("bench", BENCH)],
        explained: &[r"Connection reset \(RST\)\|\d{4,5} → (443|2222) \[RST"],
        ..Group::NONE
    };
    ssh: Row {
        client: "ssh",
        asked: "ssh -p 2222 -i user_key -o UserKnownHostsFile=known -o IdentitiesOnly=yes bench.example \
                'hostname; echo $SSH_CONNECTION'",
        came: "a command's answer from a real sshd on another machine, which sees the home's public address",
        said: &["^bench$", r"^203\.0\.113\.50 \d+ 198\.51\.44\.5 2222$"],
        told: &[r"connect +198\.51\.44\.5:2222"],
        ..Row::NONE
    },
    nc_tcp: Row {
        client: "nc",
        asked: "seq 1 20000 | nc -N bench.example 9000; sleep 1; wc -c arrived",
        came: "20,000 lines arrived whole at a real `nc -l`",
        said: &["^108894 arrived$"],
        told: &[r"connect +198\.51\.44\.5:9000"],
        check: Some(|folder, _| same(&folder.join("work/arrived"), &numbers())),
        ..Row::NONE
    },
    nc_udp: Row {
        client: "nc",
        asked: "echo one datagram | nc -u -w 1 bench.example 9001; sleep 1; cat arrived_udp",
        came: "one datagram at a real `nc -u -l`",
        said: &["^one datagram$"],
        ..Row::NONE
    },
    ss: Row {
        client: "ss",
        asked: "curl -sS -o /dev/null --limit-rate 60k https://httpbin.org/bytes/150000 & sleep 1.2; ss -tin; wait",
        came: "the kernel's view of the connection: cubic, MSS 1448, a round trip from 15 ms on",
        said: &[r"ESTAB.* 192\.168\.1\.10:\d+ +54\.158\.10\.20:443", "cubic .*mss:1448 pmtu:1500"],
        told: &[r"GET https://httpbin\.org/bytes/150000 +200 OK"],
        check: Some(round_trip),
        ..Row::NONE
    },
    tcpdump: Row {
        client: "tcpdump",
        asked: "tcpdump -n -i eth0 -c 4 icmp 2>listening & until grep -q 'listening on' listening; do sleep 0.1; done; \
                ping -q -n -c 2 -i 0.3 google.com; wait",
        came: "two echo requests and their replies, on the way",
        said: &[
            r"192\.168\.1\.10 > 142\.250\.190\.46: ICMP echo request, .*seq 2, length 64",
            r"142\.250\.190\.46 > 192\.168\.1\.10: ICMP echo reply, .*seq 2, length 64",
        ],
        ..Row::NONE
    },
    tshark_live: Row {
        client: "tshark",
        asked: "tshark -n -l -i eth0 -f 'port 53' -c 2 -T fields -e dns.qry.name -e dns.a 2>capturing & \
                until grep -q Capturing capturing; do sleep 0.2; done; sleep 1; dig +short time.nist.gov; wait",
        came: "a question and its answer, on the way",
        said: &[r"^time\.nist\.gov\t$", r"^time\.nist\.gov\t132\.163\.97\.1$"],
        told: &["time.nist.gov is 132.163.97.1"],
        ..Row::NONE
    },
    dhclient: Row {
        client: "dhclient",
        asked: "dhclient -v -1 -sf /bin/true -lf $PWD/leases -pf $PWD/dhclient.pid eth0; \
                until [ -s dhclient.pid ]; do sleep 0.1; done; kill $(cat dhclient.pid)",
        came: "DISCOVER, OFFER, REQUEST, ACK: the laptop's own address again",
        said: &[r"DHCPOFFER of 192\.168\.1\.10 from 192\.168\.1\.1", r"bound to 192\.168\.1\.10"],
        told: &[r"get an address +home\.laptop"],
        ..Row::NONE
    },
    ntpdig: Row {
        client: "ntpdig",
        asked: "ntpdig time.nist.gov",
        came: "this computer's own time, from a clock of stratum 1",
        said: &[r"time\.nist\.gov 132\.163\.97\.1 s1 no-leap"],
        check: Some(offset),
        ..Row::NONE
    },
}

fn numbers() -> Vec<u8> {
    (1..=20_000).map(|n| format!("{n}\n")).collect::<String>().into_bytes()
}

fn same(path: &Path, expected: &[u8]) -> Result<(), String> {
    let found = std::fs::read(path).map_err(|e| e.to_string())?;
    if found == expected { Ok(()) } else { Err(format!("{} bytes arrived", found.len())) }
}

/// The smallest round trip is that of the way.
fn round_trip(_: &Path, said: &str) -> Result<(), String> {
    let least =
        said.split_once("minrtt:").and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok());
    match least {
        Some(ms) if (14.9..200.0).contains(&ms) => Ok(()),
        other => Err(format!("smallest round trip: {other:?} ms")),
    }
}

/// The simulated clock is this computer's: half a round trip (and whatever this computer is late by) is all it may be off.
fn offset(_: &Path, said: &str) -> Result<(), String> {
    let offset =
        said.split_once("(+0000) ").and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok());
    match offset {
        Some(seconds) if seconds.abs() < 0.5 => Ok(()),
        other => Err(format!("offset: {other:?} s")),
    }
}
