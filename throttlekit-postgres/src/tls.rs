//! Encryption by rustls.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use throttlekit::BuildError;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Whom to trust.
pub(crate) enum Tls {
    /// Certificates as PEM.
    Roots(Vec<u8>),
    Config(Box<ClientConfig>),
}

impl Tls {
    pub(crate) fn connector(self) -> Result<MakeRustlsConnect, BuildError> {
        match self {
            Self::Config(config) => Ok(MakeRustlsConnect::new(*config)),
            Self::Roots(pem) => {
                let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
                trusting(certificates.map_err(|_| no_roots())?)
            }
        }
    }
}

/// Trusts whom the system trusts.
pub(crate) fn of_system() -> Result<MakeRustlsConnect, BuildError> {
    trusting(rustls_native_certs::load_native_certs().certs)
}

fn trusting(certificates: Vec<CertificateDer<'static>>) -> Result<MakeRustlsConnect, BuildError> {
    let mut roots = RootCertStore::empty();
    // Systems carry some that do not parse; one that does is enough.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(no_roots());
    }
    // Named, so that another crate's choice of a provider does not matter.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|_| no_roots())?.with_root_certificates(roots).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn no_roots() -> BuildError {
    BuildError::new("postgres.rootCertificates", "(not shown)", "must be certificates in PEM, at least one")
}
