//! A phone fetches what it seals to: its authority's keys, one for each day, signed by the key that the phone pins.

use anyhow::{Result, ensure};
use country_adapter::service_keys;

use super::Phone;

impl Phone {
    /// Fetches the keys for service tokens. Gives how many days they are for.
    pub async fn fetch_keys(&mut self) -> Result<usize> {
        let answer = self.home.get("/v1/service-keys", None).await?;
        ensure!(answer.status.is_success(), "no keys: {}", answer.in_a_word());
        let list = service_keys::read(&answer.body, self.home.list_key(), self.authority())?;
        let days = list.keys.len();
        self.in_secured_mut()?.take_keys(list.keys);
        Ok(days)
    }
}
