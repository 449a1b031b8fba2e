//! Somebody without any rights on this computer: `nobody` when the tests are run by root.

use super::group;
use crate::play::{Group, Row, User};

/// An ordinary user's sshd serves that user alone. systemd's view of `nobody` is a locked account, so it is not asked; /etc
/// is the machine's own.
const BENCH: &str = "\
printf '%s\\n' 'passwd: files' 'shadow: files' 'hosts: files dns' >/etc/nsswitch.conf
ssh-keygen -q -t ed25519 -N '' -f host_key; ssh-keygen -q -t ed25519 -N '' -f user_key; cp user_key.pub allowed
printf '%s\\n' \"HostKey $PWD/host_key\" \"AuthorizedKeysFile $PWD/allowed\" 'PidFile none' 'StrictModes no' \
'Subsystem sftp internal-sftp' >sshd_config
sed \"s/^/[bench.example]:2222 /\" host_key.pub >known; echo from far away >$PWD/letter
exec $(command -v sshd) -D -e -p 2222 -f sshd_config";

group! {
    Group {
        user: User::Ordinary,
        others: &[("bench", BENCH)],
        explained: &[
            r"Connection reset \(RST\)\|\d{4,5} → (443|2222) \[RST",
            r"Connection reset \(RST\)\|\d+ → \d+ \[RST(, ACK)?\] Seq=1 ",
        ],
        ..Group::NONE
    };
    curl: Row {
        client: "curl",
        asked: r"id -u; curl -sS -w '%{http_code} %{ssl_verify_result}\n' 'https://httpbin.org/get?by=anybody'",
        came: "200, the certificate verified",
        said: &["^[1-9][0-9]*$", "^200 0$"],
        told: &[r"GET https://httpbin\.org/get\?by=anybody +200 OK"],
        ..Row::NONE
    },
    ping: Row {
        client: "ping",
        asked: "ping -n -c 2 -i 0.3 google.com",
        came: "two answers",
        said: &["2 packets transmitted, 2 received, 0% packet loss"],
        told: &[r"ping 2 .*came back"],
        ..Row::NONE
    },
    traceroute: Row {
        client: "traceroute",
        asked: "traceroute -n google.com && traceroute -n -I google.com",
        came: "the five hops twice, by UDP and by ICMP",
        said: &[r"^ 4  198\.18\.0\.2 ", r"(?s)^ 5  142\.250\.190\.46 .*^ 5  142\.250\.190\.46 "],
        ..Row::NONE
    },
    nmap: Row {
        client: "nmap",
        asked: "NMAP_PRIVILEGED=1 nmap -n -Pn -sS -p 22,80,443 guarded.example",
        came: "filtered, open, closed",
        said: &[r"^22/tcp +filtered", r"^80/tcp +open", r"^443/tcp +closed"],
        ..Row::NONE
    },
    tcpdump: Row {
        client: "tcpdump",
        asked: "tcpdump -n -i eth0 -c 2 -w seen.pcap udp port 53 2>listening & \
                until grep -q 'listening on' listening; do sleep 0.1; done; dig +short bench.example; wait; \
                tcpdump -n -r seen.pcap",
        came: "a question and its answer, in a file of its own",
        said: &[r"A\? bench\.example\.", r"A 198\.51\.44\.5"],
        ..Row::NONE
    },
    sftp: Row {
        client: "ssh",
        asked: "echo \"get $PWD/letter letter.copy\" | sftp -q -b - -P 2222 -i user_key -o UserKnownHostsFile=known \
                -o IdentitiesOnly=yes bench.example && cat letter.copy",
        came: "a file from a real sshd on another machine, of the same user",
        said: &["^from far away$"],
        told: &[r"connect +198\.51\.44\.5:2222"],
        ..Row::NONE
    },
}
