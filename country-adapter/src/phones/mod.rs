//! HTTPS for phones: a case's contacts come in, lists go out.
