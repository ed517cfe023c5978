//! What a load generator is told to do: the experiment file's `workload` and `phases`, resolved.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::workload::{KINDS, Kind};

/// A run's load, the same at every site.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPlan {
    /// Client sessions at each site.
    pub clients_per_site: usize,
    /// When operations start.
    pub arrival: Arrival,
    /// Which operations, by share.
    pub operations: OperationMix,
    /// Which keys.
    pub keys: KeyChoice,
    /// Bytes of a written value.
    pub value_bytes: usize,
    /// Load before the measured phase.
    pub warmup: Duration,
    /// The measured phase.
    pub measure: Duration,
    /// A command is sent again when unanswered for this long.
    pub retry_after: Duration,
    /// Where to.
    #[serde(default)]
    pub retries: Retries,
    /// An operation unanswered for this long after its scheduled time counts as an error, though its
    /// retries go on.
    pub timeout: Duration,
    /// What the random choices start from; each site mixes in its own name.
    pub seed: u64,
    /// Whether every operation is written to a history.
    pub record_history: bool,
}

/// Where a command that was not answered is sent again.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retries {
    /// To the next replica, over any connection: all replicas know what has taken effect.
    #[default]
    AnyReplica,
    /// Only to the replica that has it already, over the same connection, with which the command
    /// ends: for a protocol whose replicas know of their own clients' commands only, and only while
    /// they live.
    SameReplica,
}

/// When operations start.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// At a rate a site, whether or not earlier ones were answered: evenly spaced.
    Constant {
        /// Operations a second at each site.
        rate_per_s: f64,
    },
    /// At a rate a site, with exponential gaps.
    Poisson {
        /// Operations a second at each site, in the mean.
        rate_per_s: f64,
    },
    /// When an earlier one is answered: so many outstanding a client.
    Closed {
        /// Outstanding operations of each client.
        outstanding: usize,
    },
}

/// Shares of the operations; they add up to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OperationMix {
    /// Share of puts.
    pub put: f64,
    /// Share of gets.
    pub get: f64,
    /// Share of compare-and-sets.
    pub cas: f64,
    /// Share of read-modify-writes.
    pub rmw: f64,
    /// Share of deletes.
    pub delete: f64,
    /// Share of transfers between two of [`ACCOUNTS`] accounts.
    pub transfer: f64,
    /// Share of increments: a get, then a put of the next value.
    pub increment: f64,
    /// Share of adds to a number.
    pub add: f64,
    /// Share of appends to a list.
    pub append: f64,
}

/// What the registers of a workload hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Values {
    /// Values that were written whole, each with a token of its own.
    Tokens,
    /// Numbers of 8 bytes, which are added to.
    Numbers,
    /// Lists of such values, which are appended to.
    Lists,
}

impl OperationMix {
    /// The mix of these shares, in the order of [`Kind::ALL`].
    pub fn of(shares: [f64; KINDS]) -> Self {
        let [put, get, cas, rmw, delete, transfer, increment, add, append] = shares;
        OperationMix { put, get, cas, rmw, delete, transfer, increment, add, append }
    }

    /// The shares, in the order of [`Kind::ALL`].
    pub fn shares(&self) -> [f64; KINDS] {
        let OperationMix { put, get, cas, rmw, delete, transfer, increment, add, append } = *self;
        [put, get, cas, rmw, delete, transfer, increment, add, append]
    }

    /// What the registers hold; none if operations disagree on that: one key may be touched by all.
    pub fn values(&self) -> Option<Values> {
        let whole = self.put + self.cas + self.rmw + self.increment > 0.0;
        match (whole, self.add > 0.0, self.append > 0.0) {
            (false, true, false) => Some(Values::Numbers),
            (false, false, true) => Some(Values::Lists),
            (_, false, false) => Some(Values::Tokens),
            _ => None,
        }
    }

    /// The operations that have a share.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        let used = Kind::ALL.into_iter().zip(self.shares()).filter(|(_, share)| *share > 0.0);
        used.map(|(kind, _)| kind)
    }
}

/// How many accounts transfers choose from.
pub const ACCOUNTS: u64 = 16;

/// Which keys operations touch.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyChoice {
    /// The field's usual workload: with this probability the one key that all clients share, else
    /// one of the client's own keys.
    Conflict {
        /// Probability of the shared key, 0 to 1.
        share: f64,
        /// Own keys of each client.
        own_keys: u64,
    },
    /// Every key alike.
    Uniform {
        /// How many keys.
        keys: u64,
    },
    /// Zipf's law.
    Zipf {
        /// How many keys.
        keys: u64,
        /// The exponent, above 0.
        theta: f64,
    },
}
