//! Who plays: phones of three countries, each with an owner.

use anyhow::Result;

use super::stage::{FRANCE, Stage, UK, VICTORIA};
use crate::phone::Phone;

/// The phones of the story, by their owners' names. All are fictitious.
pub struct Cast {
    /// Of London, on Secured. She falls ill in the first chapter.
    pub alice: Phone,
    /// Of Lyon, on Secured. He met Alice.
    pub bruno: Phone,
    /// Of Paris, on Secured. She falls ill in the second chapter.
    pub clara: Phone,
    /// Of Leeds, on Secured. He met Clara, and falls ill himself.
    pub dan: Phone,
    /// Of London, on Secured. She met Dan, and was at the same place as Clara.
    pub emma: Phone,
    /// Of Nice, on Secured. He met Dan.
    pub felix: Phone,
    /// Of York, on Simple. She met Mia.
    pub gwen: Phone,
    /// Of Bath, on Simple. He met Noah, and falls ill.
    pub harry: Phone,
    /// Of Melbourne, on Simple. She falls ill.
    pub mia: Phone,
    /// Of Geelong, on Simple. He met Harry.
    pub noah: Phone,
}

impl Cast {
    /// Everybody installs the app of their country: phones on Secured fetch the keys of their authority.
    pub async fn gather(stage: &Stage) -> Result<Self> {
        Ok(Self {
            alice: stage.secured("Alice", UK).await?,
            bruno: stage.secured("Bruno", FRANCE).await?,
            clara: stage.secured("Clara", FRANCE).await?,
            dan: stage.secured("Dan", UK).await?,
            emma: stage.secured("Emma", UK).await?,
            felix: stage.secured("Felix", FRANCE).await?,
            gwen: stage.simple("Gwen", UK)?,
            harry: stage.simple("Harry", UK)?,
            mia: stage.simple("Mia", VICTORIA)?,
            noah: stage.simple("Noah", VICTORIA)?,
        })
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> [&Phone; 10] {
        let Self { alice, bruno, clara, dan, emma, felix, gwen, harry, mia, noah } = self;
        [alice, bruno, clara, dan, emma, felix, gwen, harry, mia, noah]
    }
}
