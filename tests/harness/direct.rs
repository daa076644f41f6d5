//! An adapter's call made by hand: what a gateway says to pushes that no good adapter would send.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use pki::dial;
use pki::identity::{IdentityConfig, NodeKeys};
use pki::keylist::{Expected, Kind, SignedKeyList};
use pki::seal::{self, PublicKey};
use pki::tls;
use pki::trust::{TrustConfig, TrustKeeper, TrustList};
use proto::body;
use proto::ids::{Authority, CountryCode};
use proto::limits;
use proto::verdict::Verdict;
use proto::wiped::Wiped;
use proto::wire;
use proto::wire::delivery_client::DeliveryClient;
use proto::wire::exchange_client::ExchangeClient;
use proto::wire::ingest_client::IngestClient;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::federation::Federation;
use crate::place::{AdapterPlace, CountryPlace};
use crate::reports::Contact;

/// How long a call may take.
const CALL: Duration = Duration::from_secs(20);

/// A line from an authority to its own country's gateway, with the certificate of its adapter.
#[derive(Clone)]
pub struct Line {
    authority: Authority,
    channel: Channel,
    ingress: PublicKey,
}

impl Line {
    /// Dials with the adapter's own certificate and fetches the key that pushes are sealed to.
    pub async fn open(federation: &Federation, authority: Authority) -> Result<Self> {
        let (country, adapter) = (federation.country_of(authority)?, federation.adapter(authority)?);
        let trust = trust_list(federation)?;
        let channel = dial(country, adapter, &trust)?;
        let reply = IngestClient::new(channel.clone()).ingress_keys(wire::IngressKeysRequest {}).await?;
        let entry =
            trust.country(country.code).context("the trust list has every country of the federation")?;
        let expected = Expected {
            kind: Kind::Ingress,
            authority: Authority::national(country.code),
            signers: &entry.signing_keys,
            now: now(),
        };
        let list = SignedKeyList::parse(reply.into_inner())?.check(expected)?;
        let ingress = list.in_force(now()).context("the gateway has no ingress key now")?.clone();
        Ok(Self { authority, channel, ingress })
    }

    /// Who pushes.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.authority
    }

    /// Seals reports under the headers that they name, into a push with a fresh id.
    pub fn seal(&self, contacts: &[Contact]) -> Result<wire::PushRequest> {
        let headers = contacts.iter().flat_map(|contact| contact.header).collect();
        let reports: Vec<_> = contacts.iter().map(Contact::octets).collect();
        self.seal_parts(headers, &reports)
    }

    /// Seals any octets under any headers.
    pub fn seal_parts(&self, headers: Vec<u8>, reports: &[Vec<u8>]) -> Result<wire::PushRequest> {
        let mut text = Wiped::default();
        reports.iter().try_for_each(|report| body::put_report(&mut text, report))?;
        Ok(seal::seal_push(&self.ingress, self.authority, headers, text)?)
    }

    /// Pushes; told that it is over its quota, it comes again when it may, as an adapter does.
    pub async fn push(&self, request: wire::PushRequest) -> Result<wire::PushReply, Status> {
        loop {
            match self.push_once(request.clone()).await {
                Err(status) if is_over_quota(&status) => {
                    let again = status.get_details_retry_info().and_then(|info| info.retry_delay);
                    tokio::time::sleep(again.unwrap_or(CALL)).await;
                }
                answered => return answered,
            }
        }
    }

    /// Pushes, and does not wait whatever it is told.
    pub async fn push_once(&self, request: wire::PushRequest) -> Result<wire::PushReply, Status> {
        let mut ingest = IngestClient::new(self.channel.clone());
        let call = tokio::time::timeout(CALL, ingest.push(request));
        let answered = call.await.map_err(|_| Status::deadline_exceeded("no answer in time"))?;
        Ok(answered?.into_inner())
    }

    /// Pushes contacts, and gives the verdict on each.
    pub async fn verdicts(&self, contacts: &[Contact]) -> Result<Vec<Verdict>> {
        verdicts(&self.push(self.seal(contacts)?).await?)
    }

    /// The batches for this authority behind a position, so many octets of them; waits some seconds if there is none.
    pub async fn wait(&self, after: u64, max_bytes: u32) -> Result<Vec<wire::Delivered>, Status> {
        let request =
            wire::DeliveryPullRequest { after, max_bytes, wait_ms: 5_000, manifest_hash: Bytes::new() };
        Ok(DeliveryClient::new(self.channel.clone()).pull(request).await?.into_inner().delivered)
    }

    /// The key that pushes are sealed to, asked for anew.
    pub async fn ingress_keys(&self) -> Result<wire::SignedKeyList, Status> {
        let mut ingest = IngestClient::new(self.channel.clone());
        Ok(ingest.ingress_keys(wire::IngressKeysRequest {}).await?.into_inner())
    }

    /// Says that all up to a position is kept.
    pub async fn acknowledge(&self, position: u64) -> Result<(), Status> {
        let request = wire::DeliveryAcknowledgeRequest { position, manifest_hash: Bytes::new() };
        DeliveryClient::new(self.channel.clone()).acknowledge(request).await.map(drop)
    }

    /// Publishes a key list of this authority.
    pub async fn publish(&self, list: wire::SignedKeyList) -> Result<(), Status> {
        DeliveryClient::new(self.channel.clone()).publish_keys(list).await.map(drop)
    }

    /// The batches for this authority behind a position, without waiting for more. Acknowledges nothing.
    pub async fn pull(&self, after: u64) -> Result<Vec<wire::Delivered>, Status> {
        let request =
            wire::DeliveryPullRequest { after, max_bytes: 1 << 20, ..wire::DeliveryPullRequest::default() };
        Ok(DeliveryClient::new(self.channel.clone()).pull(request).await?.into_inner().delivered)
    }
}

/// A line from one country's gateway to another's, with the certificate of the first.
pub fn peer(federation: &Federation, from: CountryCode, to: CountryCode) -> Result<ExchangeClient<Channel>> {
    let (from, to) = (federation.country(from)?, federation.country(to)?);
    let keys = NodeKeys::read(&IdentityConfig {
        certificate: from.gateway.certificate.clone(),
        key: from.gateway.key.clone(),
        passphrase_file: from.passphrase.clone(),
        hpke_keys: vec![from.gateway.ingress_key.clone()],
    })?;
    let trust = trust_list(federation)?;
    let entry = trust.country(to.code).context("the trust list has every country of the federation")?;
    let tls = Arc::new(tls::client_config(&keys.certificate, entry)?);
    let channel = dial::channel(&format!("https://{}", to.gateway.endpoint), tls)?;
    Ok(ExchangeClient::new(channel).max_decoding_message_size(limits::MESSAGE_LEN))
}

fn is_over_quota(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == "QUOTA_EXCEEDED")
}

/// The verdicts in a reply.
pub fn verdicts(reply: &wire::PushReply) -> Result<Vec<Verdict>> {
    let verdicts = reply.verdicts.iter().map(|number| Verdict::from_number(*number));
    verdicts.collect::<Option<_>>().context("the gateway gives verdicts that are known")
}

/// The federation's trust list, checked by the anchors' keys.
pub fn trust_list(federation: &Federation) -> Result<TrustList> {
    let place = federation.place();
    let public = |key: &std::path::PathBuf| Path::new(&format!("{}.pub", key.display())).to_path_buf();
    let config = TrustConfig {
        list: place.trust_list.clone(),
        anchors: place.anchors.iter().map(public).collect(),
        threshold: place.threshold,
    };
    Ok(TrustKeeper::check(&config, now())?)
}

fn dial(country: &CountryPlace, adapter: &AdapterPlace, trust: &TrustList) -> Result<Channel> {
    let keys = NodeKeys::read(&IdentityConfig {
        certificate: adapter.certificate.clone(),
        key: adapter.key.clone(),
        passphrase_file: country.passphrase.clone(),
        hpke_keys: vec![adapter.country_key.clone()],
    })?;
    let gateway =
        trust.country(country.code).context("the trust list has every country of the federation")?;
    let tls = Arc::new(tls::client_config(&keys.certificate, gateway)?);
    Ok(dial::channel(&format!("https://{}", country.gateway.entrance), tls)?)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
