//! The authority's own desk: what arrives is assessed, counted and put where it is needed, once.
