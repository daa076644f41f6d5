//! What attackers do to phones and authorities, with nothing but what everybody can have.

mod junk;
mod relay;

pub use junk::Junk;
pub use relay::carry;
