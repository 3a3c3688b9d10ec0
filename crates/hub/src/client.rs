//! One request: which addresses may be asked, which host gets the token, how redirects are followed.

use std::time::Duration;

use ureq::http::{HeaderMap, Uri};

use crate::error::HubError;
use crate::token::Token;

/// The public hub.
pub const PUBLIC_HUB: &str = "https://huggingface.co";
const MOST_REDIRECTS: usize = 10;
const CONNECT: Duration = Duration::from_secs(30);
/// The longest silence of a server.
const SILENCE: Duration = Duration::from_secs(60);

/// A hub: its address, and the token for it.
#[derive(Debug)]
pub struct Endpoint {
    origin: Uri,
    base: String,
    token: Option<Token>,
}

impl Endpoint {
    /// Reads an address such as `https://huggingface.co` or that of a mirror, with or without a path.
    ///
    /// # Errors
    /// [`HubError::Address`] when it is none, or not of http.
    pub fn new(address: &str) -> Result<Self, HubError> {
        let base = address.trim().trim_end_matches('/').to_owned();
        let wrong = |reason| Err(HubError::Address { address: shown(&base), reason });
        let Ok(origin) = base.parse::<Uri>() else { return wrong("this is no address") };
        if !matches!(origin.scheme_str(), Some("https" | "http")) || origin.host().is_none_or(str::is_empty) {
            return wrong("an address with https:// and a host is expected");
        }
        if origin.query().is_some() || origin.authority().is_some_and(|part| part.as_str().contains('@')) {
            return wrong("an endpoint has neither a query nor a user");
        }
        Ok(Self { origin, base, token: None })
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(mut self, token: Option<Token>) -> Self {
        self.token = token;
        self
    }

    /// Its host, in lower case.
    #[must_use]
    pub fn host(&self) -> String {
        self.origin.host().unwrap_or_default().to_ascii_lowercase()
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.base
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The token goes to the very origin of the endpoint, and over plain http only within this machine.
    fn token_for(&self, uri: &Uri) -> Option<&Token> {
        let same = self.is_origin(uri) && (uri.scheme_str() == Some("https") || is_loopback(uri));
        self.token.as_ref().filter(|_| same)
    }

    pub(crate) fn is_origin(&self, uri: &Uri) -> bool {
        let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
        uri.scheme() == self.origin.scheme() && host(uri) == host(&self.origin) && port(uri) == port(&self.origin)
    }

    fn may_ask(&self, uri: &Uri) -> bool {
        match uri.scheme_str() {
            Some("https") => true,
            // A hub elsewhere must not send anyone to what listens on this machine, nor the other way round.
            Some("http") => self.origin.scheme_str() == Some("http") && is_loopback(uri) == is_loopback(&self.origin),
            _ => false,
        }
    }
}

fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 })
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An address without what may be secret in it.
pub(crate) fn shown(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &address[..scheme + 3], &address[at + 1..]),
        _ => address.chars().take(300).collect(),
    }
}

/// What came back, the body still to be read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ureq::Body,
    /// `X-Linked-Etag` or `ETag` of the last answer of the hub itself, without quotes.
    pub(crate) etag: Option<String>,
    /// `X-Repo-Commit` of an answer of the hub itself.
    pub(crate) commit: Option<String>,
    /// `X-Linked-Size` of an answer of the hub itself.
    pub(crate) linked_bytes: Option<u64>,
}

/// Why nothing came back.
pub(crate) enum NoAnswer {
    /// Never to be repeated.
    Fatal(HubError),
    /// May be repeated: the reason.
    Broken(String),
}

/// Asks servers.
pub(crate) struct Client {
    agent: ureq::Agent,
}

impl Client {
    pub(crate) fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            // A hash is over the bytes as they are.
            .accept_encoding("identity")
            .user_agent(concat!("attune/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: ureq::Agent::new_with_config(config) }
    }

    /// Asks for `address`, from byte `offset` on, and follows redirects. `keep_offset` sees the hub's etag before a
    /// redirect to where the bytes are, and says whether they may be continued.
    pub(crate) fn get(
        &self,
        endpoint: &Endpoint,
        address: &str,
        offset: u64,
        keep_offset: &dyn Fn(Option<&str>) -> bool,
    ) -> Result<Answer, NoAnswer> {
        let refuse = |address: &str, reason| NoAnswer::Fatal(HubError::Address { address: shown(address), reason });
        let mut offset = offset;
        let mut uri: Uri = address.parse().map_err(|_| refuse(address, "this is no address"))?;
        let (mut etag, mut commit, mut linked_bytes) = (None, None, None);
        for _ in 0..=MOST_REDIRECTS {
            if !endpoint.may_ask(&uri) {
                return Err(refuse(&uri.to_string(), "plain http to another machine"));
            }
            let mut request = self.agent.get(uri.clone());
            if offset > 0 {
                request = request.header("range", format!("bytes={offset}-"));
            }
            if let Some(token) = endpoint.token_for(&uri) {
                request = request.header("authorization", format!("Bearer {}", token.secret()));
            }
            let response = request.call().map_err(|error| no_answer(&error, &shown(&uri.to_string())))?;
            let (parts, body) = response.into_parts();
            let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            if endpoint.is_origin(&uri) {
                etag = header("x-linked-etag").or_else(|| header("etag")).map(|tag| bare_etag(&tag)).or(etag);
                commit = header("x-repo-commit").or(commit);
                linked_bytes = header("x-linked-size").and_then(|size| size.parse().ok()).or(linked_bytes);
            }
            let status = parts.status.as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer { status, headers: parts.headers, body, etag, commit, linked_bytes });
            }
            let target = header("location").unwrap_or_default();
            // Where a redirect says nothing, the last answer decides.
            if etag.is_some() && !keep_offset(etag.as_deref()) {
                offset = 0;
            }
            uri = join(&uri, &target).ok_or_else(|| refuse(&uri.to_string(), "redirects to what is no address"))?;
        }
        Err(refuse(&uri.to_string(), "more than 10 redirects in a row"))
    }
}

/// `W/"abc"` as `abc`.
fn bare_etag(tag: &str) -> String {
    tag.trim().trim_start_matches("W/").trim_matches('"').chars().take(200).collect()
}

/// The address that `target` means on the page `base`.
fn join(base: &Uri, target: &str) -> Option<Uri> {
    let target = target.split('#').next().unwrap_or_default();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let text = if target.contains("://") && !target.starts_with(['/', '?']) {
        target.to_owned()
    } else if let Some(rest) = target.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else if target.is_empty() {
        return None;
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{target}")
    };
    text.parse::<Uri>().ok().filter(|uri| uri.host().is_some())
}

fn no_answer(error: &ureq::Error, address: &str) -> NoAnswer {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl | ureq::Error::TlsRequired => {
            NoAnswer::Fatal(HubError::Connection { address: address.into(), reason: error.to_string(), attempts: 1 })
        }
        error => NoAnswer::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn the_token_goes_to_its_origin_alone() {
        let endpoint = |address: &str| {
            let token = Token::new("hf_x", "test").unwrap();
            Endpoint::new(address).unwrap().with_token(Some(token))
        };
        let hub = endpoint("https://Hub.example/");
        assert!(hub.token_for(&uri("https://hub.example:443/a")).is_some());
        for other in
            ["https://cdn.hub.example/a", "http://hub.example/a", "https://hub.example:8443/a", "https://x.y/a"]
        {
            assert!(hub.token_for(&uri(other)).is_none(), "{other}");
        }
        let plain = endpoint("http://mirror.example");
        assert!(plain.token_for(&uri("http://mirror.example/a")).is_none(), "never in the clear");
        assert!(plain.may_ask(&uri("http://mirror.example/a")));
        assert!(!hub.may_ask(&uri("http://hub.example/a")));
        assert!(!hub.may_ask(&uri("file://hub.example/a")));
        assert!(!hub.may_ask(&uri("http://127.0.0.1:80/a")));
        assert!(!plain.may_ask(&uri("http://localhost/a")));
        let local = endpoint("http://127.0.0.1:9000");
        assert!(local.may_ask(&uri("http://localhost:80/a")) && local.may_ask(&uri("http://[::1]:80/a")));
        assert!(!local.may_ask(&uri("http://cdn.example/a")));
        assert!(local.token_for(&uri("http://127.0.0.1:9000/a")).is_some());
        assert!(local.token_for(&uri("http://127.0.0.1:9001/a")).is_none());
    }

    #[test]
    fn endpoints_and_redirects() {
        for bad in ["", "hub.example", "ftp://x", "https://", "https://a@b", "https://x/?q"] {
            assert!(Endpoint::new(bad).is_err(), "{bad}");
        }
        let base = uri("https://h.example:8443/a/b?x");
        let joined = |target: &str| join(&base, target).map(|uri| uri.to_string());
        assert_eq!(joined("/c?d").as_deref(), Some("https://h.example:8443/c?d"));
        assert_eq!(joined("c").as_deref(), Some("https://h.example:8443/a/c"));
        assert_eq!(joined("//o.example/c").as_deref(), Some("https://o.example/c"));
        assert_eq!(joined("http://o.example/c").as_deref(), Some("http://o.example/c"));
        assert_eq!(joined(""), None);
        assert_eq!(shown("https://user:word@h.example/a?sig=1#x"), "https://h.example/a");
    }
}
