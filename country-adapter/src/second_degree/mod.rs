//! Who met whom, without names, within this authority only; off unless a country turns it on.
