//! What a national system answers to a POST.

use bytes::Bytes;
use country_adapter::backends::webhook;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, duplex};
use tokio::runtime::Builder;

/// Octets that either side may send before the other reads.
const BUFFER: usize = 64 * 1024;

/// An HTTP answer, to its end, and what the adapter makes of it.
pub(crate) fn webhook(octets: &[u8]) {
    let runtime = Builder::new_current_thread().build().expect("a runtime of one thread needs nothing");
    runtime.block_on(async {
        let (ours, mut theirs) = duplex(BUFFER);
        let answer = async {
            // Whoever reads may have had enough of it.
            let _ = theirs.write_all(octets).await;
            let _ = theirs.shutdown().await;
        };
        let ask = async {
            let (mut sender, connection) =
                http1::handshake::<_, Full<Bytes>>(TokioIo::new(ours)).await.map_err(drop)?;
            let asked = async {
                let request = Request::post("/events").body(Full::default()).map_err(drop)?;
                let response = sender.send_request(request).await.map_err(drop)?;
                let outcome = webhook::understood(response).await;
                drop(sender);
                Ok::<_, ()>(outcome)
            };
            let (outcome, _) = tokio::join!(asked, connection);
            outcome
        };
        let (outcome, ()) = tokio::join!(ask, answer);
        if let Ok(webhook::Outcome::Again { status, .. } | webhook::Outcome::Refused(status)) = outcome {
            assert!(!(200..300).contains(&status), "what is taken is taken");
        }
    });
}
