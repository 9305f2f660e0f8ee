//! `https` receivers, trusted by their CA alone.

use std::sync::Arc;
use std::time::Duration;

use lb_core::{LbEvent, Observer};
use lb_hooks::{HttpBackend, Signer, Webhook, WebhookConfig};
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::receiver::{PATIENCE, request};

#[tokio::test]
async fn a_receiver_over_tls_gets_events_if_it_is_trusted() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (other, key) = (rcgen::generate_simple_self_signed(["localhost".to_owned()]), certified.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], PrivatePkcs8KeyDer::from(key).into())
        .expect("a configuration");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let url = format!("https://localhost:{}/", listener.local_addr().expect("an address").port());
    let accepting = tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            // One that does not trust this server leaves here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let (head, _) = request(&mut stream).await.expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("an answer");
            return head;
        }
    });
    let tell = |pem: String| {
        let backend = HttpBackend::new(&url).and_then(|backend| backend.ca_certificate(pem)).expect("a backend");
        let signer = Signer::new(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).expect("a secret");
        let config = WebhookConfig::new(backend.bearer_token("abc"), signer).linger(Duration::ZERO);
        let webhook = Webhook::start(config.and_then(|config| config.attempts(1)).expect("numbers")).expect("a runtime");
        webhook.observer("c").on_event(&LbEvent::ResolverRecovered);
        webhook
    };
    let webhook = tell(other.expect("a certificate").cert.pem());
    tokio::time::timeout(PATIENCE, webhook.flush()).await.expect("in time");
    let stats = webhook.stats();
    assert!(stats.given_up == 1 && stats.failing.as_deref().is_some_and(|why| why.contains("TLS")), "{stats:?}");
    let webhook = tell(certified.cert.pem());
    tokio::time::timeout(PATIENCE, webhook.flush()).await.expect("in time");
    assert_eq!(webhook.stats().delivered, 1);
    assert!(accepting.await.expect("a request").contains("authorization: Bearer abc"));
    assert!(HttpBackend::new(&url).and_then(|backend| backend.ca_certificate("none")).is_err());
}
