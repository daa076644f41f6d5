//! Full disks: a small tmpfs under a gateway's store, and under an adapter's state, and something that fills it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proto::verdict::Verdict;
use proto::wire;
use tonic::Status;
use tonic_types::StatusExt;

use super::namespace::{Namespace, run};
use super::scene::{Scene, Struck};
use super::traffic::Flow;
use crate::direct::{self, Line};
use crate::leaks::octets_below;
use crate::members::{Node, authority, country};
use crate::place::GatewayPlace;

/// How long a gateway may take to be ready again, and to take pushes again once there is space.
const SOON: Duration = Duration::from_secs(30);
/// How often it is looked whether the gateway has ended.
const LOOK: Duration = Duration::from_millis(100);
/// How often a gateway's disk is filled: down to its reserve, and to its end.
pub(super) const FILLED: usize = 2;
/// Octets that a gateway's disk has beside its files, and an adapter's.
const GATEWAYS: u64 = 64 << 20;
const ADAPTERS: u64 = 16 << 20;
/// What an operating system says of a full disk.
const FULL: &str = "No space left";
/// Octets that stay free where a gateway keeps no reserve, so that it meets the end of the disk in the middle of its work.
const LITTLE: u64 = 48 << 10;

/// A tmpfs whose one folder is mounted where a process has its files.
pub(super) struct SmallDisk {
    folder: PathBuf,
    root: PathBuf,
}

impl SmallDisk {
    /// Puts the files of a folder on a disk of their own, with so many octets beside them. The process that uses them
    /// must not run.
    pub(super) fn under(folder: &Path, octets: u64) -> Result<Self> {
        let octets = octets_below(folder)? + octets;
        let disk = Self { folder: folder.into(), root: folder.with_extension("disk") };
        let (at, root, data) = (shown(folder)?, shown(&disk.root)?, shown(&disk.data())?.to_owned());
        fs::create_dir_all(&disk.root)?;
        run(&["mount", "-t", "tmpfs", "-o", &format!("size={octets},mode=0700"), "tmpfs", root])?;
        run(&["cp", "-a", at, &data])?;
        run(&["mount", "--bind", &data, at])?;
        Ok(disk)
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    /// Leaves so many octets free.
    pub(super) fn fill(&self, leave: u64) -> Result<()> {
        let free =
            pki::disk::free(&self.root).context("the free space cannot be measured")?.saturating_sub(leave);
        let mut file = File::create(self.ballast())?;
        std::io::copy(&mut std::io::repeat(0).take(free), &mut file).map(drop).or_else(|error| {
            // Whoever uses the disk may have been faster.
            if error.kind() == std::io::ErrorKind::StorageFull { Ok(()) } else { Err(error) }
        })?;
        Ok(())
    }

    /// Gives the space back.
    pub(super) fn clear(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("the ballast cannot be removed")
    }

    /// Puts the files back where they were. The process that uses them must not run.
    pub(super) fn take_away(self) -> Result<()> {
        let (at, root, data) = (shown(&self.folder)?, shown(&self.root)?, self.data());
        run(&["umount", at])?;
        fs::remove_dir_all(&self.folder)?;
        run(&["cp", "-a", shown(&data)?, at])?;
        run(&["umount", root])?;
        fs::remove_dir(&self.root).context("the disk's folder cannot be removed")
    }
}

fn shown(path: &Path) -> Result<&str> {
    path.to_str().context("the paths of a federation are UTF-8")
}

/// Why no disk can be put under anything here, if so.
pub(super) fn is_impossible(scene: &Scene) -> Option<Struck> {
    let Namespace::None(why) = &scene.namespace else { return None };
    Some(Struck::NotHere(format!("no mount namespace: {why}")))
}

/// A gateway's disk is full twice: down to its reserve, and, with no reserve, in the middle of its work.
pub(super) async fn of_a_gateway(scene: &mut Scene) -> Result<Struck> {
    if let Some(impossible) = is_impossible(scene) {
        return Ok(impossible);
    }
    let (node, victoria) = (Node::gateway(36), authority("36/2"));
    // Its adapter would wait for ten seconds after each refusal, as it is asked to.
    scene.traffic.flow(Flow::But(victoria));
    ensure!(scene.until(SOON, |traffic| !traffic.has_waiting(victoria)).await?, "{victoria} has open files");
    let place = scene.federation.country(country(36))?.gateway.clone();
    scene.federation.kill_now(node).await?;
    let disk = SmallDisk::under(&place.store, GATEWAYS)?;
    let filled = fill_twice(scene, &place, &disk).await;
    scene.federation.kill_now(node).await?;
    disk.take_away()?;
    scene.federation.restart(node).await?;
    scene.traffic.flow(Flow::All);
    let [reserve, end] = filled?;
    let did = format!(
        "{node} on {} MiB beside its files: with its reserve {reserve}; without {end}",
        GATEWAYS >> 20
    );
    Ok(Struck::yes(FILLED, did))
}

async fn fill_twice(scene: &mut Scene, place: &GatewayPlace, disk: &SmallDisk) -> Result<[String; FILLED]> {
    let node = Node::gateway(36);
    scene.federation.restart(node).await?;
    let reserve = fill_once(scene, disk, 0).await?;
    let config = fs::read_to_string(&place.config)?;
    fs::write(&place.config, without_reserve(&config)?)?;
    let restarted = async {
        scene.federation.kill_now(node).await?;
        scene.federation.restart(node).await
    };
    let end = match restarted.await {
        Ok(()) => fill_once(scene, disk, LITTLE).await,
        Err(error) => Err(error),
    };
    fs::write(&place.config, config)?;
    Ok([reserve, end?])
}

/// The configuration of a gateway that uses its disk to the end.
fn without_reserve(config: &str) -> Result<String> {
    let reserve = config.lines().find(|line| line.starts_with("free_disk_bytes"));
    Ok(config.replace(reserve.context("the configuration has a reserve")?, "free_disk_bytes = 0"))
}

/// Fills the disk until a push is refused, and clears it until the same push is accepted. Says what was refused how.
async fn fill_once(scene: &mut Scene, disk: &SmallDisk, leave: u64) -> Result<String> {
    let mut line = Pushes::open(scene).await?;
    line.push(scene).await?.map_err(|status| anyhow::anyhow!("with space: {status}"))?;
    disk.fill(leave)?;
    let refused = line.until_refused(scene).await?;
    let (pushes, mut starts) = (line.pushed, 0);
    let until = Instant::now() + scene.pace.trouble;
    while Instant::now() < until {
        starts += supervise(scene).await?;
        tokio::time::sleep(LOOK).await;
    }
    disk.clear()?;
    starts += line.until_accepted(scene).await?;
    let restart = if starts > 0 { "after it had ended by itself and was started again" } else { "as it ran" };
    Ok(format!("push {pushes} refused with {refused}, and accepted {restart} when there was space"))
}

/// Starts the gateway again if it has ended by itself, as what supervises it does; gives how often.
async fn supervise(scene: &Scene) -> Result<usize> {
    let node = Node::gateway(36);
    if !scene.federation.has_ended(node)? {
        return Ok(0);
    }
    let end = scene.federation.ended(node, SOON).await?;
    ensure!(end.code() == Some(1), "{node} ended with {end}, and not as one that is to be started again");
    scene.federation.launch(node)?;
    Ok(1)
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().map(|info| info.reason);
    info.unwrap_or_else(|| format!("{:?} and no reason", status.code()))
}

/// Pushes straight to the gateway of Victoria. One that is refused is repeated as it is.
pub(super) struct Pushes {
    line: Line,
    open: Option<(wire::PushRequest, Vec<usize>)>,
    /// How many were made.
    pub(super) pushed: usize,
}

impl Pushes {
    /// Dials, and pushes nothing yet.
    pub(super) async fn open(scene: &Scene) -> Result<Self> {
        let line = Line::open(&scene.federation, authority("36/2")).await?;
        Ok(Self { line, open: None, pushed: 0 })
    }

    /// Pushes some tokens, and notes the answer if there is one.
    pub(super) async fn push(&mut self, scene: &Scene) -> Result<Result<(), Status>> {
        if self.open.is_none() {
            let (numbers, contacts): (Vec<_>, Vec<_>) =
                (0..8).map(|_| scene.traffic.book().next(self.line.authority(), authority("826/1"))).unzip();
            self.open = Some((self.line.seal(&contacts)?, numbers));
            self.pushed += 1;
        }
        let Some((request, numbers)) = &self.open else { bail!("a push was just made") };
        let reply = match self.line.push(request.clone()).await {
            Ok(reply) => reply,
            Err(status) => return Ok(Err(status)),
        };
        for (number, verdict) in numbers.iter().zip(direct::verdicts(&reply)?) {
            ensure!(verdict == Verdict::Accepted, "a good token is answered {}", verdict.name());
            scene.traffic.book().answered(*number, verdict.name());
        }
        self.open = None;
        Ok(Ok(()))
    }

    /// Pushes until one is refused; gives the reason.
    pub(super) async fn until_refused(&mut self, scene: &Scene) -> Result<String> {
        loop {
            if let Err(status) = self.push(scene).await? {
                return Ok(reason(&status));
            }
            ensure!(self.pushed < 1_000, "1000 pushes found room on a full disk");
        }
    }

    /// Repeats until it is accepted; gives how often the gateway had to be started for it.
    pub(super) async fn until_accepted(&mut self, scene: &mut Scene) -> Result<usize> {
        let (deadline, mut starts) = (Instant::now() + SOON, 0);
        while let Err(status) = self.push(scene).await? {
            ensure!(Instant::now() < deadline, "no push is accepted after there is space: {status}");
            starts += supervise(scene).await?;
            tokio::time::sleep(LOOK).await;
        }
        scene.federation.wait_gateway(Node::gateway(36), SOON).await?;
        Ok(starts)
    }
}

/// An adapter's disk is full while it takes in and sends.
pub(super) async fn of_an_adapter(scene: &mut Scene) -> Result<Struck> {
    if let Some(impossible) = is_impossible(scene) {
        return Ok(impossible);
    }
    let (node, place) = (Node::adapter("250/0"), scene.federation.adapter(authority("250/0"))?.clone());
    scene.federation.kill_now(node).await?;
    let disk = SmallDisk::under(&place.state, ADAPTERS)?;
    scene.federation.launch(node)?;
    // One that finds the disk full when it starts says so and ends.
    let sender = scene.federation.adapter(authority("826/1"))?.clone();
    let (_, number) = scene.traffic.hand_over(&sender, place.authority)?;
    ensure!(
        scene.until(SOON, |traffic| traffic.book().has_arrived(number)).await?,
        "{node} takes nothing in"
    );
    let before = told(&place.log)?;
    disk.fill(0)?;
    let shows = |_: &Scene| told(&place.log).is_ok_and(|now| now > before);
    let held = scene.hold_until(scene.pace.trouble, shows).await;
    disk.clear()?;
    let times = told(&place.log)? - before;
    held?;
    scene.hold(scene.pace.trouble / 2).await?;
    scene.federation.kill_now(node).await?;
    disk.take_away()?;
    scene.federation.launch(node)?;
    let did = format!(
        "{node} on {} MiB beside its files, without space; its log tells so {times} times",
        ADAPTERS >> 20
    );
    Ok(Struck::yes(usize::from(times > 0), did))
}

/// How often a log says that the disk is full.
fn told(log: &Path) -> Result<usize> {
    let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&text).matches(FULL).count())
}
