//! What a run has left, as entries of the summary, the timeline, the manifest and files.

use super::session::{Outcome, RoundTrips, Setting};
use super::verdict::{self, Checked};
use super::{Collected, RunError};
use crate::cluster::ProtocolChoice;
use crate::load::report::SiteReport;
use crate::results::{
    Cost, HistogramName, Linearizable, LinkRtt, ReplicaFileName, RttMs, RunSummary, ShaperLateness,
    SiteSummary, TimelineRow, Unit, Verdict, new_histogram,
};

/// Adds a run to what was collected, and writes its files.
pub(super) fn gather(
    setting: &Setting<'_>,
    outcome: Outcome,
    checked: Checked,
    collected: &mut Collected,
) -> Result<(), RunError> {
    write_histograms(setting, &outcome)?;
    write_replicas(setting, &outcome)?;
    let verdict = judge(setting, &outcome, checked, &mut collected.manifest.notes);
    let sites = outcome.reports.iter().enumerate();
    let sites = sites.flat_map(|(index, report)| summaries(setting, index, report)).collect();
    let summary = RunSummary {
        mode: mode_name(setting).to_owned(),
        label: setting.label().to_owned(),
        options: options(setting),
        point: serde_json::to_value(&setting.run.point).unwrap_or_default(),
        point_index: 0,
        repeat: setting.run.repeat as usize,
        sites,
        throughput_per_s: outcome.reports.iter().map(|report| report.throughput_per_s).sum(),
        cost: cost(&outcome),
        verdict,
    };
    collected.timeline.extend(timeline(setting, &outcome.reports));
    certify_network(setting, &outcome, collected);
    collected.manifest.notes.extend(outcome.notes);
    collected.runs.push(summary);
    Ok(())
}

fn mode_name(setting: &Setting<'_>) -> &'static str {
    match setting.mode().protocol {
        ProtocolChoice::Paxos(_) => "paxos",
    }
}

fn options(setting: &Setting<'_>) -> serde_json::Value {
    match &setting.mode().protocol {
        ProtocolChoice::Paxos(options) => serde_json::to_value(options).unwrap_or_default(),
    }
}

fn run_name(setting: &Setting<'_>) -> String {
    format!("{}, repeat {}", setting.label(), setting.run.repeat)
}

/// One entry for each operation of a site, and one for all together.
fn summaries(setting: &Setting<'_>, index: usize, report: &SiteReport) -> Vec<SiteSummary> {
    let bound_ms = setting.experiment.bound_ms(setting.mode(), index);
    let mut all = new_histogram();
    let (mut errors, mut rows) = (0, Vec::new());
    for operation in &report.operations {
        let histogram = operation.latency.histogram();
        operation.latency.add_to(&mut all);
        errors += operation.errors.total();
        let (op, failed) = (operation.op.as_str(), operation.errors.total());
        let unit = Unit::Nanoseconds;
        rows.push(SiteSummary::of(&report.site, op, &histogram, unit, failed, bound_ms));
    }
    let whole = SiteSummary::ALL;
    rows.push(SiteSummary::of(&report.site, whole, &all, Unit::Nanoseconds, errors, bound_ms));
    rows
}

fn write_histograms(setting: &Setting<'_>, outcome: &Outcome) -> Result<(), RunError> {
    for report in &outcome.reports {
        for operation in report.operations.iter().filter(|operation| operation.count > 0) {
            let name = HistogramName {
                label: setting.label().to_owned(),
                point_index: 0,
                repeat: setting.run.repeat as usize,
                site: report.site.clone(),
                op: operation.op.clone(),
            };
            setting.directory.write_histogram(&name, &operation.interval_log(outcome.began))?;
        }
    }
    Ok(())
}

fn write_replicas(setting: &Setting<'_>, outcome: &Outcome) -> Result<(), RunError> {
    for counters in &outcome.replicas {
        let name = ReplicaFileName {
            label: setting.label().to_owned(),
            point_index: 0,
            repeat: setting.run.repeat as usize,
            node: counters.node.clone(),
        };
        setting.directory.write_replica(&name, counters)?;
    }
    Ok(())
}

/// Checks the run's history on a thread of its own, so that a person can interrupt it.
pub(super) async fn check(setting: &Setting<'_>, reports: &[SiteReport]) -> Checked {
    let limits = setting.experiment.check;
    if !limits.history {
        return Checked { linearizable: Linearizable::Unchecked, why: None };
    }
    let directory = setting.directory.path().join("history");
    let sites = setting.experiment.network.sites.iter();
    let files: Vec<_> =
        sites.map(|site| directory.join(setting.history_file(site).to_string())).collect();
    let counted = |report: &SiteReport| {
        let measured: u64 = report.operations.iter().map(|operation| operation.count).sum();
        (report.site.clone(), measured + report.warmup_completed)
    };
    let counts: Vec<_> = reports.iter().map(counted).collect();
    let checking =
        tokio::task::spawn_blocking(move || verdict::check_files(&files, &counts, &limits));
    checking.await.unwrap_or_else(|e| Checked {
        linearizable: Linearizable::Unknown,
        why: Some(format!("the checker failed: {e}")),
    })
}

fn judge(
    setting: &Setting<'_>,
    outcome: &Outcome,
    checked: Checked,
    notes: &mut Vec<String>,
) -> Verdict {
    notes.extend(checked.why.map(|why| format!("{}: {why}", run_name(setting))));
    Verdict {
        linearizable: checked.linearizable,
        converged: outcome.converged,
        schedule_lag_p99_9_ms: verdict::schedule_lag_p99_9_ms(outcome),
        void: verdict::void(setting.experiment, outcome),
    }
}

/// What one operation cost in the measured phase: replicas and clients apart.
fn cost(outcome: &Outcome) -> Cost {
    let completed: u64 = outcome.reports.iter().map(|report| report.completed_in_window).sum();
    if completed == 0 {
        return Cost::default();
    }
    let per_op = |total: f64| total / completed as f64;
    let used = outcome.replicas.iter().map(|r| r.cpu_user_s + r.cpu_system_s).sum::<f64>();
    let replicas = per_op(used * 1e6);
    let clients: Option<f64> = outcome
        .reports
        .iter()
        .map(|report| Some(report.resources?.cpu_user_s + report.resources?.cpu_system_s))
        .sum();
    let clients = clients.map(|seconds| per_op(seconds * 1e6));
    let sent = || outcome.replicas.iter().flat_map(|replica| replica.sent.values());
    Cost {
        cpu_us_per_op: clients.map(|clients| clients + replicas),
        cpu_replicas_us_per_op: Some(replicas),
        cpu_clients_us_per_op: clients,
        messages_per_op: per_op(sent().map(|traffic| traffic.messages).sum::<u64>() as f64),
        bytes_per_op: per_op(sent().map(|traffic| traffic.bytes).sum::<u64>() as f64),
        syncs_per_op: per_op(outcome.replicas.iter().map(|r| r.syncs).sum::<u64>() as f64),
    }
}

fn timeline<'a>(
    setting: &'a Setting<'_>,
    reports: &'a [SiteReport],
) -> impl Iterator<Item = TimelineRow> + 'a {
    let row = |report: &SiteReport, bucket: &crate::load::report::TimelineBucket| TimelineRow {
        t_ms: bucket.t_ms,
        mode: mode_name(setting).to_owned(),
        label: setting.label().to_owned(),
        point_index: 0,
        repeat: setting.run.repeat as usize,
        site: report.site.clone(),
        completed: bucket.completed,
        failed: bucket.failed,
        p50_ms: bucket.p50_ms,
        p99_ms: bucket.p99_ms,
        max_ms: bucket.max_ms,
    };
    reports.iter().flat_map(move |report| report.timeline.iter().map(move |b| row(report, b)))
}

/// Enters what was measured of the network into the manifest.
fn certify_network(setting: &Setting<'_>, outcome: &Outcome, collected: &mut Collected) {
    let run = Some(run_name(setting));
    let matrix = setting.experiment.network.rtt.as_ref();
    for before in &outcome.before {
        let after = outcome.after.iter().find(|a| a.from == before.from && a.to == before.to);
        collected.manifest.rtt.push(LinkRtt {
            run: run.clone(),
            from: before.from.clone(),
            to: before.to.clone(),
            asked_ms: matrix.and_then(|matrix| matrix.between(&before.from, &before.to)),
            before: rtt_ms(before),
            after: after.and_then(rtt_ms),
        });
    }
    for (process, report) in &outcome.shapers {
        collected.manifest.shaper.push(ShaperLateness {
            run: run.clone(),
            process: process.clone(),
            count: report.count,
            p50_us: report.p50_us as f64,
            p99_us: report.p99_us as f64,
            max_us: report.max_us as f64,
        });
    }
}

fn rtt_ms(trips: &RoundTrips) -> Option<RttMs> {
    Some(RttMs {
        count: trips.ms.len() as u64,
        min: verdict::quantile(&trips.ms, 0.0)?,
        p50: verdict::median(&trips.ms)?,
        p99: verdict::quantile(&trips.ms, 0.99)?,
    })
}
