//! One small document from an address, over HTTPS with the system's certificates.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio_rustls::rustls::crypto::ring;

/// How long it may take as a whole: somebody's request waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// No answer in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The address, the network or the certificates.
    #[error("{0}")]
    Failed(String),
    /// Another answer than the document.
    #[error("the answer is {0}")]
    Status(http::StatusCode),
    /// The document is no good.
    #[error("{0}")]
    Malformed(String),
}

/// Gets the document, at most so many bytes of it. Follows no redirects: they could lead anywhere.
pub(super) async fn get(url: &str, most_bytes: usize) -> Result<Bytes, FetchError> {
    tokio::time::timeout(TIMEOUT, ask(url, most_bytes))
        .await
        .map_err(|_| FetchError::TimedOut)?
}

async fn ask(url: &str, most_bytes: usize) -> Result<Bytes, FetchError> {
    let failed = |error: &dyn std::fmt::Display| FetchError::Failed(error.to_string());
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(ring::default_provider())
        .map_err(|error| failed(&error))?
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let url = url
        .parse()
        .map_err(|error: http::uri::InvalidUri| failed(&error))?;
    let response = client.get(url).await.map_err(|error| failed(&error))?;
    if response.status() != http::StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), most_bytes)
        .collect()
        .await;
    Ok(body.map_err(|error| failed(&error))?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_never_answers_is_not_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let silent = tokio::spawn(async move { listener.accept().await });
        let answer = get(&url, 1000).await;
        assert!(matches!(answer, Err(FetchError::TimedOut)), "{answer:?}");
        silent.abort();
    }
}
