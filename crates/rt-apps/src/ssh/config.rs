//! `~/.ssh/config` and the command line of `ssh`, read as OpenSSH reads them (ssh_config(5), ssh(1)): for each option the first
//! value wins, so the command line comes before the file and a special `Host` block must stand above a general one.
//!
//! Deliberate simplifications. `Match` knows `all`, `host`, `originalhost`, `user` and `localuser`; there is no `Include`. Options
//! that would change nothing here (`ServerAliveInterval`, `Compression`...) are read and have no effect. `~` is not expanded: paths
//! are names.

/// Options that mean something here, as they are written.
const USED: &[&str] = &[
    "HostName",
    "User",
    "Port",
    "ProxyJump",
    "IdentityFile",
    "IdentitiesOnly",
    "ForwardAgent",
    "StrictHostKeyChecking",
    "HostKeyAlias",
    "ConnectTimeout",
];
/// Options that are taken and change nothing.
const IDLE: &[&str] = &[
    "AddKeysToAgent",
    "AddressFamily",
    "BatchMode",
    "CheckHostIP",
    "Ciphers",
    "Compression",
    "ConnectionAttempts",
    "ControlMaster",
    "ControlPath",
    "ControlPersist",
    "EscapeChar",
    "ForwardX11",
    "GSSAPIAuthentication",
    "HashKnownHosts",
    "HostKeyAlgorithms",
    "IdentityAgent",
    "KexAlgorithms",
    "LogLevel",
    "MACs",
    "NumberOfPasswordPrompts",
    "PasswordAuthentication",
    "PreferredAuthentications",
    "PubkeyAuthentication",
    "RequestTTY",
    "SendEnv",
    "ServerAliveCountMax",
    "ServerAliveInterval",
    "TCPKeepAlive",
    "UpdateHostKeys",
    "UserKnownHostsFile",
    "VisualHostKey",
];
/// Longest chain of jumps; a configuration that sends a host through itself ends here.
const MOST_JUMPS: usize = 8;

/// A configuration file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    blocks: Vec<Block>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Block {
    line: u32,
    when: When,
    options: Vec<Given>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum When {
    Always,
    /// Patterns of `Host`.
    Host(Vec<String>),
    /// Criteria of `Match`: what is looked at, and its patterns.
    Match(Vec<(String, Vec<String>)>),
}

/// An option and where it stands; line 0 is the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Given {
    pub(super) line: u32,
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// What a user typed behind `ssh`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Arguments {
    pub(super) host: String,
    pub(super) command: Option<String>,
    pub(super) options: Vec<Given>,
    /// `-t`.
    pub(super) terminal: bool,
}

/// All that is known about a destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    /// As it was asked for.
    pub(super) host: String,
    pub(super) hostname: String,
    pub(super) user: String,
    pub(super) port: u16,
    /// `ProxyJump`, first hop first.
    pub(super) jumps: Vec<String>,
    pub(super) identity_files: Vec<String>,
    /// Whether an identity file was named.
    pub(super) named_identity: bool,
    pub(super) identities_only: bool,
    pub(super) forward_agent: bool,
    pub(super) strict: Strict,
    /// Under which name the host key is known.
    pub(super) known_as: String,
    /// Seconds to wait for a connection, if limited.
    pub(super) connect_timeout: Option<u64>,
    /// The options that decided, in the order in which they were found.
    pub(super) taken: Vec<Given>,
}

/// What becomes of a host key that is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Strict {
    /// Refused.
    Yes,
    /// Taken and remembered.
    New,
    /// A person is asked.
    Ask,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// What OpenSSH would print.
    pub fn parse(text: &str) -> Result<Config, String> {
        let mut blocks = vec![Block { line: 1, when: When::Always, options: Vec::new() }];
        for (number, line) in (1_u32..).zip(text.lines()) {
            let at = |why: String| format!("~/.ssh/config: line {number}: {why}");
            let Some((name, values)) = split(line).map_err(at)? else { continue };
            match name.to_ascii_lowercase().as_str() {
                "host" => {
                    let when = When::Host(values);
                    blocks.push(Block { line: number, when, options: Vec::new() });
                }
                "match" => {
                    let when = When::Match(criteria(&values).map_err(at)?);
                    blocks.push(Block { line: number, when, options: Vec::new() });
                }
                _ => {
                    if let Some(given) = option(number, &name, &values.join(" ")).map_err(at)? {
                        blocks.last_mut().expect("invariant: one was there").options.push(given);
                    }
                }
            }
        }
        Ok(Config { blocks })
    }

    /// What it says of a destination; `first` (the command line) goes before. `local_user` is who types.
    pub(super) fn plan(&self, host: &str, first: &[Given], local_user: &str) -> Result<Plan, String> {
        let (user, host, port) = destination(host)?;
        let mut taken: Vec<Given> = Vec::new();
        // `user@` of the destination stands for -l, and goes before it.
        taken.extend(user.map(|value| Given { line: 0, name: "User", value }));
        taken.extend(port.map(|port| Given { line: 0, name: "Port", value: port.to_string() }));
        first.iter().for_each(|given| take(&mut taken, given));
        for block in &self.blocks {
            if block.when.holds(&host, &taken, local_user) {
                block.options.iter().for_each(|given| take(&mut taken, given));
            }
        }
        let value = |name: &str| taken.iter().find(|g| g.name == name).map(|g| g.value.as_str());
        let hostname = value("HostName").map_or_else(|| host.clone(), |name| percent(name, &host));
        let port = value("Port").map_or(Ok(22), |text| number(text, "Port"))?;
        let jumps = value("ProxyJump").filter(|jumps| !jumps.eq_ignore_ascii_case("none"));
        let identity: Vec<String> =
            taken.iter().filter(|g| g.name == "IdentityFile").map(|g| g.value.clone()).collect();
        let named_identity = !identity.is_empty();
        let known_as = value("HostKeyAlias").map_or_else(
            || if port == 22 { hostname.clone() } else { format!("[{hostname}]:{port}") },
            str::to_owned,
        );
        Ok(Plan {
            hostname,
            user: value("User").unwrap_or(local_user).to_owned(),
            port,
            jumps: jumps.map_or_else(Vec::new, |list| list.split(',').map(|j| j.trim().to_owned()).collect()),
            identity_files: if named_identity { identity } else { vec!["~/.ssh/id_ed25519".to_owned()] },
            named_identity,
            identities_only: yes(value("IdentitiesOnly")),
            forward_agent: yes(value("ForwardAgent")),
            strict: match value("StrictHostKeyChecking").unwrap_or("ask") {
                "yes" => Strict::Yes,
                "no" | "off" | "accept-new" => Strict::New,
                _ => Strict::Ask,
            },
            known_as,
            connect_timeout: value("ConnectTimeout").and_then(|t| t.parse().ok()).filter(|t| *t > 0),
            host,
            taken,
        })
    }

    /// Where the block that contains a line begins, and its words.
    pub(super) fn block_of(&self, line: u32) -> Option<String> {
        let block = self.blocks.iter().rev().find(|b| b.line <= line && b.when != When::Always)?;
        match &block.when {
            When::Host(patterns) => Some(format!("Host {}", patterns.join(" "))),
            When::Match(_) => Some("Match".to_owned()),
            When::Always => None,
        }
    }
}

/// First value wins; identity files add up.
fn take(taken: &mut Vec<Given>, given: &Given) {
    let there =
        taken.iter().any(|g| g.name == given.name && (g.name != "IdentityFile" || g.value == given.value));
    if !there {
        taken.push(given.clone());
    }
}

fn yes(value: Option<&str>) -> bool {
    value.is_some_and(|v| v.eq_ignore_ascii_case("yes"))
}

impl When {
    fn holds(&self, host: &str, taken: &[Given], local_user: &str) -> bool {
        let value = |name: &str| taken.iter().find(|g| g.name == name).map(|g| g.value.as_str());
        match self {
            When::Always => true,
            When::Host(patterns) => any_of(patterns, host),
            When::Match(criteria) => criteria.iter().all(|(what, patterns)| {
                let hostname = || value("HostName").map_or_else(|| host.to_owned(), |n| percent(n, host));
                match what.as_str() {
                    "all" => true,
                    "host" => any_of(patterns, &hostname()),
                    "originalhost" => any_of(patterns, host),
                    "user" => any_of(patterns, value("User").unwrap_or(local_user)),
                    _ => any_of(patterns, local_user),
                }
            }),
        }
    }
}

/// Whether one of the patterns fits and none that begins with `!`.
fn any_of(patterns: &[String], text: &str) -> bool {
    let fits =
        |pattern: &str| fits(pattern.to_ascii_lowercase().as_bytes(), text.to_ascii_lowercase().as_bytes());
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(not) if fits(not) => return false,
            Some(_) => {}
            None => found |= fits(pattern),
        }
    }
    found
}

/// `*` is any run of characters, `?` any one. Linear: after a mismatch the last `*` takes one more.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// `%h` is the host as it was asked for, `%%` a percent sign.
fn percent(text: &str, host: &str) -> String {
    text.replace("%%", "\0").replace("%h", host).replace('\0', "%")
}

/// A keyword and its words; `None` for an empty line or a comment.
fn split(line: &str) -> Result<Option<(String, Vec<String>)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    let mut words = super::words::split(rest)?;
    if let Some(comment) = words.iter().position(|word| word.starts_with('#')) {
        words.truncate(comment);
    }
    if words.is_empty() {
        return Err("missing argument.".to_owned());
    }
    Ok(Some((name.to_owned(), words)))
}

fn criteria(words: &[String]) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut all = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let what = word.to_ascii_lowercase();
        match what.as_str() {
            "all" => all.push((what, Vec::new())),
            "host" | "originalhost" | "user" | "localuser" => {
                let list = words.next().ok_or_else(|| format!("Missing Match criteria for {word}"))?;
                all.push((what, list.split(',').map(str::to_owned).collect()));
            }
            _ => return Err(format!("Unsupported Match attribute {word}")),
        }
    }
    Ok(all)
}

fn option(line: u32, name: &str, value: &str) -> Result<Option<Given>, String> {
    if IDLE.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(None);
    }
    let known = USED.iter().find(|known| known.eq_ignore_ascii_case(name));
    let name = *known.ok_or_else(|| format!("Bad configuration option: {}", name.to_ascii_lowercase()))?;
    if name == "Port" {
        number(value, name)?;
    }
    Ok(Some(Given { line, name, value: value.to_owned() }))
}

fn number(text: &str, what: &str) -> Result<u16, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("Bad {} '{text}'.", what.to_ascii_lowercase()))
}

/// `[user@]host[:port]` of `-J`, `[user@]host` and `ssh://[user@]host[:port]` of a destination.
fn destination(text: &str) -> Result<(Option<String>, String, Option<u16>), String> {
    let uri = text.strip_prefix("ssh://");
    let rest = uri.unwrap_or(text).trim_end_matches('/');
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, rest),
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, Some(number(port, "port")?)),
        _ => (rest, None),
    };
    let bad = host.is_empty()
        || host.starts_with('-')
        || user.as_ref().is_some_and(|u| u.is_empty() || u.starts_with('-'));
    if bad {
        Err(format!("hostname contains invalid characters: {text}"))
    } else {
        Ok((user, host.to_owned(), port))
    }
}

impl Arguments {
    /// Reads what stands behind `ssh`.
    ///
    /// # Errors
    /// In ssh's words.
    pub(super) fn parse(words: &[String]) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(flags) =
                word.strip_prefix('-').filter(|flags| !flags.is_empty() && arguments.command.is_none())
            else {
                if arguments.host.is_empty() {
                    arguments.host.clone_from(word);
                    continue;
                }
                let mut command = vec![word.clone()];
                command.extend(words.by_ref().cloned());
                arguments.command = Some(command.join(" "));
                break;
            };
            let mut rest = flags;
            while let Some(flag) = rest.chars().next() {
                rest = &rest[flag.len_utf8()..];
                if "JlpioFLRDWbcEeImOQSw".contains(flag) {
                    let value = if rest.is_empty() { words.next().cloned() } else { Some(rest.to_owned()) };
                    let value = value.ok_or_else(|| format!("option requires an argument -- {flag}"))?;
                    arguments.valued(flag, value)?;
                    break;
                }
                arguments.plain(flag)?;
            }
        }
        if arguments.host.is_empty() {
            return Err("usage: ssh [-Aatq] [-i identity_file] [-J destination] [-l login_name] [-o option] [-p port] \
                        destination [command]"
                .to_owned());
        }
        Ok(arguments)
    }

    fn give(&mut self, name: &'static str, value: impl Into<String>) {
        self.options.push(Given { line: 0, name, value: value.into() });
    }

    fn valued(&mut self, flag: char, value: String) -> Result<(), String> {
        match flag {
            'J' => self.give("ProxyJump", value),
            'l' => self.give("User", value),
            'p' => {
                number(&value, "port")?;
                self.give("Port", value);
            }
            'i' => self.give("IdentityFile", value),
            'o' => {
                let (name, words) = split(&value)?.ok_or("no option given")?;
                let given = option(0, &name, &words.join(" "))
                    .map_err(|why| format!("command-line: line 0: {why}"))?;
                self.options.extend(given);
            }
            other => return Err(format!("the option -{other} is not known here")),
        }
        Ok(())
    }

    fn plain(&mut self, flag: char) -> Result<(), String> {
        match flag {
            'A' => self.give("ForwardAgent", "yes"),
            'a' => self.give("ForwardAgent", "no"),
            't' => self.terminal = true,
            'T' => self.terminal = false,
            'q' | 'v' | 'x' | 'C' | '4' | 'n' => {}
            other => return Err(format!("unknown option -- {other}")),
        }
        Ok(())
    }
}

/// Whether one more jump is one too many.
pub(super) fn too_deep(depth: usize) -> bool {
    depth > MOST_JUMPS
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Config, Strict, fits};

    fn plan(config: &str, command: &str) -> super::Plan {
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        let arguments = Arguments::parse(&words).unwrap();
        Config::parse(config).unwrap().plan(&arguments.host, &arguments.options, "ana").unwrap()
    }

    const CONFIG: &str = "
        # comments and case do not matter
        host bastion
          hostname 54.1.2.3
          User=ec2-user
          IdentityFile \"~/.ssh/aws key\"
        Host db db-*  !db-old
          HostName 10.0.2.100
          ProxyJump bastion
        Host *.example.com
          HostName %h.internal
          Port 2222
        Host *
          User nobody
          IdentityFile ~/.ssh/id_ed25519
    ";

    #[test]
    fn the_first_value_wins_and_identity_files_add_up() {
        let bastion = plan(CONFIG, "bastion");
        assert_eq!(
            (bastion.hostname.as_str(), bastion.user.as_str(), bastion.port),
            ("54.1.2.3", "ec2-user", 22)
        );
        assert_eq!(bastion.identity_files, ["~/.ssh/aws key", "~/.ssh/id_ed25519"]);
        let db = plan(CONFIG, "db hostname");
        assert_eq!((db.hostname.as_str(), db.user.as_str()), ("10.0.2.100", "nobody"));
        assert_eq!(db.jumps, ["bastion"]);
        assert_eq!(plan(CONFIG, "-l root -J none db").jumps, Vec::<String>::new());
        assert_eq!(plan(CONFIG, "root@db -l other").user, "root");
        assert_eq!(plan(CONFIG, "DB-1").hostname, "10.0.2.100");
        // Negation: `db-old` is not one of them, whatever the positive patterns say.
        assert_eq!(plan(CONFIG, "db-old").hostname, "db-old");
        let web = plan(CONFIG, "web.example.com");
        assert_eq!((web.hostname.as_str(), web.port), ("web.example.com.internal", 2222));
        assert_eq!(web.known_as, "[web.example.com.internal]:2222");
    }

    #[test]
    fn a_general_block_above_a_special_one_wins() {
        let plan = plan(
            "User first\nHost db\n  User second\nMatch host 10.* user first\n Port 1\nHost db\nHostName 10.0.0.1",
            "db",
        );
        assert_eq!((plan.user.as_str(), plan.port), ("first", 22));
        let plan = self::plan("Host db\nHostName 10.0.0.1\nMatch host 10.* user ana\n Port 1", "db");
        assert_eq!(plan.port, 1);
    }

    #[test]
    fn command_lines_are_read_as_ssh_reads_them() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let both =
            Arguments::parse(&words("-Atp 2222 -oStrictHostKeyChecking=yes bastion ssh -A db hostname -f"))
                .unwrap();
        assert_eq!(both.command.as_deref(), Some("ssh -A db hostname -f"));
        assert!(both.terminal);
        let plan = Config::default().plan(&both.host, &both.options, "ana").unwrap();
        assert_eq!((plan.port, plan.forward_agent, plan.strict), (2222, true, Strict::Yes));
        // Options may stand behind the destination, before the command.
        assert_eq!(Arguments::parse(&words("db -p 7 ls")).unwrap().options[0].value, "7");
        for bad in ["", "-J", "-p x db", "-Z db", "-o Nonsense=1 db"] {
            assert!(Arguments::parse(&words(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_openssh_refuses_is_refused_in_its_words() {
        let why = |text: &str| Config::parse(text).unwrap_err();
        assert_eq!(why("Host a\n  Hostnam b"), "~/.ssh/config: line 2: Bad configuration option: hostnam");
        assert_eq!(why("Port"), "~/.ssh/config: line 1: missing argument.");
        assert_eq!(why("Match exec true"), "~/.ssh/config: line 1: Unsupported Match attribute exec");
        assert!(Config::parse("ServerAliveInterval 60").is_ok());
    }

    #[test]
    fn patterns_have_stars_and_question_marks() {
        let yes = [("*", ""), ("a*c", "abbc"), ("?b", "ab"), ("*.x.*", "1.x.2.x.3"), ("**", "z")];
        let no = [("a*c", "abcd"), ("?", ""), ("a", "b"), ("*a", "b")];
        yes.iter().for_each(|(p, t)| assert!(fits(p.as_bytes(), t.as_bytes()), "{p} {t}"));
        no.iter().for_each(|(p, t)| assert!(!fits(p.as_bytes(), t.as_bytes()), "{p} {t}"));
    }
}
