//! Identities: a certificate authority for one cluster, and for each process a certificate that
//! says its name. A process trusts a name because this authority signed it, and nothing else.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::tls13::Hkdf;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use super::NetError;

/// How long a certificate is valid, in years, from the day before it was made (clocks differ).
const VALID_YEARS: i32 = 2;

/// The name whose files would be those of the authority.
const RESERVED_NAME: &str = "ca";

const MEND: &str = "run `paxbench certs`";

/// What [`generate`] does where an authority already is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// Refuse, and touch nothing.
    Refuse,
    /// Make a new authority and new identities; what the old one signed is no longer trusted.
    Replace,
}

/// Makes an authority (`ca.pem`, `ca.key.pem`) and one identity per name (`NAME.pem`,
/// `NAME.key.pem`) in `dir`, which is created if need be. Keys are readable by their owner only.
///
/// # Errors
/// If an authority exists and `existing` says [`Existing::Refuse`], if a name cannot be in a
/// certificate or comes twice, or if a file cannot be written.
pub fn generate(dir: &Path, names: &[String], existing: Existing) -> Result<(), NetError> {
    check_names(names)?;
    let ca_path = dir.join("ca.pem");
    if existing == Existing::Refuse && ca_path.exists() {
        let what = "an authority is already here, and replacing it voids every identity it signed";
        return Err(file_error(&ca_path, what, "name another directory, or ask to replace it"));
    }
    std::fs::create_dir_all(dir).map_err(|e| file_error(dir, e, "make the directory writable"))?;

    let key = new_key(&ca_path)?;
    let params = authority_params();
    let certificate = params.self_signed(&key).map_err(|e| file_error(&ca_path, e, MEND))?;
    write_pair(dir, RESERVED_NAME, &certificate.pem(), &key)?;
    let issuer = Issuer::from_params(&params, &key);
    names.iter().try_for_each(|name| generate_one(dir, name, &issuer))
}

fn check_names(names: &[String]) -> Result<(), NetError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        let bad = |what| NetError::Name { name: name.clone(), what };
        dns_name(name)?;
        if name == RESERVED_NAME {
            return Err(bad("is the authority's; choose another"));
        }
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(bad("comes twice, letter case aside; choose another"));
        }
    }
    Ok(())
}

/// The name as TLS wants it; refuses IP addresses, wildcards and what DNS does not allow.
pub(super) fn dns_name(name: &str) -> Result<ServerName<'static>, NetError> {
    match ServerName::try_from(name.to_owned()) {
        Ok(dns @ ServerName::DnsName(_)) => Ok(dns),
        _ => Err(NetError::Name {
            name: name.to_owned(),
            what: "a name may hold letters, digits, '-', '_' and '.', and must not be an address",
        }),
    }
}

fn new_key(path: &Path) -> Result<KeyPair, NetError> {
    KeyPair::generate().map_err(|e| file_error(path, e, MEND))
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    set_validity(&mut params);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "paxbench cluster authority");
    params
}

fn set_validity(params: &mut CertificateParams) {
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let start = today.saturating_sub(1.day());
    let end = start.saturating_add(VALID_YEARS.years());
    let at =
        |date: Date| rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    (params.not_before, params.not_after) = (at(start), at(end));
}

fn generate_one(dir: &Path, name: &str, issuer: &Issuer<'_, &KeyPair>) -> Result<(), NetError> {
    let path = certificate_path(dir, name);
    let failed = |e: rcgen::Error| file_error(&path, e, MEND);
    let mut params = CertificateParams::default();
    set_validity(&mut params);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().map_err(failed)?)];
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = new_key(&path)?;
    let certificate = params.signed_by(&key, issuer).map_err(failed)?;
    write_pair(dir, name, &certificate.pem(), &key)
}

fn write_pair(dir: &Path, name: &str, pem: &str, key: &KeyPair) -> Result<(), NetError> {
    write_file(&key_path(dir, name), &key.serialize_pem(), 0o600)?;
    write_file(&certificate_path(dir, name), pem, 0o644)
}

/// Writes beside the file and renames over it, so that a key is never readable by others, not even
/// when it replaces a file that was, and never half written.
fn write_file(path: &Path, text: &str, mode: u32) -> Result<(), NetError> {
    let failed = |e: std::io::Error| file_error(path, e, "make the directory writable");
    let beside = path.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&beside).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

fn certificate_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.pem"))
}

fn key_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key.pem"))
}

#[allow(clippy::needless_pass_by_value, reason = "errors of several types are made into text here")]
fn file_error(path: &Path, what: impl ToString, mend: &'static str) -> NetError {
    NetError::File { path: path.to_owned(), what: what.to_string(), mend }
}

/// Who a process is, and whom it trusts.
pub struct Identity {
    name: String,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Identity {
            name: self.name.clone(),
            roots: self.roots.clone(),
            certificates: self.certificates.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl Identity {
    /// Reads `ca.pem`, `NAME.pem` and `NAME.key.pem` from `dir`, and checks that the certificate
    /// bears the name, belongs to the key, is signed by the authority and valid today.
    ///
    /// # Errors
    /// Which of the files cannot be used, why, and how to mend it.
    pub fn load(dir: &Path, name: &str) -> Result<Identity, NetError> {
        let server_name = dns_name(name)?;
        let ca_path = dir.join("ca.pem");
        let path = certificate_path(dir, name);
        let mut roots = RootCertStore::empty();
        for ca in read_certificates(&ca_path)? {
            roots.add(ca).map_err(|e| file_error(&ca_path, e, MEND))?;
        }
        let certificates = read_certificates(&path)?;
        let key_path = key_path(dir, name);
        let key = PrivateKeyDer::from_pem_file(&key_path)
            .map_err(|e| file_error(&key_path, format!("cannot read the key: {e}"), MEND))?;

        let identity =
            Identity { name: name.to_owned(), roots: Arc::new(roots), certificates, key };
        identity.check_key(&key_path)?;
        identity.check_certificate(&path, &server_name)?;
        Ok(identity)
    }

    /// The name that this process goes by.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn check_key(&self, key_path: &Path) -> Result<(), NetError> {
        let (certificates, key) = (self.certificates.clone(), self.key.clone_key());
        match CertifiedKey::from_der(certificates, key, &provider()) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(file_error(key_path, "is not the key of the certificate", MEND))
            }
            Err(e) => Err(file_error(key_path, e, MEND)),
        }
    }

    fn check_certificate(&self, path: &Path, name: &ServerName<'_>) -> Result<(), NetError> {
        let failed = |what: String| file_error(path, what, MEND);
        let borne = certificate_name(&self.certificates[0]).map_err(|e| failed(e.to_owned()))?;
        if borne != self.name {
            return Err(failed(format!("bears the name {borne:?}, not {:?}", self.name)));
        }
        WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider())
            .build()
            .map_err(|e| failed(e.to_string()))?
            .verify_server_cert(
                &self.certificates[0],
                &self.certificates[1..],
                name,
                &[],
                UnixTime::now(),
            )
            .map_err(|e| failed(format!("is not trusted by ca.pem: {e}")))?;
        Ok(())
    }

    /// A secret of 32 bytes that only this identity can make, for `purpose`; the same after a
    /// restart.
    pub(super) fn secret(&self, purpose: &str) -> [u8; 32] {
        let expander = hkdf().extract_from_secret(None, self.key.secret_der());
        let mut secret = [0; 32];
        expander
            .expand_slice(&[b"paxbench ", purpose.as_bytes()], &mut secret)
            .expect("32 bytes are within what HKDF can give");
        secret
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let failed = |e| file_error(path, format!("cannot read the certificate: {e}"), MEND);
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if certificates.is_empty() {
        return Err(file_error(path, "holds no certificate", MEND));
    }
    Ok(certificates)
}

/// The one DNS name that a certificate bears.
pub(super) fn certificate_name(certificate: &CertificateDer<'_>) -> Result<String, &'static str> {
    use x509_parser::extensions::GeneralName;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| "the certificate does not parse")?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| "the certificate's name does not parse")?
        .ok_or("the certificate bears no name")?;
    match names.value.general_names.as_slice() {
        [GeneralName::DNSName(name)] => Ok((*name).to_owned()),
        _ => Err("the certificate must bear exactly one DNS name"),
    }
}

/// ring, with AES-128-GCM first: with AES instructions it costs less than ChaCha and AES-256.
pub(super) fn provider() -> Arc<CryptoProvider> {
    use rustls::crypto::ring::{cipher_suite, default_provider};
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..default_provider()
    })
}

/// HKDF and HMAC with SHA-256.
pub(super) fn hkdf() -> &'static dyn Hkdf {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    suite.tls13().expect("a TLS 1.3 suite").hkdf_provider
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        generate(dir.path(), &names, Existing::Refuse).unwrap();
        dir
    }

    fn load_error(dir: &Path, name: &str) -> String {
        Identity::load(dir, name).unwrap_err().to_string()
    }

    #[test]
    fn a_generated_identity_loads_and_bears_its_name() {
        let dir = made(&["virginia", "load-virginia"]);
        for name in ["virginia", "load-virginia"] {
            assert_eq!(Identity::load(dir.path(), name).unwrap().name(), name);
        }
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = made(&["virginia"]);
        for name in ["ca.key.pem", "virginia.key.pem"] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn an_authority_is_replaced_only_when_asked() {
        let dir = made(&["virginia"]);
        let before = std::fs::read(dir.path().join("ca.pem")).unwrap();
        let names = ["tokyo".to_owned()];
        let error = generate(dir.path(), &names, Existing::Refuse).unwrap_err().to_string();
        assert!(error.contains("ca.pem: an authority is already here"), "{error}");
        assert_eq!(std::fs::read(dir.path().join("ca.pem")).unwrap(), before);
        generate(dir.path(), &names, Existing::Replace).unwrap();
        Identity::load(dir.path(), "tokyo").unwrap();
        assert!(load_error(dir.path(), "virginia").contains("is not trusted by ca.pem"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_path_and_the_remedy() {
        let dir = made(&["virginia", "tokyo"]);
        let at = |name: &str| dir.path().join(name);
        assert!(load_error(dir.path(), "oregon").contains("oregon.pem: cannot read"));
        assert!(load_error(dir.path(), "oregon").ends_with("run `paxbench certs`"));

        std::fs::copy(at("tokyo.key.pem"), at("virginia.key.pem")).unwrap();
        let error = load_error(dir.path(), "virginia");
        assert!(error.contains("virginia.key.pem: is not the key"), "{error}");

        std::fs::copy(at("tokyo.pem"), at("virginia.pem")).unwrap();
        let error = load_error(dir.path(), "virginia");
        assert!(error.contains("bears the name \"tokyo\", not \"virginia\""), "{error}");

        std::fs::write(at("tokyo.pem"), "not a certificate").unwrap();
        assert!(load_error(dir.path(), "tokyo").contains("tokyo.pem: "));
    }

    #[test]
    fn names_that_a_certificate_cannot_bear_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let lists: [&[&str]; 5] =
            [&["a/b"], &["127.0.0.1"], &["*.virginia"], &["ca"], &["tokyo", "Tokyo"]];
        for names in lists {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            let error = generate(dir.path(), &names, Existing::Refuse).unwrap_err();
            assert!(matches!(error, NetError::Name { .. }), "{error}");
        }
    }

    #[test]
    fn a_secret_depends_on_the_identity_and_the_purpose_and_survives_a_restart() {
        let dir = made(&["virginia", "tokyo"]);
        let load = |name| Identity::load(dir.path(), name).unwrap();
        assert_eq!(load("tokyo").secret("a"), load("tokyo").secret("a"));
        assert_ne!(load("tokyo").secret("a"), load("tokyo").secret("b"));
        assert_ne!(load("tokyo").secret("a"), load("virginia").secret("a"));
    }
}
