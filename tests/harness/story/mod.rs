//! What `federation story` tells: the four phases of Herald's interoperability as a person would tell them, on real
//! processes; the attackers, each refused; and the citizen whose own phone begins the next round.

mod told;

pub use told::{Aloud, Fact, Phase, Step, Told};
