//! TLS 1.3 without a network: what one side writes, the other reads, through memory.

use std::io::{Read, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::{Load, Part};

/// Adapter to gateway, gateway to gateway, gateway to adapter.
const LINES: usize = 3;
/// Octets of a record's text, at most: as many as a frame of HTTP/2 has by default.
const RECORD: usize = 16_384;

/// Over all lines.
pub(super) fn tls(load: Load) -> Result<Box<dyn Part>> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let server =
        server.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key.into())?;
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let mut line = Line {
        client: ClientConnection::new(Arc::new(client), ServerName::try_from("localhost")?)?,
        server: ServerConnection::new(Arc::new(server))?,
        wire: Vec::new(),
        text: vec![1; load.body],
        read: vec![0; RECORD],
    };
    line.shake_hands()?;
    Ok(Box::new(line))
}

struct Line {
    client: ClientConnection,
    server: ServerConnection,
    wire: Vec<u8>,
    text: Vec<u8>,
    read: Vec<u8>,
}

impl Line {
    fn shake_hands(&mut self) -> Result<()> {
        while self.client.is_handshaking() || self.server.is_handshaking() || self.server.wants_write() {
            self.there()?;
            self.wire.clear();
            while self.server.wants_write() {
                self.server.write_tls(&mut self.wire)?;
            }
            let mut rest = self.wire.as_slice();
            while !rest.is_empty() {
                self.client.read_tls(&mut rest)?;
                self.client.process_new_packets()?;
            }
        }
        Ok(())
    }

    /// What the client has to say reaches the server.
    fn there(&mut self) -> Result<()> {
        self.wire.clear();
        while self.client.wants_write() {
            self.client.write_tls(&mut self.wire)?;
        }
        let mut rest = self.wire.as_slice();
        while !rest.is_empty() {
            self.server.read_tls(&mut rest)?;
            self.server.process_new_packets()?;
        }
        Ok(())
    }
}

impl Part for Line {
    fn once(&mut self) -> Result<()> {
        let text = std::mem::take(&mut self.text);
        for piece in (0..LINES).flat_map(|_| text.chunks(RECORD)) {
            self.client.writer().write_all(piece)?;
            self.there()?;
            let read = &mut self.read[..piece.len()];
            self.server.reader().read_exact(read).context("what was written can be read")?;
        }
        self.text = text;
        Ok(())
    }
}
