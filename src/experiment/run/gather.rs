//! What a run has left, as entries of the summary, the timeline, the manifest and files.

use super::setting::{Outcome, RoundTrips, Setting};
use super::verdict::{self, Checked};
use super::{Collected, RunError};
use crate::cluster::ProtocolChoice;
use crate::experiment::file::Experiment;
use crate::load::report::{OperationReport, SiteReport};
use crate::load::workload::Kind;
use crate::results::{
    Cost, HistogramName, Linearizable, LinkRtt, Manifest, ReplicaFileName, RttMs, RunSummary,
    ShaperLateness, SiteSummary, TimelineRow, Unavailability, Unit, Verdict, new_histogram,
};

/// Adds a run to what was collected, and writes its files.
pub(super) fn gather(
    setting: &Setting<'_>,
    outcome: Outcome,
    checked: Checked,
    unavailability: Vec<Unavailability>,
    collected: &mut Collected,
) -> Result<(), RunError> {
    write_histograms(setting, &outcome)?;
    write_replicas(setting, &outcome)?;
    let verdict = judge(setting, &outcome, checked, &mut collected.manifest.notes);
    let sites = outcome.reports.iter().enumerate();
    let sites = sites.flat_map(|(index, report)| summaries(setting, index, report)).collect();
    let summary = RunSummary {
        mode: setting.mode().protocol.name().to_owned(),
        label: setting.label().to_owned(),
        options: options(setting),
        point: serde_json::to_value(&setting.run.point).unwrap_or_default(),
        point_index: setting.run.point_index,
        repeat: setting.run.repeat as usize,
        sites,
        throughput_per_s: outcome.reports.iter().map(|report| report.throughput_per_s).sum(),
        cost: cost(&outcome),
        faults: outcome.faults.clone(),
        unavailability,
        verdict,
    };
    collected.timeline.extend(timeline(setting, &outcome.reports));
    certify_network(setting, &outcome, &mut collected.manifest);
    collected.manifest.notes.extend(outcome.notes);
    collected.runs.push(summary);
    Ok(())
}

/// The options with which the replicas ran.
fn options(setting: &Setting<'_>) -> serde_json::Value {
    let options = match setting.protocol() {
        ProtocolChoice::Paxos(options) => serde_json::to_value(options),
        ProtocolChoice::Epaxos(options) => serde_json::to_value(options),
        ProtocolChoice::Multicoordinated(options) => serde_json::to_value(options),
        ProtocolChoice::Caspaxos(options) => serde_json::to_value(options),
    };
    options.unwrap_or_default()
}

/// One entry for each operation of a site, and one for all together, whose bound is the least of them.
fn summaries(setting: &Setting<'_>, index: usize, report: &SiteReport) -> Vec<SiteSummary> {
    let (experiment, mode) = (setting.experiment, setting.mode());
    let mut all = new_histogram();
    let (mut errors, mut rows) = (0, Vec::new());
    for operation in &report.operations {
        let histogram = operation.latency.histogram();
        operation.latency.add_to(&mut all);
        errors += operation.errors.total();
        let (op, failed) = (operation.op.as_str(), operation.errors.total());
        let unit = Unit::Nanoseconds;
        let bound_ms = Kind::named(op).and_then(|kind| experiment.bound_ms(mode, index, kind));
        rows.push(SiteSummary::of(&report.site, op, &histogram, unit, failed, bound_ms));
    }
    let whole = SiteSummary::ALL;
    let bound_ms = experiment.least_bound_ms(mode, index);
    rows.push(SiteSummary::of(&report.site, whole, &all, Unit::Nanoseconds, errors, bound_ms));
    rows
}

fn write_histograms(setting: &Setting<'_>, outcome: &Outcome) -> Result<(), RunError> {
    for report in &outcome.reports {
        for operation in report.operations.iter().filter(|operation| operation.count > 0) {
            let name = HistogramName {
                label: setting.label().to_owned(),
                point_index: setting.run.point_index,
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
            point_index: setting.run.point_index,
            repeat: setting.run.repeat as usize,
            node: counters.node.clone(),
        };
        setting.directory.write_replica(&name, counters)?;
    }
    Ok(())
}

/// Checks the run's history on a thread of its own, so that a person can interrupt it.
pub(super) async fn check(
    setting: &Setting<'_>,
    reports: &[SiteReport],
) -> Result<Checked, RunError> {
    let limits = setting.experiment.check;
    let sites = setting.experiment.network.sites.iter();
    let files = sites.map(|site| setting.history_path(site)).collect::<Result<Vec<_>, _>>()?;
    let Some(files) = files.into_iter().collect::<Option<Vec<_>>>() else {
        return Ok(Checked { linearizable: Linearizable::Unchecked, why: None });
    };
    let counted = |report: &SiteReport| {
        let commands = |operation: &OperationReport| {
            operation.count * u64::from(verdict::commands_of(&operation.op))
        };
        let measured: u64 = report.operations.iter().map(commands).sum();
        (report.site.clone(), measured + report.warmup_completed)
    };
    let counts: Vec<_> = reports.iter().map(counted).collect();
    let checking =
        tokio::task::spawn_blocking(move || verdict::check_files(&files, &counts, &limits));
    Ok(checking.await.unwrap_or_else(|e| Checked {
        linearizable: Linearizable::Unknown,
        why: Some(format!("the checker failed: {e}")),
    }))
}

fn judge(
    setting: &Setting<'_>,
    outcome: &Outcome,
    checked: Checked,
    notes: &mut Vec<String>,
) -> Verdict {
    notes.extend(checked.why.map(|why| format!("{}: {why}", setting.run_name())));
    Verdict {
        linearizable: checked.linearizable,
        converged: outcome.converged,
        schedule_lag_p99_9_ms: verdict::schedule_lag_p99_9_ms(outcome),
        void: verdict::void(setting.experiment, outcome),
    }
}

/// What one operation cost in the measured phase: replicas and clients apart. CPU time of which a
/// part is not known is not known.
fn cost(outcome: &Outcome) -> Cost {
    let completed: u64 = outcome.reports.iter().map(|report| report.completed_in_window).sum();
    if completed == 0 {
        return Cost::default();
    }
    let per_op = |total: f64| total / completed as f64;
    let us_per_op = |seconds: f64| per_op(seconds * 1e6);
    let used = outcome.replicas.iter().map(|r| Some(r.cpu_user_s? + r.cpu_system_s?));
    let replicas = used.sum::<Option<f64>>().map(us_per_op);
    let used = outcome.reports.iter().map(|report| report.resources);
    let used = used.map(|used| used.map(|used| used.cpu_user_s + used.cpu_system_s));
    let clients = used.sum::<Option<f64>>().map(us_per_op);
    let sent = || outcome.replicas.iter().flat_map(|replica| replica.sent.values());
    Cost {
        cpu_us_per_op: replicas.zip(clients).map(|(replicas, clients)| replicas + clients),
        cpu_replicas_us_per_op: replicas,
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
        mode: setting.mode().protocol.name().to_owned(),
        label: setting.label().to_owned(),
        point_index: setting.run.point_index,
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
fn certify_network(setting: &Setting<'_>, outcome: &Outcome, manifest: &mut Manifest) {
    let run = Some(setting.run_name());
    let matrix = setting.experiment.network.rtt.as_ref();
    for before in &outcome.before {
        let after = outcome.after.iter().find(|a| a.from == before.from && a.to == before.to);
        manifest.rtt.push(LinkRtt {
            run: run.clone(),
            from: before.from.clone(),
            to: before.to.clone(),
            asked_ms: matrix.and_then(|matrix| matrix.between(&before.from, &before.to)),
            before: rtt_ms(before),
            after: after.and_then(rtt_ms),
        });
    }
    for (process, report) in &outcome.shapers {
        manifest.shaper.push(ShaperLateness {
            run: run.clone(),
            process: process.clone(),
            count: report.count,
            p50_us: report.p50_us as f64,
            p99_us: report.p99_us as f64,
            max_us: report.max_us as f64,
        });
    }
}

/// What the experiment asks of the network, for a manifest of runs in which nothing was measured.
pub(super) fn asked_of_network(experiment: &Experiment) -> Vec<LinkRtt> {
    let Some(matrix) = &experiment.network.rtt else { return Vec::new() };
    let pairs = matrix.sites.iter().enumerate();
    let pairs = pairs.flat_map(|(i, a)| matrix.sites[i + 1..].iter().map(move |b| (a, b)));
    let link = |(from, to): (&String, &String)| LinkRtt {
        run: None,
        from: from.clone(),
        to: to.clone(),
        asked_ms: matrix.between(from, to),
        before: None,
        after: None,
    };
    pairs.map(link).collect()
}

fn rtt_ms(trips: &RoundTrips) -> Option<RttMs> {
    Some(RttMs {
        count: trips.ms.len() as u64,
        min: verdict::quantile(&trips.ms, 0.0)?,
        p50: verdict::median(&trips.ms)?,
        p99: verdict::quantile(&trips.ms, 0.99)?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::load::client::ClientCounters;
    use crate::load::recorder::{Phases, Recorder};
    use crate::load::report::Resources;
    use crate::results::{ReplicaCounters, Traffic};

    fn report(resources: Option<Resources>) -> SiteReport {
        let phases = Phases { start_ns: 0, measure_ns: 0, end_ns: 1_000_000_000 };
        let record = Recorder::new(phases).finish();
        let report = SiteReport::of("a", Duration::from_secs(1), record, ClientCounters::default());
        SiteReport { completed_in_window: 10, resources, ..report }
    }

    fn replica(cpu_s: Option<f64>) -> ReplicaCounters {
        let accepts = Traffic { messages: 20, bytes: 400 };
        ReplicaCounters {
            sent: [("accept".to_owned(), accepts)].into(),
            cpu_user_s: cpu_s,
            cpu_system_s: cpu_s,
            ..ReplicaCounters::default()
        }
    }

    /// Two sites with ten operations each.
    fn outcome(clients_s: Option<f64>, replicas_s: [Option<f64>; 2]) -> Outcome {
        let used = |cpu_s| Resources { cpu_user_s: cpu_s, cpu_system_s: 0.0, rss_bytes: 1 };
        Outcome {
            faults: Vec::new(),
            began: SystemTime::UNIX_EPOCH,
            reports: vec![report(clients_s.map(used)), report(clients_s.map(used))],
            replicas: replicas_s.map(replica).into(),
            shapers: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            converged: Some(true),
            notes: Vec::new(),
        }
    }

    #[test]
    fn cpu_time_that_nobody_measured_is_not_zero_and_messages_count_all_the_same() {
        let cost = cost(&outcome(None, [None, None]));
        let cpu = [cost.cpu_us_per_op, cost.cpu_replicas_us_per_op, cost.cpu_clients_us_per_op];
        assert_eq!(cpu, [None; 3]);
        assert_eq!((cost.messages_per_op, cost.bytes_per_op), (2.0, 40.0));
    }

    #[test]
    fn cpu_time_is_known_where_every_part_of_it_is() {
        let all = cost(&outcome(Some(1e-5), [Some(2e-5), Some(3e-5)]));
        let cpu = [all.cpu_us_per_op, all.cpu_replicas_us_per_op, all.cpu_clients_us_per_op];
        assert_eq!(cpu.map(|us| us.map(f64::round)), [Some(6.0), Some(5.0), Some(1.0)]);
        let partly = cost(&outcome(Some(1e-5), [Some(2e-5), None]));
        assert_eq!((partly.cpu_us_per_op, partly.cpu_replicas_us_per_op), (None, None));
        assert!(partly.cpu_clients_us_per_op.is_some());
    }

    #[test]
    fn what_was_asked_of_a_network_stands_in_the_manifest_once_for_each_pair() {
        let text = "name: n\nmodes: [paxos]\nnetwork:\n  sites: [a, b, c]\n  rtt:\n    source: s\n    \
                    sites: [a, b, c]\n    rtt_ms: { a: { b: 1, c: 2 }, b: { c: 3 } }\n";
        let experiment = Experiment::parse("test", text, Path::new("."), &[]).unwrap();
        let links = asked_of_network(&experiment);
        let asked: Vec<_> =
            links.iter().map(|l| (l.from.as_str(), l.to.as_str(), l.asked_ms)).collect();
        assert_eq!(asked, [("a", "b", Some(1.0)), ("a", "c", Some(2.0)), ("b", "c", Some(3.0))]);
        assert!(links.iter().all(|link| (link.before, link.after) == (None, None)));
    }
}
