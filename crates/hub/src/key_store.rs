//! Tokens in the system's key store: Keychain, Credential Manager, or what speaks the Secret Service protocol. One token per
//! host, so that none goes to another. Without the feature `key-store` there is no store.

use crate::error::HubError;
use crate::token::Token;

impl Token {
    /// The token for `host`, where there is a store and it can be read: on a server without one nothing is missing.
    #[cfg(feature = "key-store")]
    #[must_use]
    pub fn stored(host: &str) -> Option<Self> {
        let secret = entry(host).and_then(|entry| entry.get_password()).ok()?;
        Self::new(&secret, "the system's key store").ok()
    }

    /// None: this build has no key store.
    #[cfg(not(feature = "key-store"))]
    #[must_use]
    pub fn stored(_: &str) -> Option<Self> {
        None
    }

    /// Whether tokens can be stored at all.
    ///
    /// # Errors
    /// [`HubError::NoKeyStore`] in builds without the feature `key-store`, [`HubError::KeyStore`] where the system has none.
    #[cfg(feature = "key-store")]
    pub fn check_store() -> Result<(), HubError> {
        let status = keyring::v1::Entry::store_status();
        status.as_ref().map(|&()| ()).map_err(|error| HubError::KeyStore { reason: error.to_string() })
    }

    /// Whether tokens can be stored at all.
    ///
    /// # Errors
    /// [`HubError::NoKeyStore`] in builds without the feature `key-store`, [`HubError::KeyStore`] where the system has none.
    #[cfg(not(feature = "key-store"))]
    pub fn check_store() -> Result<(), HubError> {
        Err(HubError::NoKeyStore)
    }

    /// Stores it for `host`, in place of one that was there.
    ///
    /// # Errors
    /// As of [`Token::check_store`], and when the store refuses.
    #[cfg(feature = "key-store")]
    pub fn store(&self, host: &str) -> Result<(), HubError> {
        let stored = entry(host).and_then(|entry| entry.set_password(self.secret()));
        stored.map_err(|error| HubError::KeyStore { reason: error.to_string() })
    }

    /// Stores it for `host`, in place of one that was there.
    ///
    /// # Errors
    /// As of [`Token::check_store`], and when the store refuses.
    #[cfg(not(feature = "key-store"))]
    pub fn store(&self, _: &str) -> Result<(), HubError> {
        Self::check_store()
    }
}

#[cfg(feature = "key-store")]
fn entry(host: &str) -> keyring::v1::Result<keyring::v1::Entry> {
    keyring::v1::Entry::new("attune", host)
}
