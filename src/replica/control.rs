//! What the driver, or an operator, may ask of a replica, over the same mutual TLS.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use quinn::Connection;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::peers::Peers;
use super::turn::Replica;
use crate::net::{LinkShape, Shaper, ShaperControl, ShaperReport, serve as serve_requests};
use crate::protocol::Protocol;
use crate::results::ReplicaCounters;
use crate::wire::Wire;

/// The pause between two pings, and how long the last answers are waited for.
const PING_PERIOD: Duration = Duration::from_millis(20);
const PING_PATIENCE: Duration = Duration::from_secs(3);
/// The most pings in one measurement.
const PINGS_MAX: usize = 1000;

/// A request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// How far it is: [`Answer::Status`].
    Status,
    /// The measured phase begins: [`Answer::Done`].
    Mark,
    /// What was counted since then: [`Answer::Counters`].
    Counters,
    /// Round trips to all peers, so many pings: [`Answer::RoundTrips`].
    MeasureRoundTrips {
        /// How many, up to 1000.
        pings: usize,
    },
    /// Changes what the shaper does on the way to a site: [`Answer::Done`].
    SetLink {
        /// The site.
        site: String,
        /// What to do from now on.
        shape: LinkShape,
    },
    /// Isolates the replica, or ends that: [`Answer::Done`]. An isolated one exchanges nothing with other
    /// replicas or with clients of other sites.
    SetIsolated {
        /// Whether it is from now on.
        isolated: bool,
    },
    /// An operator wants these replicas, and no others, to be the members: [`Answer::Done`], and it has begun.
    /// Whoever asks looks at the status to see how far it is. To ask again does no harm.
    ChangeMembers {
        /// Their names in the cluster file.
        members: Vec<String>,
    },
    /// Ends the process: [`Answer::Done`].
    Stop,
}

/// An answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// To [`Ask::Status`].
    Status(Status),
    /// To [`Ask::Counters`], with what the shaper did, if there is one.
    Counters {
        /// The replica's counters.
        replica: Box<ReplicaCounters>,
        /// The shaper's.
        shaper: Option<ShaperReport>,
    },
    /// To [`Ask::MeasureRoundTrips`], by peer.
    RoundTrips(Vec<(String, Vec<f64>)>),
}

/// How far a replica is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Whether it is connected with all others and takes part; a spare, with anybody.
    pub ready: bool,
    /// Whether it takes clients' requests: it is a member, and knows all that was decided before it was
    /// one.
    pub takes_requests: bool,
    /// Commands that took effect on its state.
    pub applied: u64,
    /// The digest of its state, in hexadecimal.
    pub digest: String,
    /// The core's counters.
    pub core: Vec<(String, u64)>,
    /// Who the members are, as far as it knows; none if no operator can choose them.
    pub membership: Option<Members>,
}

/// Who the members are, as far as a replica knows, by their names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Members {
    /// How many changes there have been; one under way counts.
    pub epoch: u64,
    /// The members; while a change is under way, those to be.
    pub members: Vec<String>,
    /// The members before, while a change is under way; else none.
    pub before: Vec<String>,
    /// The members that an operator has asked this replica for, as long as it pursues that.
    pub wanted: Vec<String>,
}

impl Members {
    /// Whether a change is under way.
    pub fn is_changing(&self) -> bool {
        !self.before.is_empty()
    }

    /// Whether a replica is a member, or about to be one or to have been one.
    pub fn includes(&self, name: &str) -> bool {
        self.members.iter().chain(&self.before).any(|member| member == name)
    }
}

/// What control requests act on, beside the replica.
pub(super) struct Controls {
    shaper: Option<ShaperControl>,
    stop: Rc<Notify>,
}

impl Controls {
    pub(super) fn new(shaper: Option<&Shaper>) -> Self {
        Controls { shaper: shaper.map(Shaper::control), stop: Rc::new(Notify::new()) }
    }

    fn shaper(&self) -> Result<&ShaperControl, String> {
        let none = || "this run has no shaper: its network is not shaped".to_owned();
        self.shaper.as_ref().ok_or_else(none)
    }

    /// Waits until the driver says stop.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let stop = self.stop.clone();
        async move { stop.notified().await }
    }
}

/// Answers the driver until its connection is lost.
pub(super) fn serve<P: Protocol + 'static>(
    connection: Connection,
    controls: Rc<Controls>,
    replica: Rc<RefCell<Replica<P>>>,
    peers: Rc<Peers<P>>,
) where
    P::Message: Wire,
{
    tokio::task::spawn_local(async move {
        let handle = move |ask: Ask| {
            let (controls, replica, peers) = (controls.clone(), replica.clone(), peers.clone());
            async move { answer(ask, &controls, &replica, &peers).await }
        };
        if let Err(reason) = serve_requests(&connection, handle).await {
            tracing::debug!(%reason, "the driver is gone");
        }
    });
}

/// Answers an operator until the connection is lost. The run is the driver's: no operator disturbs it.
pub(super) fn serve_operator<P: Protocol + 'static>(
    connection: Connection,
    replica: Rc<RefCell<Replica<P>>>,
) where
    P::Message: Wire,
{
    tokio::task::spawn_local(async move {
        let handle = move |ask: Ask| {
            let answer = match ask {
                Ask::Status => Ok(Answer::Status(status(&replica.borrow()))),
                Ask::ChangeMembers { members } => {
                    replica.borrow().change_members(&members).map(|()| Answer::Done)
                }
                _ => Err("only the driver may ask for that".to_owned()),
            };
            async move { answer }
        };
        if let Err(reason) = serve_requests(&connection, handle).await {
            tracing::debug!(%reason, "an operator is gone");
        }
    });
}

async fn answer<P: Protocol + 'static>(
    ask: Ask,
    controls: &Controls,
    replica: &RefCell<Replica<P>>,
    peers: &Peers<P>,
) -> Result<Answer, String>
where
    P::Message: Wire,
{
    match ask {
        Ask::Status => Ok(Answer::Status(status(&replica.borrow()))),
        Ask::Mark => {
            replica.borrow_mut().mark();
            Ok(Answer::Done)
        }
        Ask::Counters => Ok(Answer::Counters {
            replica: Box::new(replica.borrow().counters(peers.name())),
            shaper: controls.shaper.as_ref().map(ShaperControl::lateness),
        }),
        Ask::MeasureRoundTrips { pings } => {
            Ok(Answer::RoundTrips(measure_round_trips(peers, pings).await))
        }
        Ask::SetLink { site, shape } => {
            controls.shaper()?.set_link(&site, shape).map_err(|e| e.to_string())?;
            Ok(Answer::Done)
        }
        Ask::SetIsolated { isolated } => {
            controls.shaper()?.set_isolated(isolated);
            Ok(Answer::Done)
        }
        Ask::ChangeMembers { members } => {
            replica.borrow().change_members(&members).map(|()| Answer::Done)
        }
        Ask::Stop => {
            controls.stop.notify_one();
            Ok(Answer::Done)
        }
    }
}

fn status<P: Protocol + 'static>(replica: &Replica<P>) -> Status
where
    P::Message: Wire,
{
    let counters = replica.core().counters().into_iter();
    Status {
        ready: replica.started(),
        takes_requests: replica.core().takes_requests(),
        applied: replica.state().applied(),
        digest: format!("{:016x}", replica.state().digest()),
        core: counters.map(|(name, count)| (name.to_owned(), count)).collect(),
        membership: replica.membership(),
    }
}

/// Pings all peers, evenly spaced; round trips in ms.
async fn measure_round_trips<P: Protocol + 'static>(
    peers: &Peers<P>,
    pings: usize,
) -> Vec<(String, Vec<f64>)>
where
    P::Message: Wire,
{
    let pings = pings.min(PINGS_MAX);
    peers.take_rtts_ns();
    let mut ticks = tokio::time::interval(PING_PERIOD);
    for _ in 0..pings {
        ticks.tick().await;
        peers.ping();
    }
    // A peer that is gone does not answer; what has come by then is what there is.
    let _ = tokio::time::timeout(PING_PATIENCE, peers.ponged(pings)).await;
    let to_ms = |ns: Vec<u64>| ns.into_iter().map(|ns| ns as f64 / 1e6).collect();
    peers.take_rtts_ns().into_iter().map(|(name, ns)| (name, to_ms(ns))).collect()
}
