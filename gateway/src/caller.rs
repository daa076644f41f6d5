//! Who is calling: what the connection's certificate says, checked again on every call (invariant 4).

use std::sync::Arc;

use pki::tls::{Identity, NotAdmitted, PeerCertificate, Role};
use proto::ids::{Authority, CountryCode};
use tonic::Extensions;

use crate::node::Node;

/// The certificate of a connection. The acceptor puts it into every request of that connection.
#[derive(Clone)]
pub struct Caller(pub Arc<PeerCertificate>);

/// Why a call is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// No certificate came with the call: it did not come through the acceptor.
    #[error("the call came without a client certificate")]
    Nobody,
    /// The trust list keeps the caller out.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The certificate is good for something else.
    #[error("a certificate of {shown} cannot make this call; it is for {needed}")]
    WrongRole {
        /// Who is calling.
        shown: Identity,
        /// Who may.
        needed: &'static str,
    },
}

impl Node {
    /// The peer country whose gateway is calling.
    pub fn calling_gateway(&self, extensions: &Extensions) -> Result<CountryCode, NotAllowed> {
        let identity = self.calling(extensions)?;
        match identity.role {
            Role::Gateway => Ok(identity.country),
            Role::Adapter(_) | Role::Operator => {
                Err(NotAllowed::WrongRole { shown: identity, needed: "a country's gateway" })
            }
        }
    }

    /// The authority of our own country whose adapter is calling.
    pub fn calling_adapter(&self, extensions: &Extensions) -> Result<Authority, NotAllowed> {
        let identity = self.calling(extensions)?;
        let trust = self.trust_list();
        match identity.role {
            Role::Adapter(authority)
                if identity.country == self.country
                    && trust
                        .authority(authority)
                        .is_some_and(|(country, _)| country.code == self.country) =>
            {
                Ok(authority)
            }
            Role::Adapter(_) | Role::Gateway | Role::Operator => {
                let needed = "an adapter of one of this country's authorities in the trust list";
                Err(NotAllowed::WrongRole { shown: identity, needed })
            }
        }
    }

    fn calling(&self, extensions: &Extensions) -> Result<Identity, NotAllowed> {
        let caller = extensions.get::<Caller>().ok_or(NotAllowed::Nobody)?;
        Ok(caller.0.check(&self.trust_list(), self.clock.now())?)
    }
}
