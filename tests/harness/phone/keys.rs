//! A phone fetches what it seals to: its authority's keys, one for each day, signed by the key that the phone pins.

use anyhow::{Result, ensure};
use country_adapter::service_keys;
use proto::day::Day;

use super::Phone;

impl Phone {
    /// Fetches the keys for service tokens at a Unix time. Gives how many days they are for.
    pub async fn fetch_keys(&mut self, now: u64) -> Result<usize> {
        let answer = self.home.get("/v1/service-keys", None).await?;
        ensure!(answer.status.is_success(), "no keys: {}", answer.in_a_word());
        self.read_keys(&answer.body, now)
    }

    /// Reads the octets of a list of keys, wherever they come from. A list that is older than the phone's own is refused:
    /// whoever serves it would let the phone run out of keys. One from the future is too: no true one could follow it.
    pub fn read_keys(&mut self, octets: &[u8], now: u64) -> Result<usize> {
        let list = service_keys::read(octets, self.home.list_key(), self.authority())?;
        ensure!(list.issued_at <= now + Day::SECONDS, "the list of service keys is from the future");
        let days = list.keys.len();
        self.in_secured_mut()?.take_list(list)?;
        Ok(days)
    }
}

#[cfg(test)]
mod tests {
    use country_adapter::durable::Disk;
    use country_adapter::herald::secured::exchange::Asking;
    use country_adapter::service_keys::ServiceKeys;
    use pki::sign::SigningKey;

    use super::super::testing::{NOW, home};
    use super::super::{Home, Phone};
    use super::*;

    /// An authority's keys for service tokens, and a phone that pins the key that signs them.
    struct Place {
        keys: ServiceKeys,
        alice: Phone,
        _state: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let (own, state) = (crate::authority("826/0"), tempfile::tempdir().unwrap());
            let signing = || SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
            let signing = signing();
            let home = Home::pinning(own, *signing.public());
            let keys = ServiceKeys::open((state.path(), None), Disk::default(), signing, own).unwrap();
            let alice = Phone::secured("Alice", home, *b"S41\0", [2; 8]).unwrap();
            Self { keys, alice, _state: state }
        }

        fn list(&self, at: u64) -> Vec<u8> {
            self.keys.rotate(at, at).unwrap();
            self.keys.published().octets.to_vec()
        }
    }

    /// Whether a phone can answer another one at a Unix time.
    fn answers(phone: &mut Phone, at: u64) -> bool {
        let asking = Asking::new(crate::authority("250/0")).unwrap();
        phone.answer(asking.request().octets(), at).is_ok()
    }

    const DAY: u64 = Day::SECONDS;

    #[test]
    fn a_phone_that_reads_its_authoritys_keys_answers_for_as_long_as_it_does() {
        let mut place = Place::new();
        let first = place.list(NOW);
        assert_eq!(place.alice.read_keys(&first, NOW).unwrap(), 16);
        assert!(answers(&mut place.alice, NOW + 14 * DAY));
        assert!(!answers(&mut place.alice, NOW + 15 * DAY), "the list reaches two weeks ahead");
        let next = place.list(NOW + 14 * DAY);
        place.alice.read_keys(&next, NOW + 14 * DAY).unwrap();
        assert!(answers(&mut place.alice, NOW + 15 * DAY));
    }

    #[test]
    fn an_older_list_of_keys_is_refused_after_a_restart_too_and_so_is_one_from_the_future() {
        let mut place = Place::new();
        let (old, new) = (place.list(NOW), place.list(NOW + DAY));
        place.alice.read_keys(&old, NOW).unwrap();
        assert!(place.alice.read_keys(&new, NOW - 1).is_err(), "its clock cannot be so late");
        for _ in 0..2 {
            assert_eq!(place.alice.read_keys(&new, NOW + DAY).unwrap(), 16);
        }
        let mut again = Phone::load(&place.alice.save().unwrap(), place.alice.home().clone()).unwrap();
        let refused = again.read_keys(&old, NOW + DAY).unwrap_err().to_string();
        assert!(refused.contains("older"), "{refused}");
        assert!(answers(&mut again, NOW + 15 * DAY));
        let mut other = Phone::secured("Bruno", home("826/0"), *b"S41\0", [2; 8]).unwrap();
        assert!(other.read_keys(&new, NOW + DAY).is_err(), "another key signed it than the one it pins");
    }
}
