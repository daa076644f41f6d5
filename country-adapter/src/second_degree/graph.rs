//! The anonymous contact graph: cases on one side, phones on the other.
//!
//! A phone that many ill persons have met independently may carry the illness without symptoms, or spread it. Made anew
//! for each question from what is kept; about 100 octets of memory for each contact.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use petgraph::Undirected;
use petgraph::graph::{Graph, NodeIndex};
use pki::disk::DiskError;
use proto::day::Day;
use sha2::Sha256;

use super::LEAST;
use super::edges::{self, Edge};

/// One side of the graph or the other.
enum Node {
    Case,
    Phone([u8; 16]),
}

/// A phone that an operator may advise. It is known by a number that says nothing of its UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub number: CandidateNumber,
    /// Distinct cases that met it.
    pub cases: usize,
    /// The first and the last day.
    pub days: (Day, Day),
    /// The sum of what its contacts added, tenths of a metre-minute.
    pub risk: u32,
}

/// Names a candidate: the same at each question, and of no use to anybody without the adapter's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CandidateNumber(u64);

/// No number of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a candidate's number has 16 hexadecimal digits, as `advice candidates` prints it")]
pub struct NoNumber;

impl fmt::Display for CandidateNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for CandidateNumber {
    type Err = NoNumber;

    fn from_str(text: &str) -> Result<Self, NoNumber> {
        let is_hex = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_hex).map(Self).ok_or(NoNumber)
    }
}

/// What may be told of all cases together. Counts below 5 are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overview {
    /// Cases with contacts in this authority.
    pub cases: Option<usize>,
    /// Phones that they met.
    pub phones: Option<usize>,
    /// Contacts of a case, on average.
    pub contacts_per_case: Option<usize>,
    /// Cases with more than ten times the average: a network of invented contacts looks so.
    pub spikes: Option<usize>,
}

/// The graph of 14 days.
pub(super) struct ContactGraph {
    graph: Graph<Node, Edge, Undirected>,
    key: [u8; 32],
}

impl ContactGraph {
    /// Reads what is kept.
    pub(super) fn read(state: &Path, today: Day, key: [u8; 32]) -> Result<Self, DiskError> {
        let mut graph = Graph::default();
        let (mut cases, mut phones) = (HashMap::new(), HashMap::new());
        edges::read(state, today, |case, edge| {
            let case = *cases.entry(case).or_insert_with(|| graph.add_node(Node::Case));
            let phone = *phones.entry(edge.phone).or_insert_with(|| graph.add_node(Node::Phone(edge.phone)));
            graph.add_edge(case, phone, edge);
        })?;
        Ok(Self { graph, key })
    }

    /// Phones that at least so many distinct cases met, most cases first.
    pub(super) fn candidates(&self, least: usize) -> Vec<Candidate> {
        let phones = self.graph.node_indices().filter_map(|index| Some((index, self.phone(index)?)));
        let found = phones.filter_map(|(index, phone)| self.candidate(index, &phone, least.max(LEAST)));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|candidate| (std::cmp::Reverse(candidate.cases), candidate.number));
        found
    }

    /// The newest contact of a candidate: a token that its phone still knows.
    pub(super) fn newest(&self, number: CandidateNumber, least: usize) -> Option<Edge> {
        let mut phones = self.graph.node_indices();
        let index =
            phones.find(|index| self.phone(*index).is_some_and(|phone| self.number(&phone) == number))?;
        self.candidate(index, &self.phone(index)?, least.max(LEAST))?;
        self.graph.edges(index).map(|edge| *edge.weight()).max_by_key(|edge| edge.day)
    }

    pub(super) fn overview(&self) -> Overview {
        let contacts: BTreeMap<_, _> = self
            .graph
            .node_indices()
            .filter(|index| matches!(self.graph[*index], Node::Case))
            .map(|index| (index, self.graph.edges(index).count()))
            .collect();
        let shown = |count: usize| (count >= LEAST).then_some(count);
        let all: usize = contacts.values().sum();
        let average = all.checked_div(contacts.len()).unwrap_or_default();
        let spikes = contacts.values().filter(|count| **count > average * 10).count();
        let cases = shown(contacts.len());
        Overview {
            cases,
            phones: shown(self.graph.node_count() - contacts.len()),
            contacts_per_case: cases.map(|_| average),
            spikes: cases
                .map(|_| spikes)
                .and_then(|spikes| (spikes == 0 || spikes >= LEAST).then_some(spikes)),
        }
    }

    fn candidate(&self, index: NodeIndex, phone: &[u8; 16], least: usize) -> Option<Candidate> {
        let edges = || self.graph.edges(index).map(|edge| *edge.weight());
        let mut cases: Vec<_> = self.graph.neighbors(index).collect();
        cases.sort_unstable();
        cases.dedup();
        if cases.len() < least {
            return None;
        }
        let (first, last) = (edges().map(|edge| edge.day).min()?, edges().map(|edge| edge.day).max()?);
        let risk = edges().map(|edge| u32::from(edge.subtotal.number())).sum();
        Some(Candidate { number: self.number(phone), cases: cases.len(), days: (first, last), risk })
    }

    fn phone(&self, index: NodeIndex) -> Option<[u8; 16]> {
        match self.graph[index] {
            Node::Phone(phone) => Some(phone),
            Node::Case => None,
        }
    }

    fn number(&self, phone: &[u8; 16]) -> CandidateNumber {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(b"exchange/v1 candidate");
        mac.update(phone);
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        let [a, b, c, d, e, f, g, h, ..] = tag;
        CandidateNumber(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}
