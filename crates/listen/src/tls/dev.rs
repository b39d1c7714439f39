use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use super::{TlsError, provider};

/// As long as browsers take a server's certificate.
const LIFE: Duration = Duration::days(397);

/// Clocks of one network differ.
const SKEW: Duration = Duration::hours(1);

pub(super) struct Made {
    pub(super) pair: CertifiedKey,
    /// PEM.
    pub(super) authority: String,
}

/// Makes an authority, lets it sign one certificate, and forgets its key.
pub(super) fn make(names: impl IntoIterator<Item = String>) -> Result<Made, TlsError> {
    let mut all = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    let mut root = params(Vec::new(), "openmic dev CA")?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root_key = KeyPair::generate().map_err(TlsError::Make)?;
    let authority = root.self_signed(&root_key).map_err(TlsError::Make)?.pem();
    let issuer = Issuer::new(root, root_key);

    let mut leaf = params(all, "openmic dev")?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(TlsError::Make)?;
    let certificate = leaf.signed_by(&key, &issuer).map_err(TlsError::Make)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let pair = CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider())
        .map_err(TlsError::Use)?;
    Ok(Made { pair, authority })
}

fn params(names: Vec<String>, common_name: &str) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(names).map_err(TlsError::Make)?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - SKEW;
    params.not_after = now + LIFE;
    Ok(params)
}
