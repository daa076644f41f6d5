//! 2: from a header to the authority that its token goes to. Pure; never sees a report.

use std::collections::HashMap;

use pki::trust::{Status, TrustList};
use proto::header::EnvelopeHeader;
use proto::ids::{Authority, CountryCode};
use proto::verdict::Verdict;

/// Where tokens go, as the trust list says.
pub struct Routes {
    authorities: HashMap<Authority, Route>,
}

#[derive(Clone, Copy)]
struct Route {
    country: CountryCode,
    status: Status,
}

/// An authority that answers for a token, and the country whose gateway it is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Whose gateway pulls it.
    pub country: CountryCode,
    /// Whose key it is sealed to.
    pub authority: Authority,
}

impl Routes {
    /// Reads the routes out of a trust list.
    #[must_use]
    pub fn new(trust: &TrustList) -> Self {
        let routes = trust.countries().flat_map(|country| {
            let route = Route { country: country.code, status: country.status };
            country.authorities.keys().map(move |authority| (*authority, route))
        });
        Self { authorities: routes.collect() }
    }

    /// The authority that answers for a header, or the verdict that ends the token's way here.
    ///
    /// A state that nobody answers for falls back to its country's national authority (Herald interop: state 0).
    pub fn destination(&self, header: &EnvelopeHeader, pusher: Authority) -> Result<Destination, Verdict> {
        let issuer = header.authority();
        let fallback = match issuer {
            Authority::State(country, _) => Some(Authority::national(country)),
            Authority::Opaque(_) => None,
        };
        let known = |authority| Some((authority, *self.authorities.get(&authority)?));
        let found = known(issuer).or_else(|| fallback.and_then(known));
        let (authority, route) = found.ok_or(Verdict::Unroutable)?;
        if authority == pusher {
            return Err(Verdict::OwnAuthority);
        }
        match route.status {
            Status::Active => Ok(Destination { country: route.country, authority }),
            Status::Suspended => Err(Verdict::Suspended),
            Status::Revoked => Err(Verdict::Unroutable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let route = |text: &str, country, status| {
            let country = CountryCode::new(country).unwrap();
            (text.parse().unwrap(), Route { country, status })
        };
        let known = [
            route("826/0", 826, Status::Active),
            route("826/1", 826, Status::Active),
            route("36/2", 36, Status::Active),
            route("250/0", 250, Status::Suspended),
            route("380/0", 380, Status::Revoked),
            route("x/0000abcd", 36, Status::Active),
        ];
        Routes { authorities: known.into() }
    }

    fn destination(issuer: &str, pusher: &str) -> Result<String, Verdict> {
        let issuer: Authority = issuer.parse().unwrap();
        let code = if matches!(issuer, Authority::Opaque(_)) { 0x01 } else { 0x10 };
        let header = EnvelopeHeader::new(code, issuer).unwrap();
        let found = routes().destination(&header, pusher.parse().unwrap())?;
        Ok(format!("{} by {}", found.authority, found.country))
    }

    #[test]
    fn a_token_goes_to_the_authority_that_issued_it() {
        assert_eq!(destination("36/2", "826/1"), Ok("36/2 by 36".into()));
        assert_eq!(
            destination("826/1", "826/0"),
            Ok("826/1 by 826".into()),
            "another state of the same country"
        );
    }

    #[test]
    fn an_unknown_state_falls_back_to_the_national_authority() {
        assert_eq!(destination("826/77", "36/2"), Ok("826/0 by 826".into()));
    }

    #[test]
    fn an_unknown_state_without_a_national_authority_is_unroutable() {
        assert_eq!(destination("36/3", "826/1"), Err(Verdict::Unroutable));
        assert_eq!(destination("36/0", "826/1"), Err(Verdict::Unroutable));
        assert_eq!(destination("999/0", "826/1"), Err(Verdict::Unroutable));
    }

    #[test]
    fn an_opaque_authority_routes_by_its_whole_number() {
        assert_eq!(destination("x/0000abcd", "826/1"), Ok("x/0000abcd by 36".into()));
        assert_eq!(destination("x/0000abce", "826/1"), Err(Verdict::Unroutable));
    }

    #[test]
    fn the_pusher_gets_its_own_tokens_told() {
        assert_eq!(destination("826/1", "826/1"), Err(Verdict::OwnAuthority));
        assert_eq!(
            destination("826/77", "826/0"),
            Err(Verdict::OwnAuthority),
            "it would fall back to the pusher"
        );
    }

    #[test]
    fn a_suspended_country_is_told_apart_from_a_revoked_one() {
        assert_eq!(destination("250/0", "826/1"), Err(Verdict::Suspended));
        assert_eq!(destination("380/0", "826/1"), Err(Verdict::Unroutable));
    }
}
