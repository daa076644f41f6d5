//! What balancers and operators are told.

use std::time::Duration;

use pki::tls::Role;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::doors::{Doors, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_is_told_over_grpc_which_services_are_served() {
    let doors = Doors::open(&["826/0", "250/0"]).await;
    let line = doors.line(&doors.certificate(250, Role::Gateway), 826, doors.door(826).peers);
    let mut health = HealthClient::new(line);
    for service in ["", "exchange.v1.Exchange"] {
        let asked = HealthCheckRequest { service: service.into() };
        let status = health.check(asked).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let elsewhere = HealthCheckRequest { service: "exchange.v1.Ingest".into() };
    assert_eq!(health.check(elsewhere).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_show_what_waits_and_which_software_runs() {
    let doors = Doors::open(&["826/0", "250/0"]).await;
    doors.push("826/0", &[("250/0", 1)]).await;
    doors.delivered("250/0", 1).await;
    let metrics = doors.metrics(250).await;
    assert!(metrics.contains("exchange_build_info{version=\""), "{metrics}");
    assert!(metrics.contains("exchange_undelivered_batches{authority=\"250/0\"} "), "{metrics}");
}

/// What a gateway says to whoever asks whether it is ready.
async fn ready(doors: &Doors, code: u16) -> (u16, String) {
    harness::admin::get(doors.door(code).admin, "/readyz").await.unwrap()
}

/// The health of both doors of the United Kingdom's gateway, as a balancer there asks for it.
fn health(doors: &Doors) -> [HealthClient<tonic::transport::Channel>; 2] {
    let (own, door) = (doors.certificate(826, Role::Gateway), doors.door(826));
    [door.peers, door.national].map(|address| HealthClient::new(doors.line(&own, 826, address)))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_ready_says_so_over_http_and_over_grpc() {
    let mut doors = Doors::closed(&["826/0", "250/0"]);
    let full = doors.config(826).replace("free_disk_bytes = 1048576", "free_disk_bytes = 9000000000000000");
    doors.start_as(826, &full).await;
    let (status, said) = ready(&doors, 826).await;
    assert!(status == 503 && said.starts_with("store: the store is full"), "{status}: {said}");
    for mut health in health(&doors) {
        // It is asked for every five seconds, and at the start.
        let told = async {
            loop {
                let asked = HealthCheckRequest { service: String::new() };
                let status = health.check(asked).await.unwrap().into_inner().status();
                if status == ServingStatus::NotServing {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("it is told that nothing is served");
    }
    doors.stop(826).await;
    doors.start(826).await;
    assert_eq!(ready(&doors, 826).await, (200, "ready\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_says_so_over_http_and_over_grpc_while_open_calls_are_finished() {
    let mut doors = Doors::open(&["826/0", "250/0"]).await;
    let [mut health, _] = health(&doors);
    let asked = HealthCheckRequest { service: "exchange.v1.Exchange".into() };
    let mut news = health.watch(asked).await.unwrap().into_inner();
    assert_eq!(news.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let admin = doors.door(826).admin;
    let told = async {
        let status = news.message().await.unwrap().unwrap().status();
        assert_eq!(status, ServingStatus::NotServing);
        let (status, said) = harness::admin::get(admin, "/readyz").await.unwrap();
        assert!(status == 503 && said.starts_with("stopping: "), "{status}: {said}");
        let (status, _) = harness::admin::get(admin, "/metrics").await.unwrap();
        assert_eq!(status, 200);
        // This was the last open call.
        drop(news);
    };
    tokio::join!(doors.stop(826), told);
    assert!(harness::admin::get(admin, "/readyz").await.is_err(), "it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_says_what_it_counts_over_http() {
    let citizens = harness::citizens::Citizens::decentralised();
    let plan = harness::members::CountryPlan::new(826, "United Kingdom", &[("826/1", "England")]);
    let federation = harness::Federation::builder().country(plan.citizens(citizens)).start().await.unwrap();
    let adapter = federation.adapter("826/1".parse().unwrap()).unwrap();
    let admin = adapter.phones.as_ref().unwrap().admin;
    let (status, text) = harness::admin::get(admin, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    for line in
        ["adapter_build_info{version=\"", "adapter_backlog 0", "adapter_tokens_refused_total{reason=\""]
    {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert_eq!(harness::admin::get(admin, "/readyz").await.unwrap(), (200, "ready\n".to_owned()));
    federation.stop().await.unwrap();
}
