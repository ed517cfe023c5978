//! Does to the processes of a run what its faults say, when they say it, and notes when it was done.

use std::time::Duration;

use quinn::Connection;
use rustix::process::{Pid, Signal, kill_process};

use super::RunError;
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

/// One thing to do.
enum Deed {
    Send(Signal),
    /// What it sends is delayed by so much more.
    Delay(Duration),
}

struct Step<'a> {
    /// Since the beginning of the measured phase.
    at: Duration,
    victim: &'a Victim,
    deed: Deed,
    /// What figures call it.
    name: String,
}

/// Plays all faults; the measured phase begins at `measure_ns`.
pub(super) async fn play(
    faults: &[Fault],
    victims: &[Victim],
    plan: Option<&ShapingPlan>,
    measure_ns: u64,
) -> Result<Vec<FaultMark>, RunError> {
    let mut steps: Vec<Step<'_>> = faults.iter().flat_map(|fault| steps(fault, victims)).collect();
    steps.sort_by_key(|step| step.at);
    let mut marks = Vec::new();
    for step in steps {
        let due_ns = measure_ns + step.at.as_nanos() as u64;
        tokio::time::sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns()))).await;
        carry_out(&step, plan).await?;
        let t_ms = (monotonic_ns() as i64 - measure_ns as i64) / 1_000_000;
        marks.push(FaultMark { t_ms, what: step.name });
    }
    Ok(marks)
}

/// What a fault is at its beginning and its end.
fn steps<'a>(fault: &Fault, victims: &'a [Victim]) -> Vec<Step<'a>> {
    let Some(victim) = victims.iter().find(|victim| victim.name == fault.kind.replica()) else {
        return Vec::new();
    };
    let (begins, ends) = match fault.kind {
        FaultKind::Crash { .. } => (Deed::Send(Signal::KILL), None),
        FaultKind::Pause { lasts, .. } => {
            (Deed::Send(Signal::STOP), Some((lasts, Deed::Send(Signal::CONT))))
        }
        FaultKind::Slow { by, lasts, .. } => {
            (Deed::Delay(by), Some((lasts, Deed::Delay(Duration::ZERO))))
        }
    };
    let first = Step { at: fault.at, victim, deed: begins, name: fault.kind.to_string() };
    let last = ends.map(|(lasts, deed)| Step {
        at: fault.at + lasts,
        victim,
        deed,
        name: format!("{} well", victim.name),
    });
    std::iter::once(first).chain(last).collect()
}

async fn carry_out(step: &Step<'_>, plan: Option<&ShapingPlan>) -> Result<(), RunError> {
    let who = || step.victim.name.clone();
    let failed =
        |why: String| RunError::Refused { who: who(), why: format!("{}: {why}", step.name) };
    match &step.deed {
        Deed::Send(signal) => {
            let pid = step.victim.pid.ok_or_else(|| failed("it is gone already".to_owned()))?;
            kill_process(pid, *signal).map_err(|e| failed(e.to_string()))
        }
        Deed::Delay(by) => {
            let Some(plan) = plan else {
                return Err(failed("nothing shapes this network".to_owned()));
            };
            let from = plan.sites.iter().position(|site| *site == step.victim.name);
            let from = from.ok_or_else(|| failed("it is at no site of the network".to_owned()))?;
            for (to, site) in plan.sites.iter().enumerate() {
                let mut shape = planned_shape(plan, from, to)?;
                shape.delay_ms += by.as_secs_f64() * 1e3;
                let ask = Ask::SetLink { site: site.clone(), shape };
                let answered = request::<_, Answer>(&step.victim.connection, &ask).await;
                answered.map_err(|e| failed(e.to_string()))?;
            }
            Ok(())
        }
    }
}
