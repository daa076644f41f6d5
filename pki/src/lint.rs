//! What a certificate of the exchange must look like, whoever made it.
//!
//! [`crate::ca`] lints what it has just signed; `pki show` lints what it is given.

use proto::ids::CountryCode;
use x509_parser::certificate::X509Certificate;

use crate::csr;
use crate::tls::{BadCertificate, Identity, PeerCertificate, Role};

/// The longest life of a certificate, in days.
pub const MOST_DAYS: u16 = 398;

/// Which rule a certificate breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LintError {
    /// It names nobody, several, or something else.
    #[error(transparent)]
    Name(#[from] BadCertificate),
    /// It names another country than the one whose authority signs.
    #[error("the certificate names country {named}, and the authority is that of {authority}")]
    OtherCountry {
        /// The country in the name.
        named: CountryCode,
        /// The authority's country.
        authority: CountryCode,
    },
    /// It may do too much or too little for its role.
    #[error("the certificate is for `{found}`, and its role needs exactly `{needed}`")]
    Usage {
        /// Its extended key usages.
        found: String,
        /// What its role needs.
        needed: String,
    },
    /// Not a P-256 key.
    #[error("the certificate's key is no P-256 key")]
    KeyType,
    /// It could sign certificates itself.
    #[error("the certificate is a certificate authority; a node's must not be one")]
    Authority,
    /// It lives too long, or ends before it begins.
    #[error("the certificate is valid for {days} days; 1 to {MOST_DAYS} are allowed")]
    Validity {
        /// Its life, rounded up.
        days: i64,
    },
}

/// Checks every rule for a certificate (DER) that this country's authority signed.
pub fn check(der: &[u8], country: CountryCode) -> Result<Identity, LintError> {
    let identity = PeerCertificate::parse(der)?.identity;
    let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|_| BadCertificate::Malformed)?;
    if identity.country != country {
        return Err(LintError::OtherCountry { named: identity.country, authority: country });
    }
    check_usage(&parsed, identity.role)?;
    if csr::p256_point(parsed.public_key().raw).is_none() {
        return Err(LintError::KeyType);
    }
    if parsed.is_ca() {
        return Err(LintError::Authority);
    }
    check_validity(&parsed)?;
    Ok(identity)
}

fn check_usage(parsed: &X509Certificate<'_>, role: Role) -> Result<(), LintError> {
    let needed = match role {
        Role::Gateway => "serverAuth clientAuth",
        Role::Adapter(_) | Role::Operator => "clientAuth",
    };
    let usage = parsed.extended_key_usage().map_err(|_| BadCertificate::Malformed)?;
    let found = usage.map(|extension| {
        let usage = extension.value;
        let is_other = usage.any || usage.code_signing || usage.email_protection || usage.time_stamping;
        let is_other = is_other || usage.ocsp_signing || !usage.other.is_empty();
        let names =
            [(usage.server_auth, "serverAuth"), (usage.client_auth, "clientAuth"), (is_other, "others")];
        let names = names.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name);
        names.collect::<Vec<_>>().join(" ")
    });
    let found = found.unwrap_or_else(|| "anything".into());
    if found == needed { Ok(()) } else { Err(LintError::Usage { found, needed: needed.into() }) }
}

fn check_validity(parsed: &X509Certificate<'_>) -> Result<(), LintError> {
    let (from, until) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let life = until - from;
    let most = i64::from(MOST_DAYS) * 86_400;
    if (1..=most).contains(&life) {
        Ok(())
    } else {
        Err(LintError::Validity { days: (life + 86_399) / 86_400 })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Usage, IsCa, KeyPair, SanType,
    };
    use time::{Duration, OffsetDateTime};

    use super::*;

    fn uri(uri: &str) -> SanType {
        SanType::URI(uri.try_into().unwrap())
    }

    fn good() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.not_before = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        params.not_after = params.not_before + Duration::days(90);
        params.subject_alt_names = vec![uri("exchange://826/gateway")];
        params.extended_key_usages = vec![Usage::ServerAuth, Usage::ClientAuth];
        params
    }

    fn lint_with(params: &CertificateParams, key: &KeyPair) -> Result<Identity, LintError> {
        check(params.self_signed(key).unwrap().der(), CountryCode::new(826).unwrap())
    }

    fn lint(change: impl FnOnce(&mut CertificateParams)) -> Result<Identity, LintError> {
        let mut params = good();
        change(&mut params);
        lint_with(&params, &KeyPair::generate().unwrap())
    }

    #[test]
    fn a_good_certificate_passes() {
        assert_eq!(lint(|_| ()).unwrap().to_string(), "exchange://826/gateway");
    }

    #[test]
    fn there_is_one_name() {
        let none = lint(|params| params.subject_alt_names.clear());
        assert_eq!(none, Err(LintError::Name(BadCertificate::Names(0))));
        let two = lint(|params| params.subject_alt_names.push(uri("exchange://826/operator")));
        assert_eq!(two, Err(LintError::Name(BadCertificate::Names(2))));
        let other = lint(|params| params.subject_alt_names = vec![uri("https://example.org/")]);
        assert!(matches!(other, Err(LintError::Name(BadCertificate::Name(_)))));
    }

    #[test]
    fn the_country_is_the_authoritys() {
        let other = lint(|params| params.subject_alt_names = vec![uri("exchange://250/gateway")]);
        assert!(matches!(other, Err(LintError::OtherCountry { .. })));
    }

    #[test]
    fn the_usage_is_the_roles() {
        let usages = [vec![], vec![Usage::ClientAuth], vec![Usage::ServerAuth], vec![Usage::Any]];
        for usage in usages {
            let refused = lint(|params| params.extended_key_usages = usage);
            assert!(matches!(refused, Err(LintError::Usage { .. })));
        }
        let more = lint(|params| params.extended_key_usages.push(Usage::CodeSigning));
        assert!(
            matches!(more, Err(LintError::Usage { found, .. }) if found == "serverAuth clientAuth others")
        );
        let adapter = lint(|params| params.subject_alt_names = vec![uri("exchange://826/1/adapter")]);
        assert!(matches!(adapter, Err(LintError::Usage { needed, .. }) if needed == "clientAuth"));
    }

    #[test]
    fn the_key_is_p256() {
        for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            assert_eq!(
                lint_with(&good(), &KeyPair::generate_for(algorithm).unwrap()),
                Err(LintError::KeyType)
            );
        }
    }

    #[test]
    fn it_signs_no_certificates() {
        let refused = lint(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
        assert_eq!(refused, Err(LintError::Authority));
    }

    #[test]
    fn its_life_is_bounded() {
        assert!(lint(|params| params.not_after = params.not_before + Duration::days(398)).is_ok());
        let long =
            lint(|params| params.not_after = params.not_before + Duration::days(398) + Duration::SECOND);
        assert_eq!(long, Err(LintError::Validity { days: 399 }));
        let backwards = lint(|params| params.not_after = params.not_before - Duration::DAY);
        assert!(matches!(backwards, Err(LintError::Validity { .. })));
    }
}
