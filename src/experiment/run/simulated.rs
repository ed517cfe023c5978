//! One run in virtual time.

use std::fs::File;
use std::io::BufWriter;
use std::time::{Duration, SystemTime};

use super::RunError;
use super::setting::{Outcome, Setting};
use crate::check::history::HistoryWriter;
use crate::cluster::ProtocolChoice;
use crate::command::NodeId;
use crate::experiment::network::Matrix;
use crate::load::history::HistorySink;
use crate::protocol::caspaxos::Caspaxos;
use crate::protocol::epaxos::Epaxos;
use crate::protocol::multicoordinated::Multicoordinated;
use crate::protocol::paxos::Paxos;
use crate::sim::predict::{Plan, PredictedSite, predict};
use crate::sim::{Manner, NetworkPlan, Subject};

/// Plays the replicas and clients of one run in virtual time.
pub(super) fn conduct(setting: &Setting<'_>) -> Result<Outcome, RunError> {
    match setting.protocol() {
        ProtocolChoice::Paxos(options) => play::<Paxos>(setting, options),
        ProtocolChoice::Epaxos(options) => play::<Epaxos>(setting, options),
        ProtocolChoice::Caspaxos(options) => play::<Caspaxos>(setting, options),
        ProtocolChoice::Multicoordinated(options) => play::<Multicoordinated>(setting, options),
    }
}

fn play<P: Subject>(setting: &Setting<'_>, options: P::Options) -> Result<Outcome, RunError> {
    let refused = |why: String| RunError::Refused { who: setting.run_name(), why };
    let matrix = setting.experiment.network.rtt.as_ref();
    let matrix = matrix.ok_or_else(|| refused("there are no round-trip times".to_owned()))?;
    let sites = setting.experiment.network.sites.iter().enumerate();
    let sites = sites.map(|(place, name)| {
        Ok(PredictedSite {
            name: name.clone(),
            replicas: nearest_first(matrix, place),
            history: history(setting, name)?,
        })
    });
    let plan = Plan::<P> {
        seed: setting.run.seed,
        options,
        network: network(setting, matrix),
        load: setting.experiment.load_plan(setting.mode(), setting.run.seed),
        sites: sites.collect::<Result<_, RunError>>()?,
    };
    let predicted = predict(plan).map_err(|error| refused(error.to_string()))?;
    Ok(Outcome {
        faults: Vec::new(),
        began: SystemTime::UNIX_EPOCH,
        reports: predicted.reports,
        replicas: predicted.replicas,
        shapers: Vec::new(),
        before: Vec::new(),
        after: Vec::new(),
        converged: Some(predicted.converged),
        notes: Vec::new(),
    })
}

/// The replicas in the order of their distance, as a load generator tries them.
fn nearest_first(matrix: &Matrix, place: usize) -> Vec<NodeId> {
    matrix.nearest_first(place).into_iter().map(|index| NodeId(index as u8)).collect()
}

/// The network as the shaper would imitate it, between streams.
fn network(setting: &Setting<'_>, matrix: &Matrix) -> NetworkPlan {
    let (network, transport) = (&setting.experiment.network, &setting.experiment.transport);
    let one_way = |rtt_ms: &f64| Duration::from_secs_f64(rtt_ms / 2e3).as_nanos() as u64;
    NetworkPlan {
        one_way_ns: matrix.rtt_ms.iter().map(|row| row.iter().map(one_way).collect()).collect(),
        jitter_ns: network.jitter.as_nanos() as u64,
        loss: network.loss,
        reorder: network.reorder,
        bandwidth_bps: network.bandwidth_bps,
        manner: Manner::Streams { lanes: transport.lanes as u64 },
    }
}

fn history(setting: &Setting<'_>, site: &str) -> Result<Option<Box<dyn HistorySink>>, RunError> {
    let Some(path) = setting.history_path(site)? else { return Ok(None) };
    let failed = |e: std::io::Error| RunError::Worker(format!("{}: {e}", path.display()));
    let file = File::create(&path).map_err(failed)?;
    let writer = HistoryWriter::new(BufWriter::new(file), site).map_err(failed)?;
    Ok(Some(Box::new(writer)))
}
