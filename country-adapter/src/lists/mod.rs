//! What phones download: signed, numbered increments of forty-octet entries.
