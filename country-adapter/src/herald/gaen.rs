//! GAEN's exposure notification: from a temporary exposure key to what its phone advertised.
