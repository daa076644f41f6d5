//! Why a TLS connection came to nothing: a stable reason, and the alert that one side told the other.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why a handshake or a connection failed, as the metrics name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of our own words.
    pub reason: &'static str,
    /// The TLS alert in the words of RFC 8446, or `none`.
    pub alert: String,
}

impl Failure {
    /// A failure without an alert.
    #[must_use]
    pub fn without_alert(reason: &'static str) -> Self {
        Self { reason, alert: "none".into() }
    }

    /// Of an error of TLS or of the line below it.
    #[must_use]
    pub fn of(cause: &io::Error) -> Self {
        match cause.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
            Some(cause) => Self { reason: reason(cause), alert: alert(cause).map_or("none".into(), name) },
            None => Self::without_alert("io"),
        }
    }

    /// Of an error that has one of TLS or of the line among its causes.
    #[must_use]
    pub fn within(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<io::Error>() {
                // A library may wrap the line's error in one of its own.
                let inner = found.get_ref().and_then(|inner| Self::within(inner));
                return Some(inner.unwrap_or_else(|| Self::of(found)));
            }
            cause = error.source();
        }
        None
    }
}

/// A stable name for why a handshake failed.
fn reason(cause: &Error) -> &'static str {
    use CertificateError as Certificate;
    match cause {
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => "expired",
        Error::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "not_yet_valid"
        }
        Error::InvalidCertificate(Certificate::UnknownIssuer) => "unknown_issuer",
        Error::InvalidCertificate(Certificate::BadSignature) => "bad_signature",
        Error::InvalidCertificate(Certificate::Revoked) => "revoked",
        Error::InvalidCertificate(_) => "bad_certificate",
        Error::PeerIncompatible(_) => "incompatible",
        Error::AlertReceived(_) => "alert_received",
        Error::InvalidMessage(_) => "not_tls",
        Error::DecryptError => "altered",
        _ => "tls",
    }
}

/// The alert that the other side sent, or is sent for this.
fn alert(cause: &Error) -> Option<AlertDescription> {
    Some(match cause {
        Error::AlertReceived(alert) => *alert,
        Error::InvalidCertificate(wrong) => wrong.clone().into(),
        Error::InvalidMessage(wrong) => (*wrong).into(),
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => AlertDescription::ProtocolVersion,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        _ => return None,
    })
}

/// `certificate_expired` for `CertificateExpired`.
fn name(alert: AlertDescription) -> String {
    if let AlertDescription::Unknown(_) = alert {
        return "unknown".into();
    }
    let (mut name, mut before) = (String::new(), '_');
    for letter in format!("{alert:?}").chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
        before = letter;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(cause: Error) -> (&'static str, String) {
        let Failure { reason, alert } = Failure::of(&io::Error::other(cause));
        (reason, alert)
    }

    #[test]
    fn the_alert_is_named_whether_we_sent_or_got_it() {
        let cases = [
            (Error::InvalidCertificate(CertificateError::Expired), ("expired", "certificate_expired")),
            (Error::InvalidCertificate(CertificateError::Revoked), ("revoked", "certificate_revoked")),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), ("unknown_issuer", "unknown_ca")),
            (Error::NoCertificatesPresented, ("no_certificate", "certificate_required")),
            (
                Error::AlertReceived(AlertDescription::CertificateRevoked),
                ("alert_received", "certificate_revoked"),
            ),
            (Error::AlertReceived(AlertDescription::Unknown(200)), ("alert_received", "unknown")),
            (Error::DecryptError, ("altered", "bad_record_mac")),
            (Error::NoApplicationProtocol, ("tls", "no_application_protocol")),
        ];
        for (cause, (reason, alert)) in cases {
            assert_eq!(failure(cause.clone()), (reason, alert.to_owned()), "{cause}");
        }
        assert_eq!(Failure::of(&io::ErrorKind::ConnectionReset.into()), Failure::without_alert("io"));
    }

    #[test]
    fn the_alert_is_found_among_the_causes() {
        let tls = io::Error::other(Error::AlertReceived(AlertDescription::CertificateExpired));
        let wrapped = io::Error::other(tls);
        let found = Failure::within(&wrapped).unwrap();
        assert_eq!((found.reason, found.alert.as_str()), ("alert_received", "certificate_expired"));
        assert_eq!(Failure::within(&std::fmt::Error), None);
    }
}
