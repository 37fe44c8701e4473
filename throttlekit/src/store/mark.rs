//! What a store knows a key by.

/// A key as the store in process knows it, for observers that need a fingerprint of it too. A store that keeps the text of
/// its keys has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(pub(crate) Option<Marked>);

/// A keyed fingerprint.
#[derive(Clone, Copy)]
pub(crate) struct Marked {
    /// SipHash-1-3 of the key.
    pub(crate) fingerprint: u64,
    /// What it is keyed by.
    pub(crate) secret: [u64; 2],
}

impl std::fmt::Debug for Marked {
    /// Shows neither what stands for the key nor the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Marked")
    }
}
