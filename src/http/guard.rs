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
use crate::{
    config::{Listen, Web},
    door::tls::Encrypted,
};

const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "last-event-id, authorization, idempotency-key, content-type, cache-control, traceparent, tracestate, baggage, \
     mcp-protocol-version, mcp-session-id, mcp-method, mcp-name",
);
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "last-event-id, idempotency-replayed, retry-after, limit-reached, location, mcp-session-id",
);
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
const READING_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");
/// How long a browser may remember a preflight's answer: as long as the strictest browser does.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// What is answered under any `Host`.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

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
            // One header for all of it: not every cache and client joins several.
            let others = headers.get(VARY).and_then(|others| others.to_str().ok());
            let vary = others.map_or_else(
                || Ok(HeaderValue::from_static("origin")),
                |others| HeaderValue::try_from(format!("origin, {others}")),
            );
            if let Ok(vary) = vary {
                headers.insert(VARY, vary);
            }
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

    /// Judges a request by its head. A probe is answered under whatever name the hub is asked for: who probes a container
    /// or a balancer's backend goes by its address, and learns nothing but that the hub is there.
    pub(super) fn judge<B>(&self, request: &Request<B>) -> Verdict {
        let host = match self.host_of(request) {
            Err(problem) if problem.status == StatusCode::FORBIDDEN && is_probe(request) => {
                return Verdict::Pass(Cors::default());
            }
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
        let encrypted = request.extensions().get::<Encrypted>().is_some();
        let own = host.is_some_and(|host| is_own_origin(text, host, encrypted));
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

/// Whether it is a probe, with or without slashes at its end.
fn is_probe<B>(request: &Request<B>) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    reads && PROBES.contains(&request.uri().path().trim_end_matches('/'))
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

/// Whether a `Host` is this machine's own, by name or address.
pub(super) fn is_loopback_host(host: &str) -> bool {
    split_port(host).is_some_and(|(host, _)| {
        let host = host.strip_suffix('.').unwrap_or(host);
        parse_address(host).map_or_else(|| is_local_name(host), is_loopback)
    })
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

/// Whether an origin is the one that this host's own pages have. Where the connection is encrypted they are, too;
/// where it isn't, a proxy in front may see to that.
pub(super) fn is_own_origin(origin: &str, host: &str, encrypted: bool) -> bool {
    let (authority, default_port) = if let Some(rest) = origin.strip_prefix("http://") {
        if encrypted {
            return false;
        }
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
mod tests;
