//! The messages that carry a push, a batch between gateways, and its delivery.

use anyhow::{Result, ensure};
use bytes::Bytes;
use prost::Message;
use proto::wire;

use super::{Load, Part};

/// Octets of the small fields: more or less does not show.
const ID: usize = 16;
const ENCAPSULATED: usize = 1_120;
const SIGNATURE: usize = 64;

/// One of each.
pub(super) fn protobuf(load: Load) -> Result<Box<dyn Part>> {
    let zeros = |octets: usize| Bytes::from(vec![0; octets]);
    let push = wire::PushRequest {
        push_id: zeros(ID),
        key_id: zeros(ID),
        enc: zeros(ENCAPSULATED),
        headers: zeros(5 * load.push),
        sealed: zeros(load.body),
    };
    let batch = wire::SignedBatch {
        manifest: zeros(ID + ENCAPSULATED),
        signature: zeros(SIGNATURE),
        signing_key: zeros(ID),
        sealed: zeros(load.body / load.batches),
    };
    let batches = vec![batch; load.batches];
    let delivered = batches.iter().cloned().map(|batch| wire::Delivered { position: 1, batch: Some(batch) });
    let delivered = wire::DeliveryPullReply { delivered: delivered.collect() };
    Ok(Box::new(Messages { push, page: wire::PullReply { batches }, delivered }))
}

struct Messages {
    push: wire::PushRequest,
    page: wire::PullReply,
    delivered: wire::DeliveryPullReply,
}

impl Part for Messages {
    fn once(&mut self) -> Result<()> {
        let push = wire::PushRequest::decode(Bytes::from(self.push.encode_to_vec()))?;
        let page = wire::PullReply::decode(Bytes::from(self.page.encode_to_vec()))?;
        let delivered = wire::DeliveryPullReply::decode(Bytes::from(self.delivered.encode_to_vec()))?;
        let (pushed, batches) = (push.sealed.len(), self.page.batches.len());
        ensure!(
            pushed == self.push.sealed.len() && page.batches.len() == batches,
            "a message came out shorter"
        );
        ensure!(delivered.delivered.len() == batches, "a message came out shorter");
        Ok(())
    }
}
