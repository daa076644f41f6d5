//! A real PostgreSQL for one test process: made in a folder of its own, reached over TLS, and gone when the process is.
//!
//! A shell watches over it: it stops the server and removes the folder as soon as the pipe to us is closed, so
//! nothing is left behind by a test that fails or is killed.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Where Debian keeps the server's programs, by release.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The server refuses to run as root; this is Debian's user for it.
const USER: &str = "postgres";
/// The database's own administrator, and the role that gateways use.
const ADMIN: &str = "admin";
const ROLE: &str = "exchange";

/// A server that runs.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    address: SocketAddr,
    password: String,
    databases: AtomicU32,
    watch: Child,
}

/// A database of its own for one test, and what a gateway needs to reach it.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Over TLS.
    pub url: String,
    /// Over the Unix socket.
    pub socket_url: String,
    /// That socket.
    pub socket: PathBuf,
    /// PEM of the authority that issued the server's certificate.
    pub ca: PathBuf,
    /// The role's password.
    pub password_file: PathBuf,
}

/// The server that all tests of this process share; started when it is first asked for.
pub fn shared() -> Result<&'static Cluster> {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let started = SHARED.get_or_init(|| Cluster::start().map_err(|error| format!("{error:#}")));
    started.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

impl Cluster {
    /// Makes and starts a server of one's own.
    pub fn start() -> Result<Self> {
        let programs = programs()?;
        let folder =
            tempfile::Builder::new().prefix("postgres-").tempdir().context("no temporary folder")?.keep();
        let started = Self::start_in(&folder, &programs);
        if started.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        started
    }

    fn start_in(folder: &Path, programs: &Path) -> Result<Self> {
        let address = free()?;
        let password = hex::encode(random::<16>()?);
        belongs_to_user(folder, 0o755)?;
        write(&folder.join("admin.password"), &password, 0o600)?;
        certificates(folder)?;
        run(
            programs,
            "initdb",
            &[
                "--pgdata".as_ref(),
                folder.join("data").as_os_str(),
                "--username".as_ref(),
                ADMIN.as_ref(),
                "--pwfile".as_ref(),
                folder.join("admin.password").as_os_str(),
                "--auth=scram-sha-256".as_ref(),
                "--encoding=UTF8".as_ref(),
                "--no-locale".as_ref(),
                "--no-sync".as_ref(),
                "--data-checksums".as_ref(),
            ],
        )?;
        settings(folder, address)?;
        let watch = watched(folder, programs)?;
        let cluster = Self {
            folder: folder.into(),
            programs: programs.into(),
            address,
            password,
            databases: AtomicU32::new(0),
            watch,
        };
        let own = hex::encode(random::<16>()?);
        cluster.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{own}'"))?;
        fs::write(folder.join("role.password"), format!("{own}\n"))?;
        fs::set_permissions(folder.join("role.password"), fs::Permissions::from_mode(0o600))?;
        Ok(cluster)
    }

    /// Makes an empty database that the role owns.
    pub fn database(&self) -> Result<Database> {
        self.database_behind(self.address)
    }

    /// The same, to be reached where somebody listens who hands on to the server. Its certificate is for 127.0.0.1.
    pub fn database_behind(&self, at: SocketAddr) -> Result<Database> {
        let name = format!("gateway_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {ROLE}"))?;
        let (host, port) = (at.ip(), self.address.port());
        let sockets = self.folder.display().to_string().replace('/', "%2F");
        Ok(Database {
            url: format!("postgres://{ROLE}@{host}:{}/{name}?sslmode=verify-full", at.port()),
            socket_url: format!("postgres://{ROLE}@{sockets}:{port}/{name}?sslmode=disable"),
            socket: self.folder.join(format!(".s.PGSQL.{port}")),
            ca: self.folder.join("ca.crt"),
            password_file: self.folder.join("role.password"),
            name,
        })
    }

    /// Runs statements as the administrator; gives what they print, a row a line.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String> {
        let mut command = Command::new(self.programs.join("psql"));
        command
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
                "--host",
            ])
            .arg(&self.folder)
            .args(["--port", &self.address.port().to_string(), "--username", ADMIN, "--dbname", database])
            .args(["--command", statements])
            .env("PGPASSWORD", &self.password)
            .stdin(Stdio::null());
        let done = command.output().context("cannot run psql")?;
        ensure!(done.status.success(), "psql: {}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    /// Restarts the server as a power cut would: nothing is finished, and it recovers from its log.
    pub fn restart_at_once(&self) -> Result<()> {
        self.control("restart", &["-m", "immediate"])
    }

    /// Stops the server at once.
    pub fn stop_at_once(&self) -> Result<()> {
        self.control("stop", &["-m", "immediate"])
    }

    /// Starts it again.
    pub fn resume(&self) -> Result<()> {
        self.control("start", &[])
    }

    /// The folder of all that it writes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the server runs, ready or not.
    #[must_use]
    pub fn runs(&self) -> bool {
        let data = self.folder.join("data");
        run(&self.programs, "pg_ctl", &["status".as_ref(), "-D".as_ref(), data.as_os_str()]).is_ok()
    }

    /// The process id of the server; its other processes are children of it.
    pub fn pid(&self) -> Result<u32> {
        let text = fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let line = text.lines().next().context("PostgreSQL does not run")?;
        line.trim().parse().context("the first line of postmaster.pid is a number")
    }

    /// Where it listens with TLS.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn control(&self, action: &str, more: &[&str]) -> Result<()> {
        let (data, log) = (self.folder.join("data"), self.folder.join("log"));
        let mut words = vec![action.as_ref(), "-w".as_ref(), "-D".as_ref(), data.as_os_str(), "-l".as_ref()];
        words.push(log.as_os_str());
        words.extend(more.iter().map(std::ffi::OsStr::new));
        run(&self.programs, "pg_ctl", &words)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The end of its input tells the watch to stop the server and to clean up.
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// The newest release that is installed and good enough.
fn programs() -> Result<PathBuf> {
    let releases = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let numbered = releases.filter_map(|release| {
        let number: u32 = release.file_name().to_str()?.parse().ok()?;
        let programs = release.path().join("bin");
        (number >= 15 && programs.join("initdb").is_file()).then_some((number, programs))
    });
    let newest = numbered.max().map(|(_, programs)| programs);
    newest.context("PostgreSQL 15 or later is not installed; run: apt-get install postgresql")
}

/// A program of the server, as a user that it runs as.
fn command(programs: &Path, name: &str) -> Result<Command> {
    let mut command = Command::new(programs.join(name));
    if let Some((user, group)) = user()? {
        command.uid(user).gid(group);
    }
    command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    Ok(command)
}

/// Whom the server runs as: Debian's user if we are root, or ourselves.
fn user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let line = users.lines().find_map(|line| line.strip_prefix(&format!("{USER}:")));
    let fields: Vec<&str> = line.unwrap_or_default().split(':').collect();
    let numbers = match fields[..] {
        [_, user, group, ..] => user.parse().ok().zip(group.parse().ok()),
        _ => None,
    };
    numbers
        .map(Some)
        .with_context(|| format!("we are root, and there is no user {USER} to run the server as"))
}

fn run(programs: &Path, name: &str, words: &[&std::ffi::OsStr]) -> Result<()> {
    let mut command = command(programs, name)?;
    // A server that pg_ctl starts keeps these open: a pipe would never end.
    let done = command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let done = done.with_context(|| format!("cannot run {name}"))?;
    ensure!(done.success(), "{name} failed: {done}");
    Ok(())
}

/// Starts the server, and a shell that ends it when we end.
fn watched(folder: &Path, programs: &Path) -> Result<Child> {
    let script = "pg_ctl -w -D \"$1/data\" -l \"$1/log\" start >/dev/null 2>&1 </dev/null || { tail -n 20 \"$1/log\" >&2; echo failed; }\n\
         echo started\n\
         cat >/dev/null\n\
         pg_ctl -D \"$1/data\" -m immediate stop >/dev/null 2>&1\n\
         rm -rf \"$1\"\n";
    let mut command = Command::new("/bin/sh");
    if let Some((user, group)) = user()? {
        command.uid(user).gid(group);
    }
    let path = format!("{}:/usr/bin:/bin", programs.display());
    command.args(["-c", script, "watch"]).arg(folder).current_dir("/").env_clear().env("PATH", path);
    // Of its own group: an interrupt from the keyboard ends us, and it then does its work.
    let watch = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut watch = watch.context("cannot start a shell")?;
    let mut answer = String::new();
    let told = watch.stdout.take().context("it has an output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(told), &mut answer)?;
    ensure!(answer.trim() == "started", "PostgreSQL did not start");
    Ok(watch)
}

fn settings(folder: &Path, address: SocketAddr) -> Result<()> {
    let data = folder.join("data");
    let mut text = fs::read_to_string(data.join("postgresql.conf"))?;
    write!(
        text,
        "\nlisten_addresses = '{}'\nport = {}\nunix_socket_directories = '{}'\nssl = on\n\
         ssl_cert_file = '{}'\nssl_key_file = '{}'\nmax_connections = 200\nshared_buffers = 32MB\n",
        address.ip(),
        address.port(),
        folder.display(),
        folder.join("server.crt").display(),
        folder.join("server.key").display()
    )?;
    fs::write(data.join("postgresql.conf"), text)?;
    let access = "local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    Ok(fs::write(data.join("pg_hba.conf"), access)?)
}

fn certificates(folder: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    write(&folder.join("ca.crt"), &authority.self_signed(&key)?.pem(), 0o644)?;
    let issuer = Issuer::new(authority, key);
    let own = KeyPair::generate()?;
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    write(&folder.join("server.crt"), &server.signed_by(&own, &issuer)?.pem(), 0o644)?;
    write(&folder.join("server.key"), &own.serialize_pem(), 0o600)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    belongs_to_user(path, mode)
}

fn belongs_to_user(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if let Some((user, group)) = user()? {
        chown(path, Some(user), Some(group))
            .with_context(|| format!("cannot give away {}", path.display()))?;
    }
    Ok(())
}

/// A port on loopback that is free now. Below those that systems give to outgoing connections: while the server is
/// down between a stop and a start, no call of somebody's takes it.
fn free() -> Result<SocketAddr> {
    for _ in 0..50 {
        let port = 15_000 + u16::from_be_bytes(random()?) % 17_000;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().context("a bound port has no address");
        }
    }
    bail!("no port is free on loopback")
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).context("the system has no random numbers")?;
    Ok(octets)
}
