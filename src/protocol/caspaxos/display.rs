//! Messages and records, a line each, for transcripts and failures.

use std::fmt;

use super::ballot::Ballot;
use super::members::{Configuration, Group, MEMBERS_KEY};
use super::message::{CaspaxosMessage, CaspaxosRecord, Change, Fate, Part, Promise, Rest, Seen};
use super::state::State;
use crate::command::Key;
use crate::protocol::quorum::NodeSet;
use crate::protocol::show::few;

/// Bytes of a value that are shown.
const VALUE_BYTES_SHOWN: usize = 4;

struct Name(Key);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == MEMBERS_KEY { f.write_str("members") } else { self.0.fmt(f) }
    }
}

impl fmt::Display for State {
    /// Its first bytes, and the marks of other writers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => f.write_str("∅")?,
            Some(value) => {
                for byte in value.iter().take(VALUE_BYTES_SHOWN) {
                    write!(f, "{byte:02x}")?;
                }
            }
        }
        if self.marks.iter().len() > 0 {
            few(f, ("{", "}"), self.marks.iter(), |mark, f| mark.fmt(f))?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", Name(self.key), self.ballot, self.state)
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Promise::Accepted { ballot, .. } if ballot.is_zero() => f.write_str("nothing"),
            Promise::Accepted { ballot, state } => write!(f, "{ballot} {state}"),
            Promise::Conflict(seen) => write!(f, "conflict {seen}"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::Same => f.write_str("same"),
            Seen::Borrowed => f.write_str("borrowed"),
            Seen::Other { ballot, state } => write!(f, "{ballot} {state}"),
        }
    }
}

/// Where a part of an answer begins, if not where the question does.
struct FromPlace(u32);

impl fmt::Display for FromPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " from #{}", self.0) }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::UnderWay => f.write_str("under way"),
            Fate::Done { first, outcomes, is_alone } => {
                write!(f, "done, {} from #{first}", outcomes.len())?;
                f.write_str(if *is_alone { ", nobody else is here" } else { "" })
            }
            Fate::Refused { winner } => write!(f, "refused, {winner} has won"),
            Fate::NotThisLife => f.write_str("not in this life"),
        }
    }
}

struct Nodes(NodeSet);

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, node) in self.0.iter().enumerate() {
            write!(f, "{}{node}", if place == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", Nodes(self.members))
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {} ", self.epoch)?;
        if let Some(old) = self.old {
            write!(f, "{old}→")?;
        }
        write!(f, "{}", self.new)
    }
}

fn keyed(f: &mut fmt::Formatter<'_>, keys: &[(Key, Ballot)]) -> fmt::Result {
    few(f, ("(", ")"), keys.iter(), |(key, ballot), f| write!(f, "{} {ballot}", Name(*key)))
}

impl fmt::Display for CaspaxosMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::protocol::Message;
        f.write_str(self.kind())?;
        match self {
            CaspaxosMessage::Prepare { ballot, keys, .. } => {
                write!(f, " {ballot} ")?;
                few(f, ("(", ")"), keys.iter(), |key, f| Name(*key).fmt(f))
            }
            CaspaxosMessage::Promise { batch, first, promises, .. } => {
                write!(f, " to {batch}{} ", FromPlace(*first))?;
                few(f, ("(", ")"), promises.iter(), fmt::Display::fmt)
            }
            CaspaxosMessage::Accept { batch, next, changes } => {
                write!(f, " {batch} ")?;
                few(f, ("(", ")"), changes.iter(), fmt::Display::fmt)?;
                if next.is_zero() { Ok(()) } else { write!(f, ", next {next}") }
            }
            CaspaxosMessage::Accepted { batch, conflicts } => {
                write!(f, " {batch}")?;
                if conflicts.is_empty() {
                    return Ok(());
                }
                let show = |(place, seen): &(u32, Ballot), f: &mut fmt::Formatter<'_>| {
                    write!(f, "#{place} conflict {seen}")
                };
                few(f, (" but (", ")"), conflicts.iter(), show)
            }
            CaspaxosMessage::Read { batch, keys, .. } => {
                write!(f, " {batch} ")?;
                keyed(f, keys)
            }
            CaspaxosMessage::ReadOk { batch, first, seen } => {
                write!(f, " {batch}{} ", FromPlace(*first))?;
                few(f, ("(", ")"), seen.iter(), fmt::Display::fmt)
            }
            CaspaxosMessage::Remove { tombstones } | CaspaxosMessage::Removed { tombstones } => {
                f.write_str(" ")?;
                keyed(f, tombstones)
            }
            CaspaxosMessage::Pull { part: Part::Buckets(buckets), .. } => {
                write!(f, " {} buckets", buckets.len())
            }
            CaspaxosMessage::Pull { part: Part::From(place), .. } => write!(f, " from {place}"),
            CaspaxosMessage::Copies { copies, rest, .. } => {
                few(f, (" (", ")"), copies.iter(), fmt::Display::fmt)?;
                f.write_str(if let Rest::From(_) = rest { ", more follows" } else { "" })
            }
            CaspaxosMessage::Forward { number, seen, commands, .. } => {
                write!(f, " {number} to {seen} ")?;
                few(f, ("(", ")"), commands.iter(), fmt::Display::fmt)
            }
            CaspaxosMessage::Forwarded { number, fate } => write!(f, " {number} {fate}"),
            CaspaxosMessage::Configure(configuration) => write!(f, " {configuration}"),
            CaspaxosMessage::Compare { .. }
            | CaspaxosMessage::Digests { .. }
            | CaspaxosMessage::WhichConfiguration => Ok(()),
            CaspaxosMessage::Merged { epoch } => write!(f, " in epoch {epoch}"),
            CaspaxosMessage::Replace(leaver) => write!(f, " {leaver}"),
        }
    }
}

impl fmt::Display for CaspaxosRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaspaxosRecord::Counters(below) => write!(f, "Counters below {below}"),
            CaspaxosRecord::Promised { ballot, keys } => {
                write!(f, "Promised {ballot} ")?;
                few(f, ("(", ")"), keys.iter(), |key, f| Name(*key).fmt(f))
            }
            CaspaxosRecord::Accepted { next, changes, refused } => {
                let taken = changes.iter().zip(0..).filter(|(_, at)| !refused.contains(at));
                let taken: Vec<&Change> = taken.map(|(change, _)| change).collect();
                few(f, ("Accepted (", ")"), taken.iter(), fmt::Display::fmt)?;
                if next.is_zero() { Ok(()) } else { write!(f, ", next {next}") }
            }
            CaspaxosRecord::Copied { copies, .. } => {
                few(f, ("Copied (", ")"), copies.iter(), fmt::Display::fmt)
            }
            CaspaxosRecord::Removed(tombstones) => {
                f.write_str("Removed ")?;
                keyed(f, tombstones)
            }
            CaspaxosRecord::Configured(configuration) => write!(f, "Configured {configuration}"),
            CaspaxosRecord::Merged(epoch) => write!(f, "Merged in epoch {epoch}"),
        }
    }
}
