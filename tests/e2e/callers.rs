//! Every call but a push that a peer or an adapter makes, one after the other, with the times that each had to be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::direct::{self, Line};
use harness::members::country;
use harness::{Federation, authority};
use prost::Message;
use proto::wire;
use proto::wire::exchange_client::ExchangeClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

const SOON: Duration = Duration::from_secs(60);

/// Which call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    PeerPulls,
    PeerAcknowledges,
    PeerAsksForKeys,
    AdapterPulls,
    AdapterAcknowledges,
    AdapterAsksForKeys,
    AdapterPublishesKeys,
}

const ALL: [Call; 7] = [
    Call::PeerPulls,
    Call::PeerAcknowledges,
    Call::PeerAsksForKeys,
    Call::AdapterPulls,
    Call::AdapterAcknowledges,
    Call::AdapterAsksForKeys,
    Call::AdapterPublishesKeys,
];

/// What became of one kind of call.
pub(crate) struct Made {
    pub(crate) call: Call,
    /// How many there were.
    pub(crate) calls: usize,
    /// What was answered before one succeeded, of the one that failed most often.
    pub(crate) failed: Vec<String>,
}

/// A task for each call to the United Kingdom's gateway, from France or from England's adapter.
pub(crate) struct Callers {
    stop: Arc<AtomicBool>,
    callers: JoinSet<Made>,
}

impl Callers {
    /// Begins to call; there has to be a load, so that something is pulled and acknowledged.
    pub(crate) async fn start(federation: &Federation) -> Self {
        let (england, uk) = (authority("826/1"), country(826));
        let kept = async || federation.receipt(uk, 250, "stored").await.ok().flatten();
        let receipt = federation.wait_until("a receipt of France", SOON, kept).await.unwrap();
        let whose = wire::KeyListRequest { authority: england.octets().to_vec().into() };
        let mut peer = direct::peer(federation, country(250), uk).unwrap();
        let line = Line::open(federation, england).await.unwrap();
        // So that there is something to acknowledge.
        while line.wait(0, 1).await.unwrap().is_empty() {}
        let caller = Caller {
            line,
            receipt: wire::AcknowledgeRequest::decode(receipt.as_slice()).unwrap(),
            list: peer.key_list(whose.clone()).await.unwrap().into_inner(),
            peer,
            whose,
            after: 0,
        };
        let (stop, mut callers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for call in ALL {
            callers.spawn(caller.clone().run(call, stop.clone()));
        }
        Self { stop, callers }
    }

    /// What became of each.
    pub(crate) async fn ended(self) -> Vec<Made> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await
    }
}

#[derive(Clone)]
struct Caller {
    line: Line,
    peer: ExchangeClient<Channel>,
    receipt: wire::AcknowledgeRequest,
    whose: wire::KeyListRequest,
    list: wire::SignedKeyList,
    /// The last that was pulled.
    after: u64,
}

impl Caller {
    async fn run(mut self, call: Call, stop: Arc<AtomicBool>) -> Made {
        let mut made = Made { call, calls: 0, failed: Vec::new() };
        while !stop.load(Ordering::Relaxed) {
            let mut failed = Vec::new();
            while let Err(status) = self.make(call).await {
                // What was acknowledged or published before is answered by saying so.
                if status.code() == Code::FailedPrecondition {
                    break;
                }
                failed.push(format!("{status:?}"));
                assert!(failed.len() < 100, "{call:?}: {failed:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            made.calls += 1;
            made.failed = if failed.len() > made.failed.len() { failed } else { made.failed };
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        made
    }

    async fn make(&mut self, call: Call) -> Result<(), Status> {
        match call {
            Call::PeerPulls => {
                let request = wire::PullRequest { after: self.after, max_bytes: 1 << 20, wait_ms: 1_000 };
                self.after += self.peer.pull(request).await?.into_inner().batches.len() as u64;
                Ok(())
            }
            Call::PeerAcknowledges => self.peer.acknowledge(self.receipt.clone()).await.map(drop),
            Call::PeerAsksForKeys => self.peer.key_list(self.whose.clone()).await.map(drop),
            Call::AdapterPulls => {
                self.after += self.line.wait(self.after, 1 << 20).await?.len() as u64;
                Ok(())
            }
            Call::AdapterAcknowledges => self.line.acknowledge(1).await,
            Call::AdapterAsksForKeys => self.line.ingress_keys().await.map(drop),
            Call::AdapterPublishesKeys => self.line.publish(self.list.clone()).await,
        }
    }
}
