//! Connections that have not said yet who they are: when there are too many, the one that takes longest goes.
//!
//! A good handshake takes milliseconds and a stalled one takes all the time it gets, so whoever fills the room with
//! stalled ones is put out of it before anybody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// A room of limited size that always lets the next one in.
pub struct Crowd {
    most: usize,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Default)]
struct Inside {
    next: u64,
    /// By the order in which they came.
    stays: BTreeMap<u64, CancellationToken>,
}

/// Being inside; dropped, there is room for another.
pub struct Stay {
    number: u64,
    over: CancellationToken,
    inside: Arc<Mutex<Inside>>,
}

impl Crowd {
    /// A room for so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, inside: Arc::default() }
    }

    /// Comes in. If the room is full, who has been inside longest is told to go.
    #[must_use]
    pub fn enter(&self) -> Stay {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        while inside.stays.len() >= self.most {
            let Some((_, longest)) = inside.stays.pop_first() else { break };
            longest.cancel();
        }
        let (number, over) = (inside.next, CancellationToken::new());
        inside.next += 1;
        inside.stays.insert(number, over.clone());
        Stay { number, over, inside: self.inside.clone() }
    }
}

impl Stay {
    /// Comes when another needs the room.
    pub async fn is_over(&self) {
        self.over.cancelled().await;
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).stays.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_been_inside_longest_makes_room_for_the_next() {
        let crowd = Crowd::new(2);
        let (first, second) = (crowd.enter(), crowd.enter());
        assert!(!first.over.is_cancelled());
        let third = crowd.enter();
        first.is_over().await;
        assert!(!second.over.is_cancelled() && !third.over.is_cancelled());
    }

    #[test]
    fn so_many_are_inside_and_the_next_puts_the_first_out() {
        let crowd = Crowd::new(1_024);
        let inside: Vec<_> = (0..1_024).map(|_| crowd.enter()).collect();
        assert!(inside.iter().all(|stay| !stay.over.is_cancelled()));
        let _next = crowd.enter();
        let out = inside.iter().filter(|stay| stay.over.is_cancelled()).count();
        assert!(out == 1 && inside[0].over.is_cancelled());
    }

    #[test]
    fn who_leaves_makes_room() {
        let crowd = Crowd::new(2);
        let first = crowd.enter();
        drop(crowd.enter());
        let _third = crowd.enter();
        assert!(!first.over.is_cancelled());
        assert_eq!(crowd.inside.lock().unwrap().stays.len(), 2);
    }
}
