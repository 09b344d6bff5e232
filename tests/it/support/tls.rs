//! A hub that speaks TLS by a certificate of its own, and a client that trusts nothing else.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use timeback_events::{Config, config::Tls};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::TestHub;

/// The hub and its certificate.
pub struct EncryptedHub {
    pub hub: TestHub,
    trusted: CertificateDer<'static>,
    _folder: tempfile::TempDir,
}

impl EncryptedHub {
    /// With changed settings.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        let pairs = [
            (&cert, "CERTIFICATE", made.cert.der().to_vec()),
            (&key, "PRIVATE KEY", made.signing_key.serialize_der()),
        ];
        for (path, label, der) in pairs {
            let text = STANDARD.encode(der);
            let pem = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
            std::fs::write(path, pem).expect("it is written");
        }
        let hub = TestHub::start_with(|config| {
            config.tls = Some(Tls { cert, key });
            change(config);
        })
        .await;
        Self {
            hub,
            trusted: made.cert.der().clone(),
            _folder: folder,
        }
    }

    /// A connection over which this protocol (`h2`, `http/1.1`) is spoken.
    pub async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).expect("a certificate");
        let mut client = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let socket = TcpStream::connect(self.hub.address).await;
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(client));
        connector
            .connect(name, socket.expect("a connection"))
            .await
            .expect("TLS")
    }
}
