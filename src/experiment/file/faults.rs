//! The faults of a run: what is done to which replica, and when.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde_yaml::Value;

use super::Mode;
use super::read::{At, Fields};
use super::write::map;
use crate::experiment::units::format_duration;

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// When, since the beginning of the measured phase.
    pub at: Duration,
    /// What.
    pub kind: FaultKind,
}

impl Fault {
    /// When it is over, since the beginning of the measured phase; when it happens, if it is for good.
    fn ends(&self) -> Duration {
        self.at + self.kind.lasts().unwrap_or_default()
    }
}

/// What is done to a replica, or to all. Replicas are named by their sites.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// It is killed, and does not come back.
    Crash {
        /// Which.
        replica: String,
    },
    /// It stands still.
    Pause {
        /// Which.
        replica: String,
        /// For how long.
        lasts: Duration,
    },
    /// All that it sends leaves later than it would.
    Slow {
        /// Which.
        replica: String,
        /// By how much.
        by: Duration,
        /// For how long.
        lasts: Duration,
    },
    /// It exchanges nothing with other replicas, nor with the clients of other sites; those of its own
    /// still reach it.
    Isolate {
        /// Which.
        replica: String,
        /// For how long.
        lasts: Duration,
    },
    /// Not a fault, but what an operator does about one: a spare is started in place of a replica.
    Join {
        /// Which spare.
        spare: String,
        /// In whose place.
        replica: String,
    },
    /// Nor this: an operator says who the members are from now on. Spares among them are started if need be.
    Members {
        /// The names of replicas and spares.
        members: Vec<String>,
    },
}

impl FaultKind {
    /// Which replica it befalls; none if the whole cluster.
    pub fn replica(&self) -> Option<&str> {
        match self {
            FaultKind::Crash { replica }
            | FaultKind::Pause { replica, .. }
            | FaultKind::Slow { replica, .. }
            | FaultKind::Isolate { replica, .. }
            | FaultKind::Join { replica, .. } => Some(replica),
            FaultKind::Members { .. } => None,
        }
    }

    /// How long it lasts; none if for good.
    pub fn lasts(&self) -> Option<Duration> {
        match self {
            FaultKind::Crash { .. } | FaultKind::Join { .. } | FaultKind::Members { .. } => None,
            FaultKind::Pause { lasts, .. }
            | FaultKind::Slow { lasts, .. }
            | FaultKind::Isolate { lasts, .. } => Some(*lasts),
        }
    }
}

impl fmt::Display for FaultKind {
    /// What figures call it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::Crash { replica } => write!(f, "crash {replica}"),
            FaultKind::Pause { replica, .. } => write!(f, "pause {replica}"),
            FaultKind::Slow { replica, by, .. } => {
                write!(f, "slow {replica} by {}", format_duration(*by))
            }
            FaultKind::Isolate { replica, .. } => write!(f, "isolate {replica}"),
            FaultKind::Join { spare, replica } => write!(f, "{spare} joins for {replica}"),
            FaultKind::Members { members } => write!(f, "members {}", members.join(" ")),
        }
    }
}

/// What a fault is read beside.
pub(super) struct Surroundings<'a> {
    pub(super) sites: &'a [String],
    /// The names of the spares.
    pub(super) spares: &'a [String],
    /// How long the measured phase lasts.
    pub(super) measure: Duration,
    /// Whether the processes delay what they send.
    pub(super) shaped: bool,
    /// A mode whose members nobody can choose, if there is one.
    pub(super) unchosen: Option<&'a Mode>,
}

const KINDS: [&str; 6] = ["crash", "pause", "slow", "isolate", "join", "members"];
const EXAMPLE: &str = "{ at: 4s, crash: tokyo }";

/// Reads the list, in the order of time.
pub(super) fn read_faults(at: &At<'_>, around: &Surroundings<'_>) -> Option<Vec<Fault>> {
    let faults = at.items("[{ at: 4s, crash: tokyo }]")?.into_iter();
    let faults: Vec<Option<Fault>> = faults.map(|item| read_fault(&item, around)).collect();
    let mut faults = faults.into_iter().collect::<Option<Vec<_>>>()?;
    faults.sort_by_key(|fault| fault.at);
    if let Some(spare) = joins_twice(&faults) {
        return at.wrong(format!(
            "`{spare}` joins twice, and forgets what it promised in between; remove one, or write another spare"
        ));
    }
    if let Some((late, gone)) = names_the_dead(&faults) {
        return at.wrong(format!(
            "`{}` at {} names `{gone}`, which has crashed by then; remove it there",
            late.kind,
            format_duration(late.at)
        ));
    }
    if let Some((first, second)) = overlap(&faults) {
        return at.wrong(format!(
            "`{}` at {} begins before `{}` has ended; let it begin at {} or remove it",
            second.kind,
            format_duration(second.at),
            first.kind,
            format_duration(first.ends())
        ));
    }
    match faults.iter().find(|fault| is_too_late(fault, &faults)) {
        Some(late) => at.wrong(format!(
            "`{}` at {} comes when that replica has crashed; remove it or let it begin earlier",
            late.kind,
            format_duration(late.at)
        )),
        None => Some(faults),
    }
}

/// A spare that is started more than once: it joins when it runs already.
fn joins_twice(faults: &[Fault]) -> Option<&str> {
    let mut running = BTreeSet::new();
    for fault in faults {
        match &fault.kind {
            FaultKind::Join { spare, .. } if !running.insert(spare.as_str()) => return Some(spare),
            FaultKind::Members { members } => running.extend(members.iter().map(String::as_str)),
            _ => {}
        }
    }
    None
}

/// Members are chosen of whom one has crashed, and which: such a change would never begin.
fn names_the_dead(faults: &[Fault]) -> Option<(&Fault, &str)> {
    let mut dead = BTreeSet::new();
    for fault in faults {
        match &fault.kind {
            FaultKind::Crash { replica } => drop(dead.insert(replica.as_str())),
            FaultKind::Members { members } => {
                if let Some(gone) = members.iter().find(|name| dead.contains(name.as_str())) {
                    return Some((fault, gone));
                }
            }
            _ => {}
        }
    }
    None
}

/// An isolation, and a fault of the same replica that cannot begin while the first lasts: the end of one
/// isolation would end another, and a replica that stands still can neither be isolated nor reached again.
fn overlap(faults: &[Fault]) -> Option<(&Fault, &Fault)> {
    let lasting =
        |fault: &&Fault| matches!(fault.kind, FaultKind::Isolate { .. } | FaultKind::Pause { .. });
    let isolates = |fault: &Fault| matches!(fault.kind, FaultKind::Isolate { .. });
    let excludes = |first: &Fault, second: &Fault| {
        first.kind.replica() == second.kind.replica()
            && (isolates(first) || isolates(second))
            && second.at < first.ends()
    };
    let mut pairs = faults.iter().filter(lasting).enumerate().flat_map(|(index, first)| {
        faults.iter().filter(lasting).skip(index + 1).map(move |second| (first, second))
    });
    pairs.find(|(first, second)| excludes(first, second))
}

/// Whether a fault, or its end, comes after its replica has crashed.
fn is_too_late(fault: &Fault, faults: &[Fault]) -> bool {
    let ends = fault.ends();
    let crashes = |other: &Fault| matches!(other.kind, FaultKind::Crash { .. });
    let operates = matches!(fault.kind, FaultKind::Join { .. } | FaultKind::Members { .. });
    let mut others = faults.iter().filter(|other| !operates && *other != fault && crashes(other));
    others.any(|other| other.kind.replica() == fault.kind.replica() && other.at <= ends)
}

fn read_fault(item: &At<'_>, around: &Surroundings<'_>) -> Option<Fault> {
    let fields = item.any_fields(EXAMPLE)?;
    let Some((kind, target)) = fields.one_of(&KINDS) else {
        let known =
            ["at", "crash", "pause", "slow", "isolate", "join", "members", "for", "by", "replaces"];
        let named = KINDS.iter().any(|kind| fields.get(kind).is_some());
        if !fields.refuse_others(&known) && !named {
            return item.wrong(format!("does not say what is done; write {EXAMPLE}"));
        }
        return None;
    };
    let known: &[&str] = match kind {
        "crash" => &["at", "crash"],
        "pause" => &["at", "pause", "for"],
        "join" => &["at", "join", "replaces"],
        "members" => &["at", "members"],
        "isolate" => &["at", "isolate", "for"],
        _ => &["at", "slow", "by", "for"],
    };
    let fields = item.fields_beside(known, &["restart_after"], EXAMPLE)?;
    if let Some(at) = fields.get("restart_after") {
        at.wrong_key("a replica that has lost its log in memory cannot come back; remove it");
    }
    let begins = fields.need("at", "4s", At::duration);
    let lasts = |example| fields.need("for", example, At::positive_duration);
    let replica = || read_replica(target, around);
    let kind = match kind {
        "crash" => replica().map(|replica| FaultKind::Crash { replica }),
        "join" => read_join(target, &fields, around),
        "members" => read_members(target, around),
        "pause" => {
            let (replica, lasts) = (replica(), lasts("2s"));
            replica.zip(lasts).map(|(replica, lasts)| FaultKind::Pause { replica, lasts })
        }
        "isolate" => {
            need_shaper(kind, &fields, around);
            let (replica, lasts) = (replica(), lasts("2s"));
            replica.zip(lasts).map(|(replica, lasts)| FaultKind::Isolate { replica, lasts })
        }
        _ => {
            need_shaper(kind, &fields, around);
            let by = fields.need("by", "100ms", At::positive_duration);
            let (replica, lasts) = (replica(), lasts("2s"));
            replica.zip(by.zip(lasts)).map(|(replica, (by, lasts))| FaultKind::Slow {
                replica,
                by,
                lasts,
            })
        }
    };
    let fault = Fault { at: begins?, kind: kind? };
    let ends = fault.ends();
    if ends >= around.measure {
        let measure = format_duration(around.measure);
        return item.wrong(format!(
            "ends {} after the measured phase began, which is {measure} long; write \
             a longer phases.measure or an earlier `at`",
            format_duration(ends)
        ));
    }
    Some(fault)
}

fn read_join(target: &At<'_>, fields: &Fields<'_>, around: &Surroundings<'_>) -> Option<FaultKind> {
    let spare = read_spare(target, around);
    let replaced = |at: &At<'_>| read_replica(at, around);
    let example = around.sites.first().map_or("tokyo", String::as_str);
    let replica = fields.need("replaces", example, replaced);
    spare.zip(replica).map(|(spare, replica)| FaultKind::Join { spare, replica })
}

/// Who is to be a member: replicas and spares, each once.
fn read_members(at: &At<'_>, around: &Surroundings<'_>) -> Option<FaultKind> {
    if let Some(mode) = around.unchosen {
        let (label, protocol) = (&mode.label, mode.protocol.name());
        at.wrong_key(format!(
            "the mode `{label}` is {protocol}, whose members nobody can choose; remove this fault, or \
             write modes of caspaxos only"
        ));
        return None;
    }
    let all: Vec<(&str, &str)> = around
        .sites
        .iter()
        .chain(around.spares)
        .map(|name| (name.as_str(), name.as_str()))
        .collect();
    let example = match around.sites {
        [] => "[virginia, tokyo, ireland]".to_owned(),
        sites => format!("[{}]", sites.join(", ")),
    };
    let items = at.items(&example)?;
    if items.is_empty() {
        return at.wrong(format!("names nobody; write one member or more, such as {example}"));
    }
    let mut seen = BTreeSet::new();
    let read = |item: &At<'_>| match item.word("replica or spare", &all)? {
        name if seen.insert(name) => Some(name.to_owned()),
        _ => item.wrong("stands here twice; remove one"),
    };
    let members: Vec<Option<String>> = items.iter().map(read).collect();
    Some(FaultKind::Members { members: members.into_iter().collect::<Option<_>>()? })
}

fn need_shaper(kind: &str, fields: &Fields<'_>, around: &Surroundings<'_>) {
    if !around.shaped {
        fields.at().wrong_key(format!(
            "`{kind}` needs a network that the processes shape; write network.shaping: endpoint"
        ));
    }
}

fn read_replica(at: &At<'_>, around: &Surroundings<'_>) -> Option<String> {
    let names: Vec<(&str, &str)> =
        around.sites.iter().map(|site| (site.as_str(), site.as_str())).collect();
    at.word("site", &names).map(str::to_owned)
}

fn read_spare(at: &At<'_>, around: &Surroundings<'_>) -> Option<String> {
    if around.spares.is_empty() {
        return at.wrong("there is no spare; write network.spares: [SITE] for one at that site");
    }
    let names: Vec<(&str, &str)> =
        around.spares.iter().map(|name| (name.as_str(), name.as_str())).collect();
    at.word("spare", &names).map(str::to_owned)
}

pub(super) fn write_faults(faults: &[Fault]) -> Value {
    Value::Sequence(faults.iter().map(write_fault).collect())
}

fn write_fault(fault: &Fault) -> Value {
    let at = ("at", format_duration(fault.at).into());
    let time = |duration: &Duration| Value::from(format_duration(*duration));
    match &fault.kind {
        FaultKind::Members { members } => map([at, ("members", members.clone().into())]),
        FaultKind::Crash { replica } => map([at, ("crash", replica.as_str().into())]),
        FaultKind::Pause { replica, lasts } => {
            map([at, ("pause", replica.as_str().into()), ("for", time(lasts))])
        }
        FaultKind::Slow { replica, by, lasts } => {
            map([at, ("slow", replica.as_str().into()), ("by", time(by)), ("for", time(lasts))])
        }
        FaultKind::Isolate { replica, lasts } => {
            map([at, ("isolate", replica.as_str().into()), ("for", time(lasts))])
        }
        FaultKind::Join { spare, replica } => {
            map([at, ("join", spare.as_str().into()), ("replaces", replica.as_str().into())])
        }
    }
}
