//! TLS: the certificate and key that the host shows who connects.
//!
//! Every handshake looks whether the files are others than before, and reads them anew then, so that a renewed certificate counts
//! from the next connection on and open ones go on. New files that can't be used, as a certificate whose key has not been
//! written yet, change nothing: what was shown before is shown on, and the host's log says why.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nerve_eventlog::{Clock, Micros, SystemClock};
use parking_lot::Mutex;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::access::Stamp;

/// What the host shows who connects over TLS.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Why files are none to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{path} can't be read: {cause}; --tls-cert names the certificate and --tls-key its key")]
    Read {
        /// Which.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} has no {what} in PEM form{why}")]
    Nothing {
        /// Which.
        path: String,
        /// What it should hold.
        what: &'static str,
        /// What is in the way.
        why: String,
    },
    /// The key is another certificate's.
    #[error(
        "the key in {key} is not that of the certificate in {cert}: name the two that were made together"
    )]
    Mismatch {
        /// File of the certificate.
        cert: String,
        /// File of the key.
        key: String,
    },
    /// Nobody would trust it at this time.
    #[error("the certificate in {path} {what}: renew it, or set the clock right")]
    Time {
        /// Which.
        path: String,
        /// How it stands with its time.
        what: String,
    },
}

impl Tls {
    /// Show the certificate in the PEM file `cert`, which the others of its chain follow, with the key in `key`.
    ///
    /// # Panics
    /// Never: the provider has ciphers of both versions of TLS.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let files = Files {
            cert: cert.to_owned(),
            key: key.to_owned(),
            provider: provider.clone(),
            shown: Mutex::new(Shown {
                stamps: stamps(cert, key),
                pair: load(&provider, cert, key, SystemClock.now())?,
            }),
        };
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers of TLS 1.2 and 1.3")
            .with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::new(files));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// What makes a connection one over TLS.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.0.clone().into()
    }
}

type Stamps = [Option<Stamp>; 2];

#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    shown: Mutex<Shown>,
}

#[derive(Debug)]
struct Shown {
    stamps: Stamps,
    pair: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Before the files are read: what changes meanwhile is seen the next time.
        let stamps = stamps(&self.cert, &self.key);
        let mut shown = self.shown.lock();
        if shown.stamps != stamps {
            shown.stamps = stamps;
            match load(&self.provider, &self.cert, &self.key, SystemClock.now()) {
                Ok(pair) => {
                    tracing::info!("the certificate in {} is shown from now on", self.cert.display());
                    shown.pair = pair;
                }
                Err(cause) => tracing::warn!("the certificate of before is shown on: {cause}"),
            }
        }
        Some(shown.pair.clone())
    }
}

fn stamps(cert: &Path, key: &Path) -> Stamps {
    [cert, key].map(|path| Stamp::of(path).ok().flatten())
}

/// The pair in the files, which must belong together and be good `now`.
fn load(
    provider: &CryptoProvider,
    cert: &Path,
    key: &Path,
    now: Micros,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain: Result<Vec<CertificateDer<'static>>, pem::Error> =
        CertificateDer::pem_slice_iter(&read(cert)?).collect();
    let chain = chain.map_err(|bad| nothing(cert, "certificate", Some(bad.to_string())))?;
    let Some(first) = chain.first().cloned() else {
        return Err(nothing(cert, "certificate", None));
    };
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|bad| match bad {
        pem::Error::NoItemsFound => nothing(key, "private key", None),
        bad => nothing(key, "private key", Some(bad.to_string())),
    })?;
    let private = provider.key_provider.load_private_key(private);
    let private = private.map_err(|bad| nothing(key, "private key", Some(bad.to_string())))?;
    let pair = CertifiedKey::new(chain, private);
    match pair.keys_match() {
        // Whether they match can't be told of every key.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            return Err(TlsError::Mismatch {
                cert: cert.display().to_string(),
                key: key.display().to_string(),
            });
        }
        Err(bad) => return Err(nothing(cert, "certificate", Some(bad.to_string()))),
    }
    check_time(provider, &first, now).map_err(|what| TlsError::Time {
        path: cert.display().to_string(),
        what,
    })?;
    Ok(Arc::new(pair))
}

/// Whether a certificate is good `now`. It is verified with nobody to trust: its time is looked at first, and what is then
/// missing is not asked here.
fn check_time(provider: &CryptoProvider, cert: &CertificateDer<'_>, now: Micros) -> Result<(), String> {
    let Ok(parsed) = ParsedCertificate::try_from(cert) else {
        return Ok(());
    };
    let now = UnixTime::since_unix_epoch(Duration::from_micros(now.0));
    let algorithms = provider.signature_verification_algorithms.all;
    let nobody = RootCertStore::empty();
    let verified = verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], now, algorithms);
    let date = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).map_or_else(|_| "then".to_owned(), |time| time.to_string())
    };
    match verified {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Err(format!("expired at {}", date(not_after)))
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
            Err(format!("is not good before {}", date(not_before)))
        }
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|cause| TlsError::Read {
        path: path.display().to_string(),
        cause,
    })
}

fn nothing(path: &Path, what: &'static str, why: Option<String>) -> TlsError {
    TlsError::Nothing {
        path: path.display().to_string(),
        what,
        why: why
            .map(|why| format!(" that can be used: {why}"))
            .unwrap_or_default(),
    }
}
