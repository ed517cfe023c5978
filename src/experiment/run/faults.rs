//! Does to the processes of a run what its faults say, when they say it, and notes when it was done.

use std::fmt::Display;
use std::time::Duration;

use quinn::Connection;
use rustix::process::{Pid, Signal, kill_process};

use super::RunError;
use super::processes::Worker;
use crate::cluster::ShapingPlan;
use crate::experiment::file::{Fault, FaultKind};
use crate::load::run::monotonic_ns;
use crate::net::{planned_shape, request};
use crate::replica::control::{Answer, Ask};
use crate::results::FaultMark;

/// A replica that faults may befall.
pub(super) struct Victim {
    pub(super) name: String,
    pub(super) pid: Option<Pid>,
    pub(super) connection: Connection,
}

/// What has come of the faults.
pub(super) struct Played {
    pub(super) marks: Vec<FaultMark>,
    /// The spares that were started.
    pub(super) joined: Vec<Worker>,
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
}

struct Step<'a> {
    /// Since the beginning of the measured phase.
    at: Duration,
    victim: &'a Victim,
    deed: Deed<'a>,
    /// Whether it begins a fault, or ends one.
    begins: bool,
    /// What figures call it.
    name: String,
}

/// Plays all faults; the measured phase begins at `measure_ns`. `join` starts a spare in place of a replica.
pub(super) async fn play(
    faults: &[Fault],
    victims: &[Victim],
    plan: Option<&ShapingPlan>,
    join: impl Fn(&str, &str) -> Result<Worker, RunError>,
    measure_ns: u64,
) -> Result<Played, RunError> {
    let mut steps: Vec<Step<'_>> = faults.iter().flat_map(|fault| steps(fault, victims)).collect();
    steps.sort_by_key(|step| step.at);
    let mut played = Played { marks: Vec::new(), joined: Vec::new() };
    for step in steps {
        let due_ns = measure_ns + step.at.as_nanos() as u64;
        tokio::time::sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns()))).await;
        match &step.deed {
            Deed::Send(signal) => send(&step, *signal)?,
            Deed::Delay(by) => delay(&step, *by, plan).await?,
            Deed::Isolate(isolated) => {
                ask(&step, &Ask::SetIsolated { isolated: *isolated }).await?;
            }
            Deed::Replace(spare) => played.joined.push(join(spare, &step.victim.name)?),
        }
        let t_ms = (monotonic_ns() as i64 - measure_ns as i64) / 1_000_000;
        let replica = step.begins.then(|| step.victim.name.clone());
        played.marks.push(FaultMark { t_ms, what: step.name, replica });
    }
    Ok(played)
}

/// What a fault is at its beginning and its end.
fn steps<'a>(fault: &'a Fault, victims: &'a [Victim]) -> Vec<Step<'a>> {
    let victim = victims.iter().find(|victim| victim.name == fault.kind.replica());
    let victim = victim.expect("a file names replicas that there are");
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
    };
    let name = fault.kind.to_string();
    let first = Step { at: fault.at, victim, deed: begins, begins: true, name };
    let last = ends.map(|(lasts, deed)| Step {
        at: fault.at + lasts,
        victim,
        deed,
        begins: false,
        name: format!("{} well", victim.name),
    });
    std::iter::once(first).chain(last).collect()
}

impl Step<'_> {
    fn failed(&self, why: impl Display) -> RunError {
        RunError::Refused { who: self.victim.name.clone(), why: format!("{}: {why}", self.name) }
    }
}

fn send(step: &Step<'_>, signal: Signal) -> Result<(), RunError> {
    let pid = step.victim.pid.ok_or_else(|| step.failed("it is gone already"))?;
    kill_process(pid, signal).map_err(|e| step.failed(e))
}

async fn delay(step: &Step<'_>, by: Duration, plan: Option<&ShapingPlan>) -> Result<(), RunError> {
    let plan = plan.ok_or_else(|| step.failed("nothing shapes this network"))?;
    let from = plan.sites.iter().position(|site| *site == step.victim.name);
    let from = from.ok_or_else(|| step.failed("it is at no site of the network"))?;
    for (to, site) in plan.sites.iter().enumerate() {
        let mut shape = planned_shape(plan, from, to)?;
        shape.delay_ms += by.as_secs_f64() * 1e3;
        ask(step, &Ask::SetLink { site: site.clone(), shape }).await?;
    }
    Ok(())
}

async fn ask(step: &Step<'_>, ask: &Ask) -> Result<(), RunError> {
    let answered = request::<_, Answer>(&step.victim.connection, ask).await;
    answered.map(drop).map_err(|e| step.failed(e))
}
