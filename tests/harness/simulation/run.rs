//! One plan, from the start to the oracle; and what is made of a plan that fails.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::charter::Charter;
use super::draw;
use super::failure::Failure;
use super::operations::Plan;
use super::oracle::Account;
use super::shrink::shrink;
use super::stores::StoreKind;
use super::world::{Effect, World};

/// Plays that a failing plan is shortened by.
const ATTEMPTS: usize = 120;

/// Runs plans, all with the same countries and kind of store.
#[derive(Clone)]
pub struct Simulation {
    charter: Arc<Charter>,
    kind: StoreKind,
}

/// A plan that went well.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What it came to.
    pub account: Account,
    /// Operations that did something, by name; a kill counts when it comes.
    pub operations: BTreeMap<&'static str, usize>,
    /// Operations that made no sense where they stood, and did nothing.
    pub idle: usize,
}

/// A plan that did not, and the shortest that fails in the same way.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What it was drawn from.
    pub seed: u64,
    /// What is broken.
    pub failure: Failure,
    /// The shortened plan.
    pub plan: Plan,
}

impl Simulation {
    /// Makes the keys of all countries.
    pub fn new(kind: StoreKind) -> Result<Self> {
        Ok(Self { charter: Charter::new()?, kind })
    }

    /// Plays a plan drawn from a seed; shortens it if it fails.
    pub fn seed(&self, seed: u64, operations: usize) -> Result<Outcome, Box<Finding>> {
        let plan = draw::plan(seed, operations);
        self.play(&plan).map_err(|failure| Box::new(self.shortened(seed, &plan, failure)))
    }

    /// Plays a plan.
    pub fn play(&self, plan: &Plan) -> Result<Outcome, Failure> {
        self.play_and(plan, |_| ())
    }

    /// The same, with a hand that may alter what lies in the federation's folder before the oracle looks.
    pub fn play_and(&self, plan: &Plan, tamper: impl FnOnce(&Path)) -> Result<Outcome, Failure> {
        let mut world = World::start(&self.charter, plan.countries, self.kind)?;
        let mut operations = BTreeMap::new();
        for (number, operation) in (1..).zip(&plan.operations) {
            let at = |failure: Failure| Failure {
                detail: format!("at {number} `{operation}`: {}", failure.detail),
                ..failure
            };
            let (killed, effect) = (world.killed, world.apply(operation).map_err(at)?);
            if effect == Effect::Some {
                *operations.entry(operation.name()).or_default() += 1;
            }
            if world.killed > killed {
                *operations.entry("kill").or_default() += world.killed - killed;
            }
        }
        world.settle()?;
        tamper(world.folder());
        let idle = plan.operations.len().saturating_sub(operations.values().sum());
        Ok(Outcome { account: world.account()?, operations, idle })
    }

    /// The shortest plan that fails in the same way.
    #[must_use]
    pub fn shortened(&self, seed: u64, plan: &Plan, mut failure: Failure) -> Finding {
        let kind = failure.kind;
        let operations = shrink(&plan.operations, ATTEMPTS, |operations| {
            let plan = Plan { countries: plan.countries, operations: operations.to_vec() };
            match self.play(&plan) {
                Err(found) if found.kind == kind => {
                    failure = found;
                    true
                }
                _ => false,
            }
        });
        Finding { seed, failure, plan: Plan { countries: plan.countries, operations } }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}\n{}", self.seed, self.failure, self.plan)
    }
}
