//! A country's own certificate authority: one P-256 key that certifies the country's gateways, adapters and operators.
//!
//! The trust list binds the authority to its country. The certificate has no name constraints, because webpki refuses
//! URI names below them.

use std::fmt;
use std::net::IpAddr;

use proto::ids::{Authority, CountryCode};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, DnsName};
use time::{Duration, OffsetDateTime};

use crate::csr::{self, CertificateKey, Request};
use crate::keyfile::{Algorithm, KeyFile};
use crate::lint::{self, LintError, MOST_DAYS};
use crate::tls::{Identity, Role};

/// The common name, before the country's number.
const NAME: &str = "Exchange CA ";
/// How far back a certificate begins, for clocks that are behind.
const BACKDATED: Duration = Duration::minutes(5);
/// The longest life of an authority.
const MOST_YEARS: u8 = 25;

/// Why an authority could not be opened, or will not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// No PEM certificate.
    #[error("it is no PEM certificate; it begins with -----BEGIN CERTIFICATE-----")]
    NotCertificate,
    /// A certificate that may not sign others, or has another name.
    #[error("it is no certificate of an exchange authority (`{NAME}826`); make one with: pki ca create")]
    NotAuthority,
    /// Certificate and key are not of the same authority.
    #[error("the authority's key does not belong to its certificate; take both from the same folder")]
    OtherKey,
    /// An adapter of another country's authority.
    #[error("authority {authority} is not of country {country}; its own country certifies it")]
    OtherCountry {
        /// The authority in the order.
        authority: Authority,
        /// The country of the certificate authority.
        country: CountryCode,
    },
    /// No host name.
    #[error("`{0}` is no host name; write it as gateway.example.org")]
    HostName(String),
    /// A life that no certificate has.
    #[error("{days} days are out of range; 1 to {MOST_DAYS} are allowed")]
    Days {
        /// What was asked for.
        days: u16,
    },
    /// A life that no authority has.
    #[error("{years} years are out of range; 1 to {MOST_YEARS} are allowed")]
    Years {
        /// What was asked for.
        years: u8,
    },
    /// The certificate would outlive the authority.
    #[error("the authority itself is valid for {left} more days; ask for no more, or make a new authority")]
    BeyondAuthority {
        /// Whole days until its end; 0 if it is over.
        left: i64,
    },
    /// What was made breaks a rule.
    #[error("the new certificate breaks a rule: {0}")]
    Lint(#[from] LintError),
}

/// A certificate's serial number, shown in hex as the trust list's `revoked_serials` take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Serial([u8; 16]);

impl Serial {
    /// 16 random octets. The first is 0x40-0x7f: positive, and of one length in every encoding.
    fn random() -> Self {
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).expect("the operating system gives random octets");
        octets[0] = octets[0] & 0x3f | 0x40;
        Self(octets)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A certificate that was just signed.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The certificate in PEM.
    pub pem: String,
    /// Its serial number.
    pub serial: Serial,
    /// When it ends.
    pub not_after: OffsetDateTime,
}

impl Issued {
    fn new(certificate: rcgen::Certificate, serial: Serial, not_after: OffsetDateTime) -> Self {
        Self { pem: certificate.pem(), certificate: certificate.into(), serial, not_after }
    }
}

/// What an authority's operator wants signed.
#[derive(Debug, Clone)]
pub struct Order {
    /// What the holder does.
    pub role: Role,
    /// Host names, for clients that look at them. The exchange does not.
    pub dns: Vec<String>,
    /// Addresses, likewise.
    pub ip: Vec<IpAddr>,
    /// The certificate's life: 1-398 days.
    pub days: u16,
}

impl Order {
    /// The life of a certificate unless another is asked for.
    pub const DAYS: u16 = 90;
}

/// Makes a country's authority: a key, and the certificate for the trust list.
pub fn create(country: CountryCode, years: u8, now: OffsetDateTime) -> Result<(KeyFile, Issued), CaError> {
    if !(1..=MOST_YEARS).contains(&years) {
        return Err(CaError::Years { years });
    }
    let key = KeyFile::generate(Algorithm::P256);
    let signer = CertificateKey::new(&key).expect("it was generated as a P-256 key");
    // 1,461 days are four years.
    let life = Duration::days(i64::from(years) * 1_461 / 4);
    let (mut params, serial) = params(&format!("{NAME}{country}"), now - BACKDATED, life);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&signer).expect("fixed fields always serialise");
    Ok((key, Issued::new(certificate, serial, params.not_after)))
}

/// An opened authority.
pub struct CertificateAuthority {
    country: CountryCode,
    not_after: OffsetDateTime,
    issuer: Issuer<'static, CertificateKey>,
}

impl CertificateAuthority {
    /// Takes the authority's certificate and its key, and checks that they belong together.
    pub fn open(certificate: &str, key: &KeyFile) -> Result<Self, CaError> {
        let der =
            CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| CaError::NotCertificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| CaError::NotCertificate)?;
        let mut names = parsed.subject().iter_common_name();
        let name = names.next().and_then(|name| name.as_str().ok()).and_then(|name| name.strip_prefix(NAME));
        let country = name.and_then(|country| country.parse().ok()).filter(|_| parsed.is_ca());
        let country = country.ok_or(CaError::NotAuthority)?;
        let point = csr::p256_point(parsed.public_key().raw).ok_or(CaError::NotAuthority)?;
        let signer = CertificateKey::new(key).filter(|_| point == key.public()).ok_or(CaError::OtherKey)?;
        let issuer = Issuer::from_ca_cert_der(&der, signer).map_err(|_| CaError::NotCertificate)?;
        Ok(Self { country, not_after: parsed.validity().not_after.to_datetime(), issuer })
    }

    /// The country that it certifies.
    #[must_use]
    pub fn country(&self) -> CountryCode {
        self.country
    }

    /// Signs a certificate for the key in the request and the names in the order, and lints it.
    pub fn issue(&self, request: &Request, order: &Order, now: OffsetDateTime) -> Result<Issued, CaError> {
        let identity = self.identity(order.role)?;
        let life = self.life(order.days, now)?;
        let (mut params, serial) = params(&identity.to_string(), now - BACKDATED, life);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages(order.role);
        params.subject_alt_names = names(identity, order)?;
        let certificate = params.signed_by(request, &self.issuer).expect("checked fields always serialise");
        lint::check(certificate.der(), self.country)?;
        Ok(Issued::new(certificate, serial, params.not_after))
    }

    fn identity(&self, role: Role) -> Result<Identity, CaError> {
        let country = self.country;
        match role {
            Role::Adapter(authority @ Authority::State(of, _)) if of != country => {
                Err(CaError::OtherCountry { authority, country })
            }
            _ => Ok(Identity { country, role }),
        }
    }

    fn life(&self, days: u16, now: OffsetDateTime) -> Result<Duration, CaError> {
        if !(1..=MOST_DAYS).contains(&days) {
            return Err(CaError::Days { days });
        }
        let life = Duration::days(days.into());
        if now - BACKDATED + life > self.not_after {
            return Err(CaError::BeyondAuthority { left: (self.not_after - now).whole_days().max(0) });
        }
        Ok(life)
    }
}

/// What authority and leaf have in common.
fn params(name: &str, from: OffsetDateTime, life: Duration) -> (CertificateParams, Serial) {
    let serial = Serial::random();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = from.replace_nanosecond(0).unwrap_or(from);
    params.not_after = params.not_before + life;
    params.serial_number = Some(SerialNumber::from_slice(&serial.0));
    params.use_authority_key_identifier_extension = true;
    (params, serial)
}

fn usages(role: Role) -> Vec<ExtendedKeyUsagePurpose> {
    match role {
        Role::Gateway => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        Role::Adapter(_) | Role::Operator => vec![ExtendedKeyUsagePurpose::ClientAuth],
    }
}

fn names(identity: Identity, order: &Order) -> Result<Vec<SanType>, CaError> {
    let wrong = |text: &str| CaError::HostName(text.into());
    let uri = identity.to_string();
    let mut names = vec![SanType::URI(uri.as_str().try_into().map_err(|_| wrong(&uri))?)];
    for host in &order.dns {
        DnsName::try_from(host.as_str()).map_err(|_| wrong(host))?;
        names.push(SanType::DnsName(host.as_str().try_into().map_err(|_| wrong(host))?));
    }
    names.extend(order.ip.iter().copied().map(SanType::IpAddress));
    Ok(names)
}

#[cfg(test)]
#[path = "ca_tests.rs"]
mod tests;
