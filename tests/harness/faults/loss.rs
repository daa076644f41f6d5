//! Lost packets, in the network namespace of the command: by netem, or by a random drop of nftables where the kernel
//! has no netem.

use anyhow::Result;

use super::namespace::{Namespace, run};
use super::scene::{Scene, Struck};

/// Of a hundred packets so many are lost.
const LOST: &str = "10";

/// What loses packets.
enum Means {
    Netem,
    Nftables,
}

/// Loses packets between all processes.
pub(super) async fn strike(scene: &mut Scene) -> Result<Struck> {
    if let Namespace::None(why) = &scene.namespace {
        return Ok(Struck::NotHere(format!("no network namespace: {why}")));
    }
    let means = match begin() {
        Ok(means) => means,
        Err(why) => return Ok(Struck::NotHere(why)),
    };
    let held = scene.hold(scene.pace.trouble * 2).await;
    let dropped = means.end()?;
    held?;
    let by = match means {
        Means::Netem => "netem",
        Means::Nftables => "nftables (this kernel has no netem)",
    };
    let did = format!("{LOST} % of all packets lost by {by} in a network namespace: {dropped} packets");
    Ok(Struck::yes(usize::from(dropped > 0), did))
}

fn begin() -> Result<Means, String> {
    let netem = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", "random"];
    let no_netem = match run(&[&netem[..], &[&format!("{LOST}%")]].concat()) {
        Ok(_) => return Ok(Means::Netem),
        Err(error) => error,
    };
    let rules = format!(
        "table inet faults {{ chain lost {{ type filter hook input priority 0; \
         numgen random mod 100 < {LOST} counter drop; }}; }};"
    );
    let no_rules = run(&["nft", &rules]);
    let no_rules = no_rules.map(drop).err();
    match no_rules {
        None => Ok(Means::Nftables),
        Some(error) => Err(format!("neither {no_netem} nor {error}")),
    }
}

impl Means {
    /// Ends it, and gives how many packets were lost.
    fn end(&self) -> Result<usize> {
        let (text, word) = match self {
            Self::Netem => {
                let text = run(&["tc", "-s", "qdisc", "show", "dev", "lo"])?;
                run(&["tc", "qdisc", "del", "dev", "lo", "root"])?;
                (text, "dropped")
            }
            Self::Nftables => {
                let text = run(&["nft", "list", "table", "inet", "faults"])?;
                run(&["nft", "delete", "table", "inet", "faults"])?;
                (text, "packets")
            }
        };
        Ok(number_behind(&text, word).unwrap_or(0))
    }
}

fn number_behind(text: &str, word: &str) -> Option<usize> {
    let mut words = text.split(|c: char| c.is_whitespace() || c == ',').filter(|part| !part.is_empty());
    words.find(|part| part.trim_start_matches('(') == word)?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_packets_are_counted_from_what_either_means_says() {
        let netem = "qdisc netem 8001: root refcnt 2 limit 1000 loss 10%\n Sent 4 bytes 5 pkt (dropped 17, overlimits 0)";
        assert_eq!(number_behind(netem, "dropped"), Some(17));
        let nft = "numgen random mod 100 < 10 counter packets 42 bytes 99 drop";
        assert_eq!(number_behind(nft, "packets"), Some(42));
        assert_eq!(number_behind("nothing", "packets"), None);
    }
}
