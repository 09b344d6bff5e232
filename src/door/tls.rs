//! TLS in the process: one certificate, read again when its files change, HTTP/2 offered first.
//!
//! A new pair of files is taken only where both fit together; until then, and where they never do, the old
//! certificate stays. Connections that are open keep theirs.

use std::{io, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
    server::TlsStream,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::watch::Stamp;
use crate::{config, metrics::Metrics};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// In the extensions of requests that came over an encrypted connection.
#[derive(Debug, Clone, Copy)]
pub struct Encrypted;

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate's file.
    #[error("INTEGRATION_TLS_CERT: {0}")]
    Cert(String),
    /// The key's file.
    #[error("INTEGRATION_TLS_KEY: {0}")]
    Key(String),
    /// Both are readable and don't fit together.
    #[error("INTEGRATION_TLS_CERT and INTEGRATION_TLS_KEY don't fit together: {0}")]
    Pair(String),
}

/// Encrypts accepted connections. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    files: Arc<config::Tls>,
    current: Arc<ArcSwap<ServerConfig>>,
    /// How long a handshake may take.
    timeout: Duration,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(files: &config::Tls, timeout: Duration) -> Result<Self, TlsError> {
        let current = Arc::new(ArcSwap::from_pointee(read(files)?));
        Ok(Self {
            files: Arc::new(files.clone()),
            current,
            timeout,
        })
    }

    /// Shakes hands on an accepted connection.
    ///
    /// # Errors
    /// Where the client doesn't, or not in time.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        tokio::time::timeout(self.timeout, acceptor.accept(socket)).await?
    }

    /// Reads the files again when they change, until `shutdown`.
    pub async fn watch(self, metrics: Metrics, shutdown: CancellationToken) {
        let stamps = || [Stamp::of(&self.files.cert), Stamp::of(&self.files.key)];
        let mut known = stamps();
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = stamps();
            if now != known {
                known = now;
                metrics.note_stale("certificate", !self.reload());
            }
        }
    }

    /// Reads the files again. A pair that doesn't fit (one was replaced, the other not yet) leaves the old one:
    /// `false`.
    pub fn reload(&self) -> bool {
        match read(&self.files) {
            Ok(new) => {
                info!("a new certificate is in force");
                self.current.store(Arc::new(new));
                true
            }
            Err(problem) => {
                error!("the old certificate stays in force: {problem}");
                false
            }
        }
    }
}

/// What is wrong with either file, or with the two of them together. One that isn't named at all is left to whoever
/// reads the settings.
pub(super) fn mistakes(files: &config::Tls) -> Vec<(&'static str, String)> {
    let (cert, key) = ("INTEGRATION_TLS_CERT", "INTEGRATION_TLS_KEY");
    let mut found = Vec::new();
    if !files.cert.as_os_str().is_empty()
        && let Err(problem) = chain(&files.cert)
    {
        found.push((cert, problem));
    }
    if !files.key.as_os_str().is_empty()
        && let Err(problem) = private_key(&files.key)
    {
        found.push((key, problem));
    }
    let named = !files.cert.as_os_str().is_empty() && !files.key.as_os_str().is_empty();
    if named
        && found.is_empty()
        && let Err(error) = read(files)
    {
        found.push((cert, error.to_string()));
    }
    found
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(files: &config::Tls) -> Result<ServerConfig, TlsError> {
    let chain = chain(&files.cert).map_err(TlsError::Cert)?;
    let key = private_key(&files.key).map_err(TlsError::Key)?;
    let pair = |error: tokio_rustls::rustls::Error| TlsError::Pair(error.to_string());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
    let chain: Vec<_> = chain
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&error))?;
    if chain.is_empty() {
        Err(wrong(&"holds no certificate"))
    } else {
        Ok(chain)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::net::TcpListener;
    use tokio_rustls::{
        TlsConnector,
        rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
    };

    use super::*;

    /// Writes a new certificate for `localhost` and its key, and hands back the certificate.
    fn certify(folder: &Path) -> (config::Tls, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = config::Tls {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        fs::write(&files.cert, pem("CERTIFICATE", made.cert.der())).unwrap();
        fs::write(
            &files.key,
            pem("PRIVATE KEY", &made.signing_key.serialize_der()),
        )
        .unwrap();
        (files, made.cert.der().clone())
    }

    fn pem(label: &str, der: &[u8]) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            STANDARD.encode(der)
        )
    }

    /// What a client that trusts this certificate alone agrees on with the server.
    async fn shake(tls: &Tls, trusted: &CertificateDer<'static>) -> Option<Vec<u8>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        let (ours, theirs) = tokio::join!(tls.accept(accepted), connector.connect(name, socket));
        theirs.ok()?;
        ours.ok()?.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    }

    #[tokio::test]
    async fn http_2_is_agreed_on_and_a_new_certificate_taken_once_its_pair_fits() {
        let folder = tempfile::tempdir().unwrap();
        let (files, first) = certify(folder.path());
        let tls = Tls::open(&files, Duration::from_secs(10)).unwrap();
        assert_eq!(shake(&tls, &first).await.as_deref(), Some(&b"h2"[..]));

        let (_, second) = certify(folder.path());
        let key = fs::read(&files.key).unwrap();
        let (_, third) = certify(folder.path());
        fs::write(&files.key, &key).unwrap();
        assert!(!tls.reload());
        assert!(
            shake(&tls, &first).await.is_some(),
            "a pair that doesn't fit leaves the old one"
        );
        fs::write(&files.cert, pem("CERTIFICATE", &second)).unwrap();
        assert!(tls.reload());
        assert!(shake(&tls, &second).await.is_some());
        assert!(shake(&tls, &third).await.is_none());
    }

    #[test]
    fn what_is_missing_or_no_pair_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (files, _) = certify(folder.path());
        let open = || Tls::open(&files, Duration::from_secs(1));
        let key = fs::read(&files.key).unwrap();
        certify(folder.path());
        fs::write(&files.key, key).unwrap();
        assert!(matches!(open(), Err(TlsError::Pair(_))));
        fs::write(&files.key, "nothing").unwrap();
        assert!(matches!(open(), Err(TlsError::Key(_))));
        fs::write(&files.cert, "nothing").unwrap();
        assert!(matches!(open(), Err(TlsError::Cert(_))));
        fs::remove_file(&files.cert).unwrap();
        assert!(open().unwrap_err().to_string().contains("cert.pem"));
    }
}
