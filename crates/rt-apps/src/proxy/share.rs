//! Which pool a request goes to when its route has shares: by dice, by whose it is, or where its client was before.

use http::HeaderValue;
use rt_base::Candidate;
use rt_rules::hash_text;
use rt_rules::http::{Asked, HttpRoute, Then};

use super::edge::{Caller, Proxy};
use super::gate::whose;

impl Proxy {
    /// The pool of a request, and the cookie that will keep its client there.
    pub(super) fn share(
        &self,
        caller: Caller,
        route: &HttpRoute,
        asked: &Asked,
        user: Option<&str>,
    ) -> (Option<usize>, Option<HeaderValue>) {
        let Then::To(shares) = &route.then else { return (None, None) };
        if let [(only, _)] = shares[..] {
            return (Some(only), None);
        }
        let called = |pool: usize| self.pools.get(pool).map_or("", |pool| &pool.name);
        let tell = |text: String| {
            let all = shares
                .iter()
                .map(|(pool, share)| Candidate { name: called(*pool).to_owned(), note: percent(*share) });
            self.step(caller, "canary", text, all.collect());
        };
        let cookie = route.staying.cookie.as_deref();
        let kept = cookie.and_then(|cookie| {
            let (_, value) = asked.cookies().into_iter().find(|(name, _)| name == cookie)?;
            // A pool without a share lets nobody in, who was there before either.
            let in_use = |(pool, share): &&(usize, u32)| *share > 0 && called(*pool) == value;
            shares.iter().find(in_use).map(|(pool, _)| *pool)
        });
        if let (Some(pool), Some(cookie)) = (kept, cookie) {
            tell(format!("keeps the client at {}: its cookie {cookie} says so", called(pool)));
            return (Some(pool), None);
        }
        let who = route.staying.of.as_ref().map(|of| whose(of, caller, asked, user));
        let lot = who.as_ref().map_or_else(|| self.dice().next_u64(), |who| hash_text(who));
        let Some(pool) = route.then.pool(lot) else { return (None, None) };
        let name = called(pool);
        let lasting =
            cookie.map_or_else(String::new, |cookie| format!(", and keeps it there by the cookie {cookie}"));
        tell(match who {
            Some(who) => format!("goes by a hash of {who}: it goes to {name}, as always{lasting}"),
            None => format!("throws dice: this one goes to {name}{lasting}"),
        });
        let set = |cookie: &str| HeaderValue::from_str(&format!("{cookie}={name}; Path=/; HttpOnly")).ok();
        (Some(pool), cookie.and_then(set))
    }
}

/// `5 %`, of parts of a million.
fn percent(share: u32) -> String {
    if share.is_multiple_of(10_000) {
        format!("{} %", share / 10_000)
    } else {
        format!("{}.{:02} %", share / 10_000, share % 10_000 / 100)
    }
}
