//! The gateway in front of an upstream that is reached over TLS.
#![cfg(feature = "tls")]

mod common;

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use common::{Server, gateway_with, upstream};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tests::folder::Folder;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

const LIMITS: &str = "
limiters:
  tokens: { tokenBudget: { budget: 100000, windowMs: 86400000 } }
  requests: { strategy: fixedWindow, limit: 1000, period: 1d }
http:
  defaults: { key: { header: x-client }, headers: openai }
  rules: [ { path: '/v1/{*path}', policies: [requests, tokens] } ]
";

const QUESTION: &str = r#"{"model":"fake","stream":true,"messages":[{"role":"user","content":"Say 20 words"}]}"#;

/// An authority, as whoever trusts it reads it.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("good names");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A server's own certificate for `name`.
    fn certify(&self, name: &str) -> ServerConfig {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a good name");
        let chain = vec![params.signed_by(&key, &self.issuer).expect("a certificate").der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("they fit")
    }
}

/// What speaks TLS in front of `behind`, until the runtime is dropped.
fn encrypted(runtime: &Runtime, config: ServerConfig, behind: &str) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (acceptor, behind) = (TlsAcceptor::from(Arc::new(config)), behind.to_owned());
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                // Who does not trust it goes away in the middle of the handshake.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut behind = TcpStream::connect(behind).await.expect("the upstream is there");
                drop(copy_bidirectional(&mut stream, &mut behind).await);
            });
        }
    });
    address
}

/// A gateway that trusts `authority` and nobody else.
fn trusting(authority: &Authority, upstream: SocketAddr) -> Server {
    let folder = Folder::new("llm-gateway-tls");
    let file = folder.join("roots.pem");
    std::fs::write(&file, &authority.pem).expect("it is written");
    // It reads the file before it says that it listens.
    gateway_with(&format!("https://{upstream}"), LIMITS, |command| {
        command.env("SSL_CERT_FILE", &file).env_remove("SSL_CERT_DIR").stderr(Stdio::piped())
    })
}

#[test]
fn an_upstream_with_a_certificate_of_somebody_trusted_answers() {
    let (runtime, authority) = (Runtime::new().expect("a runtime"), Authority::new("ours"));
    let upstream = upstream(&[]);
    let address = encrypted(&runtime, authority.certify("127.0.0.1"), &upstream.address);
    let (status, response) = trusting(&authority, address).post("/v1/chat/completions", "alice", "", QUESTION);
    assert_eq!(status, 200, "{response}");
    assert!(response.contains("data: [DONE]") && response.ends_with("0\r\n\r\n"), "{response}");
    assert!(response.contains("x-ratelimit-remaining-tokens"), "{response}");
}

#[test]
fn an_upstream_that_cannot_prove_who_it_is_gets_no_request() {
    let (runtime, authority) = (Runtime::new().expect("a runtime"), Authority::new("ours"));
    let upstream = upstream(&[]);
    let strange = encrypted(&runtime, Authority::new("a stranger").certify("127.0.0.1"), &upstream.address);
    let other = encrypted(&runtime, authority.certify("api.example.com"), &upstream.address);
    for (address, why) in [(strange, "UnknownIssuer"), (other, "not valid for name")] {
        let mut gateway = trusting(&authority, address);
        let remaining = [(); 2].map(|()| {
            let (status, response) = gateway.post("/v1/chat/completions", "alice", "", QUESTION);
            assert_eq!(status, 502, "{response}");
            assert!(response.contains("upstream_unavailable"), "{response}");
            assert!(!response.contains(why) && !response.contains(&address.to_string()), "it is for the operator");
            let remaining = response.lines().find_map(|line| line.strip_prefix("x-ratelimit-remaining-tokens: "));
            remaining.expect("what is left").to_owned()
        });
        assert_eq!(remaining[0], remaining[1], "an answer that never came costs nothing");
        gateway.process.kill().expect("it runs");
        let mut errors = String::new();
        gateway.process.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
        assert!(errors.starts_with("upstream: ") && errors.contains(why), "{errors}");
    }
}
