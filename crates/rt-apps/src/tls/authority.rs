//! The certificate authorities of a simulated internet: one that everybody trusts (root and intermediate) and one that
//! nobody trusts, and the server certificates they sign.
//!
//! Everything in a certificate (keys, serial, validity, signature) follows from the seed and the specification, so two
//! runs show the same bytes.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use rt_base::Rng;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::key::Key;

/// Seconds in a (Julian) year.
const YEAR: u64 = 31_557_600;

/// Which authority signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SignedBy {
    /// Leaf, intermediate, root that everybody trusts.
    #[default]
    PublicCa,
    /// A CA that nobody trusts.
    UnknownCa,
}

/// A server certificate to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateSpec {
    /// DNS names (or IP addresses) in it, the first one also as common name.
    pub names: Vec<String>,
    /// Start of validity, seconds since 1970.
    pub not_before: u64,
    /// End of validity, seconds since 1970.
    pub not_after: u64,
    /// Who signs it.
    pub signed_by: SignedBy,
}

/// A certificate with its chain and private key, as a server needs it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    names: Arc<[String]>,
}

impl Identity {
    /// A key with its certificates, for these names.
    pub(super) fn new(chain: Vec<CertificateDer<'static>>, key: Key, names: &[String]) -> Identity {
        Identity { key: Arc::new(CertifiedKey::new(chain, Arc::new(key))), names: names.into() }
    }

    /// DER certificates from the leaf upwards, without the root.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// The names that it is for; the first label may be `*`.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// A CA certificate with its key.
pub(super) struct Signer {
    pub(super) issuer: Issuer<'static, Key>,
    pub(super) certificate: CertificateDer<'static>,
}

/// The authorities of one run.
pub struct Authority {
    seed: u64,
    root: CertificateDer<'static>,
    root_pem: String,
    public: Signer,
    unknown: Signer,
}

impl Authority {
    /// Makes the CAs of `(seed, epoch)`; `epoch` is civil time at the start of the run, seconds since 1970. The CA
    /// certificates are valid from five years before to fifteen years after it.
    ///
    /// # Errors
    /// When rcgen refuses to write a certificate.
    pub fn new(seed: u64, epoch: u64) -> Result<Authority, rcgen::Error> {
        let key = |name| Key::generate(&mut Rng::stream(seed, "public-ca", name));
        let valid = (epoch.saturating_sub(5 * YEAR), epoch.saturating_add(15 * YEAR));
        let root_params = ca_params("Roundtrip Root CA", seed, valid, None);
        let root_key = key("root");
        let root = root_params.self_signed(&root_key)?;
        let (root_pem, root) = (root.pem(), root.into());
        let public_params = ca_params("Roundtrip Intermediate CA 1", seed, valid, Some(0));
        let public_key = key("intermediate");
        let certificate =
            public_params.signed_by(&public_key, &Issuer::from_params(&root_params, &root_key))?.into();
        let public = Signer { issuer: Issuer::new(public_params, public_key), certificate };
        let unknown_params = ca_params("Nobody Knows This CA", seed, valid, Some(0));
        let unknown_key = key("unknown");
        let certificate = unknown_params.self_signed(&unknown_key)?.into();
        let unknown = Signer { issuer: Issuer::new(unknown_params, unknown_key), certificate };
        Ok(Authority { seed, root, root_pem, public, unknown })
    }

    /// Makes a server certificate.
    ///
    /// # Errors
    /// When a name is not an ASCII DNS name or IP address, or a date is out of range.
    pub fn issue(&self, spec: &CertificateSpec) -> Result<Identity, rcgen::Error> {
        let label = spec.names.join(",");
        let signer = match spec.signed_by {
            SignedBy::PublicCa => &self.public,
            SignedBy::UnknownCa => &self.unknown,
        };
        let (leaf, key) = leaf(signer, (self.seed, &label), &spec.names, (spec.not_before, spec.not_after))?;
        let chain = vec![leaf, signer.certificate.clone()];
        Ok(Identity::new(chain, key, &spec.names))
    }

    /// The root that every machine of the simulation trusts.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The same in PEM, as real programs want it.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }
}

/// A server certificate for `names`; key and serial number follow from the seed and the label.
pub(super) fn leaf(
    signer: &Signer,
    (seed, label): (u64, &str),
    names: &[String],
    valid: (u64, u64),
) -> Result<(CertificateDer<'static>, Key), rcgen::Error> {
    let key = Key::generate(&mut Rng::stream(seed, label, "certificate.key"));
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    // RFC 5280, appendix A.1: a common name has 64 characters at most.
    if let Some(name) = names.first().filter(|name| name.len() <= 64) {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    set_validity(&mut params, valid);
    params.serial_number = Some(serial(seed, label));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok((params.signed_by(&key, &signer.issuer)?.into(), key))
}

pub(super) fn ca_params(name: &str, seed: u64, valid: (u64, u64), path_len: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Roundtrip Trust Services");
    params.distinguished_name.push(DnType::CommonName, name);
    set_validity(&mut params, valid);
    params.serial_number = Some(serial(seed, name));
    params.is_ca = IsCa::Ca(path_len.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// 16 bytes, positive and without leading zero (RFC 5280, 4.1.2.2).
fn serial(seed: u64, name: &str) -> SerialNumber {
    let mut bytes = [0; 16];
    Rng::stream(seed, name, "certificate.serial").fill(&mut bytes);
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Sets the validity. Dates past the year 9999 are not sayable in X.509: they become its last second.
fn set_validity(params: &mut CertificateParams, (from, until): (u64, u64)) {
    const LAST: u64 = 253_402_300_799;
    let date = |unix: u64| date_time_ymd(1970, 1, 1) + core::time::Duration::from_secs(unix.min(LAST));
    params.not_before = date(from);
    params.not_after = date(until);
}
