//! The modes: which protocol, and its options, read and written.

use std::time::Duration;

use serde_yaml::Value as Written;

use super::Mode;
use super::read::{At, Fields, one_of, unknown};
use super::tree::Value;
use super::write::{map, ms};
use crate::cluster::ProtocolChoice;
use crate::experiment::units::format_duration;
use crate::protocol::caspaxos::options::{CaspaxosOptions, Reads};
use crate::protocol::epaxos::options::{
    Dependencies, EpaxosOptions, FastPath, QuorumChoice, ReplyAt,
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
const PROTOCOLS: Words<Protocol, 3> =
    [("paxos", Protocol::Paxos), ("epaxos", Protocol::Epaxos), ("caspaxos", Protocol::Caspaxos)];
const PROTOCOLS_NOT_BUILT: [&str; 1] = ["multicoordinated"];

#[derive(Clone, Copy)]
enum Protocol {
    Paxos,
    Epaxos,
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
        Protocol::Caspaxos => read_caspaxos(&fields, sites).map(ProtocolChoice::Caspaxos),
    };
    Some(Mode { label: label?.to_owned(), protocol: protocol? })
}

fn read_protocol(at: &At<'_>) -> Option<(&'static str, Protocol)> {
    let text = at.text("paxos")?;
    let known = PROTOCOLS.map(|(name, _)| name);
    if PROTOCOLS_NOT_BUILT.contains(&text) {
        return at.wrong(format!(
            "this version does not have `{text}` yet; write {} instead",
            one_of(&known),
        ));
    }
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
    let leader = fields.or("leader", usual.leader, |at| read_leader(at, sites));
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

fn read_leader(at: &At<'_>, sites: Option<&[String]>) -> Option<u8> {
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
    let size = |key, usual| fields.or(key, usual, |at| read_quorum(at, sites?.len()));
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

/// A quorum's size among so many replicas; 0 stands for a majority.
fn read_quorum(at: &At<'_>, replicas: usize) -> Option<u8> {
    if matches!(at.value(), Value::Text(text) if text == MAJORITY) {
        return Some(0);
    }
    let size = at.count(1..=replicas as u64, majority(replicas) as u64)?;
    u8::try_from(size).ok()
}

pub(super) fn write_mode(mode: &Mode, sites: &[String]) -> Written {
    match &mode.protocol {
        ProtocolChoice::Paxos(options) => write_paxos(&mode.label, options, sites),
        ProtocolChoice::Epaxos(options) => write_epaxos(&mode.label, options),
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
    }
}
