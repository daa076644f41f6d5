//! What can happen in a simulated federation. Each operation is one line of text, so that a failure can be read,
//! kept and played again.
//!
//! An operation that makes no sense where it stands does nothing: any part of a plan is a plan.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use proto::ids::Authority;

use super::line::{Fault, Line};

/// The countries that a plan may have, in this order, with the states whose authorities are in the trust list. A
/// country without state 0 has no national authority that unknown states fall back to.
pub const COUNTRIES: [(u16, &[u16]); 5] =
    [(826, &[0, 1]), (250, &[0]), (36, &[2]), (276, &[0, 5]), (392, &[0])];

/// A federation of the first countries, and what happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How many of [`COUNTRIES`], 2 to 5.
    pub countries: usize,
    /// In this order.
    pub operations: Vec<Operation>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Pushes, all at the same time.
    Push(Vec<Load>),
    /// The push of this number, counted from 0 and over again, with the same id and octets.
    Retry(usize),
    /// Other octets under the id of that push.
    Alter(usize),
    /// A gateway fetches one page of an origin's batches.
    Pull(u16, u16),
    /// A gateway sends receipts to an origin.
    Receipts(u16, u16),
    /// A gateway asks all others for their key lists.
    Keys(u16),
    /// An adapter takes one page, keeps it, and acknowledges it.
    Receive(Authority),
    /// An adapter ends and starts again.
    Reopen(Authority),
    /// All clocks go forward by so many minutes.
    Turn(u32),
    /// The clocks of one country go back by an hour.
    Back(u16),
    /// One look at what may be purged.
    Purge(u16),
    /// A gateway is killed.
    Kill(u16, Moment),
    /// A gateway stops gracefully.
    Stop(u16),
    /// A gateway starts, from what was on its disk.
    Start(u16),
    /// The image is taken now that the next kill leaves behind: a store that forgets. Never drawn; it shows that the
    /// oracle notices.
    Forget(u16),
    /// A country tells an origin that it has delivered everything, which it has not. Never drawn either.
    Boast(u16, u16),
    /// A gateway's last batch stands in its outbox twice. Never drawn either.
    Break(u16),
    /// A gateway's store says that it purges, and keeps everything. Never drawn either.
    Hoard(u16),
    /// An authority reads another first verdict in the next answer than was given. Never drawn either.
    Misjudge(Authority),
    /// The disk under a gateway's store is full, while it runs or not.
    Fill(u16),
    /// It has room again.
    Free(u16),
    /// Something is wrong with a line.
    Fault(Line, Fault),
    /// Nothing is.
    Heal(Line),
    /// An authority makes a new key and publishes it.
    Rotate(Authority),
    /// An authority destroys the keys that were replaced more than 15 days ago.
    Retire(Authority),
    /// A new trust list suspends a country.
    Suspend(u16),
    /// A new trust list lets it in again.
    Readmit(u16),
    /// The gateway and the adapters of a country load the newest trust list.
    Trust(u16),
}

/// When a gateway is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At once.
    Now,
    /// Before this next commit of its store, counted from 1.
    Before(u8),
    /// After it, and before anybody is told.
    After(u8),
}

/// One push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Who pushes.
    pub pusher: Authority,
    /// How many reports.
    pub reports: u16,
    /// What is drawn from: issuers, days and flaws.
    pub mix: u16,
}

impl Operation {
    /// Its name, for counting.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Push(_) => "push",
            Self::Retry(_) => "retry",
            Self::Alter(_) => "alter",
            Self::Pull(..) => "pull",
            Self::Receipts(..) => "receipts",
            Self::Keys(_) => "keys",
            Self::Receive(_) => "receive",
            Self::Reopen(_) => "reopen",
            Self::Turn(_) => "turn",
            Self::Back(_) => "back",
            Self::Purge(_) => "purge",
            Self::Kill(..) => "kill",
            Self::Stop(_) => "stop",
            Self::Start(_) => "start",
            Self::Forget(_) => "forget",
            Self::Boast(..) => "boast",
            Self::Break(_) => "break",
            Self::Hoard(_) => "hoard",
            Self::Misjudge(_) => "misjudge",
            Self::Fill(_) => "fill",
            Self::Free(_) => "free",
            Self::Fault(..) => "fault",
            Self::Heal(_) => "heal",
            Self::Rotate(_) => "rotate",
            Self::Retire(_) => "retire",
            Self::Suspend(_) => "suspend",
            Self::Readmit(_) => "readmit",
            Self::Trust(_) => "trust",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Push(loads) => loads.iter().enumerate().try_for_each(|(at, load)| {
                let Load { pusher, reports, mix } = load;
                write!(f, "{} {pusher} x{reports} mix {mix}", if at == 0 { "" } else { " |" })
            }),
            Self::Retry(push) | Self::Alter(push) => write!(f, " {push}"),
            Self::Pull(country, origin) | Self::Receipts(country, origin) | Self::Boast(country, origin) => {
                write!(f, " {country} {origin}")
            }
            Self::Turn(minutes) => write!(f, " {minutes}"),
            Self::Kill(country, moment) => write!(f, " {country} {moment}"),
            Self::Fault(line, fault) => write!(f, " {line} {fault}"),
            Self::Heal(line) => write!(f, " {line}"),
            Self::Receive(authority)
            | Self::Reopen(authority)
            | Self::Misjudge(authority)
            | Self::Rotate(authority)
            | Self::Retire(authority) => write!(f, " {authority}"),
            Self::Keys(country)
            | Self::Back(country)
            | Self::Purge(country)
            | Self::Stop(country)
            | Self::Start(country)
            | Self::Forget(country)
            | Self::Break(country)
            | Self::Hoard(country)
            | Self::Fill(country)
            | Self::Free(country)
            | Self::Suspend(country)
            | Self::Readmit(country)
            | Self::Trust(country) => write!(f, " {country}"),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Before(commit) => write!(f, "before {commit}"),
            Self::After(commit) => write!(f, "after {commit}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "countries {}", self.countries)?;
        self.operations.iter().try_for_each(|operation| write!(f, "\n{operation}"))
    }
}

impl FromStr for Plan {
    type Err = anyhow::Error;

    /// `countries N`, then an operation a line.
    fn from_str(text: &str) -> Result<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().and_then(|line| line.strip_prefix("countries "));
        let countries = first.context("a plan begins with `countries N`")?.parse()?;
        if !(2..=COUNTRIES.len()).contains(&countries) {
            bail!("{countries} countries; a plan has 2 to {}", COUNTRIES.len());
        }
        let operations = lines.map(|line| line.parse().with_context(|| line.to_owned()));
        Ok(Self { countries, operations: operations.collect::<Result<_>>()? })
    }
}

impl FromStr for Operation {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once(' ').context("an operation has a name and more")?;
        let words: Vec<&str> = rest.split(' ').collect();
        let number =
            |at: usize| -> Result<u16> { Ok(words.get(at).context("a number is missing")?.parse()?) };
        let authority = || rest.parse::<Authority>().map_err(|cause| anyhow!("{cause}"));
        Ok(match name {
            "push" => Self::Push(rest.split(" | ").map(load).collect::<Result<_>>()?),
            "retry" => Self::Retry(rest.parse()?),
            "alter" => Self::Alter(rest.parse()?),
            "pull" => Self::Pull(number(0)?, number(1)?),
            "receipts" => Self::Receipts(number(0)?, number(1)?),
            "keys" => Self::Keys(number(0)?),
            "receive" => Self::Receive(authority()?),
            "reopen" => Self::Reopen(authority()?),
            "turn" => Self::Turn(rest.parse()?),
            "back" => Self::Back(number(0)?),
            "purge" => Self::Purge(number(0)?),
            "kill" => Self::Kill(number(0)?, moment(words.get(1..).unwrap_or_default())?),
            "stop" => Self::Stop(number(0)?),
            "start" => Self::Start(number(0)?),
            "forget" => Self::Forget(number(0)?),
            "boast" => Self::Boast(number(0)?, number(1)?),
            "break" => Self::Break(number(0)?),
            "hoard" => Self::Hoard(number(0)?),
            "misjudge" => Self::Misjudge(authority()?),
            "fill" => Self::Fill(number(0)?),
            "free" => Self::Free(number(0)?),
            "fault" => {
                let (line, fault) = rest.split_once(' ').context("a fault has a line and a kind")?;
                Self::Fault(line.parse()?, fault.parse()?)
            }
            "heal" => Self::Heal(rest.parse()?),
            "rotate" => Self::Rotate(authority()?),
            "retire" => Self::Retire(authority()?),
            "suspend" => Self::Suspend(number(0)?),
            "readmit" => Self::Readmit(number(0)?),
            "trust" => Self::Trust(number(0)?),
            other => bail!("there is no operation `{other}`"),
        })
    }
}

fn load(text: &str) -> Result<Load> {
    let words: Vec<&str> = text.split(' ').collect();
    let [pusher, reports, "mix", mix] = words[..] else {
        bail!("`{text}` is no push; write `826/1 x3 mix 17`");
    };
    let pusher = pusher.parse().map_err(|cause| anyhow!("{cause}"))?;
    let reports = reports.strip_prefix('x').context("the number of reports begins with x")?.parse()?;
    Ok(Load { pusher, reports, mix: mix.parse()? })
}

fn moment(words: &[&str]) -> Result<Moment> {
    Ok(match words {
        ["now"] => Moment::Now,
        ["before", commit] => Moment::Before(commit.parse()?),
        ["after", commit] => Moment::After(commit.parse()?),
        _ => bail!("a kill comes `now`, `before N` or `after N`"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::draw;
    use super::*;

    #[test]
    fn every_plan_reads_back_from_its_text() {
        for seed in 0..200 {
            let plan = draw::plan(seed, 80);
            assert_eq!(plan.to_string().parse::<Plan>().unwrap(), plan);
        }
        for never_drawn in ["forget 250", "boast 250 826", "break 250", "hoard 250", "misjudge 250/0"] {
            assert_eq!(never_drawn.parse::<Operation>().unwrap().to_string(), never_drawn);
        }
    }

    #[test]
    fn what_is_no_plan_is_named() {
        let refused = |text: &str| format!("{:#}", text.parse::<Plan>().unwrap_err());
        assert!(refused("push 826/1 x1 mix 1").contains("begins with `countries N`"));
        assert!(refused("countries 6").contains("2 to 5"));
        assert!(refused("countries 2\nfly 826").contains("there is no operation `fly`"));
        assert!(refused("countries 2\nkill 826 later").contains("kill 826 later"));
    }
}
