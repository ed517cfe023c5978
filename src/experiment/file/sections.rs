//! The keys of the experiment file, section by section, with their defaults.

use std::path::Path;
use std::time::Duration;

use super::faults::{Surroundings, read_faults};
use super::modes::read_modes;
use super::published::{Named, read_published};
use super::read::{At, Fields, unknown};
use super::tree::Value;
use super::{Check, Experiment, LogKind, Mode, Network, Phases, Shaping, Storage, Sweep};
use super::{Thresholds, Workload, write};
use crate::cluster::{Congestion, IDENTITIES_MAX, TransportOptions};
use crate::command::{APPENDED_BYTES_MAX, SESSION_WINDOW, VALUE_BYTES_MAX};
use crate::experiment::network::{Matrix, read_rtt, read_sites};
use crate::kv::SESSIONS_MAX;
use crate::load::plan::{Arrival, KeyChoice, OperationMix, Values};
use crate::load::workload::{KINDS, Kind, OPERATIONS_THAT_DO_NOT_MIX};

/// A written value carries a token of its own, by which the checker knows it.
const VALUE_BYTES_MIN: u64 = 8;
/// QUIC needs datagrams of this size.
const MTU_BYTES_MIN: u64 = 1200;
/// The largest datagram.
const MTU_BYTES_MAX: u64 = 65_527;
/// Each client's own keys, where the file does not say.
const OWN_KEYS: u64 = 1000;
/// How far shares may be from 100 % by rounding.
const SHARES_TOLERANCE: f64 = 1e-9;

const ROOT_KEYS: [&str; 13] = [
    "name",
    "seed",
    "modes",
    "network",
    "workload",
    "phases",
    "storage",
    "faults",
    "published",
    "sweep",
    "transport",
    "check",
    "thresholds",
];

/// Reads the whole file but for what it sweeps. None stands for problems, which were reported; problems may have been
/// reported beside a value as well.
pub(super) fn read_experiment(root: &At<'_>, folder: &Path) -> Option<Experiment> {
    if *root.value() == Value::Null {
        return root.wrong("the file is empty; write name, modes and network in it");
    }
    let fields = root.fields(&ROOT_KEYS, "keys such as name, modes and network")?;
    let name = fields.need("name", "quickstart", |at| at.name("quickstart"));
    let seed = fields.or("seed", 7, |at| at.count(0..=u64::MAX, 7));
    let sites_at = fields.get("network").and_then(sites_of);
    let modes = fields.need("modes", "[paxos]", |at| read_modes(at, sites_at.as_deref()));
    let fixed = modes.iter().flatten().find(|mode| !mode.protocol.can_change_members());
    let network = fields.need("network", "{ sites: [virginia, tokyo], rtt: … }", |at| {
        read_network(at, folder, fixed)
    });
    let sites = sites_at.as_ref().map_or(1, Vec::len);
    let no_transfers = modes.iter().flatten().find(|mode| !mode.protocol.has_transfers());
    let workload =
        fields.or("workload", Workload::default(), |at| read_workload(at, sites, no_transfers));
    let phases = fields.or("phases", Phases::default(), read_phases);
    let storage = fields.or("storage", Storage { log: LogKind::Memory }, read_storage);
    let faults = fields.or("faults", Vec::new(), |at| {
        let around = Surroundings {
            sites: sites_at.as_deref().unwrap_or_default(),
            spares: &network.as_ref().map_or(Vec::new(), Network::spare_names),
            measure: phases.unwrap_or_default().measure,
            unchosen: modes.iter().flatten().find(|mode| !mode.protocol.can_choose_members()),
            shaped: network.as_ref().is_none_or(|network| network.shaping == Shaping::Endpoint),
        };
        read_faults(at, &around)
    });
    let published = fields.or("published", Vec::new(), |at| {
        let modes = modes.iter().flatten().map(|mode| mode.label.clone()).collect::<Vec<_>>();
        read_published(at, &Named { sites: sites_at.as_deref().unwrap_or_default(), modes: &modes })
    });
    let transport = fields.or("transport", TransportOptions::default(), read_transport);
    let check = fields.or("check", Check::default(), read_check);
    let thresholds = fields.or("thresholds", Thresholds::default(), read_thresholds);
    Some(Experiment {
        name: name?.to_owned(),
        seed: seed?,
        modes: modes?,
        network: network?,
        workload: workload?,
        phases: phases?,
        storage: storage?,
        faults: faults?,
        published: published?,
        sweep: Sweep::default(),
        transport: transport?,
        check: check?,
        thresholds: thresholds?,
    })
}

/// The sites that modes may name, as far as they can be read; problems with them are reported
/// where the network is read.
fn sites_of(network: &At<'_>) -> Option<Vec<String>> {
    let Value::Map(entries) = network.value() else { return None };
    let (_, sites) = entries.iter().find(|(key, _)| key == "sites")?;
    let Value::List(sites) = &sites.value else { return None };
    sites.iter().map(|site| site.value.scalar_text()).collect()
}

/// Reads the network; `fixed` is a mode that cannot change its members, if there is one.
fn read_network(at: &At<'_>, folder: &Path, fixed: Option<&Mode>) -> Option<Network> {
    const KEYS: [&str; 9] =
        ["sites", "replicas", "spares", "rtt", "jitter", "loss", "reorder", "bandwidth", "shaping"];
    let fields = at.fields(&KEYS, "{ sites: [virginia, tokyo], rtt: networks/aws-2020.yaml }")?;
    let sites = fields.need("sites", "[virginia, tokyo]", read_sites);
    if let Some(sites) = &sites {
        check_replicas(&fields, sites.len());
    }
    let shaping = fields.or("shaping", Shaping::Endpoint, read_shaping);
    let matrix = fields.or("rtt", None, |at| read_rtt(at, folder).map(Some));
    let jitter = fields.or("jitter", Duration::ZERO, At::duration);
    let loss = fields.or("loss", 0.0, |at| below_all(at, "lost"));
    let reorder = fields.or("reorder", 0.0, |at| below_all(at, "reordered"));
    let bandwidth_bps = fields.or("bandwidth", 0, read_bandwidth);
    let spares = fields.or("spares", Vec::new(), |at| read_spares(at, sites.as_deref()?, fixed));
    let (sites, shaping, matrix) = (sites?, shaping?, matrix?);
    let rtt = match matrix {
        Some(matrix) => Some(part_for(&sites, &matrix, &fields)?),
        None if shaping == Shaping::Endpoint => {
            return fields.need("rtt", "a matrix file, or write shaping: none", |_| None);
        }
        None => None,
    };
    let network = Network {
        sites,
        spares: spares?,
        rtt,
        jitter: jitter?,
        loss: loss?,
        reorder: reorder?,
        bandwidth_bps: bandwidth_bps.map(|limit| (limit > 0).then_some(limit))?,
        shaping,
    };
    check_unshaped(&fields, &network);
    Some(network)
}

/// This version has one replica a site; the key says it for readers of the file.
fn check_replicas(fields: &Fields<'_>, sites: usize) {
    let at = fields.at();
    if sites > IDENTITIES_MAX {
        at.wrong::<()>(format!("{sites} sites are too many; write {IDENTITIES_MAX} or fewer"));
    }
    let count = fields.or("replicas", sites as u64, |at| at.count(1..=IDENTITIES_MAX as u64, 5));
    if let (Some(count), Some(at)) = (count, fields.get("replicas"))
        && count != sites as u64
    {
        at.wrong::<()>(format!(
            "this version runs one replica at each of the {sites} sites; write {sites} instead"
        ));
    }
}

/// The site of each spare.
fn read_spares(at: &At<'_>, sites: &[String], fixed: Option<&Mode>) -> Option<Vec<String>> {
    let known: Vec<&str> = sites.iter().map(String::as_str).collect();
    let read = |item: &At<'_>| match item.text("a site")? {
        site if known.contains(&site) => Some(site.to_owned()),
        site => item.wrong(unknown("site", site, &known)),
    };
    let items = at.items("[virginia]")?;
    let spares: Vec<Option<String>> = items.iter().map(read).collect();
    if sites.len() + spares.len() > IDENTITIES_MAX {
        let room = IDENTITIES_MAX.saturating_sub(sites.len());
        return at.wrong(format!("{} spares are too many; write {room} or fewer", spares.len()));
    }
    if let Some(mode) = fixed.filter(|_| !spares.is_empty()) {
        let (label, protocol) = (&mode.label, mode.protocol.name());
        at.wrong_key(format!(
            "the mode `{label}` is {protocol}, which cannot change its members; remove `spares`, or \
             write modes of epaxos or caspaxos only"
        ));
        return None;
    }
    spares.into_iter().collect()
}

fn read_shaping(at: &At<'_>) -> Option<Shaping> {
    if matches!(at.value(), Value::Text(text) if text == "netem") {
        return at.wrong(
            "netem is not in this version, as it must change the machine's network settings; \
             write endpoint instead",
        );
    }
    at.word("shaping", &[("endpoint", Shaping::Endpoint), ("none", Shaping::None)])
}

fn below_all(at: &At<'_>, what: &str) -> Option<f64> {
    match at.share()? {
        share if share < 1.0 => Some(share),
        _ => at.wrong(format!("no run ends if every datagram is {what}; write less than 100%")),
    }
}

/// A link's rate in bits a second; 0 stands for no limit.
fn read_bandwidth(at: &At<'_>) -> Option<u64> {
    if matches!(at.value(), Value::Text(text) if text == write::UNLIMITED) {
        return Some(0);
    }
    match at.bandwidth()? {
        0 => at.wrong("nothing passes a link of 0bit/s; write unlimited or more than 0"),
        bits_per_s => Some(bits_per_s),
    }
}

/// The part of the matrix between the sites of the experiment.
fn part_for(sites: &[String], matrix: &Matrix, fields: &Fields<'_>) -> Option<Matrix> {
    matrix.of_sites(sites).map_or_else(
        |site| {
            let index = sites.iter().position(|known| *known == site)?;
            let items = fields.get("sites")?.items("[virginia]")?;
            let known: Vec<&str> = matrix.sites.iter().map(String::as_str).collect();
            let message = unknown("site", &site, &known);
            items.get(index)?.wrong(format!("the matrix of `rtt` does not have it: {message}"))
        },
        Some,
    )
}

/// What only a shaper can make is refused where there is none.
fn check_unshaped(fields: &Fields<'_>, network: &Network) {
    if network.shaping != Shaping::None {
        return;
    }
    let asked = [
        ("jitter", network.jitter > Duration::ZERO),
        ("loss", network.loss > 0.0),
        ("reorder", network.reorder > 0.0),
        ("bandwidth", network.bandwidth_bps.is_some()),
    ];
    for (key, _) in asked.into_iter().filter(|(_, asked)| *asked) {
        if let Some(at) = fields.get(key) {
            at.wrong_key(format!(
                "nothing makes it with shaping: none; remove `{key}` or write shaping: endpoint"
            ));
        }
    }
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            clients_per_site: 10,
            arrival: Arrival::Constant { rate_per_s: 200.0 },
            operations: OperationMix { put: 0.5, get: 0.5, ..OperationMix::default() },
            keys: KeyChoice::Conflict { share: 0.02, own_keys: OWN_KEYS },
            value_bytes: 16,
            timeout: Duration::from_secs(10),
            retry_after: Duration::from_secs(2),
        }
    }
}

/// Reads the workload; `no_transfers` is a mode that has no transfers, if there is one.
fn read_workload(at: &At<'_>, sites: usize, no_transfers: Option<&Mode>) -> Option<Workload> {
    const KEYS: [&str; 7] =
        ["clients_per_site", "arrival", "operations", "keys", "value", "timeout", "retry_after"];
    let fields = at.fields(&KEYS, "{ clients_per_site: 10, arrival: { open: 200/s } }")?;
    let usual = Workload::default();
    let clients_max = (SESSIONS_MAX / sites.max(1)) as u64;
    let clients = fields.or("clients_per_site", usual.clients_per_site, |at| {
        Some(at.count(1..=clients_max, 10)? as usize)
    });
    let arrival = fields.or("arrival", usual.arrival, read_arrival);
    let operations =
        fields.or("operations", usual.operations, |at| read_operations(at, no_transfers));
    let keys = fields.or("keys", usual.keys, read_keys);
    let value_bytes = fields.or("value", usual.value_bytes, |at| {
        let lists = operations.is_some_and(|mix| mix.values() == Some(Values::Lists));
        let most = if lists { APPENDED_BYTES_MAX } else { VALUE_BYTES_MAX };
        Some(at.bytes(VALUE_BYTES_MIN..=most as u64)? as usize)
    });
    let timeout = fields.or("timeout", usual.timeout, At::positive_duration);
    let retry_after = fields.or("retry_after", usual.retry_after, At::positive_duration);
    Some(Workload {
        clients_per_site: clients?,
        arrival: arrival?,
        operations: operations?,
        keys: keys?,
        value_bytes: value_bytes?,
        timeout: timeout?,
        retry_after: retry_after?,
    })
}

fn read_arrival(at: &At<'_>) -> Option<Arrival> {
    let fields = at.fields(&["open", "closed", "distribution"], "{ open: 200/s }")?;
    let (kind, at) = fields.one_of(&["open", "closed"])?;
    if kind == "closed" {
        if let Some(at) = fields.get("distribution") {
            at.wrong_key("a closed loop has none; remove `distribution`");
        }
        let outstanding = at.count(1..=SESSION_WINDOW, 1)? as usize;
        return Some(Arrival::Closed { outstanding });
    }
    let rate_per_s = at.rate();
    let words = [("constant", false), ("poisson", true)];
    let poisson = fields.or("distribution", false, |at| at.word("distribution", &words));
    let rate_per_s = rate_per_s?;
    Some(if poisson? { Arrival::Poisson { rate_per_s } } else { Arrival::Constant { rate_per_s } })
}

fn read_operations(at: &At<'_>, no_transfers: Option<&Mode>) -> Option<OperationMix> {
    let fields = at.any_fields("{ put: 50%, get: 50% }")?;
    let has_others = fields.refuse_others(&Kind::ALL.map(Kind::name));
    let read = Kind::ALL.map(|kind| fields.or(kind.name(), 0.0, At::share));
    let mut shares = [0.0; KINDS];
    for (share, read) in shares.iter_mut().zip(read) {
        *share = read?;
    }
    if has_others {
        // What those come to that are known says nothing.
        return None;
    }
    let sum: f64 = shares.iter().sum();
    if (sum - 1.0).abs() > SHARES_TOLERANCE {
        // Rounded to what a file would say, so that the rest of 0.1 % shows no rounding error.
        let percent = (sum * 1e8).round() / 1e6;
        return at
            .wrong(format!("the shares add up to {percent}%; write shares that add up to 100%"));
    }
    let mix = OperationMix::of(shares);
    if let (Some(mode), Some(at)) = (no_transfers, fields.get(Kind::Transfer.name()))
        && mix.transfer > 0.0
    {
        let (label, protocol) = (&mode.label, mode.protocol.name());
        at.wrong_key(format!(
            "the mode `{label}` is {protocol}, whose commands touch one key each; remove `transfer`, or that \
             mode"
        ));
        return None;
    }
    if mix.values().is_none() {
        return at.wrong(OPERATIONS_THAT_DO_NOT_MIX);
    }
    Some(mix)
}

fn read_keys(at: &At<'_>) -> Option<KeyChoice> {
    let fields = at.fields(&["conflict", "uniform", "zipf", "own_keys"], "{ conflict: 2% }")?;
    let (kind, at) = fields.one_of(&["conflict", "uniform", "zipf"])?;
    if kind != "conflict"
        && let Some(at) = fields.get("own_keys")
    {
        at.wrong_key(format!("has no meaning beside `{kind}`; remove `own_keys`"));
    }
    match kind {
        "conflict" => {
            let own_keys = fields.or("own_keys", OWN_KEYS, |at| at.count(1..=1 << 32, OWN_KEYS));
            Some(KeyChoice::Conflict { share: at.share()?, own_keys: own_keys? })
        }
        "uniform" => Some(KeyChoice::Uniform { keys: at.count(1..=1 << 48, 100_000)? }),
        _ => read_zipf(at),
    }
}

fn read_zipf(at: &At<'_>) -> Option<KeyChoice> {
    let fields = at.fields(&["n", "theta"], "{ n: 100000, theta: 0.99 }")?;
    let keys = fields.need("n", "100000", |at| at.count(1..=1 << 48, 100_000));
    let theta = fields.need("theta", "0.99", |at| match at.number("0.99")? {
        theta if theta > 0.0 => Some(theta),
        theta => at.wrong(format!(
            "`{theta}` is not above 0; write 0.99 instead, or keys: {{ uniform: … }}"
        )),
    });
    Some(KeyChoice::Zipf { keys: keys?, theta: theta? })
}

impl Default for Phases {
    fn default() -> Self {
        let (warmup, measure) = (Duration::from_secs(2), Duration::from_secs(10));
        Phases { warmup, measure, repeat: 3 }
    }
}

fn read_phases(at: &At<'_>) -> Option<Phases> {
    let fields = at.fields(&["warmup", "measure", "repeat"], "{ measure: 10s, repeat: 3 }")?;
    let usual = Phases::default();
    let warmup = fields.or("warmup", usual.warmup, At::duration);
    let measure = fields.or("measure", usual.measure, At::positive_duration);
    let repeat = fields.or("repeat", usual.repeat, |at| Some(at.count(1..=10_000, 3)? as u32));
    Some(Phases { warmup: warmup?, measure: measure?, repeat: repeat? })
}

fn read_storage(at: &At<'_>) -> Option<Storage> {
    let fields = at.fields(&["log"], "{ log: memory }")?;
    let log = fields.or("log", LogKind::Memory, |at| match at.text("memory")? {
        "memory" => Some(LogKind::Memory),
        later @ ("uring" | "file") => {
            at.wrong(format!("the log `{later}` is not in this version; write memory instead"))
        }
        other => at.wrong(unknown("log", other, &["memory"])),
    });
    Some(Storage { log: log? })
}

fn read_transport(at: &At<'_>) -> Option<TransportOptions> {
    const KEYS: [&str; 7] =
        ["lanes", "initial_window", "congestion", "mtu", "ack_after", "queue", "idle_timeout"];
    let fields = at.fields(&KEYS, "{ lanes: 1 }")?;
    let usual = TransportOptions::default();
    let lanes = fields.or("lanes", usual.lanes, |at| Some(at.count(1..=64, 1)? as usize));
    let window = fields.or("initial_window", usual.initial_window_bytes, |at| {
        at.bytes(2 * MTU_BYTES_MIN..=1 << 32)
    });
    let congestion = fields.or("congestion", usual.congestion, |at| match at.text("cubic")? {
        "cubic" => Some(Congestion::Cubic),
        "bbr" => Some(Congestion::Bbr),
        other => at.wrong(unknown("congestion control", other, &["cubic", "bbr"])),
    });
    let mtu = fields
        .or("mtu", usual.mtu_bytes_max, |at| Some(at.bytes(MTU_BYTES_MIN..=MTU_BYTES_MAX)? as u16));
    let ack_after = fields
        .or("ack_after", usual.ack_after_packets, |at| Some(at.count(1..=10_000, 10)? as u32));
    let queue =
        fields.or("queue", usual.queue_bytes_max, |at| Some(at.bytes(1 << 16..=1 << 40)? as usize));
    let idle_timeout_ms = fields.or("idle_timeout", usual.idle_timeout_ms, At::whole_ms);
    Some(TransportOptions {
        lanes: lanes?,
        initial_window_bytes: window?,
        congestion: congestion?,
        mtu_bytes_max: mtu?,
        ack_after_packets: ack_after?,
        queue_bytes_max: queue?,
        idle_timeout_ms: idle_timeout_ms?,
    })
}

impl Default for Check {
    fn default() -> Self {
        Check { history: true, memory_bytes: 1 << 30, timeout: Duration::from_secs(60) }
    }
}

fn read_check(at: &At<'_>) -> Option<Check> {
    let fields = at.fields(&["history", "memory", "timeout"], "{ history: true }")?;
    let usual = Check::default();
    let history = fields.or("history", usual.history, At::flag);
    let memory = fields.or("memory", usual.memory_bytes, |at| at.bytes(1 << 20..=1 << 50));
    let timeout = fields.or("timeout", usual.timeout, At::positive_duration);
    Some(Check { history: history?, memory_bytes: memory?, timeout: timeout? })
}

fn read_thresholds(at: &At<'_>) -> Option<Thresholds> {
    let fields = at.fields(&["p50", "p99", "p99_9", "errors"], "{ p99: 400ms, errors: 0 }")?;
    let latency = |key| fields.or(key, None, |at| at.positive_duration().map(Some));
    let (p50, p99, p99_9) = (latency("p50"), latency("p99"), latency("p99_9"));
    let errors = fields.or("errors", None, |at| at.count(0..=u64::MAX, 0).map(Some));
    Some(Thresholds { p50: p50?, p99: p99?, p99_9: p99_9?, errors: errors? })
}
