//! A phone's search: which of its contacts advertised what follows from an ill person's keys.
