//! Plain HTTP to a gateway's admin listener: is it ready, and what does it count.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(5);

/// Asks for a path; gives the status and the body.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let (status, body) = octets(address, path).await?;
    Ok((status, String::from_utf8(body).context("the answer is no text")?))
}

/// Asks for a path whose answer is no text; gives the status and the body.
pub async fn octets(address: SocketAddr, path: &str) -> Result<(u16, Vec<u8>)> {
    let mut head = timeout(LIMIT, exchange(address, path)).await.context("no answer in time")??;
    let end = head.windows(4).position(|octets| octets == b"\r\n\r\n").context("the answer is not HTTP")?;
    let body = head.split_off(end + 4);
    let status = std::str::from_utf8(&head)?.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("the answer has no status")?, body))
}

async fn exchange(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP 1.0, so that the body comes in one piece and the end of the stream is its end.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The sum of all samples of a metric that carry these labels.
#[must_use]
pub fn metric(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        let (labels, value) = rest.rsplit_once(' ')?;
        wanted.iter().all(|label| labels.contains(label)).then(|| value.parse::<f64>().ok()).flatten()
    });
    samples.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_their_labels() {
        let text = "# HELP b x\nb_total{peer=\"250\",direction=\"out\"} 3\nb_total{peer=\"36\",direction=\"out\"} 4\n";
        assert_eq!(metric(text, "b_total", &[("peer", "250"), ("direction", "out")]), 3.0);
        assert_eq!(metric(text, "b_total", &[("direction", "out")]), 7.0);
        assert_eq!(metric(text, "b", &[]), 0.0);
    }
}
