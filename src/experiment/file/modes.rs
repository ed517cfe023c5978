//! The modes: which protocol, and its options, read and written.

use std::time::Duration;

use serde_yaml::Value as Written;

use super::Mode;
use super::read::{At, Fields, unknown};
use super::tree::Value;
use super::write::{map, ms};
use crate::cluster::ProtocolChoice;
use crate::experiment::units::format_duration;
use crate::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use crate::protocol::epaxos::options::{
    Dependencies, EpaxosOptions, FastPath, QuorumChoice, ReplyAt,
};
use crate::protocol::multicoordinated::options::{
    MulticoordinatedOptions, Recovery, Rounds, Structure,
};
use crate::protocol::paxos::{PaxosOptions, Variant};
use crate::protocol::quorum::majority;

/// The words of the file for an option, and what they mean.
type Words<T, const N: usize> = [(&'static str, T); N];

pub(in crate::experiment) const VARIANTS: Words<Variant, 3> =
    [("multi", Variant::Multi), ("fall", Variant::Fall), ("regular", Variant::Regular)];
pub(in crate::experiment) const FAST_PATHS: Words<FastPath, 5> = [
    ("published", FastPath::Published),
    ("fixed-quorum", FastPath::FixedQuorum),
    ("deps-committed", FastPath::DepsCommitted),
    ("accept-deps", FastPath::AcceptDeps),
    ("simplified", FastPath::Simplified),
];
pub(in crate::experiment) const DEPENDENCIES: Words<Dependencies, 2> =
    [("explicit", Dependencies::Explicit), ("prefix", Dependencies::Prefix)];
pub(in crate::experiment) const REPLIES: Words<ReplyAt, 2> =
    [("executed", ReplyAt::Executed), ("committed", ReplyAt::Committed)];
pub(in crate::experiment) const READS: Words<Reads, 2> =
    [("change", Reads::Change), ("clean", Reads::Clean)];
pub(in crate::experiment) const ROUNDS: Words<Rounds, 3> =
    [("fast", Rounds::Fast), ("single", Rounds::Single), ("multi", Rounds::Multi)];
pub(in crate::experiment) const RECOVERIES: Words<Recovery, 3> = [
    ("coordinated", Recovery::Coordinated),
    ("uncoordinated", Recovery::Uncoordinated),
    ("leader", Recovery::Leader),
];
pub(in crate::experiment) const STRUCTURES: Words<Structure, 2> =
    [("history", Structure::History), ("sequence", Structure::Sequence)];
const QUORUMS: Words<QuorumChoice, 2> =
    [("nearest", QuorumChoice::Nearest), ("measured", QuorumChoice::Measured)];

/// The word for a value; every value has one.
pub(in crate::experiment) fn word_for<T: PartialEq>(
    words: &[(&'static str, T)],
    value: T,
) -> &'static str {
    words.iter().find(|(_, meaning)| *meaning == value).map_or("", |(word, _)| word)
}

/// The protocols of this version, as the file names them.
const PROTOCOLS: Words<Protocol, 4> = [
    ("paxos", Protocol::Paxos),
    ("epaxos", Protocol::Epaxos),
    ("multicoordinated", Protocol::Multicoordinated),
    ("caspaxos", Protocol::Caspaxos),
];

#[derive(Clone, Copy)]
enum Protocol {
    Paxos,
    Epaxos,
    Multicoordinated,
    Caspaxos,
}

/// Reads the list of modes; `sites` are those of the network, as far as they can be read.
pub(super) fn read_modes(at: &At<'_>, sites: Option<&[String]>) -> Option<Vec<Mode>> {
    let items = at.items("[paxos]")?;
    if items.is_empty() {
        return at.wrong("lists no mode; write at least one, such as [paxos]");
    }
    let mut modes: Vec<Mode> = Vec::with_capacity(items.len());
    let mut complete = true;
    for (n, item) in items.iter().enumerate() {
        match read_mode(item, sites) {
            Some(mode) if modes.iter().any(|other| other.label == mode.label) => {
                complete = false;
                let label = &mode.label;
                item.wrong::<()>(format!(
                    "two modes are called `{label}`; write a name of its own in this one, such as \
                     label: {label}-{}",
                    n + 1
                ));
            }
            Some(mode) => modes.push(mode),
            None => complete = false,
        }
    }
    complete.then_some(modes)
}

fn read_mode(at: &At<'_>, sites: Option<&[String]>) -> Option<Mode> {
    let (fields, (name, protocol)) = match at.value() {
        Value::Map(_) => {
            let fields = at.any_fields("{ mode: paxos }")?;
            let protocol = fields.need("mode", "paxos", read_protocol)?;
            (fields, protocol)
        }
        _ => (at.no_fields(), read_protocol(at)?),
    };
    let label = fields.or("label", name, |at| at.name("paxos-tokyo"));
    let protocol = match protocol {
        Protocol::Paxos => read_paxos(&fields, sites).map(ProtocolChoice::Paxos),
        Protocol::Epaxos => read_epaxos(&fields, sites).map(ProtocolChoice::Epaxos),
        Protocol::Multicoordinated => {
            read_multicoordinated(&fields, sites).map(ProtocolChoice::Multicoordinated)
        }
        Protocol::Caspaxos => read_caspaxos(&fields, sites).map(ProtocolChoice::Caspaxos),
    };
    Some(Mode { label: label?.to_owned(), protocol: protocol? })
}

fn read_protocol(at: &At<'_>) -> Option<(&'static str, Protocol)> {
    let text = at.text("paxos")?;
    let known = PROTOCOLS.map(|(name, _)| name);
    let found = PROTOCOLS.into_iter().find(|(name, _)| *name == text);
    found.or_else(|| at.wrong(unknown("mode", text, &known)))
}

fn read_paxos(fields: &Fields<'_>, sites: Option<&[String]>) -> Option<PaxosOptions> {
    const KEYS: [&str; 10] = [
        "mode",
        "label",
        "leader",
        "variant",
        "pipeline",
        "batch",
        "heartbeat",
        "election_timeout",
        "retransmit",
        "log_instances_max",
    ];
    fields.refuse_others(&KEYS);
    let usual = PaxosOptions::default();
    let variant = fields.or("variant", usual.variant, |at| at.word("variant", &VARIANTS));
    // Where each instance needs the permission that the one before it returned, they cannot overlap.
    let consecutive = variant == Some(Variant::Fall);
    let (pipeline_max, usual_pipeline) =
        if consecutive { (1, 1) } else { (1 << 20, usual.pipeline) };
    let leader = fields.or("leader", usual.leader, |at| read_site(at, sites));
    let pipeline =
        fields.or("pipeline", usual_pipeline, |at| match at.count(1..=1 << 20, 256)? {
            n if n > pipeline_max => {
                at.wrong("variant fall decides one instance after the other; write 1 instead")
            }
            n => Some(n as usize),
        });
    let batch = fields.or("batch", usual.batch, |at| Some(at.count(1..=1 << 20, 4096)? as usize));
    let heartbeat_ms = fields.or("heartbeat", usual.heartbeat_ms, At::whole_ms);
    let election_timeout_ms =
        fields.or("election_timeout", usual.election_timeout_ms, At::whole_ms);
    let retransmit_ms = fields.or("retransmit", usual.retransmit_ms, At::whole_ms);
    let log_instances_max = fields.or("log_instances_max", usual.log_instances_max, |at| {
        Some(at.count(1..=1 << 32, 65_536)? as usize)
    });
    let options = PaxosOptions {
        variant: variant?,
        leader: leader?,
        pipeline: pipeline?,
        batch: batch?,
        heartbeat_ms: heartbeat_ms?,
        election_timeout_ms: election_timeout_ms?,
        retransmit_ms: retransmit_ms?,
        log_instances_max: log_instances_max?,
    };
    check_suspicion(fields, "election_timeout", options.election_timeout_ms, options.heartbeat_ms)?;
    Some(options)
}

/// Refuses what would have replicas suspect each other all the time: `key`, a time in ms that is no
/// longer than the heartbeat's.
fn check_suspicion(fields: &Fields<'_>, key: &str, after_ms: u64, heartbeat_ms: u64) -> Option<()> {
    if after_ms > heartbeat_ms {
        return Some(());
    }
    let at = fields.get(key).unwrap_or(fields.at());
    let enough = format_duration(Duration::from_millis(heartbeat_ms.saturating_mul(10)));
    at.wrong(format!(
        "a replica would be suspected after {after_ms}ms, before its next heartbeat after \
         {heartbeat_ms}ms; write {key}: {enough} or more"
    ))
}

fn read_site(at: &At<'_>, sites: Option<&[String]>) -> Option<u8> {
    let name = at.text("a site")?;
    // Without sites there is nothing to hold it against; that they are missing is reported.
    let sites = sites?;
    let place = sites.iter().position(|site| site == name);
    let known: Vec<&str> = sites.iter().map(String::as_str).collect();
    match place.map(u8::try_from) {
        Some(Ok(place)) => Some(place),
        _ => at.wrong(unknown("site", name, &known)),
    }
}

fn read_epaxos(fields: &Fields<'_>, sites: Option<&[String]>) -> Option<EpaxosOptions> {
    const KEYS: [&str; 15] = [
        "mode",
        "label",
        "fast_path",
        "thrifty",
        "quorum",
        "dependencies",
        "reply",
        "window",
        "hold",
        "batch",
        "heartbeat",
        "suspect",
        "fallback",
        "recover",
        "log_instances_max",
    ];
    fields.refuse_others(&KEYS);
    let usual = EpaxosOptions::default();
    let count = |key, usual, max: u64| {
        fields.or(key, usual, |at| Some(at.count(1..=max, usual as u64)? as usize))
    };
    let time_ms = |key, usual| fields.or(key, usual, At::whole_ms);
    let fast_path = fields.or("fast_path", usual.fast_path, |at| at.word("fast path", &FAST_PATHS));
    let thrifty = fields.or("thrifty", usual.thrifty, At::flag);
    let quorum = fields.or("quorum", usual.quorum, |at| at.word("quorum", &QUORUMS));
    let dependencies =
        fields.or("dependencies", usual.dependencies, |at| at.word("form", &DEPENDENCIES));
    let reply = fields.or("reply", usual.reply, |at| at.word("time to reply", &REPLIES));
    let (window, batch) =
        (count("window", usual.window, 1 << 20), count("batch", usual.batch, 1 << 20));
    let (heartbeat_ms, suspect_ms) =
        (time_ms("heartbeat", usual.heartbeat_ms), time_ms("suspect", usual.suspect_ms));
    let (fallback_ms, recover_ms) =
        (time_ms("fallback", usual.fallback_ms), time_ms("recover", usual.recover_ms));
    let hold = fields.or("hold", usual.hold, At::flag);
    let log_instances_max = count("log_instances_max", usual.log_instances_max, 1 << 32);
    let options = EpaxosOptions {
        replaces: None,
        fast_path: fast_path?,
        thrifty: thrifty?,
        quorum: quorum?,
        near: usual.near,
        dependencies: dependencies?,
        reply: reply?,
        window: window?,
        hold: hold?,
        batch: batch?,
        heartbeat_ms: heartbeat_ms?,
        suspect_ms: suspect_ms?,
        fallback_ms: fallback_ms?,
        recover_ms: recover_ms?,
        log_instances_max: log_instances_max?,
    };
    check_suspicion(fields, "suspect", options.suspect_ms, options.heartbeat_ms)?;
    check_epaxos(fields, &options, sites?.len())?;
    Some(options)
}

/// Refuses options that contradict each other or the number of sites. To blame is the first of them
/// without which the complaint would go; the mode as a whole if there is none.
fn check_epaxos(fields: &Fields<'_>, options: &EpaxosOptions, sites: usize) -> Option<()> {
    let Err(why) = options.check(sites) else { return Some(()) };
    let usual = EpaxosOptions::default();
    let without = [
        ("dependencies", EpaxosOptions { dependencies: usual.dependencies, ..options.clone() }),
        ("reply", EpaxosOptions { reply: usual.reply, ..options.clone() }),
        ("fast_path", EpaxosOptions { fast_path: FastPath::Published, ..options.clone() }),
    ];
    let goes = |other: &EpaxosOptions| other.check(sites).err().as_ref() != Some(&why);
    let to_blame = without.iter().find(|(_, other)| goes(other));
    let at = to_blame.and_then(|(key, _)| fields.get(key)).unwrap_or(fields.at());
    at.wrong(why)
}

fn read_caspaxos(fields: &Fields<'_>, sites: Option<&[String]>) -> Option<CaspaxosOptions> {
    const KEYS: [&str; 12] = [
        "mode",
        "label",
        "prepare",
        "accept",
        "one_round_trip",
        "reads",
        "batch",
        "resend",
        "backoff_max",
        "forward_after",
        "repair",
        "collect",
    ];
    fields.refuse_others(&KEYS);
    let usual = CaspaxosOptions::default();
    let time_ms = |key, usual| fields.or(key, usual, At::whole_ms);
    let half = |at: &At<'_>| read_quorum(at, sites?.len(), MAJORITY, majority(sites?.len()));
    let size = |key, usual| fields.or(key, usual, half);
    let (prepare, accept) = (size("prepare", usual.prepare), size("accept", usual.accept));
    let one_round_trip = fields.or("one_round_trip", usual.one_round_trip, At::flag);
    let reads = fields.or("reads", usual.reads, |at| at.word("way to read", &READS));
    let batch = fields.or("batch", usual.batch, |at| Some(at.count(1..=1 << 20, 4096)? as usize));
    let resend_ms = time_ms("resend", usual.resend_ms);
    let backoff_max_ms = time_ms("backoff_max", usual.backoff_max_ms);
    let forward_after =
        fields.or("forward_after", usual.forward_after, |at| Some(at.count(0..=255, 2)? as u8));
    let repair_ms = time_ms("repair", usual.repair_ms);
    let collect_ms = fields.or("collect", usual.collect_ms, |at| match at.duration()? {
        Duration::ZERO => Some(0),
        _ => at.whole_ms(),
    });
    let options = CaspaxosOptions {
        prepare: prepare?,
        accept: accept?,
        one_round_trip: one_round_trip?,
        reads: reads?,
        batch: batch?,
        resend_ms: resend_ms?,
        backoff_max_ms: backoff_max_ms?,
        forward_after: forward_after?,
        repair_ms: repair_ms?,
        collect_ms: collect_ms?,
        replaces: None,
    };
    match options.check(sites?.len()) {
        Ok(()) => Some(options),
        Err(why) => {
            let written = fields.get("accept").or(fields.get("prepare"));
            written.unwrap_or(fields.at()).wrong(why)
        }
    }
}

/// How a quorum that is a majority is written.
const MAJORITY: &str = "majority";
/// How the least fast quorum that the quorum requirement allows is written.
const LEAST: &str = "least";
/// How coordinators are written that are all replicas.
const ALL: &str = "all";

fn is_word(at: &At<'_>, word: &str) -> bool {
    matches!(at.value(), Value::Text(text) if text == word)
}

/// A quorum's size among so many replicas; 0 stands for the `usual` one, which has a word.
fn read_quorum(at: &At<'_>, replicas: usize, word: &str, usual: usize) -> Option<u8> {
    if is_word(at, word) {
        return Some(0);
    }
    let size = at.count(1..=replicas as u64, usual as u64)?;
    u8::try_from(size).ok()
}

const MULTICOORDINATED_KEYS: [&str; 16] = [
    "mode",
    "label",
    "rounds",
    "leader",
    "coordinators",
    "classic",
    "fast",
    "balance",
    "recovery",
    "shrink",
    "structure",
    "checkpoint",
    "return_after",
    "fallback",
    "heartbeat",
    "election_timeout",
];

fn read_multicoordinated(
    fields: &Fields<'_>,
    sites: Option<&[String]>,
) -> Option<MulticoordinatedOptions> {
    fields.refuse_others(&MULTICOORDINATED_KEYS);
    let usual = MulticoordinatedOptions::default();
    let sizes = usual.quorums(sites.map_or(1, <[String]>::len));
    let time_ms = |key, usual| fields.or(key, usual, At::whole_ms);
    let flag = |key, usual| fields.or(key, usual, At::flag);
    let size = |key, word, size| fields.or(key, 0, |at| read_quorum(at, sites?.len(), word, size));
    let rounds = fields.or("rounds", usual.rounds, |at| at.word("kind of rounds", &ROUNDS));
    let leader = fields.or("leader", usual.leader, |at| read_site(at, sites));
    let coordinators =
        fields.or("coordinators", usual.coordinators, |at| read_coordinators(at, sites));
    let (classic, fast) =
        (size("classic", MAJORITY, sizes.classic), size("fast", LEAST, sizes.fast));
    let (balance, shrink) = (flag("balance", usual.balance), flag("shrink", usual.shrink));
    let recovery = fields.or("recovery", usual.recovery, |at| at.word("recovery", &RECOVERIES));
    let structure = fields.or("structure", usual.structure, |at| at.word("structure", &STRUCTURES));
    let checkpoint = fields.or("checkpoint", usual.checkpoint, |at| {
        Some(at.count(1..=CHECKPOINT_MAX, usual.checkpoint as u64)? as usize)
    });
    let (return_after_ms, fallback_ms) =
        (time_ms("return_after", usual.return_after_ms), time_ms("fallback", usual.fallback_ms));
    let heartbeat_ms = time_ms("heartbeat", usual.heartbeat_ms);
    let election_timeout_ms = time_ms("election_timeout", usual.election_timeout_ms);
    let options = MulticoordinatedOptions {
        rounds: rounds?,
        leader: leader?,
        coordinators: coordinators?,
        classic: classic?,
        fast: fast?,
        balance: balance?,
        recovery: recovery?,
        shrink: shrink?,
        structure: structure?,
        checkpoint: checkpoint?,
        return_after_ms: return_after_ms?,
        fallback_ms: fallback_ms?,
        runs_max: usual.runs_max,
        heartbeat_ms: heartbeat_ms?,
        election_timeout_ms: election_timeout_ms?,
    };
    check_suspicion(fields, "election_timeout", options.election_timeout_ms, options.heartbeat_ms)?;
    check_rounds(fields, &options)?;
    check_quorums(fields, &options, sites?.len())?;
    Some(options)
}

/// Commands of an instance, at most: it is kept, and sent to those who lack it.
const CHECKPOINT_MAX: u64 = 1 << 24;

/// Sites, each once; none for all of them.
fn read_coordinators(at: &At<'_>, sites: Option<&[String]>) -> Option<Vec<u8>> {
    if is_word(at, ALL) {
        return Some(Vec::new());
    }
    let example = match at.value() {
        Value::Text(site) => format!("[{site}]"),
        _ => ALL.to_owned(),
    };
    let items = at.items(&example)?;
    if items.is_empty() {
        return at.wrong("lists no coordinator; write at least one, or all");
    }
    let mut places = Vec::with_capacity(items.len());
    for item in &items {
        match read_site(item, sites) {
            Some(place) if places.contains(&Some(place)) => {
                let name = item.text("a site")?;
                item.wrong::<()>(format!("the site `{name}` is listed twice; remove one"));
                places.push(None);
            }
            place => places.push(place),
        }
    }
    places.into_iter().collect()
}

/// Refuses what has no meaning in the chosen rounds.
fn check_rounds(fields: &Fields<'_>, options: &MulticoordinatedOptions) -> Option<()> {
    let (fast, multi) = (options.rounds == Rounds::Fast, options.rounds == Rounds::Multi);
    let wrong = [
        (
            "coordinators",
            !options.coordinators.is_empty() && !multi,
            "only rounds multi have coordinators to choose; write coordinators: all, or rounds: multi",
        ),
        (
            "balance",
            options.balance && !fast && !multi,
            "rounds single have one coordinator, which takes all commands; write balance: false, or \
             rounds: multi",
        ),
        (
            "recovery",
            options.recovery == Recovery::Uncoordinated && !fast,
            "only the acceptors of rounds fast can do without a coordinator; write recovery: coordinated, \
             or rounds: fast",
        ),
        (
            "shrink",
            options.shrink && !multi,
            "only rounds multi have coordinators to do without; write shrink: false, or rounds: multi",
        ),
    ];
    let mut complete = Some(());
    for (key, _, why) in wrong.into_iter().filter(|(_, is_wrong, _)| *is_wrong) {
        complete = fields.get(key).unwrap_or(fields.at()).wrong(why);
    }
    complete
}

/// Refuses quorums that need not intersect. To blame is the fast one, if the complaint goes without it.
fn check_quorums(
    fields: &Fields<'_>,
    options: &MulticoordinatedOptions,
    sites: usize,
) -> Option<()> {
    let Err(why) = options.check(sites) else { return Some(()) };
    let without_fast = MulticoordinatedOptions { fast: 0, ..options.clone() };
    let key = if without_fast.check(sites).is_ok() { "fast" } else { "classic" };
    fields.get(key).unwrap_or(fields.at()).wrong(why)
}

pub(super) fn write_mode(mode: &Mode, sites: &[String]) -> Written {
    match &mode.protocol {
        ProtocolChoice::Paxos(options) => write_paxos(&mode.label, options, sites),
        ProtocolChoice::Epaxos(options) => write_epaxos(&mode.label, options),
        ProtocolChoice::Multicoordinated(options) => {
            write_multicoordinated(&mode.label, options, sites)
        }
        ProtocolChoice::Caspaxos(options) => write_caspaxos(&mode.label, options),
    }
}

fn write_paxos(label: &str, options: &PaxosOptions, sites: &[String]) -> Written {
    map([
        ("mode", "paxos".into()),
        ("label", label.into()),
        ("leader", sites[usize::from(options.leader)].as_str().into()),
        ("variant", word_for(&VARIANTS, options.variant).into()),
        ("pipeline", options.pipeline.into()),
        ("batch", options.batch.into()),
        ("heartbeat", ms(options.heartbeat_ms)),
        ("election_timeout", ms(options.election_timeout_ms)),
        ("retransmit", ms(options.retransmit_ms)),
        ("log_instances_max", options.log_instances_max.into()),
    ])
}

/// All options but the order of distance, which follows from the network.
fn write_epaxos(label: &str, options: &EpaxosOptions) -> Written {
    map([
        ("mode", "epaxos".into()),
        ("label", label.into()),
        ("fast_path", word_for(&FAST_PATHS, options.fast_path).into()),
        ("thrifty", options.thrifty.into()),
        ("quorum", word_for(&QUORUMS, options.quorum).into()),
        ("dependencies", word_for(&DEPENDENCIES, options.dependencies).into()),
        ("reply", word_for(&REPLIES, options.reply).into()),
        ("window", options.window.into()),
        ("hold", options.hold.into()),
        ("batch", options.batch.into()),
        ("heartbeat", ms(options.heartbeat_ms)),
        ("suspect", ms(options.suspect_ms)),
        ("fallback", ms(options.fallback_ms)),
        ("recover", ms(options.recover_ms)),
        ("log_instances_max", options.log_instances_max.into()),
    ])
}

fn write_multicoordinated(
    label: &str,
    options: &MulticoordinatedOptions,
    sites: &[String],
) -> Written {
    let site = |place: &u8| Written::from(sites[usize::from(*place)].as_str());
    let coordinators = match options.coordinators.as_slice() {
        [] => ALL.into(),
        some => Written::Sequence(some.iter().map(site).collect()),
    };
    map([
        ("mode", "multicoordinated".into()),
        ("label", label.into()),
        ("rounds", word_for(&ROUNDS, options.rounds).into()),
        ("leader", site(&options.leader)),
        ("coordinators", coordinators),
        ("classic", if options.classic == 0 { MAJORITY.into() } else { options.classic.into() }),
        ("fast", if options.fast == 0 { LEAST.into() } else { options.fast.into() }),
        ("balance", options.balance.into()),
        ("recovery", word_for(&RECOVERIES, options.recovery).into()),
        ("shrink", options.shrink.into()),
        ("structure", word_for(&STRUCTURES, options.structure).into()),
        ("checkpoint", options.checkpoint.into()),
        ("return_after", ms(options.return_after_ms)),
        ("fallback", ms(options.fallback_ms)),
        ("heartbeat", ms(options.heartbeat_ms)),
        ("election_timeout", ms(options.election_timeout_ms)),
    ])
}

fn write_caspaxos(label: &str, options: &CaspaxosOptions) -> Written {
    let quorum = |size: u8| if size == 0 { MAJORITY.into() } else { size.into() };
    map([
        ("mode", "caspaxos".into()),
        ("label", label.into()),
        ("prepare", quorum(options.prepare)),
        ("accept", quorum(options.accept)),
        ("one_round_trip", options.one_round_trip.into()),
        ("reads", word_for(&READS, options.reads).into()),
        ("batch", options.batch.into()),
        ("resend", ms(options.resend_ms)),
        ("backoff_max", ms(options.backoff_max_ms)),
        ("forward_after", options.forward_after.into()),
        ("repair", ms(options.repair_ms)),
        ("collect", ms(options.collect_ms)),
    ])
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    fn are_those_of_other_files<T: Serialize>(words: &[(&str, T)]) {
        for (word, meaning) in words {
            assert_eq!(serde_json::to_value(meaning).unwrap(), *word);
        }
    }

    #[test]
    fn cluster_file_and_summary_have_the_same_words() {
        are_those_of_other_files(&VARIANTS);
        are_those_of_other_files(&FAST_PATHS);
        are_those_of_other_files(&QUORUMS);
        are_those_of_other_files(&DEPENDENCIES);
        are_those_of_other_files(&REPLIES);
        are_those_of_other_files(&READS);
        are_those_of_other_files(&ROUNDS);
        are_those_of_other_files(&RECOVERIES);
        are_those_of_other_files(&STRUCTURES);
    }
}
