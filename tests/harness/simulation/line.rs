//! Lines between two parties, and what can be wrong with one.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use proto::ids::Authority;

/// Who calls whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// One country's gateway calls another's.
    Peers {
        /// Who calls.
        from: u16,
        /// Who answers.
        to: u16,
    },
    /// An authority's adapter calls its own country's gateway.
    National(Authority),
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody gets through.
    Cut,
    /// Everything takes so many milliseconds longer.
    Delay(u8),
    /// One octet of each connection is another one.
    Flip(Place),
    /// Each connection breaks off.
    Truncate(Place),
    /// Some octets come twice.
    Repeat(Place),
    /// Some octets come in another order.
    Swap(Place),
    /// Whoever answers has the gateway's true certificate and alters batches and key lists. Between gateways only.
    Lie(Lie),
}

/// Where in a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// After so many octets.
    pub after: u16,
    /// In which direction.
    pub direction: Direction,
}

/// Which way octets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the one who answers.
    Asked,
    /// To the one who called.
    Answered,
}

/// What a false gateway does to a true page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Every batch comes twice.
    Double,
    /// The last comes first.
    Reorder,
    /// The first is left out.
    Drop,
    /// The page begins one batch earlier; key lists are the oldest ones.
    Stale,
    /// One octet of a manifest is another one.
    FlipManifest,
    /// One octet of a signature is another one.
    FlipSignature,
    /// One octet of a body is another one.
    FlipBody,
    /// A body ends early.
    Truncate,
    /// A manifest ends early.
    TruncateManifest,
    /// Two batches have changed their bodies.
    Exchange,
    /// The batches are those for a third country.
    Misaddress,
    /// The batches are signed by the country that pulls them.
    Forge,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Double,
        Self::Reorder,
        Self::Drop,
        Self::Stale,
        Self::FlipManifest,
        Self::FlipSignature,
        Self::FlipBody,
        Self::Truncate,
        Self::TruncateManifest,
        Self::Exchange,
        Self::Misaddress,
        Self::Forge,
    ];

    /// Its name in a plan.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Double => "double",
            Self::Reorder => "reorder",
            Self::Drop => "drop",
            Self::Stale => "stale",
            Self::FlipManifest => "flip-manifest",
            Self::FlipSignature => "flip-signature",
            Self::FlipBody => "flip-body",
            Self::Truncate => "truncate",
            Self::TruncateManifest => "truncate-manifest",
            Self::Exchange => "exchange",
            Self::Misaddress => "misaddress",
            Self::Forge => "forge",
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peers { from, to } => write!(f, "{from}>{to}"),
            Self::National(authority) => write!(f, "{authority}"),
        }
    }
}

impl FromStr for Line {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('>') {
            Some((from, to)) => Ok(Self::Peers { from: from.parse()?, to: to.parse()? }),
            None => Ok(Self::National(text.parse().map_err(|cause| anyhow!("{cause}"))?)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("cut"),
            Self::Delay(milliseconds) => write!(f, "delay {milliseconds}"),
            Self::Flip(place) => write!(f, "flip {place}"),
            Self::Truncate(place) => write!(f, "truncate {place}"),
            Self::Repeat(place) => write!(f, "repeat {place}"),
            Self::Swap(place) => write!(f, "swap {place}"),
            Self::Lie(lie) => write!(f, "lie {}", lie.name()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Asked => "asked",
            Direction::Answered => "answered",
        };
        write!(f, "{} {direction}", self.after)
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let place = || place(words.get(1..).unwrap_or_default());
        Ok(match words[0] {
            "cut" => Self::Cut,
            "delay" => Self::Delay(words.get(1).context("a delay has milliseconds")?.parse()?),
            "flip" => Self::Flip(place()?),
            "truncate" => Self::Truncate(place()?),
            "repeat" => Self::Repeat(place()?),
            "swap" => Self::Swap(place()?),
            "lie" => {
                let lie = Lie::ALL.into_iter().find(|lie| words.get(1) == Some(&lie.name()));
                Self::Lie(lie.context("there is no such lie")?)
            }
            other => bail!("there is no fault `{other}`"),
        })
    }
}

fn place(words: &[&str]) -> Result<Place> {
    let [after, direction] = words else { bail!("a place is `N asked` or `N answered`") };
    let direction = match *direction {
        "asked" => Direction::Asked,
        "answered" => Direction::Answered,
        other => bail!("`{other}` is neither `asked` nor `answered`"),
    };
    Ok(Place { after: after.parse()?, direction })
}
