//! A false gateway: it answers with the true certificate of another, asks the true one, and alters what it passes on.
//!
//! It cannot sign as the origin does. An origin that signs two histories is its own affair, and its evidence is kept.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use pki::trust::TrustList;
use pki::{dial, tls};
use proto::batch::Manifest;
use proto::ids::{Authority, CountryCode};
use proto::limits;
use proto::wire;
use proto::wire::exchange_client::ExchangeClient;
use proto::wire::exchange_server::{Exchange, ExchangeServer};
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::charter::Charter;
use super::line::Lie;

/// Stands between a caller and a gateway.
pub(super) struct Liar {
    lie: Lie,
    /// As it answers.
    server: Arc<ServerConfig>,
    /// As it asks in the caller's name, and in a third country's.
    clients: [Arc<ClientConfig>; 2],
    charter: Arc<Charter>,
    caller: u16,
    /// The first key list of each authority.
    old: Vec<(Authority, wire::SignedKeyList)>,
}

impl Liar {
    /// Answers `caller` in the place of `callee`; a third country's batches are asked for in its name.
    pub(super) fn new(
        lie: Lie,
        charter: &Arc<Charter>,
        [caller, callee, third]: [u16; 3],
        trust: &TrustList,
    ) -> Result<Self> {
        let country = trust.country(CountryCode::new(callee)?).context("the callee is in every list")?;
        let server = Arc::new(tls::server_config(&charter.country(callee).gateway, trust)?);
        let client = |code| Ok(Arc::new(tls::client_config(&charter.country(code).gateway, country)?));
        let clients = [caller, third].map(client);
        let [as_caller, as_third]: [Result<_>; 2] = clients;
        let clients = [as_caller?, as_third?];
        Ok(Self { lie, server, clients, charter: charter.clone(), caller, old: Vec::new() })
    }

    /// With old key lists to give.
    #[must_use]
    pub(super) fn with_old(mut self, old: Vec<(Authority, wire::SignedKeyList)>) -> Self {
        self.old = old;
        self
    }

    /// Answers on one connection until it ends.
    pub(super) async fn answer(self: Arc<Self>, stream: TcpStream, target: SocketAddr) {
        let Ok(stream) = TlsAcceptor::from(self.server.clone()).accept(stream).await else { return };
        let asks = |tls: &Arc<ClientConfig>| {
            let channel = dial::channel(&format!("https://{target}"), tls.clone());
            channel.map(|channel| ExchangeClient::new(channel).max_decoding_message_size(limits::MESSAGE_LEN))
        };
        let (Ok(caller), Ok(third)) = (asks(&self.clients[0]), asks(&self.clients[1])) else { return };
        let service = ExchangeServer::new(Line { liar: self, caller, third });
        let routes = TowerToHyperService::new(Routes::new(service).prepare());
        let builder = Builder::new(TokioExecutor::new()).http2_only();
        // How the caller ends it is the caller's affair.
        let _ = builder.serve_connection(TokioIo::new(stream), routes).await;
    }
}

/// One connection.
struct Line {
    liar: Arc<Liar>,
    caller: ExchangeClient<Channel>,
    third: ExchangeClient<Channel>,
}

#[tonic::async_trait]
impl Exchange for Line {
    async fn pull(&self, request: Request<wire::PullRequest>) -> Result<Response<wire::PullReply>, Status> {
        let mut request = request.into_inner();
        let mut client = self.caller.clone();
        match self.liar.lie {
            Lie::Misaddress => client = self.third.clone(),
            Lie::Stale => request.after = request.after.saturating_sub(1),
            _ => {}
        }
        let mut batches = client.pull(request).await?.into_inner().batches;
        self.alter(&mut batches);
        Ok(Response::new(wire::PullReply { batches }))
    }

    async fn acknowledge(
        &self,
        request: Request<wire::AcknowledgeRequest>,
    ) -> Result<Response<wire::AcknowledgeReply>, Status> {
        let mut request = request.into_inner();
        match self.liar.lie {
            Lie::FlipManifest => flip(&mut request.receipt, 10),
            Lie::FlipSignature => flip(&mut request.signature, 10),
            Lie::TruncateManifest => request.receipt.truncate(45),
            _ => {}
        }
        self.caller.clone().acknowledge(request).await
    }

    async fn key_list(
        &self,
        request: Request<wire::KeyListRequest>,
    ) -> Result<Response<wire::SignedKeyList>, Status> {
        let asked = request.get_ref().authority.clone();
        let old = self.liar.old.iter().find(|(authority, _)| authority.octets()[..] == asked[..]);
        if let (Lie::Stale, Some((_, list))) = (self.liar.lie, old) {
            return Ok(Response::new(list.clone()));
        }
        let mut list = self.caller.clone().key_list(request.into_inner()).await?.into_inner();
        match self.liar.lie {
            Lie::FlipBody => flip(&mut list.list, 40),
            Lie::FlipSignature => flip(&mut list.signature, 10),
            _ => {}
        }
        Ok(Response::new(list))
    }
}

impl Line {
    fn alter(&self, batches: &mut Vec<wire::SignedBatch>) {
        let Some(last) = batches.last_mut() else { return };
        match self.liar.lie {
            Lie::FlipManifest => flip(&mut last.manifest, 50),
            Lie::FlipSignature => flip(&mut last.signature, 20),
            Lie::FlipBody => flip(&mut last.sealed, 5),
            Lie::Truncate => last.sealed.truncate(last.sealed.len() - 1),
            Lie::TruncateManifest => last.manifest.truncate(last.manifest.len() - 1),
            Lie::Double => {
                *batches = batches.iter().flat_map(|batch| [batch.clone(), batch.clone()]).collect();
            }
            Lie::Reorder => batches.reverse(),
            Lie::Drop => drop(batches.remove(0)),
            Lie::Exchange => {
                let bodies: Vec<_> = batches.iter().rev().map(|batch| batch.sealed.clone()).collect();
                batches.iter_mut().zip(bodies).for_each(|(batch, body)| batch.sealed = body);
            }
            Lie::Forge => {
                let key = &self.liar.charter.country(self.liar.caller).signing;
                for batch in batches {
                    batch.signature = key.sign(Manifest::DOMAIN, &batch.manifest).to_vec().into();
                    batch.signing_key = key.public().id().octets().to_vec().into();
                }
            }
            Lie::Stale | Lie::Misaddress => {}
        }
    }
}

fn flip(octets: &mut Bytes, at: usize) {
    let mut altered = octets.to_vec();
    if let Some(octet) = altered.get_mut(at) {
        *octet ^= 1;
    }
    *octets = altered.into();
}
