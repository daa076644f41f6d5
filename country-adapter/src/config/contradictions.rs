//! What in a configuration does not go together, though each part of it can be meant.

use super::{Approach, BackendKind, Config};

/// The key, what is wrong, and what would do.
type Contradiction = (&'static str, &'static str, &'static str);
/// Whether it is so, and what is then wrong.
type Rule = (bool, &'static str, &'static str, &'static str);

impl Config {
    /// What does not go together: the key, what is wrong, and what would do.
    #[must_use]
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let rules = self.of_the_backend().into_iter().chain(self.of_what_phones_need());
        rules.filter(|(wrong, ..)| *wrong).map(|(_, key, wrong, remedy)| (key, wrong, remedy)).collect()
    }

    fn of_the_backend(&self) -> [Rule; 4] {
        let backend = &self.backend;
        let (folder, webhook) = (backend.kind == BackendKind::Folder, backend.kind == BackendKind::Webhook);
        [
            (
                folder && backend.delivered.is_none(),
                "backend",
                "`delivered` is missing",
                "name the folder in which delivered reports appear",
            ),
            (
                folder && backend.webhook.is_some(),
                "backend.webhook",
                "the kind of backend is folder",
                "write kind = \"webhook\", or leave this table out",
            ),
            (
                webhook && backend.webhook.is_none(),
                "backend",
                "the table [backend.webhook] is missing",
                "say there where the national system listens",
            ),
            (
                webhook && backend.delivered.is_some(),
                "backend.delivered",
                "the kind of backend is webhook",
                "write kind = \"folder\", or leave this key out",
            ),
        ]
    }

    fn of_what_phones_need(&self) -> [Rule; 5] {
        let Self { approach, phones, lists, .. } = self;
        [
            (
                approach.posts() && lists.is_none(),
                "approach",
                "phones need lists, and the table [lists] is missing",
                "add [lists], or write approach = \"centralised\"",
            ),
            (
                *approach == Approach::Decentralised && self.secured.is_none(),
                "approach",
                "no service token is opened without the table [secured], so phones of Herald Secured are never warned",
                "add [secured], or write approach = \"hybrid\" if the backend opens them",
            ),
            (
                phones.is_some() && lists.is_none(),
                "phones",
                "what phones download is signed, and the table [lists] is missing",
                "add [lists] with the key that signs",
            ),
            (
                self.secured.is_some() && lists.is_none(),
                "secured",
                "phones learn the daily keys from a signed list, and the table [lists] is missing",
                "add [lists] with the key that signs",
            ),
            (
                self.second_degree.enabled && (lists.is_none() || self.secured.is_none()),
                "second_degree",
                "advice is for phones whose service tokens are opened here, on a list that they download",
                "add [secured] and [lists], or write enabled = false",
            ),
        ]
    }
}
