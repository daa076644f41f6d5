//! The wait before a phone lets anything show (`herald.md` D18), as a step of the story tells it.

use country_adapter::second_degree::lag::LONGEST;

use super::stage::unix_now;
use crate::phone::{Phone, Shown};

/// What the check of a wait says.
pub(super) const SHOWS: &str = "nothing shows before the drawn time, which is 30 minutes away at most";

/// How long an owner waits to be told, and whether nothing shows before.
pub(super) struct Waited {
    /// Minutes from now on, rounded up.
    pub(super) minutes: u64,
    /// Nothing shows before the drawn time, and what should from then on.
    pub(super) shows: bool,
}

impl Waited {
    /// The wait of a phone that has found something.
    pub(super) fn of(phone: &Phone, is_told: impl Fn(&Shown) -> bool) -> Self {
        let now = unix_now();
        let Some(at) = phone.all_shown_at() else { return Self { minutes: 0, shows: false } };
        let is_told = |at| is_told(&phone.shown(at));
        let shows = is_told(at) && !is_told(at.saturating_sub(1)) && at <= now + LONGEST;
        Self { minutes: at.saturating_sub(now).div_ceil(60), shows }
    }

    /// The wait of a phone whose owner was exposed.
    pub(super) fn exposed(phone: &Phone) -> Self {
        Self::of(phone, |shown| shown.exposed)
    }
}
