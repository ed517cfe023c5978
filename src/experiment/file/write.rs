//! Writes an experiment with every default, as the file of its results.

use serde_yaml::{Mapping, Value};

use super::faults::write_faults;
use super::modes::write_mode;
use super::published::write_published;
use super::sweep::write_sweep;
use super::{Check, Experiment, LogKind, Network, Phases, Shaping, Storage, Thresholds, Workload};
use crate::cluster::{Congestion, TransportOptions};
use crate::experiment::network::Matrix;
use crate::experiment::units::{
    format_bandwidth, format_bytes, format_duration, format_rate, format_share,
};
use crate::load::plan::{Arrival, KeyChoice, OperationMix};
use crate::load::workload::Kind;

/// How a bandwidth without a limit is written.
pub(super) const UNLIMITED: &str = "unlimited";

pub(super) fn write_experiment(experiment: &Experiment) -> String {
    let sites = &experiment.network.sites;
    let mode = |mode| write_mode(mode, sites);
    let tree = map([
        ("name", experiment.name.as_str().into()),
        ("seed", experiment.seed.into()),
        ("modes", Value::Sequence(experiment.modes.iter().map(mode).collect())),
        ("network", write_network(&experiment.network)),
        ("workload", write_workload(&experiment.workload)),
        ("phases", write_phases(experiment.phases)),
        ("storage", write_storage(experiment.storage)),
        ("faults", write_faults(&experiment.faults)),
        ("published", write_published(&experiment.published)),
        ("sweep", write_sweep(&experiment.sweep)),
        ("transport", write_transport(&experiment.transport)),
        ("check", write_check(experiment.check)),
        ("thresholds", write_thresholds(experiment.thresholds)),
    ]);
    serde_yaml::to_string(&tree).expect("a tree of texts and numbers can be written")
}

pub(super) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.into_iter().map(|(key, value)| (key.into(), value));
    Value::Mapping(entries.collect::<Mapping>())
}

pub(super) fn ms(ms: u64) -> Value {
    format_duration(std::time::Duration::from_millis(ms)).into()
}

fn write_network(network: &Network) -> Value {
    let mut entries = Mapping::new();
    let mut put = |key: &str, value: Value| entries.insert(key.into(), value);
    put("sites", network.sites.clone().into());
    put("replicas", network.sites.len().into());
    put("spares", network.spares.clone().into());
    if let Some(matrix) = &network.rtt {
        put("rtt", write_matrix(matrix));
    }
    put("jitter", format_duration(network.jitter).into());
    put("loss", format_share(network.loss).into());
    put("reorder", format_share(network.reorder).into());
    let bandwidth = network.bandwidth_bps.map_or(UNLIMITED.to_owned(), format_bandwidth);
    put("bandwidth", bandwidth.into());
    let shaping = match network.shaping {
        Shaping::Endpoint => "endpoint",
        Shaping::None => "none",
    };
    put("shaping", shaping.into());
    Value::Mapping(entries)
}

fn write_matrix(matrix: &Matrix) -> Value {
    let row = |a: usize| {
        let pair = |b: usize| (matrix.sites[b].as_str().into(), matrix.rtt_ms(a, b).into());
        let pairs = (a + 1..matrix.sites.len()).map(pair).collect::<Mapping>();
        (matrix.sites[a].as_str().into(), Value::Mapping(pairs))
    };
    let rows = (0..matrix.sites.len().saturating_sub(1)).map(row).collect::<Mapping>();
    map([
        ("source", matrix.source.as_str().into()),
        ("sites", matrix.sites.clone().into()),
        ("rtt_ms", Value::Mapping(rows)),
    ])
}

fn write_workload(workload: &Workload) -> Value {
    map([
        ("clients_per_site", workload.clients_per_site.into()),
        ("arrival", write_arrival(workload.arrival)),
        ("operations", write_operations(workload.operations)),
        ("keys", write_keys(workload.keys)),
        ("value", format_bytes(workload.value_bytes as u64).into()),
        ("timeout", format_duration(workload.timeout).into()),
        ("retry_after", format_duration(workload.retry_after).into()),
    ])
}

fn write_arrival(arrival: Arrival) -> Value {
    let open = |rate_per_s, distribution: &str| {
        map([("open", format_rate(rate_per_s).into()), ("distribution", distribution.into())])
    };
    match arrival {
        Arrival::Constant { rate_per_s } => open(rate_per_s, "constant"),
        Arrival::Poisson { rate_per_s } => open(rate_per_s, "poisson"),
        Arrival::Closed { outstanding } => map([("closed", outstanding.into())]),
    }
}

fn write_operations(mix: OperationMix) -> Value {
    let shares = Kind::ALL.into_iter().zip(mix.shares());
    let shares = shares.map(|(kind, share)| (kind.name().into(), format_share(share).into()));
    Value::Mapping(shares.collect())
}

fn write_keys(keys: KeyChoice) -> Value {
    match keys {
        KeyChoice::Conflict { share, own_keys } => {
            map([("conflict", format_share(share).into()), ("own_keys", own_keys.into())])
        }
        KeyChoice::Uniform { keys } => map([("uniform", keys.into())]),
        KeyChoice::Zipf { keys, theta } => {
            map([("zipf", map([("n", keys.into()), ("theta", theta.into())]))])
        }
    }
}

fn write_phases(phases: Phases) -> Value {
    map([
        ("warmup", format_duration(phases.warmup).into()),
        ("measure", format_duration(phases.measure).into()),
        ("repeat", phases.repeat.into()),
    ])
}

fn write_storage(storage: Storage) -> Value {
    let log = match storage.log {
        LogKind::Memory => "memory",
    };
    map([("log", log.into())])
}

fn write_transport(transport: &TransportOptions) -> Value {
    let congestion = match transport.congestion {
        Congestion::Cubic => "cubic",
        Congestion::Bbr => "bbr",
    };
    map([
        ("lanes", transport.lanes.into()),
        ("initial_window", format_bytes(transport.initial_window_bytes).into()),
        ("congestion", congestion.into()),
        ("mtu", format_bytes(transport.mtu_bytes_max.into()).into()),
        ("ack_after", transport.ack_after_packets.into()),
        ("queue", format_bytes(transport.queue_bytes_max as u64).into()),
        ("idle_timeout", ms(transport.idle_timeout_ms)),
    ])
}

fn write_check(check: Check) -> Value {
    map([
        ("history", check.history.into()),
        ("memory", format_bytes(check.memory_bytes).into()),
        ("timeout", format_duration(check.timeout).into()),
    ])
}

fn write_thresholds(thresholds: Thresholds) -> Value {
    let Thresholds { p50, p99, p99_9, errors } = thresholds;
    let latencies = [("p50", p50), ("p99", p99), ("p99_9", p99_9)];
    let latency = |(key, limit): (&str, Option<_>)| {
        limit.map(|limit| (key.into(), format_duration(limit).into()))
    };
    let errors = errors.map(|errors| ("errors".into(), errors.into()));
    Value::Mapping(latencies.into_iter().filter_map(latency).chain(errors).collect())
}
