//! Arguments of system calls as numbers, bytes and addresses.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::language::ast::Expr;
use crate::machine::{Errno, numbers};

/// The number that an expression stands for; `Err` says what is not known.
pub(super) fn number(expr: &Expr) -> Result<i64, String> {
    match expr {
        Expr::Number(n) => Ok(*n),
        Expr::Word(name) => numbers::by_name(name)
            .map(i64::from)
            .or_else(|| further(name))
            .or_else(|| Errno::by_name(name).map(|e| i64::from(e.0)))
            .ok_or_else(|| format!("the name {name}")),
        Expr::Or(parts) => parts.iter().try_fold(0, |sum, part| Ok(sum | number(part)?)),
        Expr::Apply(name, arguments) if name == "htons" => match arguments.as_slice() {
            [one] => Ok(i64::from((number(one)? as u16).to_be())),
            _ => Err("htons with other than one argument".into()),
        },
        Expr::Apply(name, arguments) if name == "inet_addr" => match arguments.as_slice() {
            [Expr::Text(text)] => text
                .parse::<Ipv4Addr>()
                .map(|a| i64::from(u32::from_ne_bytes(a.octets())))
                .map_err(|_| format!("the address '{text}'")),
            _ => Err("inet_addr with other than one string".into()),
        },
        _ => Err("this argument as a number".into()),
    }
}

/// Names that are no numbers of socket calls.
fn further(name: &str) -> Option<i64> {
    Some(match name {
        "IPPROTO_MPTCP" => 262,
        "NULL" => 0,
        _ => return None,
    })
}

/// A socket address: `...` is `default`.
pub(super) fn socket_address(expr: &Expr, default: SocketAddrV4) -> Result<Option<SocketAddrV4>, String> {
    if *expr == Expr::Ellipsis {
        return Ok(Some(default));
    }
    // An address of which only the family is given: `connect(3, AF_UNSPEC, ...)`.
    if *expr == Expr::Word("AF_UNSPEC".into()) {
        return Ok(None);
    }
    let family = expr.field("sa_family").ok_or("this socket address")?;
    if *family == Expr::Word("AF_UNSPEC".into()) {
        return Ok(None);
    }
    if *family != Expr::Word("AF_INET".into()) {
        return Err("a socket address that is not AF_INET".into());
    }
    let port = expr.field("sin_port").map(number).transpose()?.unwrap_or(0);
    let address = expr.field("sin_addr").map(number).transpose()?.unwrap_or(0);
    let address = Ipv4Addr::from((address as u32).to_ne_bytes());
    Ok(Some(SocketAddrV4::new(address, u16::from_be(port as u16))))
}

/// The bytes of a value in memory: `[1]`, `{onoff=1, linger=0}`, `"reno"`, `[{...}]`.
pub(super) fn memory(expr: &Expr) -> Result<Vec<u8>, String> {
    match expr {
        Expr::List(parts) | Expr::Struct(parts) => {
            let mut out = Vec::new();
            for part in parts {
                out.extend(memory(part)?);
            }
            Ok(out)
        }
        Expr::Field(_, value) => memory(value),
        Expr::Text(text) => Ok(text.as_bytes().to_vec()),
        Expr::Ellipsis => Ok(Vec::new()),
        other => Ok((number(other)? as i32).to_ne_bytes().to_vec()),
    }
}

/// A count in `[n]` or `n`.
pub(super) fn count(expr: &Expr) -> Result<usize, String> {
    let n = match expr {
        Expr::List(parts) if parts.len() == 1 => number(&parts[0])?,
        other => number(other)?,
    };
    usize::try_from(n).map_err(|_| format!("the count {n}"))
}
