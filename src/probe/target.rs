//! Where a server is asked, and with which headers.

use std::fmt;

use http::{HeaderName, HeaderValue, Uri, header};

/// A server's endpoint. Its headers are never shown.
#[derive(Clone, PartialEq)]
pub struct Target {
    pub(super) tls: bool,
    /// The name or address alone, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// `Host`, as it goes out.
    pub(super) authority: HeaderValue,
    /// Path and query.
    pub(super) path: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// It is known to be HTTP+SSE.
    pub(super) sse: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The place, without its query, which may hold secrets.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        let authority = self.authority.to_str().unwrap_or_default();
        write!(f, "{scheme}://{authority}{path}")
    }
}

impl Target {
    /// Reads an endpoint's URL.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong =
            || "must be an http:// or https:// URL, such as http://127.0.0.1:8080/mcp".to_owned();
        // A fragment is the client's own affair.
        let url = url.split('#').next().unwrap_or_default();
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') {
            return Err("must hold no user and no password".to_owned());
        }
        let host = authority
            .host()
            .trim_matches(['[', ']'])
            .to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong());
        }
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| wrong())?,
            // A colon without a number that a port can be.
            None if authority.as_str() != authority.host() => return Err(wrong()),
            None if tls => 443,
            None => 80,
        };
        if port == 0 {
            return Err("must name a port from 1 to 65535".to_owned());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            tls,
            host,
            port,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?,
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
            headers: Vec::new(),
            sse: false,
        })
    }

    /// The same, known to be HTTP+SSE.
    #[must_use]
    pub fn over_sse(mut self, sse: bool) -> Self {
        self.sse = sse;
        self
    }

    /// The same with headers that go with every request.
    ///
    /// # Errors
    /// Which header can't be sent, and why; never its value.
    pub fn with_headers<N: AsRef<str>, V: AsRef<str>>(
        mut self,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, String> {
        for (name, value) in headers {
            let name = name.as_ref();
            let read: HeaderName = name
                .parse()
                .map_err(|_| format!("{name:?} is no name of a header"))?;
            if OWN.contains(&read) || read.as_str().starts_with("mcp-") {
                return Err(format!("the header {read} is the probe's own to send"));
            }
            let mut value = HeaderValue::from_str(value.as_ref())
                .map_err(|_| format!("the value of {read} can't stand in a header"))?;
            value.set_sensitive(true);
            self.headers.push((read, value));
        }
        Ok(self)
    }

    /// What its headers hold that nobody may see.
    pub(super) fn secrets(&self) -> Vec<String> {
        let whole = self
            .headers
            .iter()
            .filter_map(|(_, value)| value.to_str().ok());
        whole
            .flat_map(|text| std::iter::once(text).chain(text.split_whitespace()))
            .filter(|text| text.len() >= SHORTEST_SECRET)
            .map(str::to_owned)
            .collect()
    }
}

/// Headers that a request has of the probe's own.
const OWN: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::ACCEPT,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::EXPECT,
];
/// What is shorter, such as `Bearer`, is no secret, and would be found everywhere.
const SHORTEST_SECRET: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        let target = Target::parse("HTTPS://[::1]/a?b=secret#c").unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.tls),
            ("::1", 443, true)
        );
        assert_eq!(target.path, "/a?b=secret");
        assert_eq!(target.to_string(), "https://[::1]/a");
        assert_eq!(Target::parse("http://a.example").unwrap().path, "/");
        for bad in [
            "",
            "a",
            "ftp://a/",
            "http://",
            "http://u:p@a/",
            "http://a:0/",
            "http://a:99999/",
            "http:///x",
            "http://a:/x",
            "file:///etc/passwd",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_of_the_protocol_are_not_to_be_given() {
        let target = Target::parse("http://a/").unwrap();
        for name in ["Host", "mcp-session-id", "Content-Length", "a b"] {
            assert!(
                target.clone().with_headers([(name, "x")]).is_err(),
                "{name}"
            );
        }
        let why = target
            .clone()
            .with_headers([("x", "se\ncret")])
            .unwrap_err();
        assert!(!why.contains("cret"), "{why}");
        let target = target
            .with_headers([("authorization", "Bearer hunter2hunter2")])
            .unwrap();
        assert_eq!(
            target.secrets(),
            ["Bearer hunter2hunter2", "hunter2hunter2"]
        );
        assert!(!format!("{target:?}").contains("hunter2"));
    }
}
