//! A node of a small federation, for the tests of single stages.

use std::sync::Arc;

use cluster::Database;
use pki::fixture::Federation;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::node::Node;
use crate::prepare;

/// The gateway of one country, with a real store in a folder of its own.
pub(crate) struct Fixture {
    pub(crate) node: Arc<Node>,
    _folder: TempDir,
}

/// The United Kingdom's gateway in a federation with France.
pub(crate) fn node() -> Fixture {
    node_with(|config| config)
}

/// The same with another configuration.
pub(crate) fn node_with(edit: impl FnOnce(String) -> String) -> Fixture {
    let (folder, config) = config(None, edit);
    // On a thread of its own: the caller may be a test in a runtime, or none.
    let prepared = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(prepare::prepare(config, Clock::default(), CancellationToken::new())).unwrap()
    });
    let (node, _) = prepared.join().unwrap();
    Fixture { node: Arc::new(node), _folder: folder }
}

/// Its configuration, with a database for its store if there is one and edited as text, and the folder with all that it
/// names.
pub(crate) fn config(database: Option<&Database>, edit: impl FnOnce(String) -> String) -> (TempDir, Config) {
    let federation = Federation::of(&["826/0", "826/1", "250/0"]);
    let folder = tempfile::tempdir().unwrap();
    federation.install_gateway(826, folder.path());
    let mut config = include_str!("../../deploy/gateway.example.toml")
        .replace("passphrase_file = \"passphrase\"\n", "")
        .replace("free_disk_bytes = 268435456", "free_disk_bytes = 1048576");
    if let Some(Database { url, ca, password_file, .. }) = database {
        config = config.replace("store = \"store\"\n", &format!("store = \"{url}\"\n"));
        config += &format!("\n[postgres]\nca = {ca:?}\npassword_file = {password_file:?}\n");
    }
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, edit(config)).unwrap();
    (folder, Config::read(&path).unwrap())
}
