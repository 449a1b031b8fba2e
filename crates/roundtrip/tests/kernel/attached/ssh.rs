//! The real OpenSSH as judge of ours: its client through a simulated bastion, and its servers with a simulated client.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::guest::{Place, Said, run};

/// The shipped scenario, without what happens in it.
fn network() -> &'static str {
    include_str!("../../../../../scenarios/bastion.yaml").split("\nsteps:").next().unwrap()
}

/// A key pair made by OpenSSH; its public half.
fn keygen(place: &Place, name: &str) -> String {
    let file = place.path(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    std::fs::read_to_string(file.with_extension("pub")).unwrap().trim().to_owned()
}

const CONFIG: &str = "
Host bastion
  HostName 54.1.2.3
Host db
  HostName 10.0.2.100
  ProxyJump bastion
Host *
  User ec2-user
  IdentityFile id
  IdentitiesOnly yes
  UserKnownHostsFile known
  StrictHostKeyChecking accept-new
  BatchMode yes
  LogLevel ERROR
";

#[track_caller]
fn lines(said: &Said) -> Vec<&str> {
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    said.out.lines().collect()
}

#[test]
fn the_real_client_goes_through_a_simulated_bastion() {
    let place = Place::new("ssh-client");
    let public = keygen(&place, "id");
    keygen(&place, "other");
    let text = network().replace("ec2-user: [ana]", &format!("ec2-user: [\"{public}\"]"));
    let scenario = place.write("bastion.yaml", text);
    place.write("config", CONFIG);
    let script = "\
        ssh -F config bastion hostname
        ssh -F config db 'hostname; echo $SSH_CONNECTION; exit 3'; echo status $?
        eval $(ssh-agent) >&2; ssh-add -q id
        ssh -F config -o ForwardAgent=yes bastion 'ssh-add -l; ssh 10.0.2.100 hostname'
        ssh -F config bastion 'ssh 10.0.2.100 hostname' 2>&1; echo status $?
        for n in $(seq 1 3000); do echo echo line $n of a long text; done | ssh -F config -o RekeyLimit=16K db | md5sum
        ssh -F none -i other -o IdentitiesOnly=yes -o UserKnownHostsFile=known ec2-user@54.1.2.3 hostname 2>&1; echo status $?
        ssh -F config -p 23 -o ConnectTimeout=2 bastion true 2>&1; echo status $?
        kill $SSH_AGENT_PID";
    let said = run(&mut place.exec_as("laptop", &scenario, script), Duration::from_secs(120));
    let text: String = (1..=3000).map(|n| format!("line {n} of a long text\n")).collect();
    let sum = place.write("text", text);
    let sum = Command::new("md5sum").stdin(std::fs::File::open(sum).unwrap()).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let print = Command::new("ssh-keygen").arg("-lf").arg(place.path("id")).output().unwrap();
    let print = String::from_utf8(print.stdout).unwrap();
    let lines = lines(&said);
    assert_eq!(lines[..2], ["bastion", "db"], "{}{}", said.out, said.err);
    // Our servers log the secrets, so the story opens what the real client sent, and finds the relay that cannot.
    let story = std::fs::read_to_string(place.path("out/story.txt")).unwrap();
    for told in ["SSH-2.0-OpenSSH_", "aws.db runs `hostname; echo $SSH_CONNECTION; exit 3`", "cannot read"] {
        assert!(story.contains(told), "no `{told}` in the story");
    }
    // The server sees the bastion, not the laptop.
    assert!(lines[2].starts_with("10.0.1.50 ") && lines[2].ends_with(" 10.0.2.100 22"), "{}", lines[2]);
    assert_eq!(lines[3..6], ["status 3", print.trim(), "db"]);
    assert_eq!(lines[6..8], ["ec2-user@10.0.2.100: Permission denied (publickey).", "status 255"]);
    assert_eq!(lines[8], sum.trim());
    assert!(
        lines[9].contains("Permission denied (publickey)") && lines[lines.len() - 1] == "status 255",
        "{lines:?}"
    );
}

#[test]
fn a_simulated_client_goes_through_real_servers() {
    let place = Place::new("ssh-server");
    let public = keygen(&place, "id");
    let private = std::fs::read_to_string(place.path("id")).unwrap().replace('\n', "\\n");
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let user = user.trim();
    let text = network()
        .replace("id_ed25519: ana", &format!("id_ed25519: \"{private}\""))
        .replace("agent: [ana]", &format!("agent: [\"{private}\"]"))
        .replace("known-hosts: { 54.1.2.3: bastion, 10.0.2.100: db }", "known-hosts: {}")
        .replace("User ec2-user", &format!("User {user}"));
    let steps = format!(
        "\nsteps:\n  - do: laptop runs ssh db hostname\n    after: 4s\n  \
         - laptop runs ssh -A {user}@54.1.2.3 ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null 10.0.2.100 hostname\n  \
         - laptop runs ssh -o User=nosuchuser db hostname\n"
    );
    let scenario = place.write("bastion.yaml", text + &steps);
    place.write("allowed", public);
    let server = "mkdir -p $1 && cd $1 && ssh-keygen -q -t ed25519 -N '' -f host_key
        printf '%s\\n' \"HostKey $PWD/host_key\" \"AuthorizedKeysFile $PWD/../allowed\" 'PidFile none' 'StrictModes no' >sshd_config
        if [ \"$(id -u)\" = 0 ]; then mount -t tmpfs none /run && mkdir /run/sshd; fi
        timeout 30 $(command -v sshd) -D -e -f sshd_config >log 2>&1; exit 0";
    let mut command = place.exec_as("bastion", &scenario, &server.replace("$1", "bastion"));
    command.args(["--as", "db", "--", "sh", "-c", &server.replace("$1", "db")]);
    let said = run(&mut command, Duration::from_secs(120));
    let logs =
        ["bastion", "db"].map(|m| std::fs::read_to_string(place.path(m).join("log")).unwrap_or_default());
    assert_eq!(said.code, Some(0), "{}{}{logs:?}", said.out, said.err);
    let told: Value = serde_json::from_slice(&std::fs::read(place.path("out/run.json")).unwrap()).unwrap();
    let steps = told["steps"].as_array().unwrap();
    let summary = |at: usize| steps[at]["summary"].as_str().unwrap();
    assert_eq!([summary(0), summary(1)], ["db", "db"], "{logs:?}");
    assert!(summary(2).contains("Permission denied (publickey"), "{}", summary(2));
    assert!(logs.iter().all(|log| log.contains("Accepted publickey for")), "{logs:?}");
}
