//! Ill persons' own keys: fanned out to countries, imported, exported, held back until their time is over.
