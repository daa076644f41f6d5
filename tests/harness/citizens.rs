//! How a country warns its citizens, and what its phones are served: the part of a plan that countries differ in.

use std::net::SocketAddr;

use country_adapter::config::Approach;

use crate::national::National;

/// What a country's adapters offer to phones. Without it they serve none, as beside a backend that has its own way.
#[derive(Debug, Clone)]
pub struct Citizens {
    pub(crate) approach: Approach,
    pub(crate) national: Option<Webhook>,
    pub(crate) second_degree: Policy,
    pub(crate) contacts_per_case: u32,
    pub(crate) tokens_a_day: u32,
}

/// Whether a country keeps the anonymous contact graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// As every country begins.
    Off,
    /// Candidates are found, and an operator may sign off advice.
    On,
}

/// Where a national system takes events, and the bearer token that it asks for.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

impl Citizens {
    /// The national system warns; it gets everything by webhook.
    #[must_use]
    pub fn centralised(national: &National) -> Self {
        Self::new(Approach::Centralised, Some(national))
    }

    /// Their phones warn, from the lists; the rest lies in the folder of the backend.
    #[must_use]
    pub fn decentralised() -> Self {
        Self::new(Approach::Decentralised, None)
    }

    /// Both.
    #[must_use]
    pub fn hybrid(national: &National) -> Self {
        Self::new(Approach::Hybrid, Some(national))
    }

    /// The same with or without second degree.
    #[must_use]
    pub fn second_degree(self, policy: Policy) -> Self {
        Self { second_degree: policy, ..self }
    }

    /// The same with another limit, 1 to 5,000.
    #[must_use]
    pub fn contacts_per_case(self, most: u32) -> Self {
        Self { contacts_per_case: most, ..self }
    }

    /// The same with another quota of service tokens of one other country in a day.
    #[must_use]
    pub fn tokens_a_day(self, most: u32) -> Self {
        Self { tokens_a_day: most, ..self }
    }

    fn new(approach: Approach, national: Option<&National>) -> Self {
        let national = national
            .map(|national| Webhook { address: national.address(), token: national.bearer_token().into() });
        Self {
            approach,
            national,
            second_degree: Policy::Off,
            contacts_per_case: 5_000,
            tokens_a_day: 2_000_000,
        }
    }
}
