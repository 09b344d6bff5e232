//! The line to a target: resolved once, every address checked, and one of those very addresses connected to, with the
//! target's own name for TLS and `Host`. Nothing else is ever connected to, whatever the target answers.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, crypto::ring, pki_types::ServerName},
};

use super::{Permit, Target};
use crate::domain::probe::Verdict;

/// Why a probe ends here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) verdict: Verdict,
    pub(super) detail: String,
    pub(super) retry_after: Option<Duration>,
}

impl Stop {
    pub(super) fn new(verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            verdict,
            detail: detail.into(),
            retry_after: None,
        }
    }
}

/// A target whose addresses were checked, and the connection to it that is open, if one is.
pub(super) struct Wire<'t> {
    pub(super) target: &'t Target,
    tls: &'t Tls,
    addresses: Arc<[SocketAddr]>,
    line: Option<Line>,
    /// Somebody took a connection.
    pub(super) reached: bool,
}

/// An open connection.
pub(super) struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Moves its bytes; ends with it.
    task: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How TLS is spoken: by the system's certificates (or those of `SSL_CERT_FILE`), read once.
#[derive(Clone)]
pub(super) struct Tls(Option<TlsConnector>);

impl Tls {
    /// Reads the system's certificates.
    pub(super) fn new() -> Self {
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .ok()
            .and_then(|builder| builder.with_native_roots().ok())
            .map(|builder| builder.with_no_client_auth());
        Self(config.map(|config| TlsConnector::from(Arc::new(config))))
    }
}

impl<'t> Wire<'t> {
    /// Resolves the target's name and checks what comes of it. Connects to nobody yet.
    pub(super) async fn open(
        target: &'t Target,
        permit: &Permit,
        tls: &'t Tls,
        timeout: Duration,
    ) -> Result<Self, Stop> {
        let addresses = resolve(target, timeout).await?;
        let is_allowed = match permit {
            Permit::Anyone => true,
            Permit::Listed(allow) => allow.covers(target, &addresses),
        };
        if !is_allowed {
            let detail = format!(
                "{} has an address that INTEGRATION_PROBE_ALLOW doesn't cover; nothing was asked",
                target.host
            );
            return Err(Stop::new(Verdict::Unresolved, detail));
        }
        Ok(Self {
            target,
            tls,
            addresses: addresses.into(),
            line: None,
            reached: false,
        })
    }

    /// Another line to the same addresses.
    pub(super) fn beside(&self) -> Self {
        Self {
            target: self.target,
            tls: self.tls,
            addresses: self.addresses.clone(),
            line: None,
            reached: false,
        }
    }

    /// The open connection, to be kept for as long as an answer on it is read.
    pub(super) fn into_line(self) -> Option<Line> {
        self.line
    }

    /// The connection is of no more use: an answer on it wasn't read to its end.
    pub(super) fn hang_up(&mut self) {
        self.line = None;
    }

    /// Sends a request, and gives the head of its answer. How long that may take is the caller's affair.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Stop> {
        let request = |body: Bytes| {
            let mut request = Request::new(Full::new(body));
            *request.method_mut() = method.clone();
            *request.uri_mut() = path
                .parse()
                .map_err(|_| Stop::new(Verdict::Misconfigured, "its path can't be asked for"))?;
            let all = request.headers_mut();
            for (name, value) in &self.target.headers {
                all.insert(name.clone(), value.clone());
            }
            all.extend(headers.clone());
            all.insert(header::HOST, self.target.authority.clone());
            all.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
            Ok(request)
        };
        // A line that was kept may have been closed meanwhile by the other side, which is its right.
        if let Some(line) = &mut self.line
            && line.sender.ready().await.is_ok()
            && let Ok(answer) = line.sender.send_request(request(body.clone())?).await
        {
            return Ok(answer);
        }
        self.line = None;
        let request = request(body)?;
        let line = self.connect().await?;
        let line = self.line.insert(line);
        let answer = line.sender.send_request(request).await;
        answer.map_err(|error| {
            if error.is_parse() {
                Stop::new(Verdict::WrongProtocol, "it answers, but not in HTTP")
            } else {
                Stop::new(
                    Verdict::Refused,
                    "it closed the connection without an answer",
                )
            }
        })
    }

    async fn connect(&mut self) -> Result<Line, Stop> {
        let mut last = Stop::new(Verdict::Unresolved, "its name has no address");
        for address in &*self.addresses.clone() {
            match self.connect_to(*address).await {
                Ok(line) => return Ok(line),
                Err(stop) => last = stop,
            }
        }
        Err(last)
    }

    async fn connect_to(&mut self, address: SocketAddr) -> Result<Line, Stop> {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            let cause = words(&error);
            Stop::new(
                Verdict::Refused,
                format!("no connection to {}: {cause}", self.target),
            )
        })?;
        self.reached = true;
        _ = stream.set_nodelay(true);
        if !self.target.tls {
            return handshake(stream).await;
        }
        let failed = |why: String| Stop::new(Verdict::Tls, why);
        let connector = self.tls.0.as_ref().ok_or_else(|| {
            failed("the system's certificates can't be read, so nobody's can be checked".to_owned())
        })?;
        let name = ServerName::try_from(self.target.host.clone())
            .map_err(|_| failed(format!("{} can't stand in a certificate", self.target.host)))?;
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| failed(format!("TLS failed: {}", words(&error))))?;
        handshake(stream).await
    }
}

async fn handshake<S>(stream: S) -> Result<Line, Stop>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(LONGEST_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Stop::new(Verdict::Refused, "it closed the connection at once"))?;
    let task = tokio::spawn(async move {
        // How it ends shows in the answers.
        _ = connection.await;
    });
    Ok(Line { sender, task })
}

/// The target's addresses, as its name has them now.
pub(super) async fn resolve(target: &Target, timeout: Duration) -> Result<Vec<SocketAddr>, Stop> {
    let unresolved = |why: String| Stop::new(Verdict::Unresolved, why);
    let looked = tokio::net::lookup_host((target.host.as_str(), target.port));
    let found = tokio::time::timeout(timeout, looked)
        .await
        .map_err(|_| {
            let ms = timeout.as_millis();
            unresolved(format!(
                "the name {} got no address within {ms} ms",
                target.host
            ))
        })?
        .map_err(|_| unresolved(format!("the name {} has no address", target.host)))?;
    let addresses: Vec<SocketAddr> = found.take(MOST_ADDRESSES).collect();
    if addresses.is_empty() {
        return Err(unresolved(format!(
            "the name {} has no address",
            target.host
        )));
    }
    Ok(addresses)
}

/// An error's own words, without the system's number.
fn words(error: &io::Error) -> String {
    let text = match error.get_ref() {
        Some(inner) => inner.to_string(),
        None => error.to_string(),
    };
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

/// Addresses of one name that are looked at. Which further ones it has doesn't matter: they aren't connected to.
const MOST_ADDRESSES: usize = 16;
/// Longest head of an answer, bytes.
const LONGEST_HEAD: usize = 64 * 1024;
const AGENT: &str = concat!("timeback-events/", env!("CARGO_PKG_VERSION"));
