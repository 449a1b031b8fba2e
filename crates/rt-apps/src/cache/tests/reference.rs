//! RFC 9111 once more: slow, as a list of rules in the order of its sections, over plain strings and milliseconds. It
//! shares no code with the cache that it judges and keeps every response for ever.

/// Fields with names in lower case, one per line as sent.
pub(super) type Fields = Vec<(String, String)>;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) uri: String,
    pub(super) fields: Fields,
    /// Milliseconds since 1970.
    pub(super) at: u64,
}

/// A response of the origin.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: Fields,
    pub(super) body: String,
    /// When it came, in milliseconds since 1970.
    pub(super) at: u64,
}

/// The options of the cache that change the rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) keep_cookies: bool,
    pub(super) obey_clients: bool,
    pub(super) stale_after_s_maxage: bool,
}

#[derive(Clone, Debug)]
struct Kept {
    uri: String,
    request: Fields,
    status: u16,
    fields: Fields,
    body: String,
    asked: u64,
    came: u64,
    order: u64,
    doubtful: bool,
}

/// See the module.
pub(super) struct Reference {
    options: Options,
    kept: Vec<Kept>,
    order: u64,
}

fn lines<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
}

fn first<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    lines(fields, name).first().copied()
}

/// The members of a list field (the random fields have no commas between quotes).
fn list(fields: &Fields, name: &str) -> Vec<String> {
    let all = lines(fields, name).join(",");
    all.split(',').map(|member| member.trim().to_owned()).filter(|member| !member.is_empty()).collect()
}

/// 5.2: the first directive of this name, with its argument.
fn directive(fields: &Fields, name: &str) -> Option<Option<String>> {
    list(fields, "cache-control").iter().find_map(|member| {
        let (word, argument) = match member.split_once('=') {
            Some((word, argument)) => (word.to_lowercase(), Some(argument.trim_matches('"').to_owned())),
            None => (member.to_lowercase(), None),
        };
        (word == name).then_some(argument)
    })
}

fn has(fields: &Fields, name: &str) -> bool {
    directive(fields, name).is_some()
}

/// 1.2.2, in milliseconds.
fn delta(text: &str) -> Option<u64> {
    let seconds = text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten()?;
    Some(seconds.min(2_147_483_648) * 1_000)
}

fn delta_of(fields: &Fields, name: &str) -> Option<u64> {
    directive(fields, name).flatten().and_then(|text| delta(&text))
}

/// RFC 9110, 5.6.7, the usual form, in milliseconds since 1970.
fn date(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split([' ', ':']).collect();
    let &[_, day, month, year, hour, minute, second, "GMT"] = words.as_slice() else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|known| *known == month)?;
    let number = |text: &str| text.parse::<u64>().ok();
    let (day, year) = (number(day)?, number(year)?);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let long = |month: usize| match month {
        1 if leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let days = years + (0..month).map(long).sum::<u64>() + day - 1;
    Some((days * 86_400 + number(hour)? * 3_600 + number(minute)? * 60 + number(second)?) * 1_000)
}

/// RFC 9110, 15.1, without 206.
fn heuristic(status: u16) -> bool {
    [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status)
}

fn opaque(tag: &str) -> &str {
    tag.trim_start_matches("W/")
}

impl Kept {
    fn date(&self) -> u64 {
        first(&self.fields, "date").and_then(date).unwrap_or(self.came / 1_000 * 1_000)
    }

    /// 4.2.1.
    fn lifetime(&self) -> u64 {
        for name in ["s-maxage", "max-age"] {
            if has(&self.fields, name) {
                return delta_of(&self.fields, name).unwrap_or(0);
            }
        }
        if let Some(expires) = first(&self.fields, "expires") {
            return date(expires).unwrap_or(0).saturating_sub(self.date());
        }
        // 4.2.2.
        if heuristic(self.status) || has(&self.fields, "public") {
            let modified = first(&self.fields, "last-modified").and_then(date);
            return modified.map_or(0, |at| self.date().saturating_sub(at) / 10);
        }
        0
    }

    /// 4.2.3.
    fn age(&self, now: u64) -> u64 {
        let apparent_age = (self.came / 1_000 * 1_000).saturating_sub(self.date());
        let age_value = list(&self.fields, "age").first().and_then(|age| delta(age)).unwrap_or(0);
        let corrected_age_value = age_value + (self.came - self.asked);
        apparent_age.max(corrected_age_value) + (now - self.came)
    }

    fn staleness(&self, now: u64) -> u64 {
        self.age(now).saturating_sub(self.lifetime())
    }

    /// 4.1.
    fn nominated(&self) -> Vec<(String, Option<String>)> {
        let mut names = list(&self.fields, "vary");
        names.iter_mut().for_each(|name| *name = name.to_lowercase());
        names.sort();
        names.dedup();
        names.into_iter().map(|name| (name.clone(), value(&self.request, &name))).collect()
    }

    fn fits(&self, ask: &Ask) -> bool {
        self.uri == ask.uri && self.nominated().iter().all(|(name, own)| value(&ask.fields, name) == *own)
    }

    /// 4.2.4.
    fn may_never_be_stale(&self, options: Options) -> bool {
        let names = ["no-cache", "must-revalidate", "proxy-revalidate"];
        names.iter().any(|name| has(&self.fields, name))
            || (has(&self.fields, "s-maxage") && !options.stale_after_s_maxage)
    }

    /// RFC 9110, 13.2.2 and 14.2, for a stored 200; what else is stored comes as it is.
    fn shown(&self, ask: &Ask, now: u64) -> String {
        let age = self.age(now) / 1_000;
        if self.status == 200 && self.not_modified(ask) {
            return format!("304 age={age}");
        }
        let length = self.body.len();
        let whole = format!("{} {} age={age}", self.status, self.body);
        if ask.method == "HEAD" {
            return format!("{} length={length} age={age}", self.status);
        }
        let (200, Some(range)) = (self.status, first(&ask.fields, "range")) else { return whole };
        if !self.if_range(ask) {
            return whole;
        }
        let Some((from, to)) = range.trim_start_matches("bytes=").split_once('-') else { return whole };
        if range.contains(',') {
            return whole;
        }
        let bounds = match (from.parse::<usize>(), to.parse::<usize>()) {
            (Ok(from), Ok(to)) if to < from => return whole,
            (Ok(from), to) => (from, to.unwrap_or(usize::MAX).min(length.saturating_sub(1))),
            (Err(_), Ok(0)) => (length, length),
            (Err(_), Ok(_)) if length == 0 => return whole,
            (Err(_), Ok(suffix)) => (length.saturating_sub(suffix), length - 1),
            _ => return whole,
        };
        if bounds.0 >= length {
            return format!("416 bytes */{length} age={age}");
        }
        let piece = &self.body[bounds.0..=bounds.1];
        format!("206 {piece} bytes {}-{}/{length} age={age}", bounds.0, bounds.1)
    }

    /// 4.3.2.
    fn not_modified(&self, ask: &Ask) -> bool {
        let own = first(&self.fields, "etag");
        if first(&ask.fields, "if-none-match").is_some() {
            let tags = list(&ask.fields, "if-none-match");
            return tags.iter().any(|tag| tag == "*" || own.is_some_and(|own| opaque(own) == opaque(tag)));
        }
        let Some(since) = first(&ask.fields, "if-modified-since").and_then(date) else { return false };
        first(&self.fields, "last-modified").and_then(date).unwrap_or(self.date()) <= since
    }

    /// RFC 9110, 13.1.5.
    fn if_range(&self, ask: &Ask) -> bool {
        match first(&ask.fields, "if-range") {
            None => true,
            Some(tag) if tag.contains('"') => {
                !tag.starts_with("W/") && first(&self.fields, "etag") == Some(tag)
            }
            Some(at) => first(&self.fields, "last-modified")
                .is_some_and(|modified| date(modified) == date(at) && date(at) < Some(self.date())),
        }
    }

    /// 3.2: the newer fields, but for those that describe the bytes.
    fn update(&mut self, newer: &Fields, asked: u64, came: u64) {
        let bytes = ["content-length", "content-encoding", "content-range", "transfer-encoding"];
        let newer: Fields =
            newer.iter().filter(|(name, _)| !bytes.contains(&name.as_str())).cloned().collect();
        self.fields.retain(|(name, _)| {
            name != "age" && name != "date" && !newer.iter().any(|(known, _)| known == name)
        });
        self.fields.extend(newer);
        (self.asked, self.came, self.doubtful) = (asked, came, false);
    }
}

fn value(fields: &Fields, name: &str) -> Option<String> {
    first(fields, name).map(|_| list(fields, name).join(", "))
}

/// What the cache does first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum First {
    Serve(String),
    /// Served stale; the origin is asked aside with these validators.
    ServeAndAsk(String, Validators),
    /// The origin is asked with these validators.
    Forward(Validators),
    Refuse,
}

/// If-None-Match and If-Modified-Since.
pub(super) type Validators = (Option<String>, Option<String>);

impl Reference {
    pub(super) fn new(options: Options) -> Reference {
        Reference { options, kept: Vec::new(), order: 0 }
    }

    /// 4: the most recent response that fits.
    fn chosen(&self, ask: &Ask) -> Option<usize> {
        let fitting = self.kept.iter().enumerate().filter(|(_, kept)| kept.fits(ask));
        fitting.max_by_key(|(_, kept)| (kept.date(), kept.order)).map(|(at, _)| at)
    }

    fn is_passed(ask: &Ask) -> bool {
        !["GET", "HEAD"].contains(&ask.method)
            || ["if-match", "if-unmodified-since"].iter().any(|name| first(&ask.fields, name).is_some())
    }

    /// What is done with a request; the number of the response that it is about, if one is stored.
    pub(super) fn ask(&self, ask: &Ask) -> First {
        let own = |name: &str| first(&ask.fields, name).map(str::to_owned);
        if Reference::is_passed(ask) {
            return First::Forward((own("if-none-match"), own("if-modified-since")));
        }
        let client = |name: &str| self.options.obey_clients && has(&ask.fields, name);
        let span = |name: &str| delta_of(&ask.fields, name);
        let Some(kept) = self.chosen(ask).map(|at| &self.kept[at]) else {
            return self.forward(ask, None);
        };
        let (age, lifetime) = (kept.age(ask.at), kept.lifetime());
        let no_cache = client("no-cache")
            || (self.options.obey_clients
                && first(&ask.fields, "cache-control").is_none()
                && first(&ask.fields, "pragma") == Some("no-cache"));
        // Everything that makes a validation necessary, whether fresh or not.
        let validate = [
            kept.doubtful,
            has(&kept.fields, "no-cache"),
            no_cache,
            client("max-age") && span("max-age").is_some_and(|most| age > most),
            client("min-fresh")
                && span("min-fresh").is_some_and(|least| lifetime.saturating_sub(age) < least),
        ];
        if validate.contains(&true) {
            return self.forward(ask, Some(kept));
        }
        if lifetime > age {
            return First::Serve(kept.shown(ask, ask.at));
        }
        if kept.may_never_be_stale(self.options) {
            return self.forward(ask, Some(kept));
        }
        let staleness = kept.staleness(ask.at);
        let takes_any = directive(&ask.fields, "max-stale") == Some(None);
        if client("max-stale") && (takes_any || span("max-stale").is_some_and(|most| staleness <= most)) {
            return First::Serve(kept.shown(ask, ask.at));
        }
        // RFC 5861, 3.
        if delta_of(&kept.fields, "stale-while-revalidate").is_some_and(|window| staleness <= window) {
            return First::ServeAndAsk(kept.shown(ask, ask.at), validators(kept));
        }
        self.forward(ask, Some(kept))
    }

    fn forward(&self, ask: &Ask, kept: Option<&Kept>) -> First {
        // 5.2.1.7.
        if self.options.obey_clients && has(&ask.fields, "only-if-cached") {
            return First::Refuse;
        }
        if ask.method == "HEAD" {
            let own = |name: &str| first(&ask.fields, name).map(str::to_owned);
            return First::Forward((own("if-none-match"), own("if-modified-since")));
        }
        First::Forward(kept.map(validators).unwrap_or_default())
    }

    /// What a response of the origin to a forwarded request brings: what the client gets, or `kept` and `passed`.
    pub(super) fn answered(&mut self, ask: &Ask, answer: &Answer, background: bool) -> String {
        self.invalidate(ask, answer);
        if Reference::is_passed(ask) {
            return "passed".to_owned();
        }
        let ask = &if background { Ask { method: "GET", ..ask.clone() } } else { ask.clone() };
        let chosen = self.chosen(ask);
        let asked_about =
            chosen.filter(|at| ask.method == "GET" && validators(&self.kept[*at]) != (None, None));
        if answer.status == 304
            && let Some(at) = asked_about
        {
            return self.renew(ask, answer, at);
        }
        if [500, 502, 503, 504].contains(&answer.status)
            && let Some(at) = chosen
            && self.may_be_used_on_error(ask, &self.kept[at], answer.at)
        {
            return format!("stale {}", self.kept[at].shown(ask, answer.at));
        }
        if ask.method == "HEAD" && answer.status == 200 {
            self.freshen(ask, answer);
        }
        let kept = Kept {
            uri: ask.uri.clone(),
            request: ask.fields.clone(),
            status: answer.status,
            fields: answer.fields.clone(),
            body: answer.body.clone(),
            asked: ask.at,
            came: answer.at,
            order: self.order + 1,
            doubtful: false,
        };
        let may = self.may_be_kept(ask, &kept);
        // 4.3.3: a full response means that the one asked about is not the right one (a 5xx says nothing).
        if let Some(at) = asked_about
            && (may || answer.status < 500)
        {
            self.kept.remove(at);
        }
        if !may {
            return "passed".to_owned();
        }
        self.order += 1;
        // One response per key and nominated values.
        self.kept.retain(|old| old.uri != kept.uri || old.nominated() != kept.nominated());
        self.kept.push(kept);
        "kept".to_owned()
    }

    /// 3.
    fn may_be_kept(&self, ask: &Ask, kept: &Kept) -> bool {
        let fields = &kept.fields;
        let explicit = ["public", "max-age", "s-maxage"].iter().any(|name| has(fields, name));
        let never_fresh = kept.lifetime() == 0 || has(fields, "no-cache");
        let rules = [
            ask.method == "GET",
            ![206, 304].contains(&kept.status),
            !has(fields, "must-understand") || heuristic(kept.status) || [302, 307].contains(&kept.status),
            !has(fields, "no-store") || has(fields, "must-understand"),
            !(self.options.obey_clients && has(&ask.fields, "no-store")),
            !has(fields, "private"),
            first(&ask.fields, "authorization").is_none()
                || ["must-revalidate", "public", "s-maxage"].iter().any(|name| has(fields, name)),
            explicit || first(fields, "expires").is_some() || heuristic(kept.status),
            // 4.1.
            !list(fields, "vary").contains(&"*".to_owned()),
            // Not in the RFC: a cookie is for one, and what can never be used is not kept.
            self.options.keep_cookies || first(fields, "set-cookie").is_none(),
            !never_fresh
                || validators(kept) != (None, None)
                || has(fields, "stale-while-revalidate")
                || has(fields, "stale-if-error"),
        ];
        rules.iter().all(|holds| *holds)
    }

    /// 4.3.4.
    fn renew(&mut self, ask: &Ask, answer: &Answer, asked_about: usize) -> String {
        let (tag, modified) = (first(&answer.fields, "etag"), first(&answer.fields, "last-modified"));
        let initial: Vec<usize> = (0..self.kept.len()).filter(|at| self.kept[*at].fits(ask)).collect();
        let recent = |all: Vec<usize>| {
            all.into_iter()
                .max_by_key(|at| (self.kept[*at].date(), self.kept[*at].order))
                .into_iter()
                .collect()
        };
        let own = |at: &usize, name: &str| first(&self.kept[*at].fields, name).map(str::to_owned);
        let meant: Vec<usize> = match (tag, modified) {
            (Some(tag), _) if !tag.starts_with("W/") => {
                initial.into_iter().filter(|at| own(at, "etag").as_deref() == Some(tag)).collect()
            }
            (Some(tag), _) => recent(
                initial
                    .into_iter()
                    .filter(|at| own(at, "etag").is_some_and(|own| opaque(&own) == opaque(tag)))
                    .collect(),
            ),
            (None, Some(modified)) => recent(
                initial
                    .into_iter()
                    .filter(|at| own(at, "last-modified").as_deref() == Some(modified))
                    .collect(),
            ),
            // The RFC says nothing about this one; it can only be about what was asked.
            (None, None) => vec![asked_about],
        };
        for at in &meant {
            self.kept[*at].update(&answer.fields, ask.at, answer.at);
        }
        if meant.contains(&asked_about) {
            return format!("renewed {}", self.kept[asked_about].shown(ask, answer.at));
        }
        self.kept.remove(asked_about);
        "again".to_owned()
    }

    /// RFC 5861, 4.
    fn may_be_used_on_error(&self, ask: &Ask, kept: &Kept, now: u64) -> bool {
        let staleness = kept.staleness(now);
        let allows =
            |fields: &Fields| delta_of(fields, "stale-if-error").is_some_and(|window| staleness <= window);
        !kept.doubtful
            && !kept.may_never_be_stale(self.options)
            && (allows(&kept.fields) || (self.options.obey_clients && allows(&ask.fields)))
    }

    /// 4.3.5.
    fn freshen(&mut self, ask: &Ask, answer: &Answer) {
        for kept in self.kept.iter_mut().filter(|kept| kept.fits(ask) && kept.status == 200) {
            let length = kept.body.len().to_string();
            let same = |name: &str, own: Option<&str>| {
                first(&answer.fields, name).is_none_or(|value| Some(value) == own)
            };
            let agrees = same("etag", first(&kept.fields, "etag"))
                && same("last-modified", first(&kept.fields, "last-modified"))
                && same("content-length", Some(&length));
            if agrees {
                kept.update(&answer.fields, ask.at, answer.at);
            } else {
                kept.doubtful = true;
            }
        }
    }

    /// 4.4.
    fn invalidate(&mut self, ask: &Ask, answer: &Answer) {
        if ["GET", "HEAD", "OPTIONS", "TRACE"].contains(&ask.method) || !(200..400).contains(&answer.status) {
            return;
        }
        let origin: String = ask.uri.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let mut gone = vec![ask.uri.clone()];
        for name in ["location", "content-location"] {
            match first(&answer.fields, name) {
                Some(path) if path.starts_with('/') => gone.push(format!("{origin}{path}")),
                Some(uri) => gone.push(uri.to_owned()),
                None => {}
            }
        }
        self.kept.retain(|kept| !gone.contains(&kept.uri) || !kept.uri.starts_with(&origin));
    }
}

/// 4.3.1.
fn validators(kept: &Kept) -> Validators {
    let own = |name: &str| first(&kept.fields, name).map(str::to_owned);
    (own("etag"), own("last-modified"))
}
