use std::fs;

use pki::tls;

use super::*;
use crate::config::ConfigFile;
use crate::testing::{World, line, report, write_config};

/// The adapter of the world's files, against its gateway over mutual TLS.
async fn open(world: &World) -> Adapter {
    let gateway = world.remote.clone().serve_tls().await;
    let path = write_config(&world.path(""), &gateway, |text| text);
    Adapter::open(ConfigFile::read(&path).unwrap().config, Clock::default()).unwrap()
}

#[tokio::test]
async fn an_adapter_publishes_and_receives_over_mutual_tls() {
    let world = World::start().await;
    world.drop_file("a.ndjson", &[line(1, &world.clock).to_string()]);
    world.remote.deliver([world.batch(1, &[report(1, &world.clock)])]);
    let adapter = open(&world).await;
    assert_eq!(adapter.key_ids().len(), 1);
    let stop = CancellationToken::new();
    let running = tokio::spawn(adapter.run(stop.clone()));
    let done = || {
        let state = world.remote.state();
        !state.published.is_empty() && state.acknowledged.last() == Some(&1)
    };
    while !done() || world.lines("outgoing/published").is_empty() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    assert_eq!(running.await.unwrap(), Ok(()));
    assert_eq!(world.remote.state().accepted.len(), 1);
    assert_eq!(world.lines("delivered").len(), 1);
}

#[tokio::test]
async fn a_state_has_one_adapter() {
    let world = World::start().await;
    let first = open(&world).await;
    let config = ConfigFile::read(&world.path("adapter.toml")).unwrap().config;
    let refused = Adapter::open(config.clone(), Clock::default()).err().unwrap();
    assert!(matches!(refused, OpenError::InUse { .. }) && refused.is_passing(), "{refused}");
    assert_eq!(refused.key(), "state");
    drop(first);
    assert!(Adapter::open(config, Clock::default()).is_ok());
}

#[tokio::test]
async fn a_gateway_of_another_country_is_not_believed() {
    let world = World::start().await;
    let adapter = open(&world).await;
    let france = world.federation.trust_list();
    let france = france.country(CountryCode::new(250).unwrap()).unwrap();
    let tls = tls::client_config(&adapter.keys.certificate, france).unwrap();
    let channel = pki::dial::channel(adapter.config.gateway.as_str(), Arc::new(tls)).unwrap();
    let refused = Gateway::new(watch::channel(channel).1).ingress_keys().await;
    assert!(refused.is_err());
    assert!(Gateway::new(adapter.channel.subscribe()).ingress_keys().await.is_ok());
}

#[tokio::test]
async fn a_new_trust_list_is_taken_while_running_and_a_bad_one_is_not() {
    let world = World::start().await;
    let adapter = open(&world).await;
    let gateway = Gateway::new(adapter.channel.subscribe());
    let (_, _, mut follower, _) = adapter.split(&gateway);
    let mut connections = follower.channel.subscribe();
    connections.mark_unchanged();
    follower.step().unwrap();
    assert!(!connections.has_changed().unwrap(), "nothing is new");
    fs::write(world.path("trust.json"), "{}").unwrap();
    assert!(matches!(follower.step(), Err(OpenError::Trust(_))));
    let newer = world.federation.signed(&world.federation.draft(2)).file();
    fs::write(world.path("trust.json"), newer).unwrap();
    follower.step().unwrap();
    assert!(connections.has_changed().unwrap());
    assert_eq!(follower.keeper.watch().borrow().version, 2);
    assert!(gateway.ingress_keys().await.is_ok());
}

#[tokio::test]
async fn the_key_list_is_published_once_and_again_when_it_changes() {
    let world = World::start().await;
    let adapter = open(&world).await;
    let gateway = Gateway::new(adapter.channel.subscribe());
    let publisher = Arc::new(adapter.key_publisher(&gateway));
    let mut published = None;
    for _ in 0..2 {
        publisher.step(&mut published).await.unwrap();
    }
    assert_eq!(world.remote.state().published.len(), 1);
    crate::testing::write_key_list(&world.federation, &world.path(""), 2, &[]);
    publisher.step(&mut published).await.unwrap();
    assert_eq!(world.remote.state().published.len(), 2);
    fs::write(world.path("authority.keys"), "x").unwrap();
    assert!(publisher.step(&mut published).await.is_err());
    assert_eq!(world.remote.state().published.len(), 2);
}

#[tokio::test]
async fn what_a_part_of_the_sweep_cannot_do_keeps_no_other_from_its_own() {
    let world = World::start().await;
    let Adapter { parts, config, clock, .. } = open(&world).await;
    let held = world.path("state/spool/held");
    let report = serde_json::to_string(&line(1, &world.clock)).unwrap();
    fs::write(held.join(format!("{}.{}.ndjson", clock.now() - 1, "0".repeat(32))), report).unwrap();
    let (answers, state) = (world.path("state/spool/answers"), config.state.clone());
    fs::create_dir_all(&answers).unwrap();
    let old = fs::File::create(answers.join("old.ndjson")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    // Neither can be looked at: what should be a folder is none.
    for folder in ["second-degree", "seen"] {
        let _ = fs::remove_dir_all(state.join(folder));
        fs::write(state.join(folder), "").unwrap();
    }
    let Parts { intake, spool, steady, .. } = parts;
    let sweep = Sweep { intake, spool, cases: None, steady, state };
    assert!(sweep.step(), "there is something to publish");
    assert!(fs::read_dir(&held).unwrap().next().is_none());
    assert!(fs::read_dir(&answers).unwrap().next().is_none());
}
