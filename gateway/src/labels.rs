//! The labels of metrics: countries, authorities and reasons; never a token, a phone or a case.

use prometheus_client::encoding::EncodeLabelSet;

/// What a pushed envelope was answered.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Verdict {
    pub(crate) verdict: &'static str,
}

/// Batches on their way to or from a peer.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Flow {
    pub(crate) peer: String,
    pub(crate) direction: &'static str,
}

/// What a peer sent and why it was not taken.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Refused {
    pub(crate) peer: String,
    pub(crate) reason: &'static str,
}

/// One of our authorities.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Authority {
    pub(crate) authority: String,
}

/// A country.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Peer {
    pub(crate) peer: String,
}

/// A call to a country.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Outgoing {
    pub(crate) peer: String,
    pub(crate) call: &'static str,
}

/// Which quota a caller has used up.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Over {
    pub(crate) caller: String,
    pub(crate) what: &'static str,
}

/// Why a caller's call or connection came to nothing.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Failed {
    pub(crate) caller: String,
    pub(crate) reason: String,
}

/// Why a handshake came to nothing, on which listener or on the way out.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Handshake {
    pub(crate) listener: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) alert: String,
}

/// What expires, and whose it is.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Expiring {
    pub(crate) what: &'static str,
    pub(crate) of: String,
}

/// Which way a kept batch goes: `inbox` or `outbox`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Stream {
    pub(crate) stream: &'static str,
}
