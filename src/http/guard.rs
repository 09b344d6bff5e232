//! The door of a hub without credentials: a web page elsewhere must not drive it, nor a rebound name read it.
//!
//! Two rules, both over headers that a page can't forge. The `Host` must name this hub: a loopback name or
//! address, the listening host, or one of `INTEGRATION_ALLOWED_HOSTS`; an attacker's name that was rebound
//! to this address is none of them. And a change that carries an `Origin` must come from this hub's own pages
//! or a listed origin. Cross-origin reading is opened by `INTEGRATION_SSE_CORS_ORIGINS`; `*` opens nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
        },
    },
};

use super::problem::Problem;
use crate::config::{Listen, Web};

const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("last-event-id, authorization, idempotency-key, content-type");
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("last-event-id, idempotency-replayed");
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
const READING_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");
/// How long a browser may remember a preflight's answer: as long as the strictest browser does.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Who may come in, and which pages may read the answers.
#[derive(Debug)]
pub(super) struct Door {
    /// Names beside the loopback ones, lower case, each with a port where only that one is meant.
    hosts: Vec<String>,
    /// It listens on every address of the machine, so that each of them is its own.
    any_address: bool,
    /// Origins that may read and change, lower case.
    origins: Vec<String>,
    /// Any origin may read.
    anyone_reads: bool,
}

/// What becomes of a request at the door.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It may come in; its answer gets these headers.
    Pass(Cors),
    /// It was a browser's preflight, which is answered here.
    Preflight(Response<Body>),
    /// It stays outside.
    Refuse(Problem),
}

/// What an answer tells the browser about who may read it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cors {
    allow: Option<HeaderValue>,
    varies: bool,
}

impl Cors {
    /// Adds the headers.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = self.allow {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        }
    }
}

impl Door {
    /// Reads the rules from the settings.
    pub(super) fn new(web: &Web, listen: &Listen) -> Self {
        let own = listen.host.trim_matches(['[', ']']).to_ascii_lowercase();
        let any_address = own
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_unspecified());
        let mut hosts: Vec<String> = web
            .allowed_hosts
            .iter()
            .map(|host| host.trim().trim_end_matches('.').to_ascii_lowercase())
            .collect();
        hosts.push(if own.contains(':') {
            format!("[{own}]")
        } else {
            own
        });
        let origins = web
            .cors_origins
            .iter()
            .filter(|origin| *origin != "*")
            .map(|origin| origin.trim().trim_end_matches('/').to_ascii_lowercase())
            .collect();
        let anyone_reads = web.cors_origins.iter().any(|origin| origin == "*");
        Self {
            hosts,
            any_address,
            origins,
            anyone_reads,
        }
    }

    /// Judges a request by its head.
    pub(super) fn judge<B>(&self, request: &Request<B>) -> Verdict {
        let host = match self.host_of(request) {
            Ok(host) => host,
            Err(problem) => return Verdict::Refuse(*problem),
        };
        let Some(origin) = request.headers().get(ORIGIN) else {
            return Verdict::Pass(Cors {
                allow: None,
                varies: !self.origins.is_empty(),
            });
        };
        let text = origin.to_str().unwrap_or_default();
        let listed = self
            .origins
            .iter()
            .any(|known| known.eq_ignore_ascii_case(text));
        let own = host.is_some_and(|host| is_own(text, host));
        let (method, is_preflight) = asked_method(request);
        let reads = matches!(method, "GET" | "HEAD" | "OPTIONS");
        if !(reads || own || listed) {
            return Verdict::Refuse(forbidden(
                "origin-not-allowed",
                format!(
                    "a page of {text} may not change anything here; list its origin in INTEGRATION_SSE_CORS_ORIGINS"
                ),
            ));
        }
        let allow = if listed {
            Some(origin.clone())
        } else {
            self.anyone_reads.then(|| HeaderValue::from_static("*"))
        };
        let cors = Cors {
            allow,
            varies: !self.origins.is_empty(),
        };
        if is_preflight {
            self.preflight(request, cors, listed)
        } else {
            Verdict::Pass(cors)
        }
    }

    fn preflight<B>(&self, request: &Request<B>, cors: Cors, listed: bool) -> Verdict {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        if cors.allow.is_some() {
            let methods = if listed {
                ALLOWED_METHODS
            } else {
                READING_METHODS
            };
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            // A page of the public web asks separately before it may talk to a hub on this machine.
            if listed
                && request
                    .headers()
                    .contains_key("access-control-request-private-network")
            {
                let yes = HeaderValue::from_static("true");
                headers.insert("access-control-allow-private-network", yes);
            }
        }
        cors.apply(headers);
        Verdict::Preflight(response)
    }

    /// The host that the request is for, once every place that names one has been checked. `None` where a
    /// client of HTTP/1.0 names none: no browser does that.
    fn host_of<'r, B>(&self, request: &'r Request<B>) -> Result<Option<&'r str>, Box<Problem>> {
        let mut headers = request.headers().get_all(HOST).iter();
        let header = headers.next();
        if headers.next().is_some() {
            return Err(Box::new(bad_host("the request has several Host headers")));
        }
        let header = match header.map(HeaderValue::to_str) {
            Some(Ok(text)) => Some(text),
            Some(Err(_)) => return Err(Box::new(bad_host("the Host header isn't readable"))),
            None => None,
        };
        let authority = request
            .uri()
            .authority()
            .map(axum::http::uri::Authority::as_str);
        for name in [header, authority].into_iter().flatten() {
            if !self.is_this_hub(name) {
                return Err(Box::new(forbidden(
                    "host-not-allowed",
                    format!(
                        "this hub doesn't go by the name {name}; list it in INTEGRATION_ALLOWED_HOSTS"
                    ),
                )));
            }
        }
        match header.or(authority) {
            None if request.version() >= Version::HTTP_11 => {
                Err(Box::new(bad_host("the request has no Host header")))
            }
            host => Ok(host),
        }
    }

    fn is_this_hub(&self, authority: &str) -> bool {
        let Some((host, port)) = split_port(authority) else {
            return false;
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        if let Some(address) = parse_address(host) {
            if self.any_address || is_loopback(address) {
                return true;
            }
        } else if is_local_name(host) {
            return true;
        }
        self.hosts
            .iter()
            .any(|known| match (split_port(known), port) {
                (Some((name, Some(wanted))), Some(port)) => {
                    name.eq_ignore_ascii_case(host) && wanted == port
                }
                (Some((name, None)), _) => name.eq_ignore_ascii_case(host),
                _ => false,
            })
    }
}

/// The method that is asked for, and whether it is a preflight that asks.
fn asked_method<B>(request: &Request<B>) -> (&str, bool) {
    match request.headers().get(ACCESS_CONTROL_REQUEST_METHOD) {
        Some(asked) if request.method() == Method::OPTIONS => {
            (asked.to_str().unwrap_or_default(), true)
        }
        _ => (request.method().as_str(), false),
    }
}

/// Splits `host:port`; `None` where it is neither that nor a host alone. An IPv6 host keeps its brackets.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_host = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at_checked(after_host)?;
    if host.is_empty() || host.contains('@') {
        return None;
    }
    match rest.strip_prefix(':') {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        None if rest.is_empty() => Some((host, None)),
        _ => None,
    }
}

fn parse_address(host: &str) -> Option<IpAddr> {
    match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
    }
}

/// `localhost` and what is below it: no resolver looks these up elsewhere (RFC 6761, section 6.3).
fn is_local_name(host: &str) -> bool {
    let tail = host
        .len()
        .checked_sub("localhost".len())
        .and_then(|at| host.split_at_checked(at));
    tail.is_some_and(|(before, name)| {
        name.eq_ignore_ascii_case("localhost") && (before.is_empty() || before.ends_with('.'))
    })
}

/// Whether an origin is the one that this host's own pages have.
fn is_own(origin: &str, host: &str) -> bool {
    let (authority, default_port) = if let Some(rest) = origin.strip_prefix("http://") {
        (rest, ":80")
    } else if let Some(rest) = origin.strip_prefix("https://") {
        (rest, ":443")
    } else {
        return false;
    };
    let bare = |name: &str| {
        name.strip_suffix(default_port)
            .unwrap_or(name)
            .to_ascii_lowercase()
    };
    bare(authority) == bare(host)
}

fn forbidden(slug: &'static str, detail: String) -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        slug,
        "The door is closed to this request",
        detail,
    )
}

fn bad_host(detail: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-host",
        "The Host header is invalid",
        detail,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(listen: &str, hosts: &[&str], origins: &[&str]) -> Door {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        let web = Web {
            cors_origins: own(origins),
            allowed_hosts: own(hosts),
        };
        Door::new(
            &web,
            &Listen {
                host: listen.to_owned(),
                port: 3001,
            },
        )
    }

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri("/servers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    /// What happens: a status, and who may read.
    fn outcome(door: &Door, method: &str, headers: &[(&str, &str)]) -> (u16, Option<String>) {
        let text = |value: &HeaderValue| value.to_str().expect("ASCII").to_owned();
        match door.judge(&request(method, headers)) {
            Verdict::Pass(cors) => (200, cors.allow.as_ref().map(text)),
            Verdict::Refuse(problem) => (problem.status.as_u16(), None),
            Verdict::Preflight(response) => {
                let allow = response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
                (response.status().as_u16(), allow.map(text))
            }
        }
    }

    #[test]
    fn only_names_of_this_hub_come_in() {
        let narrow = door("127.0.0.1", &["hub.example", "other.example:8443"], &[]);
        let wide = door("0.0.0.0", &[], &[]);
        let named = door("hub.lan", &[], &[]);
        let table = [
            (&narrow, "localhost", 200),
            (&narrow, "LOCALHOST:3001", 200),
            (&narrow, "app.localhost:9", 200),
            (&narrow, "127.0.0.1:3001", 200),
            (&narrow, "127.9.9.9", 200),
            (&narrow, "[::1]:3001", 200),
            (&narrow, "[::ffff:127.0.0.1]", 200),
            (&narrow, "hub.example", 200),
            (&narrow, "Hub.Example.:99", 200),
            (&narrow, "other.example:8443", 200),
            (&narrow, "other.example", 403),
            (&narrow, "other.example:1", 403),
            (&narrow, "evil.example", 403),
            (&narrow, "notlocalhost", 403),
            (&narrow, "localhost.evil.example", 403),
            (&narrow, "127.0.0.1.evil.example", 403),
            (&narrow, "192.168.1.5:3001", 403),
            (&narrow, "evil@localhost", 403),
            (&narrow, "localhost:x", 403),
            (&narrow, "[::1", 403),
            (&narrow, "[", 403),
            (&narrow, "", 403),
            (&wide, "192.168.1.5:3001", 200),
            (&wide, "[fe80::1]:3001", 200),
            (&wide, "evil.example", 403),
            (&named, "hub.lan:3001", 200),
        ];
        for (door, host, status) in table {
            assert_eq!(
                outcome(door, "GET", &[("host", host)]).0,
                status,
                "{host:?}"
            );
        }
        assert_eq!(outcome(&narrow, "GET", &[]).0, 400, "HTTP/1.1 needs a Host");
        assert_eq!(
            outcome(
                &narrow,
                "GET",
                &[("host", "localhost"), ("host", "localhost")]
            )
            .0,
            400
        );
    }

    #[test]
    fn a_target_that_names_another_host_stays_outside() {
        let mut request = request("GET", &[("host", "localhost")]);
        *request.uri_mut() = "http://evil.example/servers".parse().expect("a URI");
        let refused = matches!(
            door("127.0.0.1", &[], &[]).judge(&request),
            Verdict::Refuse(_)
        );
        assert!(refused);
    }

    #[test]
    fn pages_elsewhere_neither_drive_nor_read() {
        let closed = door("127.0.0.1", &[], &[]);
        let listed = door("127.0.0.1", &[], &["https://board.example"]);
        let open = door("127.0.0.1", &[], &["*"]);
        let both = door("127.0.0.1", &[], &["*", "https://board.example"]);
        let (board, evil, own) = (
            "https://board.example",
            "https://evil.example",
            "http://localhost:3001",
        );
        let table = [
            (&closed, "GET", evil, 200, None),
            (&closed, "POST", evil, 403, None),
            (&closed, "DELETE", "null", 403, None),
            (&closed, "POST", own, 200, None),
            (&closed, "POST", "https://localhost:3001", 200, None),
            (&closed, "POST", "http://localhost:3002", 403, None),
            (&listed, "GET", board, 200, Some(board)),
            (&listed, "POST", board, 200, Some(board)),
            (&listed, "PUT", evil, 403, None),
            (&listed, "GET", evil, 200, None),
            (&open, "GET", evil, 200, Some("*")),
            (&open, "POST", evil, 403, None),
            (&open, "POST", own, 200, Some("*")),
            (&both, "POST", board, 200, Some(board)),
            (&both, "GET", evil, 200, Some("*")),
        ];
        for (door, method, origin, status, allow) in table {
            let found = outcome(
                door,
                method,
                &[("host", "localhost:3001"), ("origin", origin)],
            );
            assert_eq!(
                found,
                (status, allow.map(str::to_owned)),
                "{method} from {origin}"
            );
        }
    }

    #[test]
    fn preflights_open_what_the_request_may_do() {
        let listed = door("127.0.0.1", &[], &["https://board.example"]);
        let open = door("127.0.0.1", &[], &["*"]);
        let table = [
            (
                &listed,
                "https://board.example",
                "POST",
                204,
                Some("https://board.example"),
            ),
            (&listed, "https://evil.example", "POST", 403, None),
            (&listed, "https://evil.example", "GET", 204, None),
            (&open, "https://evil.example", "GET", 204, Some("*")),
            (&open, "https://evil.example", "DELETE", 403, None),
        ];
        for (door, origin, method, status, allow) in table {
            let headers = [
                ("host", "localhost"),
                ("origin", origin),
                ("access-control-request-method", method),
            ];
            let found = outcome(door, "OPTIONS", &headers);
            assert_eq!(
                found,
                (status, allow.map(str::to_owned)),
                "{method} from {origin}"
            );
        }
    }

    #[test]
    fn default_ports_are_the_same_origin() {
        assert!(is_own("http://hub.example", "hub.example:80"));
        assert!(is_own("https://hub.example", "Hub.Example:443"));
        assert!(!is_own("http://hub.example", "hub.example:443"));
        assert!(!is_own("ftp://hub.example", "hub.example"));
    }
}
