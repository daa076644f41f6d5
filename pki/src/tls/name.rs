//! Who a certificate names, and whether the trust list still lets that one in.

use std::fmt;
use std::str::FromStr;

use proto::ids::{Authority, CountryCode};
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use crate::trust::{Country, Status, TrustList};

/// What a certificate's holder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A country's node at the border.
    Gateway,
    /// The process beside one authority's backend.
    Adapter(Authority),
    /// A person or machine that runs the country's nodes.
    Operator,
}

/// Who holds a certificate: the one URI in its subject alternative names.
///
/// `exchange://826/gateway`, `exchange://826/1/adapter`, `exchange://826/x/0000abcd/adapter`, `exchange://826/operator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The country that vouches for the holder.
    pub country: CountryCode,
    /// What the holder does.
    pub role: Role,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let country = self.country;
        match self.role {
            Role::Gateway => write!(f, "exchange://{country}/gateway"),
            Role::Operator => write!(f, "exchange://{country}/operator"),
            Role::Adapter(Authority::State(_, state)) => write!(f, "exchange://{country}/{state}/adapter"),
            Role::Adapter(opaque) => write!(f, "exchange://{country}/{opaque}/adapter"),
        }
    }
}

impl FromStr for Identity {
    type Err = BadCertificate;

    fn from_str(uri: &str) -> Result<Self, BadCertificate> {
        let wrong = || BadCertificate::Name(uri.chars().take(80).collect());
        let path = uri.strip_prefix("exchange://").ok_or_else(wrong)?;
        let parts: Vec<&str> = path.split('/').collect();
        let country: CountryCode = parts[0].parse().map_err(|_| wrong())?;
        let role = match parts[1..] {
            ["gateway"] => Role::Gateway,
            ["operator"] => Role::Operator,
            [state, "adapter"] => Role::Adapter(format!("{country}/{state}").parse().map_err(|_| wrong())?),
            ["x", number, "adapter"] => Role::Adapter(format!("x/{number}").parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        };
        let identity = Self { country, role };
        // One spelling for each identity: no leading zeros, no signs.
        if identity.to_string() == uri { Ok(identity) } else { Err(wrong()) }
    }
}

/// Why a certificate names nobody that the exchange knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// Not X.509.
    #[error("the certificate does not parse")]
    Malformed,
    /// No URI name, or several.
    #[error("the certificate has {0} URI names; it must have one, as exchange://826/gateway")]
    Names(usize),
    /// A URI that is no identity.
    #[error(
        "`{0}` is no name of the exchange; use exchange://826/gateway, exchange://826/1/adapter or exchange://826/operator"
    )]
    Name(String),
}

/// A certificate that a peer showed in a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Who holds it.
    pub identity: Identity,
    /// Its serial number without leading zeros, as its country may have revoked it.
    pub serial: Vec<u8>,
    /// Seconds since 1970; afterwards it counts for nothing.
    pub not_after: i64,
    /// Who signed it, once [`PeerCertificate::verified_by`] has been told.
    ca: Option<CertificateDer<'static>>,
}

impl PeerCertificate {
    /// Reads name and serial. Only what passed a handshake is to be believed.
    pub fn parse(der: &[u8]) -> Result<Self, BadCertificate> {
        let (rest, parsed) =
            x509_parser::parse_x509_certificate(der).map_err(|_| BadCertificate::Malformed)?;
        if !rest.is_empty() {
            return Err(BadCertificate::Malformed);
        }
        let names = parsed.subject_alternative_name().map_err(|_| BadCertificate::Malformed)?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let uris: Vec<&str> = uris.collect();
        let [uri] = uris[..] else { return Err(BadCertificate::Names(uris.len())) };
        let not_after = parsed.validity().not_after.timestamp();
        let serial = canonical_serial(parsed.raw_serial());
        Ok(Self { identity: uri.parse()?, serial, not_after, ca: None })
    }

    /// Holds it to the certificate authority that its country has in the trust list of its handshake: once that one
    /// is replaced, [`PeerCertificate::check`] fails. Nothing if the list has no such country.
    #[must_use]
    pub fn verified_by(self, trust: &TrustList) -> Option<Self> {
        let ca = trust.country(self.identity.country)?.ca.clone();
        Some(Self { ca: Some(ca), ..self })
    }

    /// Whether the trust list still lets the holder in: its country is active, has the certificate authority that it
    /// was verified by, and has not revoked the certificate. Asked again on every call, since connections outlive lists.
    pub fn check(&self, trust: &TrustList, now: u64) -> Result<Identity, NotAdmitted> {
        if trust.expires <= now {
            return Err(NotAdmitted::ListExpired);
        }
        let country = trust.country(self.identity.country).ok_or(NotAdmitted::UnknownCountry)?;
        check_country(country, &self.serial)?;
        // A country replaces its authority when somebody else may have the key.
        if self.ca.as_ref().is_some_and(|ca| *ca != country.ca) {
            return Err(NotAdmitted::Revoked);
        }
        if i64::try_from(now).is_ok_and(|now| now > self.not_after) {
            return Err(NotAdmitted::Expired);
        }
        Ok(self.identity)
    }
}

/// Why a valid certificate is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The country is not in the trust list.
    #[error("the certificate's country is not in the trust list")]
    UnknownCountry,
    /// The country is suspended or revoked.
    #[error("the certificate's country is suspended or revoked in the trust list")]
    CountryOut,
    /// The serial number is on the country's list, or the authority that signed it is no longer the country's.
    #[error("the certificate, or the authority that signed it, is revoked in the trust list")]
    Revoked,
    /// Nobody can be believed by a list whose time is over.
    #[error("the trust list of this gateway has expired; its operator must install a newer one")]
    ListExpired,
    /// Its time ran out while the connection was open.
    #[error("the certificate has expired")]
    Expired,
}

/// When a certificate ends, seconds since 1970; nothing if it does not parse.
#[must_use]
pub fn not_after(der: &[u8]) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// A serial number without leading zeros: DER puts one in front of a high first bit, and people leave it out.
pub(crate) fn canonical_serial(octets: &[u8]) -> Vec<u8> {
    octets.iter().copied().skip_while(|octet| *octet == 0).collect()
}

pub(super) fn check_country(country: &Country, serial: &[u8]) -> Result<(), NotAdmitted> {
    if country.status != Status::Active {
        return Err(NotAdmitted::CountryOut);
    }
    if country.revoked_serials.contains(serial) { Err(NotAdmitted::Revoked) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::fixture::{Federation, now};

    #[test]
    fn an_identity_has_one_spelling() {
        let good = [
            "exchange://826/gateway",
            "exchange://826/operator",
            "exchange://826/0/adapter",
            "exchange://826/65535/adapter",
            "exchange://826/x/0000abcd/adapter",
        ];
        for uri in good {
            assert_eq!(uri.parse::<Identity>().unwrap().to_string(), uri);
        }
        let bad = [
            "",
            "https://826/gateway",
            "exchange://0/gateway",
            "exchange://0826/gateway",
            "exchange://+826/gateway",
            "exchange://826/Gateway",
            "exchange://826/gateway/",
            "exchange://826/01/adapter",
            "exchange://826/65536/adapter",
            "exchange://826/x/abcd/adapter",
            "exchange://826/x/0000ABCD/adapter",
            "exchange://826/1/gateway",
            "exchange://826",
        ];
        for uri in bad {
            assert_eq!(uri.parse::<Identity>(), Err(BadCertificate::Name(uri.into())), "{uri}");
        }
    }

    #[test]
    fn a_certificate_is_let_in_while_list_country_and_serial_are_good() {
        let federation = Federation::of(&["826/0", "250/0"]);
        let node = federation.country(250).certificate(Role::Gateway);
        let shown = PeerCertificate::parse(node.leaf()).unwrap();
        let trust = |draft: String| federation.signed(&draft).check(&federation.trusted(), now()).unwrap();
        let list = trust(federation.draft(1));
        assert_eq!(shown.check(&list, now()), Ok(shown.identity));
        assert_eq!(shown.check(&list, list.expires), Err(NotAdmitted::ListExpired));
        let late = u64::try_from(shown.not_after).unwrap() + 1;
        let long = trust(federation.draft(1).replace("version = 1", "version = 1\nvalid_days = 398"));
        assert_eq!(shown.check(&long, late), Err(NotAdmitted::Expired));
        let (from, serial) = ("ca = \"250.crt\"\n", hex::encode(&shown.serial));
        let revoked =
            trust(federation.draft(1).replace(from, &format!("{from}revoked_serials = [\"00{serial}\"]\n")));
        assert_eq!(shown.check(&revoked, now()), Err(NotAdmitted::Revoked));
        let out = "name = \"Country 250\"\nstatus = ";
        let suspended =
            trust(federation.draft(1).replace(&format!("{out}\"active\""), &format!("{out}\"revoked\"")));
        assert_eq!(shown.check(&suspended, now()), Err(NotAdmitted::CountryOut));
        let alone = Federation::of(&["826/0"]).trust_list();
        assert_eq!(shown.check(&alone, now()), Err(NotAdmitted::UnknownCountry));
    }

    #[test]
    fn a_certificate_is_out_once_its_countrys_authority_is_replaced() {
        let federation = Federation::of(&["826/0", "250/0"]);
        let trust = |draft: String| federation.signed(&draft).check(&federation.trusted(), now()).unwrap();
        let (code, issued) = (CountryCode::new(250).unwrap(), OffsetDateTime::now_utc());
        let (_, ca) = crate::ca::create(code, 10, issued).unwrap();
        std::fs::write(federation.folder().join("250-new.crt"), ca.pem).unwrap();
        let (list, next) = (trust(federation.draft(1)), trust(federation.draft(2)));
        let replaced = trust(federation.draft(3).replace("250.crt", "250-new.crt"));
        let held = |code: u16| {
            let node = federation.country(code).certificate(Role::Gateway);
            PeerCertificate::parse(node.leaf()).unwrap().verified_by(&list).unwrap()
        };
        let (french, british) = (held(250), held(826));
        assert_eq!(french.check(&next, now()), Ok(french.identity));
        assert_eq!(french.check(&replaced, now()), Err(NotAdmitted::Revoked));
        assert_eq!(british.check(&replaced, now()), Ok(british.identity));
        assert_eq!(french.verified_by(&Federation::of(&["826/0"]).trust_list()), None);
    }
}
