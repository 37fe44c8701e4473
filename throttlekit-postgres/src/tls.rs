//! Encryption by rustls.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use throttlekit::BuildError;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Whom to trust, and what to show. Without anything said, whom the system trusts.
#[derive(Default)]
pub(crate) struct Tls {
    /// Certificates as PEM.
    pub(crate) roots: Option<Vec<u8>>,
    /// The client's certificates and its key, as PEM.
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
    /// In place of both.
    pub(crate) config: Option<Box<ClientConfig>>,
}

impl Tls {
    /// Whether anything is said.
    pub(crate) fn is_said(&self) -> bool {
        self.roots.is_some() || self.client.is_some() || self.config.is_some()
    }

    pub(crate) fn connector(self) -> Result<MakeRustlsConnect, BuildError> {
        if let Some(config) = self.config {
            return Ok(MakeRustlsConnect::new(*config));
        }
        let trusted = match &self.roots {
            Some(pem) => certificates(pem).ok_or_else(no_roots)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        // Systems carry some that do not parse; one that does is enough.
        let (added, _) = roots.add_parsable_certificates(trusted);
        if added == 0 {
            return Err(no_roots());
        }
        // Named, so that another crate's choice of a provider does not matter.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|_| no_roots())?.with_root_certificates(roots);
        let config = match &self.client {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).ok();
                let (Some(chain), Some(key)) = (certificates(chain), key) else { return Err(no_client()) };
                config.with_client_auth_cert(chain, key).map_err(|_| no_client())?
            }
        };
        Ok(MakeRustlsConnect::new(config))
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}

fn no_roots() -> BuildError {
    BuildError::new("postgres.tls.caFile", "(not shown)", "must hold certificates in PEM form, at least one")
}

fn no_client() -> BuildError {
    let allowed = "must be certificates and their key, in PEM form";
    BuildError::new("postgres.tls.certFile", "(not shown)", allowed)
}
