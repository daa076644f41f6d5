//! The end of chapter 9: who holds what of the contact graph, and of contacts, keys and places that phones say openly.

use anyhow::{Context, Result};
use proto::day::Day;

use super::cast::Cast;
use super::holdings::{adapter, gateway, good, network, says, whole_country};
use super::second_degree::Carrier;
use super::stage::{FRANCE, Stage, UK, VICTORIA};
use super::told::{Phase, Told};
use super::warned_by_lists::LOCATION;
use crate::knowledge::{Party, Secret};
use crate::members::authority;

/// The name that the phone of somebody whom many have met seals for its authority: a node of the graph.
const NODE: &str = "the name of Zoe's phone";
/// By which an operator knows it.
const CANDIDATE: &str = "the candidate's number";
/// Names of phones that were beside her: those of the cases, and of a contact of hers.
const AROUND: &str = "names of phones that Zoe met";
/// Identifiers of Simple that an ill person heard.
const IDENTIFIERS: &str = "identifiers of Noah's phone";
/// An ill person's own key.
const DAY_KEY: &str = "Mia's key of a day";
/// A venue at which somebody ill was.
const PLACE: &str = "the venue";
/// Case codes and client ids of all uploads.
const WHO: &str = "case codes and client ids";

const ALL: [&str; 7] = [NODE, CANDIDATE, AROUND, IDENTIFIERS, DAY_KEY, PLACE, WHO];
const GRAPH: [&str; 3] = [NODE, CANDIDATE, AROUND];

pub(super) fn tell(stage: &Stage, cast: &Cast, carrier: &Carrier, told: &mut Told) -> Result<()> {
    let secrets = secrets(stage, cast, carrier)?;
    for (name, party) in table(stage)? {
        let holding = party.search(&secrets)?;
        told.end(
            told.step(name, Phase::Recognition, holding.party)
                .what(format!(
                    "{} octets are searched for the contact graph of 826/0, and for contacts, keys and places.",
                    holding.searched
                ))
                .knows(holding.party, says(&holding))
                .check("what it may hold, and nothing else", good(&holding)),
        );
    }
    Ok(())
}

fn table(stage: &Stage) -> Result<Vec<(&'static str, Party)>> {
    let (uk, victoria) = (authority(UK), authority(VICTORIA));
    let mut between = network(stage, "all gateways, and whoever listens between them").must_not(&ALL);
    for of in [uk, authority(FRANCE), victoria] {
        between = between.and(gateway(stage, "", of)?);
    }
    let lists = &stage.federation.adapter(uk)?.phones.as_ref().context("it serves phones")?.lists;
    Ok(vec![
        ("gateways-hold", between),
        ("france-holds", whole_country(stage, "France", authority(FRANCE))?.must_not(&ALL)),
        (
            "victoria-holds",
            whole_country(stage, "Victoria", victoria)?
                .holds(&[IDENTIFIERS])
                .must_not(&GRAPH)
                .must_not(&[PLACE, WHO]),
        ),
        (
            "british-phones-hold",
            Party::new("all phones of 826/0")
                .at(lists)
                .holds(&[DAY_KEY, PLACE])
                .must_not(&GRAPH)
                .must_not(&[IDENTIFIERS, WHO]),
        ),
        (
            "british-authority-holds",
            adapter(stage, "authority 826/0", uk)?.holds(&[NODE, CANDIDATE, DAY_KEY, PLACE]).must_not(&[
                AROUND,
                IDENTIFIERS,
                WHO,
            ]),
        ),
    ])
}

fn secrets(stage: &Stage, cast: &Cast, carrier: &Carrier) -> Result<Vec<Secret>> {
    let yesterday = Day::of_unix(stage.now).minus(1);
    let place = [&[3, 0x3a, 0, 0][..], &LOCATION.to_be_bytes()].concat();
    let mut secrets = vec![
        Secret::new(NODE, carrier.zoe.in_secured()?.uuid()),
        Secret::new(CANDIDATE, hex::decode(&carrier.number)?),
        Secret::new(DAY_KEY, *cast.mia.in_simple()?.key(yesterday)?.octets()),
        Secret::new(PLACE, [&[0x30][..], &place].concat()),
        Secret::new(PLACE, place),
    ];
    for phone in carrier.ill.iter().chain([&carrier.yann]) {
        secrets.push(Secret::new(AROUND, phone.in_secured()?.uuid()));
    }
    secrets.extend(cast.harry.log().iter().map(|met| Secret::new(IDENTIFIERS, met.token.clone())));
    for (code, case) in &stage.uploaded {
        secrets.push(Secret::new(WHO, case.client));
        secrets.push(Secret::new(WHO, code.as_bytes()));
        secrets.push(Secret::new(WHO, code.replace('-', "").as_bytes()));
    }
    Ok(secrets)
}
