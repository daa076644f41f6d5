//! What `federation story` tells: the four phases of Herald's interoperability as a person would tell them, on real
//! processes; the attackers, each refused; and the citizen whose own phone begins the next round.

mod stage;
mod told;

pub use stage::{FRANCE, Stage, UK, VICTORIA, unix_now};
pub use told::{Aloud, Fact, Phase, Step, Told};
