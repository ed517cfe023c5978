//! The cluster file: who takes part, where they listen, and what network lies between them.
//!
//! The driver writes it; replicas and load generators read it. It is all that a worker learns of
//! the others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::command::NodeId;
use crate::load::plan::{LoadPlan, Retries};
use crate::protocol::caspaxos::options::CaspaxosOptions;
use crate::protocol::epaxos::options::EpaxosOptions;
use crate::protocol::multicoordinated::options::MulticoordinatedOptions;
use crate::protocol::paxos::PaxosOptions;
use crate::protocol::quorum::NodeSet;

/// Replicas and spares of a cluster, at most: a set of them has room for so many.
pub const IDENTITIES_MAX: usize = 64;

/// Everything a worker must know, as YAML.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// The experiment's name, for logs.
    pub name: String,
    /// Where the identities are: `ca.pem`, and per name `NAME.pem` and `NAME.key.pem`. Relative to
    /// the cluster file.
    pub certs: PathBuf,
    /// The replicas, in the order of their [`crate::command::NodeId`].
    pub replicas: Vec<Member>,
    /// Identities under which a replica may join in place of another; their [`crate::command::NodeId`]s
    /// follow those of the replicas. Nobody waits for them.
    #[serde(default)]
    pub spares: Vec<Member>,
    /// The load generators: one a site.
    pub loads: Vec<Member>,
    /// How QUIC is used.
    #[serde(default)]
    pub transport: TransportOptions,
    /// The delays that the shaper makes; none for a plain socket.
    #[serde(default)]
    pub shaping: Option<ShapingPlan>,
    /// The protocol and its options.
    pub protocol: ProtocolChoice,
    /// What the load generators do.
    #[serde(default)]
    pub load: Option<LoadPlan>,
}

/// One process of the cluster.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name, as its certificate says it: a replica is called like its site (`virginia`, or
    /// `virginia-2` for a second one there), a load generator `load-virginia`.
    pub name: String,
    /// Its site, by which the network's matrix knows it.
    pub site: String,
    /// Where it listens, and where all its datagrams come from.
    #[serde(deserialize_with = "read_address")]
    pub address: SocketAddr,
}

/// How QUIC is used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransportOptions {
    /// Ordered streams between two processes, in each direction: a lost packet stalls only the
    /// commands of its own lane.
    pub lanes: usize,
    /// The initial congestion window, in bytes: slow start would be measured otherwise.
    pub initial_window_bytes: u64,
    /// How a connection finds out how much the network can take.
    pub congestion: Congestion,
    /// Datagrams larger than this are not tried, in bytes.
    pub mtu_bytes_max: u16,
    /// How many packets that ask for an acknowledgement may arrive before one is sent.
    pub ack_after_packets: u32,
    /// Bytes that may wait for a slow peer before what comes next is dropped.
    pub queue_bytes_max: usize,
    /// A connection that is silent for this long is lost, in ms.
    pub idle_timeout_ms: u64,
}

impl Default for TransportOptions {
    fn default() -> Self {
        TransportOptions {
            lanes: 1,
            initial_window_bytes: 1 << 24,
            congestion: Congestion::Cubic,
            mtu_bytes_max: 1452,
            ack_after_packets: 10,
            queue_bytes_max: 64 << 20,
            idle_timeout_ms: 10_000,
        }
    }
}

/// How a connection finds out how much the network can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Congestion {
    /// Takes each loss for a sign of too much, as most TCP does.
    #[default]
    Cubic,
    /// Measures the rate and the round trip; loss by chance slows it less.
    Bbr,
}

/// The network that the shaper imitates, between sites.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapingPlan {
    /// The sites, in the order of the matrix.
    pub sites: Vec<String>,
    /// Round-trip times in ms, symmetric, zero on the diagonal. Each direction is delayed by half.
    pub rtt_ms: Vec<Vec<f64>>,
    /// Each datagram is delayed by up to this much more, uniformly, in ms.
    pub jitter_ms: f64,
    /// The share of datagrams lost, 0 to 1.
    pub loss: f64,
    /// The share of datagrams that overtake the ones before them, 0 to 1.
    pub reorder: f64,
    /// Each link's rate in bits a second; none for no limit.
    pub bandwidth_bps: Option<u64>,
    /// What the random choices start from.
    pub seed: u64,
}

fn read_address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| {
        // Behind it stands the line.
        let example = "an IP address and a port, such as 10.0.0.1:7000";
        D::Error::custom(format!("write {example}, instead of `{text}`"))
    })
}

/// Which protocol the replicas run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum ProtocolChoice {
    /// Leader-based.
    Paxos(PaxosOptions),
    /// Without a leader: whoever is asked proposes.
    Epaxos(EpaxosOptions),
    /// Acceptors, or several coordinators, take commands in any order that they do not mind.
    Multicoordinated(MulticoordinatedOptions),
    /// A replicated register per key, without a log.
    Caspaxos(CaspaxosOptions),
}

impl ProtocolChoice {
    /// What the experiment file calls it.
    pub fn name(&self) -> &'static str {
        match self {
            ProtocolChoice::Paxos(_) => "paxos",
            ProtocolChoice::Epaxos(_) => "epaxos",
            ProtocolChoice::Multicoordinated(_) => "multicoordinated",
            ProtocolChoice::Caspaxos(_) => "caspaxos",
        }
    }

    /// Whether a replica may join in place of another.
    pub fn can_change_members(&self) -> bool {
        matches!(self, ProtocolChoice::Epaxos(_) | ProtocolChoice::Caspaxos(_))
    }

    /// Whether an operator may say who the members are while they run: any number, spares or not.
    pub fn can_choose_members(&self) -> bool {
        matches!(self, ProtocolChoice::Caspaxos(_))
    }

    /// What is said to who would choose members all the same.
    pub fn refuses_members(&self) -> String {
        let joins = match self.can_change_members() {
            true => ", and a spare joins in place of another, with --replaces",
            false => "",
        };
        format!("the members of mode {} cannot be chosen{joins}; write mode caspaxos", self.name())
    }

    /// Whether a command may touch two keys.
    pub fn has_transfers(&self) -> bool {
        !matches!(self, ProtocolChoice::Caspaxos(_))
    }

    /// Where a client may send a command again that was not answered.
    pub fn retries(&self) -> Retries {
        match self {
            ProtocolChoice::Paxos(_)
            | ProtocolChoice::Epaxos(_)
            | ProtocolChoice::Multicoordinated(_) => Retries::AnyReplica,
            ProtocolChoice::Caspaxos(_) => Retries::SameReplica,
        }
    }
}

/// A cluster file that cannot be used; says which and why.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct BadClusterFile {
    path: PathBuf,
    why: String,
}

impl ClusterFile {
    /// Reads the file and makes `certs` absolute.
    pub fn read(path: &Path) -> Result<ClusterFile, BadClusterFile> {
        let bad = |why: String| BadClusterFile { path: path.to_owned(), why };
        let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        let mut file: ClusterFile = serde_yaml::from_str(&text).map_err(|e| bad(e.to_string()))?;
        file.certs = path.parent().unwrap_or(Path::new(".")).join(&file.certs);
        Ok(file)
    }

    /// All that are or may become members of the cluster, in the order of their
    /// [`crate::command::NodeId`]: the replicas, then the spares.
    pub fn identities(&self) -> impl Iterator<Item = &Member> {
        self.replicas.iter().chain(&self.spares)
    }

    /// How many there are.
    pub fn identity_count(&self) -> usize {
        self.replicas.len() + self.spares.len()
    }

    /// The one with this number, which must be below [`ClusterFile::identity_count`].
    pub fn identity(&self, index: usize) -> &Member {
        match index.checked_sub(self.replicas.len()) {
            None => &self.replicas[index],
            Some(beyond) => &self.spares[beyond],
        }
    }

    /// The number of the one with this name.
    pub fn identity_index(&self, name: &str) -> Option<usize> {
        self.identities().position(|member| member.name == name)
    }

    /// The set of those with these names.
    ///
    /// # Errors
    /// If it would be empty, or a name stands there twice or is nobody's; says what to write.
    pub fn named(&self, names: &[String]) -> Result<NodeSet, String> {
        if names.iter().all(String::is_empty) {
            return Err(format!("no member is named; write one or more of: {}", self.all_names()));
        }
        let mut set = NodeSet::default();
        for name in names {
            let index = self.identity_index(name).ok_or_else(|| self.nobody_is(name))?;
            if !set.insert(NodeId(index as u8)) {
                return Err(format!("`{name}` is named twice; write it once"));
            }
        }
        Ok(set)
    }

    /// The names of a set, which must be of this cluster.
    pub fn names_of(&self, set: NodeSet) -> Vec<String> {
        let known = set.iter().filter(|node| usize::from(node.0) < self.identity_count());
        known.map(|node| self.identity(usize::from(node.0)).name.clone()).collect()
    }

    /// What is said of a name that no replica or spare bears.
    pub fn nobody_is(&self, name: &str) -> String {
        format!("no replica is called `{name}`; the replicas are: {}", self.all_names())
    }

    fn all_names(&self) -> String {
        self.identities().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Everybody who listens somewhere: identities, then load generators.
    pub fn processes(&self) -> impl Iterator<Item = &Member> {
        self.identities().chain(&self.loads)
    }
}
