//! What balancers and operators are told.

use pki::tls::Role;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::doors::Doors;

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
