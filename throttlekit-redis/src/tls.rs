//! TLS: whom to trust.

use std::fmt;
use std::io;
use std::sync::Arc;

use throttlekit::BuildError;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::{TlsConnector, rustls};

use crate::error::Failure;

/// Whom to trust on connections over TLS, and as whom to appear. The default trusts the authorities that the system
/// does. `Debug` shows no key.
///
/// ```
/// use throttlekit_redis::{RedisOptions, Tls};
///
/// let refused = RedisOptions::single("rediss://cache.internal")?.tls(Tls::new().authority("no certificate"));
/// assert_eq!(refused.unwrap_err().option(), "redis.tls.authority");
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Default)]
pub struct Tls {
    authority: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    unverified: bool,
}

impl Tls {
    /// Trusts the authorities that the system trusts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these authorities only: certificates in PEM form.
    #[must_use]
    pub fn authority(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.authority = Some(pem.as_ref().to_vec());
        self
    }

    /// Shows this chain of certificates to the server, with their key; both in PEM form.
    #[must_use]
    pub fn identity(mut self, chain_pem: impl AsRef<[u8]>, key_pem: impl AsRef<[u8]>) -> Self {
        self.identity = Some((chain_pem.as_ref().to_vec(), key_pem.as_ref().to_vec()));
        self
    }

    /// Trusts whoever answers. What is sent, the password too, can then be read and changed by whoever is on the way;
    /// good for a trial on one machine only.
    #[must_use]
    pub fn danger_accept_any_certificate(mut self) -> Self {
        self.unverified = true;
        self
    }

    pub(crate) fn connector(&self) -> Result<TlsConnector, BuildError> {
        let provider = Arc::new(ring::default_provider());
        let invalid = |option, error: &dyn fmt::Display, allowed: &'static str| BuildError::new(option, error, allowed);
        // By its own provider: the process may have none, or several to choose from.
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("redis.tls", &error, "must be supported by the build"))?;
        let builder = if self.unverified {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates(chain, "redis.tls.identity")?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
                    invalid("redis.tls.identity", &"a key that does not parse", "must be a private key in PEM form")
                })?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    invalid("redis.tls.identity", &error, "must be a key and the certificates for it")
                })?
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn roots(&self) -> Result<RootCertStore, BuildError> {
        let mut roots = RootCertStore::empty();
        if let Some(pem) = &self.authority {
            for certificate in certificates(pem, "redis.tls.authority")? {
                roots.add(certificate).map_err(|error| {
                    BuildError::new("redis.tls.authority", error, "must be certificates of authorities")
                })?;
            }
            return Ok(roots);
        }
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            let allowed = "must be given where the system trusts no authority";
            return Err(BuildError::new("redis.tls.authority", "not given", allowed));
        }
        Ok(roots)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authority", &self.authority.is_some())
            .field("identity", &self.identity.is_some())
            .field("unverified", &self.unverified)
            .finish()
    }
}

fn certificates(pem: &[u8], option: &'static str) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match parsed {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(BuildError::new(option, "a text without certificates", "must be certificates in PEM form")),
    }
}

/// TLS over a connection to `host`.
pub(crate) async fn wrap(tls: &TlsConnector, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Failure::new("the host is no name for TLS"))?;
    tls.connect(name, stream).await.map_err(|error| Failure::new(format!("TLS: {}", reason(&error))))
}

fn reason(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => format!("the server's certificate is not valid: {why}"),
        Some(error) => error.to_string(),
        None => error.kind().to_string(),
    }
}

/// Trusts any certificate, though not a handshake that does not fit it.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
