//! `pki key`: makes private keys, each with its public half beside it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use pki::disk;
use pki::keyfile::{Algorithm, KeyFile};
use pki::pubfile::PublicFile;
use pki::seal::{PublicKey, Suite};
use pki::sign::VerifyingKey;

use super::answer::{Answer, Lines, WrongUsage};
use super::secrets::{self, Protect};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a private key; its public half goes to FILE.pub
    Create(Create),
}

#[derive(Args)]
#[command(after_help = "EXAMPLES
  pki key create --kind signing --out signing.key --ask-passphrase
  pki key create --kind hpke --suite x-wing --out country.key --passphrase-file passphrase")]
pub(super) struct Create {
    /// What the key is for
    #[arg(long)]
    kind: Kind,
    /// The HPKE suite: x-wing (unless told otherwise), p256 or x25519
    #[arg(long)]
    suite: Option<Suite>,
    /// The file for the private key
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    protect: Protect,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// For a certificate: a gateway, an adapter, an operator
    Tls,
    /// Signs manifests, receipts and key lists
    Signing,
    /// Signs trust lists
    Anchor,
    /// Opens what is sealed to an authority or a gateway
    Hpke,
}

impl Command {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let Self::Create(create) = self;
        create.run()
    }
}

impl Create {
    fn run(&self) -> anyhow::Result<Answer> {
        let algorithm = self.algorithm()?;
        let passphrase = self.protect.passphrase()?;
        let passphrase = passphrase.as_ref();
        let key = KeyFile::generate(algorithm);
        let public = PublicFile { algorithm, octets: key.public().to_vec() };
        let public_path = public_path(&self.out);
        // The public half first: if the private one cannot be written, nothing of value is left over.
        disk::create_public(&public_path, public.pem().as_bytes())?;
        if let Err(error) = key.write(&self.out, secrets::protection(passphrase)) {
            let _ = fs::remove_file(&public_path);
            return Err(error.into());
        }
        let lines = Lines::default()
            .wrote(&self.out)
            .add("", format!("{algorithm} {}", secrets::described(passphrase)))
            .wrote(&public_path)
            .add("", "public key");
        Ok(Answer::done(self.next(lines, &public).text()))
    }

    fn algorithm(&self) -> Result<Algorithm, WrongUsage> {
        match (self.kind, self.suite) {
            (Kind::Hpke, suite) => Ok(suite.unwrap_or(Suite::XWing).into()),
            (_, None | Some(Suite::P256)) => Ok(Algorithm::P256),
            (_, Some(suite)) => {
                Err(WrongUsage(format!("--suite {suite} is for --kind hpke; keys of other kinds are p256")))
            }
        }
    }

    fn next(&self, lines: Lines, public: &PublicFile) -> Lines {
        let (out, shown) = (self.out.display(), public_path(&self.out));
        let shown = shown.display();
        match self.kind {
            Kind::Tls => lines.next(format!("pki csr --key {out} --out FILE")),
            Kind::Signing => {
                lines.add("key id", signing_id(public)).next(format!("name {shown} in the draft of the trust list"))
            }
            Kind::Anchor => lines
                .add("key id", signing_id(public))
                .next(format!("hand {shown} to the editors of the trust list in person, and read the key id aloud")),
            Kind::Hpke => lines.add("key id", hpke_id(public)).next(format!(
                "pki key-list create --authority AUTHORITY --add {shown} --version N --sign-with KEY --out FILE"
            )),
        }
    }
}

/// `FILE.pub`.
fn public_path(key: &Path) -> PathBuf {
    let mut path = key.as_os_str().to_os_string();
    path.push(".pub");
    path.into()
}

/// The id of a key that signs, if it can.
pub(super) fn signing_id(public: &PublicFile) -> String {
    VerifyingKey::parse(&public.octets).map_or_else(|error| error.to_string(), |key| key.id().to_string())
}

/// The id of a key that opens, if it can.
pub(super) fn hpke_id(public: &PublicFile) -> String {
    let key = PublicKey::parse(public.algorithm.suite(), &public.octets);
    key.map_or_else(|error| error.to_string(), |key| key.id().to_string())
}
