//! Does to the processes of a run what its faults say, when they say it, and notes when it was done.

use std::fmt::Display;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

use super::RunError;
use super::processes::Worker;
use super::session::Line;
use super::spares::Spares;
use crate::cluster::ShapingPlan;
use crate::experiment::file::{Fault, FaultKind};
use crate::load::run::monotonic_ns;
use crate::net::{planned_shape, request};
use crate::replica::control::{Answer, Ask};
use crate::results::FaultMark;

/// How long a replica may take to say that it is a member.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// A replica that faults may befall.
pub(super) struct Victim {
    pub(super) line: Line,
    pub(super) pid: Option<Pid>,
}

/// What faults are played on.
pub(super) struct Stage<'a, S> {
    pub(super) victims: &'a [Victim],
    pub(super) spares: Spares,
    pub(super) plan: Option<&'a ShapingPlan>,
    /// Starts a spare, in place of a replica if one is named.
    pub(super) start: S,
}

/// What has come of the faults.
pub(super) struct Played {
    pub(super) marks: Vec<FaultMark>,
    /// The spares that were started.
    pub(super) started: Vec<Worker>,
}

/// One thing to do.
enum Deed<'a> {
    Send(Signal),
    /// What it sends is delayed by so much more.
    Delay(Duration),
    /// It is isolated, or no longer.
    Isolate(bool),
    /// A spare of this name is started in its place.
    Replace(&'a str),
    /// An operator says who the members are.
    Choose(&'a [String]),
}

struct Step<'a> {
    /// Since the beginning of the measured phase.
    at: Duration,
    /// Whom it befalls; none if all.
    victim: Option<&'a Victim>,
    deed: Deed<'a>,
    /// Whether it begins a fault, or ends one.
    begins: bool,
    /// What figures call it.
    name: String,
}

/// Plays all faults; the measured phase begins at `measure_ns`.
pub(super) async fn play<S>(
    faults: &[Fault],
    stage: Stage<'_, S>,
    measure_ns: u64,
) -> Result<Played, RunError>
where
    S: Fn(&str, Option<&str>) -> Result<Worker, RunError>,
{
    let mut steps: Vec<Step<'_>> =
        faults.iter().flat_map(|fault| steps(fault, stage.victims)).collect();
    steps.sort_by_key(|step| step.at);
    let mut played = Played { marks: Vec::new(), started: Vec::new() };
    for step in steps {
        let due_ns = measure_ns + step.at.as_nanos() as u64;
        tokio::time::sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns()))).await;
        match &step.deed {
            Deed::Send(signal) => send(&step, *signal)?,
            Deed::Delay(by) => delay(&step, *by, stage.plan).await?,
            Deed::Isolate(isolated) => {
                ask(&step, &Ask::SetIsolated { isolated: *isolated }).await?;
            }
            Deed::Replace(spare) => {
                played.started.push((stage.start)(spare, step.replica())?);
            }
            Deed::Choose(members) => {
                start_missing(members, &stage, &mut played.started)?;
                choose(&step, members, &stage).await?;
            }
        }
        let t_ms = (monotonic_ns() as i64 - measure_ns as i64) / 1_000_000;
        let replica = step.replica().filter(|_| step.begins).map(str::to_owned);
        played.marks.push(FaultMark { t_ms, what: step.name, replica, begins: step.begins });
    }
    Ok(played)
}

/// Starts those that are no replicas from the beginning and were not started yet.
fn start_missing<S>(
    members: &[String],
    stage: &Stage<'_, S>,
    started: &mut Vec<Worker>,
) -> Result<(), RunError>
where
    S: Fn(&str, Option<&str>) -> Result<Worker, RunError>,
{
    for name in members {
        let replica = stage.victims.iter().any(|victim| victim.line.name == *name);
        if !replica && !started.iter().any(|spare| spare.name == *name) {
            started.push((stage.start)(name, None)?);
        }
    }
    Ok(())
}

/// Asks the first member that answers. All are looked at side by side: some may be dead.
async fn choose<S>(
    step: &Step<'_>,
    members: &[String],
    stage: &Stage<'_, S>,
) -> Result<(), RunError> {
    let replicas = stage.victims.iter().map(|victim| victim.line.clone());
    let mut looks = JoinSet::new();
    for line in replicas.chain(stage.spares.lines()) {
        looks.spawn_local(async move {
            let status = tokio::time::timeout(ANSWER_LIMIT, line.status()).await.ok()?.ok()?;
            let is_member = status.membership.is_some_and(|known| known.includes(&line.name));
            (is_member && status.ready).then_some(line)
        });
    }
    let wish = Ask::ChangeMembers { members: members.to_vec() };
    let mut why = "no member answers".to_owned();
    while let Some(look) = looks.join_next().await {
        let Ok(Some(line)) = look else { continue };
        match tokio::time::timeout(ANSWER_LIMIT, line.ask::<_, Answer>(&wish)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => {}
        }
    }
    Err(step.failed(why))
}

/// What a fault is at its beginning and its end.
fn steps<'a>(fault: &'a Fault, victims: &'a [Victim]) -> Vec<Step<'a>> {
    let victim = fault.kind.replica().map(|name| {
        let victim = victims.iter().find(|victim| victim.line.name == name);
        victim.expect("a file names replicas that there are")
    });
    let (begins, ends) = match &fault.kind {
        FaultKind::Crash { .. } => (Deed::Send(Signal::KILL), None),
        FaultKind::Pause { lasts, .. } => {
            (Deed::Send(Signal::STOP), Some((*lasts, Deed::Send(Signal::CONT))))
        }
        FaultKind::Slow { by, lasts, .. } => {
            (Deed::Delay(*by), Some((*lasts, Deed::Delay(Duration::ZERO))))
        }
        FaultKind::Isolate { lasts, .. } => {
            (Deed::Isolate(true), Some((*lasts, Deed::Isolate(false))))
        }
        FaultKind::Join { spare, .. } => (Deed::Replace(spare), None),
        FaultKind::Members { members } => (Deed::Choose(members), None),
    };
    let name = fault.kind.to_string();
    let first = Step { at: fault.at, victim, deed: begins, begins: true, name };
    let last = ends.map(|(lasts, deed)| Step {
        at: fault.at + lasts,
        victim,
        deed,
        begins: false,
        name: format!("{} well", fault.kind.replica().unwrap_or_default()),
    });
    std::iter::once(first).chain(last).collect()
}

impl<'a> Step<'a> {
    /// The name of the replica that it befalls.
    fn replica(&self) -> Option<&'a str> {
        self.victim.map(|victim| victim.line.name.as_str())
    }

    fn victim(&self) -> Result<&'a Victim, RunError> {
        self.victim.ok_or_else(|| self.failed("it befalls no replica"))
    }

    fn failed(&self, why: impl Display) -> RunError {
        let who = self.replica().unwrap_or("the members").to_owned();
        RunError::Refused { who, why: format!("{}: {why}", self.name) }
    }
}

fn send(step: &Step<'_>, signal: Signal) -> Result<(), RunError> {
    let pid = step.victim()?.pid.ok_or_else(|| step.failed("it is gone already"))?;
    kill_process(pid, signal).map_err(|e| step.failed(e))
}

async fn delay(step: &Step<'_>, by: Duration, plan: Option<&ShapingPlan>) -> Result<(), RunError> {
    let plan = plan.ok_or_else(|| step.failed("nothing shapes this network"))?;
    let from = plan.sites.iter().position(|site| Some(site.as_str()) == step.replica());
    let from = from.ok_or_else(|| step.failed("it is at no site of the network"))?;
    for (to, site) in plan.sites.iter().enumerate() {
        let mut shape = planned_shape(plan, from, to)?;
        shape.delay_ms += by.as_secs_f64() * 1e3;
        ask(step, &Ask::SetLink { site: site.clone(), shape }).await?;
    }
    Ok(())
}

async fn ask(step: &Step<'_>, ask: &Ask) -> Result<(), RunError> {
    let answered = request::<_, Answer>(&step.victim()?.line.connection, ask).await;
    answered.map(drop).map_err(|e| step.failed(e))
}
