//! The authority's daily keys for service tokens: made ahead, published, destroyed.
