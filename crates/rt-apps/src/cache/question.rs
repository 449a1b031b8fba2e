//! A request as the cache sees it, and the key that it asks for.

use http::header::{AUTHORIZATION, HOST, HeaderName, IF_MATCH, IF_UNMODIFIED_SINCE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use super::CacheOptions;
use super::directives::{Directives, values};

/// A request: method, target URI and fields.
#[derive(Clone, Debug)]
pub struct Question {
    pub(super) method: Method,
    scheme: &'static str,
    host: String,
    path: String,
    query: Option<String>,
    /// Which of several origins answers: the same URI means something else at each.
    origin: Option<String>,
    pub(super) headers: HeaderMap,
}

impl Question {
    /// From a request as hyper gives it; `tls` says how it came.
    #[must_use]
    pub fn of(parts: &Parts, tls: bool) -> Question {
        let named = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = parts.uri.authority().map(http::uri::Authority::as_str).or(named).unwrap_or_default();
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let scheme = if tls { "https" } else { "http" };
        let mut question = Question::new(parts.method.clone(), scheme, host, target);
        question.headers = parts.headers.clone();
        question
    }

    /// The same, answered by one of several origins (nginx's `$proxy_host` in a key).
    #[must_use]
    pub fn answered_by(self, origin: &str) -> Question {
        Question { origin: Some(origin.to_owned()), ..self }
    }

    /// The same with these fields: those that the origin sees.
    #[must_use]
    pub fn with_fields(self, headers: HeaderMap) -> Question {
        Question { headers, ..self }
    }

    /// Without fields yet.
    pub(super) fn new(method: Method, scheme: &'static str, host: &str, target: &str) -> Question {
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(usual).map(str::to_owned).unwrap_or(host);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        Question { method, scheme, host, path, query, origin: None, headers: HeaderMap::new() }
    }

    /// The URI under which responses are kept: without its query where the options say so.
    //= rfc9111#section-2
    pub(super) fn uri(&self, options: &CacheOptions) -> String {
        let Question { scheme, host, path, query, .. } = self;
        match query {
            Some(query) if !options.ignore_query => format!("{scheme}://{host}{path}?{query}"),
            _ => format!("{scheme}://{host}{path}"),
        }
    }

    /// The whole key: URI and the fields that count as part of it. A space parts them: no URI has one.
    pub(super) fn key(&self, options: &CacheOptions) -> String {
        let mut key = self.uri(options);
        for name in &options.key_headers {
            let value = name.parse().ok().and_then(|name: HeaderName| combined(&self.headers, &name));
            // Quoted, so that no value can look like another field.
            key.push_str(&format!(" {}={:?}", name.to_ascii_lowercase(), value.unwrap_or_default()));
        }
        if let Some(origin) = &self.origin {
            key.push_str(&format!(" from {origin:?}"));
        }
        key
    }

    /// A URI that a response of this request names, if it is of the same origin.
    pub(super) fn same_origin(&self, reference: &str) -> Option<Question> {
        let base = url::Url::parse(&format!("{}://{}{}", self.scheme, self.host, self.path)).ok()?;
        let url = base.join(reference).ok()?;
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        (url.origin() == base.origin()).then(|| Question::new(Method::GET, self.scheme, &self.host, target))
    }

    pub(super) fn directives(&self) -> Directives {
        Directives::of_request(&self.headers)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn authorized(&self) -> bool {
        self.headers.contains_key(AUTHORIZATION)
    }

    /// Preconditions that only the origin can judge.
    //= rfc9111#section-4.3.2
    pub(super) fn asks_origin(&self) -> bool {
        self.headers.contains_key(IF_MATCH) || self.headers.contains_key(IF_UNMODIFIED_SINCE)
    }
}

/// A field over all its lines, as one list with one comma and space between its members.
pub(super) fn combined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.contains_key(name).then(|| values(headers, name).collect::<Vec<_>>().join(", "))
}
