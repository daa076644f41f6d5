//! An authority opens and validates service tokens on all cores, beside bare HPKE open of the same suite.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use country_adapter::herald::secured::report::ReportToken;
use country_adapter::herald::secured::service::{DailyKey, ServiceContents};
use country_adapter::herald::secured::totp::Step;
use country_adapter::herald::secured::{Area, ConfirmationToken, ModelHash, Receipt, Uuid};
use country_adapter::intake::Rules;
use country_adapter::risk::Mechanism;
use pki::seal::{PrivateKey, PublicKey, ServiceTokenContext, Suite};
use proto::extended::LeavingData;
use proto::header::EnvelopeHeader;
use proto::ids::CountryCode;
use proto::report::{Contact, Minutes, QuarterHour, Report, Risk, Token};

use crate::{Figure, Limit};

const TOKENS: usize = 4_000;
const ROUNDS: usize = 5;
const STEP: Step = Step::new(1_994_400);

pub(crate) fn run() -> Vec<Figure> {
    let secret = PrivateKey::generate(Suite::P256);
    let private = || PrivateKey::parse(Suite::P256, &secret).expect("it was just made");
    let day = STEP.day();
    let key = private();
    let public = DailyKey { number: day.number(), days: day..=day, key: key.public().clone() };
    let header = EnvelopeHeader::new(0x20, "826/0".parse().expect("an authority")).expect("a header");
    let tokens: Vec<_> = (0..TOKENS).map(|number| token(&public, header, number)).collect();
    let reports: Vec<_> = tokens.iter().map(|token| report(header, token)).collect();
    let keys = Arc::new(vec![DailyKey { number: day.number(), days: day..=day, key: private() }]);
    let rules = Rules {
        own: header.authority(),
        country: CountryCode::new(826).expect("a country"),
        mechanism: Mechanism::default(),
        keys: Some(Arc::new(move || keys.clone())),
    };
    // In turns, and the best of each: what else the machine does falls on both alike.
    let (mut bare, mut opened) = (0_f64, 0_f64);
    for _ in 0..ROUNDS {
        bare = bare.max(rate(|| open_bare(&tokens, header, &key)));
        opened = opened.max(rate(|| {
            let valid =
                rules.open_all(&reports, usize::MAX).into_iter().flatten().filter(Result::is_ok).count();
            assert_eq!(valid, TOKENS);
        }));
    }
    vec![
        Figure { name: "bare HPKE open, P-256, all cores", value: bare, unit: "1/s", limit: None },
        Figure {
            name: "service tokens opened and validated, all cores",
            value: opened,
            unit: "1/s",
            limit: None,
        },
        Figure {
            name: "opening and validating beside bare HPKE open",
            value: opened / bare,
            unit: "ratio",
            limit: Some(Limit::AtLeast(0.6)),
        },
    ]
}

fn rate(work: impl FnOnce()) -> f64 {
    let from = Instant::now();
    work();
    f64::from(u32::try_from(TOKENS).expect("some thousands")) / from.elapsed().as_secs_f64()
}

fn open_bare(tokens: &[ReportToken], header: EnvelopeHeader, key: &PrivateKey) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for part in tokens.chunks(tokens.len().div_ceil(threads)) {
            scope.spawn(move || {
                for token in part {
                    let octets = token.service.octets();
                    let number = u16::from_be_bytes([octets[0], octets[1]]);
                    let context = ServiceTokenContext {
                        issuer: header,
                        key: number,
                        confirmation: *token.confirmation.octets(),
                    };
                    key.open_service_token(&context, &octets[2..67], &octets[67..]).expect("it opens");
                }
            });
        }
    });
}

fn token(key: &DailyKey<PublicKey>, header: EnvelopeHeader, number: usize) -> ReportToken {
    let mut octets = [7; 16];
    octets[..8].copy_from_slice(&number.to_be_bytes());
    let confirmation = ConfirmationToken::new(octets);
    let area = Area::new(*b"S41\0").expect("an area");
    let contents = ServiceContents::new(Uuid::new(octets), area, ModelHash::new([2; 8]), STEP);
    let service = contents.seal(key, header, &confirmation).expect("it seals");
    ReportToken { service, confirmation, receipt: Receipt::new(octets) }
}

fn report(header: EnvelopeHeader, token: &ReportToken) -> Report<'static> {
    // The bench lives as long as its tokens.
    let octets: &'static [u8] = Box::leak(Box::new(token.octets()));
    Report::Contact(Contact {
        token: Token::new(header, octets).expect("a token"),
        day: STEP.day(),
        start: Some(QuarterHour::of_unix(STEP.unix())),
        duration: Minutes::capped(20),
        proximity: [0, 20, 0, 0].map(Minutes::capped),
        risk: Risk::default(),
        extended: LeavingData::default(),
    })
}
