//! Shell lines: never given to a shell. Those that set sysctls are carried out on the machine; the rest is noted.

use crate::machine::{Applied, Machine};

/// What became of a line: each thing passed over, in words.
///
/// # Errors
/// A sysctl cannot have the value.
pub(super) fn carry_out(machine: &mut Machine, line: &str) -> Result<Vec<String>, String> {
    let mut passed_over = Vec::new();
    for command in commands(line) {
        match settings_of(&command) {
            Some(settings) => {
                for (name, value) in &settings {
                    set(machine, name, value, &mut passed_over)?;
                }
            }
            None if is_harmless(&command) => {}
            None => passed_over.push(format!("skipped, it needs a real host: `{}`", command.join(" "))),
        }
    }
    Ok(passed_over)
}

fn set(machine: &mut Machine, name: &str, value: &str, passed_over: &mut Vec<String>) -> Result<(), String> {
    match machine.set(name, value) {
        Ok(Applied::Yes | Applied::Ignored) => {}
        Ok(Applied::Unknown) => passed_over.push(format!("nobody here knows the sysctl {name}")),
        Err(error) => return Err(format!("not set: {error}")),
    }
    Ok(())
}

/// Words of each command of a line. Quotes hold words together; `;`, `&&`, `||`, `|` and line ends separate commands.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') if chars.peek() == Some(&'\n') => {
                chars.next();
            }
            (None, c) if c.is_whitespace() || matches!(c, ';' | '&' | '|') => {
                if let (Some(done), Some(command)) = (word.take(), commands.last_mut()) {
                    command.push(done);
                }
                if matches!(c, ';' | '&' | '|' | '\n') {
                    commands.push(Vec::new());
                }
            }
            (None, '#') if word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let (Some(done), Some(command)) = (word, commands.last_mut()) {
        command.push(done);
    }
    commands.retain(|c| !c.is_empty());
    commands
}

/// What is set, if the command sets sysctls.
fn settings_of(command: &[String]) -> Option<Vec<(String, String)>> {
    let program = command.first()?.rsplit('/').next()?;
    if program == "echo" {
        // echo 1 > /proc/sys/net/ipv4/tcp_sack
        let to = command.iter().position(|w| w.starts_with('>'))?;
        let file = match command[to].trim_start_matches('>') {
            "" => command.get(to + 1)?,
            file => file,
        };
        return Some(vec![(file.strip_prefix("/proc/sys/")?.replace('/', "."), command[1..to].join(" "))]);
    }
    if !matches!(program, "sysctl" | "set_sysctls.py") {
        return None;
    }
    let mut settings = Vec::new();
    for word in &command[1..] {
        if let Some((name, value)) = word.split_once('=') {
            let name = name.strip_prefix("/proc/sys/").map_or(name.to_owned(), |n| n.replace('/', "."));
            settings.push((name, value.to_owned()));
        }
    }
    Some(settings)
}

/// Commands whose absence changes nothing: the default set-up (which the machine has from the start), restoring it
/// afterwards, loading what is compiled in.
fn is_harmless(command: &[String]) -> bool {
    let program = command[0].rsplit('/').next().unwrap_or_default();
    matches!(program, "true" | ":" | "sync" | "sleep" | "kldload" | "modprobe" | "defaults.sh")
        || program.starts_with("sysctl_restore")
        || program.starts_with("packetdrill-defaults")
        || (program == "source" || program == ".") && command.len() == 2
}

#[cfg(test)]
mod tests {
    use super::{commands, settings_of};

    #[test]
    fn lines_split_as_a_shell_does() {
        let all = commands(
            "a 'b c' && sysctl -q x=\"1 2\"; # no\n ../common/set_sysctls.py /proc/sys/net/ipv4/tcp_sack=0",
        );
        assert_eq!(all[0], ["a", "b c"]);
        assert_eq!(settings_of(&all[1]), Some(vec![("x".into(), "1 2".into())]));
        assert_eq!(settings_of(&all[2]), Some(vec![("net.ipv4.tcp_sack".into(), "0".into())]));
        assert_eq!(settings_of(&all[0]), None);
        let echo = commands("echo 3 > /proc/sys/net/ipv4/tcp_syn_retries");
        assert_eq!(settings_of(&echo[0]), Some(vec![("net.ipv4.tcp_syn_retries".into(), "3".into())]));
    }
}
