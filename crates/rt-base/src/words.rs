//! Numbers with their nouns, as every part of roundtrip says them. Not for anything else that is said: sentences belong to who
//! says them. Simplification: English only, and the few nouns that we use; an irregular one would come out wrong.

/// What an application says when no local port is free: the story looks for it to name who holds the ports.
pub const NO_FREE_PORT: &str = "no ephemeral port is free";

/// `1 packet`, `3 packets`, `2 replies`, `1 more match`, `4 more matches`: the last word bends.
///
/// ```
/// assert_eq!(rt_base::count(1, "reply"), "1 reply");
/// assert_eq!(rt_base::count(2, "duplicate ACK"), "2 duplicate ACKs");
/// ```
#[must_use]
pub fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {}", plural(one)) }
}

/// The plural of a noun: `reply` is `replies`, `day` is `days`, `loss` is `losses`.
#[must_use]
pub fn plural(one: &str) -> String {
    let hisses = ["s", "x", "z", "ch", "sh"].iter().any(|end| one.ends_with(end));
    match one.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if hisses => format!("{one}es"),
        _ => format!("{one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn nouns_bend_as_in_english() {
        let all = [
            (0, "packet", "0 packets"),
            (1, "packet", "1 packet"),
            (15, "reply", "15 replies"),
            (2, "day", "2 days"),
            (1, "try", "1 try"),
            (3, "try", "3 tries"),
            (2, "loss", "2 losses"),
            (2, "more match", "2 more matches"),
            (2, "SYN", "2 SYNs"),
        ];
        for (n, one, said) in all {
            assert_eq!(count(n, one), said);
        }
    }
}
