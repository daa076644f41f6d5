//! A national system that is out of order for a while: nothing is lost, nothing comes twice, and the order stays.

use axum::http::StatusCode;
use harness::Federation;
use harness::citizens::Citizens;
use harness::members::{CountryPlan, Node};
use harness::national::National;
use harness::phone::{Stay, meet};
use harness::story::{FRANCE, Stage, UK, unix_now};

/// Cases that are confirmed while it is down.
const CASES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_national_system_that_was_down_gets_everything_in_order_and_once() {
    let mut stage = Stage::start(Federation::builder(), countries).await.unwrap();
    let mut bruno = stage.secured("Bruno", FRANCE).await.unwrap();
    stage.national.answer_with(Some(StatusCode::SERVICE_UNAVAILABLE));
    for case in 1..=CASES {
        let mut ill = stage.secured("Alice", UK).await.unwrap();
        let minutes = u64::try_from(case).unwrap();
        meet(&mut stage.air, [&mut ill, &mut bruno], &Stay::new(stage.now - 7_200, minutes, 1.5)).unwrap();
        let upload = ill.case(stage.now).unwrap();
        assert_eq!(stage.case(&ill, upload).await.unwrap().status, 202);
        opened(&stage, case).await;
    }
    // What waits outlives the adapter.
    stage.federation.kill_now(Node::adapter(FRANCE)).await.unwrap();
    stage.federation.restart(Node::adapter(FRANCE)).await.unwrap();
    assert!(stage.national.events().is_empty());

    stage.national.answer_with(None);
    let arrived = async || (stage.national.events().len() >= CASES).then_some(());
    stage.wait("the national system has every case", arrived).await.unwrap();
    let subtotals: Vec<_> = stage.national.events().iter().map(|event| event["subtotal"].clone()).collect();
    assert_eq!(subtotals, [4, 8, 12, 16], "in the order in which they came, each once");
    let status = bruno.ask_national(stage.national.address(), unix_now()).await.unwrap();
    assert_eq!((status.risk, status.exposed), (40, false));
}

/// Waits until France's adapter has that many contacts in its queue.
async fn opened(stage: &Stage, contacts: usize) {
    let queue = stage.federation.adapter(harness::authority(FRANCE)).unwrap().state.join("webhook");
    let lines = || {
        let files = harness::leaks::files_below(&queue).ok()?;
        let whole = files.iter().filter(|file| !file.to_string_lossy().contains("/."));
        let texts = whole.filter_map(|file| std::fs::read_to_string(file).ok());
        Some(texts.map(|text| text.matches("\"subtotal\"").count()).sum::<usize>())
    };
    let there = async || (lines()? >= contacts).then_some(());
    stage.wait("the contact waits for the national system", there).await.unwrap();
}

fn countries(national: &National) -> [CountryPlan; 2] {
    [
        CountryPlan::new(826, "United Kingdom", &[(UK, "United Kingdom")])
            .citizens(Citizens::decentralised()),
        CountryPlan::new(250, "France", &[(FRANCE, "France")]).citizens(Citizens::centralised(national)),
    ]
}
