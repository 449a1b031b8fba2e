//! Lines of a middlebox: `drop|strip`, then `tcp option N|unknown`, `ecn` or `tls1.3 [without compatibility]`, then the
//! conditions of a firewall line.

use rt_base::PortId;
use rt_rules::{Match, Newer, Ossified};

use super::{FindPort, Words, conditions, show_match};

/// Reads a line: what it is about, whether that is taken away only, and when.
pub(crate) fn middlebox(text: &str, find: FindPort<'_>) -> Result<(Newer, bool, Match), String> {
    let mut words = Words::new(text);
    let strips = match words.next() {
        Some("drop") => false,
        Some("strip") => true,
        Some(other) => return Err(format!("`{other}` is neither `drop` nor `strip`")),
        None => return Err("it is empty".to_owned()),
    };
    let what = match words.after(if strips { "strip" } else { "drop" })? {
        "ecn" => Newer::Ecn,
        "tls1.3" if words.take("without") => match words.after("without")? {
            "compatibility" => Newer::BareTls13,
            other => return Err(format!("`without {other}`: it can be `without compatibility`")),
        },
        "tls1.3" => Newer::Tls13,
        "tcp" => {
            if words.after("tcp")? != "option" {
                return Err("`tcp` goes on with `option N` or `option unknown`".to_owned());
            }
            match words.after("option")? {
                "unknown" => Newer::AnyTcpOption,
                kind => match kind.parse::<u8>() {
                    Ok(kind) if kind > 1 => Newer::TcpOption(kind),
                    _ => {
                        return Err(format!(
                            "`{kind}` is neither the kind of an option (2 to 255) nor `unknown`"
                        ));
                    }
                },
            }
        }
        other => return Err(format!("`{other}` is none of `tcp option`, `ecn`, `tls1.3`")),
    };
    if strips && matches!(what, Newer::Tls13 | Newer::BareTls13) {
        return Err("TLS cannot be stripped: both ends would notice; it can be dropped".to_owned());
    }
    let when = conditions(&mut words, find)?;
    match words.next() {
        Some(more) => Err(format!("`{more}` is not a condition")),
        None => Ok((what, strips, when)),
    }
}

/// Writes a line so that [`middlebox`] reads the same.
pub(crate) fn show_middlebox(rule: &Ossified, name: &dyn Fn(PortId) -> String) -> String {
    let what = match rule.what {
        Newer::TcpOption(kind) => format!("tcp option {kind}"),
        Newer::AnyTcpOption => "tcp option unknown".to_owned(),
        Newer::Ecn => "ecn".to_owned(),
        Newer::Tls13 => "tls1.3".to_owned(),
        Newer::BareTls13 => "tls1.3 without compatibility".to_owned(),
    };
    format!("{} {what}{}", if rule.strips { "strip" } else { "drop" }, show_match(&rule.when, name))
}

#[cfg(test)]
mod tests {
    use rt_rules::Origin;

    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let name = |port: PortId| format!("eth{}", port.0);
        let find = |text: &str| text.strip_prefix("eth")?.parse().ok().map(PortId);
        for text in [
            "drop tcp option unknown",
            "strip tcp option 34",
            "drop ecn",
            "strip ecn out eth1",
            "drop tls1.3 without compatibility tcp port 443",
            "drop tls1.3 to 198.51.100.0/24",
        ] {
            let (what, strips, when) = middlebox(text, &find).unwrap_or_else(|why| panic!("{text}: {why}"));
            let rule = Ossified { when, what, strips, origin: Origin::Learned { from: String::new() } };
            let again = show_middlebox(&rule, &name);
            assert_eq!(middlebox(&again, &find).unwrap(), (what, strips, rule.when), "{text} / {again}");
        }
        for wrong in
            ["", "drop", "allow ecn", "drop tcp", "drop tcp option 1", "strip tls1.3", "drop ecn sideways"]
        {
            assert!(middlebox(wrong, &find).is_err(), "{wrong}");
        }
    }
}
