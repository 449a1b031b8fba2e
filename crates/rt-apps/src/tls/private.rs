//! An authority of somebody's own, such as a company's: trusted by nobody but those who are told to.

use rcgen::{DistinguishedName, DnType, Issuer};
use rt_base::Rng;
use rustls::pki_types::CertificateDer;

use super::authority::{Identity, Signer, ca_params, leaf};
use super::key::Key;

/// Seconds in a (Julian) year.
const YEAR: u64 = 31_557_600;

/// A root that signs server certificates itself. The same seed and name give the same keys.
pub struct PrivateCa {
    name: String,
    seed: u64,
    signer: Signer,
    pem: String,
}

impl PrivateCa {
    /// Makes the root: valid from five years before the run to fifteen years after its beginning.
    ///
    /// # Errors
    /// When rcgen refuses to write the certificate.
    pub fn new(seed: u64, epoch: u64, name: &str) -> Result<PrivateCa, rcgen::Error> {
        let key = Key::generate(&mut Rng::stream(seed, name, "private-ca.key"));
        let valid = (epoch.saturating_sub(5 * YEAR), epoch.saturating_add(15 * YEAR));
        let mut params = ca_params(name, seed, valid, Some(0));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let root = params.self_signed(&key)?;
        let (pem, certificate) = (root.pem(), root.into());
        let signer = Signer { issuer: Issuer::new(params, key), certificate };
        Ok(PrivateCa { name: name.to_owned(), seed, signer, pem })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A certificate for one host, valid in this span (seconds since 1970).
    ///
    /// # Errors
    /// When the host is not an ASCII DNS name or IP address.
    pub fn issue(&self, host: &str, valid: (u64, u64)) -> Result<Identity, rcgen::Error> {
        let label = format!("{}/{host}", self.name);
        let names = [host.to_owned()];
        let (leaf, key) = leaf(&self.signer, (self.seed, &label), &names, valid)?;
        Ok(Identity::new(vec![leaf], key, &names))
    }

    /// Its certificate.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.signer.certificate
    }

    /// The same in PEM, as real programs want it.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.pem
    }
}

impl std::fmt::Debug for PrivateCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateCa({})", self.name)
    }
}
