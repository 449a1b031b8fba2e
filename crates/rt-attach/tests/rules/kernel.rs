//! The kernel's router: a guest with two devices.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rt_attach::{
    Device, DeviceChoice, Guest, GuestFile, GuestInterface, GuestRoute, GuestStdio, GuestUser, MAX_FRAME,
    Plan, Poller, launch,
};

use crate::cases::{GATEWAY, INSIDE, OUTSIDE, ROUTER, Rules};
use crate::nft;
use crate::packets::{mac_of, question, router_mac};

const PATIENCE: Duration = Duration::from_secs(20);

/// Switches on what a router needs, off what would answer by chance, and waits.
const SCRIPT: &str = "
set -e
cd /proc/sys/net
echo 1 >ipv4/ip_forward
echo 0 >ipv4/icmp_ratemask
for d in all default eth0 eth1; do
  echo 0 >ipv4/conf/$d/rp_filter
  echo 0 >ipv4/conf/$d/send_redirects
  echo 1 >ipv4/conf/$d/arp_ignore
done
nft -f /etc/rules.nft
# A flow begins with a SYN and windows are not looked at, as with ours; both are there once the rules have loaded tracking.
echo 0 >netfilter/nf_conntrack_tcp_loose 2>/dev/null || true
echo 1 >netfilter/nf_conntrack_tcp_be_liberal 2>/dev/null || true
while read -r address mac device; do ip neigh replace $address lladdr $mac dev $device nud permanent; done </etc/neighbours
echo ready
exec sleep 600
";

pub(crate) struct Kernel {
    guest: Guest,
    poller: Poller,
}

impl Kernel {
    pub(crate) fn start(rules: &Rules) -> Result<Kernel, String> {
        let mut plan = Plan::new("router", ["sh", "-c", SCRIPT].map(Into::into).to_vec());
        plan.user = GuestUser::Root;
        plan.device = DeviceChoice::Auto;
        let nets = [vec![(ROUTER[0], 24)], vec![(ROUTER[1], 24), (ROUTER[2], 24)]];
        for (index, addresses) in nets.into_iter().enumerate() {
            let name = format!("eth{index}");
            plan.interfaces.push(GuestInterface { name, mac: router_mac(index), mtu: 1500, addresses });
        }
        plan.routes.push(GuestRoute { to: None, via: Some(GATEWAY), interface: 1 });
        let mut neighbours = String::new();
        let all = INSIDE.iter().map(|a| (a, 0)).chain(OUTSIDE[..2].iter().chain([&GATEWAY]).map(|a| (a, 1)));
        for (address, device) in all {
            let mac = mac_of(*address).map(|b| format!("{b:02x}")).join(":");
            neighbours.push_str(&format!("{address} {mac} eth{device}\n"));
        }
        let file = |path: &str, text: String| GuestFile { path: path.into(), content: text.into_bytes() };
        plan.files = vec![file("/etc/rules.nft", nft::text(rules)), file("/etc/neighbours", neighbours)];
        let (output, input) = io::pipe().map_err(|e| e.to_string())?;
        let input = Arc::new(File::from(OwnedFd::from(input)));
        plan.stdio = [GuestStdio::Null, GuestStdio::File(input.clone()), GuestStdio::File(input)];
        let guest = launch(&plan).map_err(|e| e.to_string())?;
        // Ours must go, or the pipe would never end.
        drop(plan);
        let mut said = String::new();
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|e| e.to_string())?;
            if line == "ready" {
                return Ok(Kernel { guest, poller: Poller::new() });
            }
            said.push_str(&line);
            said.push('\n');
        }
        Err(format!("the kernel's router does not begin (package nftables): {said}"))
    }

    /// Gives it a frame; what leaves because of it, by device.
    pub(crate) fn send(&mut self, port: usize, frame: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, String> {
        let text = |e: io::Error| e.to_string();
        self.guest.devices[port].write(frame).map_err(text)?;
        let question = question(port);
        self.guest.devices[port].write(&question).map_err(text)?;
        let (mut seen, mut answered, begin) = (Vec::new(), false, Instant::now());
        let mut buffer = vec![0; MAX_FRAME];
        while !answered {
            if begin.elapsed() > PATIENCE {
                return Err("the kernel's router does not answer ARP".into());
            }
            answered |= self.read(port, &mut buffer, &mut seen)?;
            if !answered {
                let watched: Vec<_> = self.guest.devices.iter().map(Device::watch).collect();
                self.poller.wait(&watched, Some(Duration::from_millis(200))).map_err(text)?;
            }
        }
        Ok(seen)
    }

    /// Reads what is there; whether the answer on `port` was among it.
    fn read(
        &mut self,
        port: usize,
        buffer: &mut [u8],
        seen: &mut Vec<(usize, Vec<u8>)>,
    ) -> Result<bool, String> {
        let mut answered = false;
        // The asked device first: once the answer is there, all else is too.
        for index in [port, 1 - port] {
            loop {
                match self.guest.devices[index].read(buffer) {
                    Ok(length) => match (buffer[12], buffer[13]) {
                        (8, 0) => seen.push((index, buffer[..length].to_vec())),
                        (8, 6) if index == port && buffer[21] == 2 => answered = true,
                        _ => {}
                    },
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
        Ok(answered)
    }
}
