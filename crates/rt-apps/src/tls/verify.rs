//! The client's judgement of a chain: webpki decides, and what it decided is kept for the story.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::failure::TlsFailure;
use super::subject::{Names, names_of};

/// Verdicts kept until somebody asks; more are forgotten.
const PENDING: usize = 64;

/// What was found about a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Subjects from the leaf upwards; the trusted root last when the chain leads to one.
    pub chain: Vec<String>,
    /// `None`: it holds.
    pub failure: Option<TlsFailure>,
    /// Against what it was verified, or why it does not hold.
    pub note: String,
}

/// Wraps webpki's verifier.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None` with an empty trust store, which webpki does not take: then nothing is trusted.
    inner: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    roots: Vec<Names>,
    verdicts: Mutex<BTreeMap<String, Vec<Verdict>>>,
}

impl Verifier {
    /// Trusts `roots`.
    ///
    /// # Errors
    /// When a root is not a certificate.
    pub(super) fn new(
        provider: &Arc<CryptoProvider>,
        roots: &[CertificateDer<'static>],
    ) -> Result<Verifier, Error> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone())?;
        }
        let inner = if store.is_empty() {
            None
        } else {
            let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
            Some(builder.build().map_err(|fault| Error::General(fault.to_string()))?)
        };
        let roots = roots.iter().filter_map(|root| names_of(root)).collect();
        let algorithms = provider.signature_verification_algorithms;
        Ok(Verifier { inner, algorithms, roots, verdicts: Mutex::default() })
    }

    /// The verdict of the oldest handshake with `name` whose verdict was not taken yet. Handshakes that run at once
    /// with one name see the same chain, so it does not matter which of them takes which.
    pub(super) fn take_verdict(&self, name: &ServerName<'_>) -> Option<Verdict> {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let name = name.to_str();
        let list = verdicts.get_mut(name.as_ref())?;
        let verdict = list.remove(0);
        if list.is_empty() {
            verdicts.remove(name.as_ref());
        }
        Some(verdict)
    }

    fn keep(&self, name: &ServerName<'_>, verdict: Verdict) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= PENDING {
            verdicts.pop_first();
        }
        verdicts.entry(name.to_str().into_owned()).or_default().push(verdict);
    }

    fn judge(&self, certificates: &[&CertificateDer<'_>], result: Result<(), &Error>) -> Verdict {
        let mut chain = Vec::new();
        let mut top = None;
        for certificate in certificates {
            let names = names_of(certificate);
            let subject = names.as_ref().map_or("unreadable certificate", |names| &names.subject);
            chain.push(subject.to_owned());
            top = names;
        }
        let root = top.and_then(|top| self.roots.iter().find(|root| root.subject == top.issuer));
        if let Some(root) = root {
            chain.push(root.subject.clone());
        }
        match result {
            Ok(()) => {
                let trusted = root.map_or("a trusted root", |root| &root.subject);
                Verdict {
                    chain,
                    failure: None,
                    note: format!("leads to {trusted}, which is in the trust store"),
                }
            }
            Err(error) => {
                let failure = TlsFailure::of(error);
                Verdict { chain, note: failure.to_string(), failure: Some(failure) }
            }
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result = match &self.inner {
            Some(webpki) => webpki.verify_server_cert(leaf, intermediates, name, ocsp, now),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        let certificates: Vec<_> = std::iter::once(leaf).chain(intermediates).collect();
        self.keep(name, self.judge(&certificates, result.as_ref().map(|_| ())));
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
