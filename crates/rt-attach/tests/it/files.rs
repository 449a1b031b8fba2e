//! What files a guest sees, and that those of the machine stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rt_attach::{DeviceChoice, GuestFile, GuestUser, launch};

use crate::world::{laptop, run};

/// Any PEM text: nothing here opens a connection with it.
const PEM: &str = include_str!("ca.pem");

/// What a test made outside; removed even when it fails.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir_all(&self.0));
    }
}

#[test]
fn files_of_the_plan_are_seen_and_can_be_replaced() {
    let mut plan = laptop(
        "cat /etc/resolv.conf; rm /etc/resolv.conf && echo other > /etc/resolv.conf; cat /etc/resolv.conf; \
         cat /etc/new/deep/file; echo more >> /etc/new/deep/file && tail -1 /etc/new/deep/file; \
         cat /etc/hostname; grep hosts: /etc/nsswitch.conf; cat /etc/hosts",
    );
    plan.files.push(GuestFile { path: "/etc/new/deep/file".into(), content: b"deep\n".to_vec() });
    let said = run(&plan).said;
    let wanted = "nameserver 10.0.0.1\nother\ndeep\nmore\nlaptop\nhosts: files dns\n127.0.0.1 localhost\n10.0.0.7 laptop\n";
    assert_eq!(said, wanted);
    assert!(!Path::new("/etc/new").exists());
}

#[test]
fn a_file_elsewhere_covers_one_that_exists_and_only_that() {
    let path = std::env::temp_dir().join(format!("rt-attach-{}-covered", std::process::id()));
    let _removed = Removed(path.clone());
    fs::write(&path, "outside\n").unwrap();
    let mut plan = laptop(&format!("cat {}", path.display()));
    plan.files.push(GuestFile { path: path.clone(), content: b"inside\n".to_vec() });
    let said = run(&plan).said;
    assert_eq!((said.as_str(), fs::read_to_string(&path).unwrap().as_str()), ("inside\n", "outside\n"));
    fs::remove_file(&path).unwrap();
    let error = launch(&plan).unwrap_err().to_string();
    assert!(error.contains("only a file that exists can be"), "{error}");
}

#[test]
fn changes_of_scratch_folders_stay_inside() {
    let folder = std::env::temp_dir().join(format!("rt-attach-{}-scratch", std::process::id()));
    let _removed = Removed(folder.clone());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("there"), "outside\n").unwrap();
    let mut plan = laptop(&format!(
        "cd {0}; cat there; echo inside > there; cat there; echo x > new; rm there; ls; touch /var/invented && ls /var/invented",
        folder.display()
    ));
    plan.scratch = vec![folder.clone(), "/var".into()];
    let said = run(&plan).said;
    assert_eq!(said, "outside\ninside\nnew\n/var/invented\n");
    assert_eq!(fs::read_to_string(folder.join("there")).unwrap(), "outside\n");
    assert!(!Path::new("/var/invented").exists() && !folder.join("new").exists());
    fs::remove_dir_all(&folder).unwrap();
    plan.scratch = vec!["/proc".into()];
    assert!(launch(&plan).unwrap_err().to_string().contains("no layer can be laid over that"));
}

#[test]
fn programs_trust_the_authority() {
    let mut plan = laptop(
        "for v in SSL_CERT_FILE CURL_CA_BUNDLE REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS GIT_SSL_CAINFO; do \
         eval f=\\$$v; tail -n 3 $f | head -n 1; done; tail -n 3 /etc/ssl/certs/ca-certificates.crt | head -n 1; \
         certutil -L -d sql:$HOME/.pki/nssdb",
    );
    plan.certificate = Some(PEM.to_owned());
    let said = run(&plan).said;
    let line = PEM.lines().rev().nth(2).unwrap();
    assert_eq!(said.matches(line).count(), 6, "{said}");
    assert!(said.contains("roundtrip") && said.contains("C,,"), "package libnss3-tools: {said}");
}

#[test]
fn home_is_new_unless_wanted() {
    let mut plan = laptop("ls -A $HOME | wc -l; touch $HOME/x && echo $HOME");
    assert_eq!(run(&plan).said, "0\n/etc/roundtrip/home\n");
    plan.own_home = false;
    plan.env.push(("HOME".into(), "/".into()));
    plan.command[2] = "echo $HOME".into();
    assert_eq!(run(&plan).said, "/\n");
}

#[test]
fn nothing_leads_out_of_the_simulated_network() {
    let script = "env | grep -ci _proxy=; for d in /run/dbus /run/systemd/resolve /run/nscd; do ls -A $d 2>/dev/null; done";
    assert_eq!(run(&laptop(script)).said, "0\n");
}

#[test]
fn root_inside_is_not_root_outside() {
    let mut plan = laptop(
        "id -u; hostname changed && hostname; mount -t tmpfs none /mnt && echo mounted; echo 1 > /proc/sys/kernel/sysrq",
    );
    plan.user = GuestUser::Root;
    let outcome = run(&plan);
    assert!(outcome.said.starts_with("0\nchanged\nmounted\n"), "{outcome:?}");
    assert_ne!(outcome.code, 0, "a setting of the machine: {outcome:?}");
}

#[test]
fn processes_outside_are_not_seen() {
    let said = run(&laptop("ls -d /proc/[0-9]* | wc -l; kill -0 $PPID && echo $PPID")).said;
    let count: u32 = said.lines().next().unwrap().parse().unwrap();
    assert!(count <= 5, "{said}");
    assert!(said.ends_with("\n1\n"), "{said}");
}

/// The machine as far as a guest could change it.
fn machine() -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    let mut note = |path: &str| {
        state.insert(path.to_owned(), fs::read_to_string(path).unwrap_or_else(|e| e.to_string()));
    };
    for path in ["/proc/self/mountinfo", "/proc/net/route", "/proc/net/ipv6_route", "/proc/net/if_inet6"] {
        note(path);
    }
    for path in ["kernel/hostname", "net/ipv4/ip_forward", "net/ipv4/ping_group_range"] {
        note(&format!("/proc/sys/{path}"));
    }
    for path in ["net/ipv4/ip_unprivileged_port_start", "net/ipv6/conf/all/disable_ipv6"] {
        note(&format!("/proc/sys/{path}"));
    }
    for path in ["resolv.conf", "hosts", "hostname", "nsswitch.conf", "ssl/certs/ca-certificates.crt"] {
        note(&format!("/etc/{path}"));
    }
    let names = |path: &str| {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().flatten().map(|e| e.file_name()).collect();
        names.sort();
        format!("{names:?}")
    };
    for path in ["/sys/class/net", "/etc", "/run", "/mnt", "/proc/sys/net/ipv4/conf"] {
        state.insert(format!("names in {path}"), names(path));
    }
    state
}

#[test]
fn the_machine_is_as_before() {
    let before = machine();
    for device in [DeviceChoice::Auto, DeviceChoice::Veth] {
        let mut plan = laptop(
            "rm -f /etc/resolv.conf /etc/hosts; echo x > /etc/invented; hostname other; ip link add dummy9 type dummy; \
             echo 1 > /proc/sys/net/ipv4/ip_forward; mount -t tmpfs none /mnt; touch /mnt/invented; \
             ip addr add 10.1.1.1/8 dev eth0; ip route add 11.0.0.0/8 dev eth0; ip link set lo down; \
             ip rule add from 1.2.3.4 lookup 7; test -e /etc/invented",
        );
        plan.user = GuestUser::Root;
        plan.device = device;
        plan.certificate = Some(PEM.to_owned());
        let outcome = run(&plan);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    assert_eq!(machine(), before);
}
