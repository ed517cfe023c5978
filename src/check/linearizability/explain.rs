//! The smallest readable account of a violation.
//!
//! Most faults name the few operations that contradict each other. Where a search tried all orders
//! in vain, the history is made smaller as long as it stays impossible: first to the shortest
//! prefix (every prefix of a linearizable history is linearizable), then by leaving out reads, and
//! values together with all operations that wrote or saw them (what a remaining operation saw, the
//! same write still brings about).

use std::fmt::Write as _;

use rustc_hash::FxHashMap;

use super::Violation;
use super::partition::{Object, Partition};
use super::register::{Fault, Stop};
use super::search::{Budget, NEVER};
use crate::check::history::{Call, Completion, History, OperationRecord, Reply, Seen};
use crate::check::model::{After, RegisterOp, register_op};

/// The most operations that an explanation lists.
const LISTED_MAX: usize = 24;

/// Says why a partition is not linearizable.
pub(super) fn explain(
    history: &History,
    partition: &Partition,
    fault: &Fault,
    budget: Budget,
) -> Violation {
    let told = |summary, mut ops: Vec<u32>| {
        ops.sort_by_key(|&op| (history.operations[op as usize].invoke_ns, op));
        ops.dedup();
        let operations = ops.iter().map(|&op| Teller { history }.line(op)).collect();
        Violation { keys: partition.keys.clone(), summary, operations, others: 0, alone: None }
    };
    if *fault != Fault::NoOrder {
        let (summary, ops) = Teller { history }.sentence(fault);
        return told(summary, ops);
    }
    let mut core = Core::new(history, partition, budget);
    core.shorten();
    core.thin();
    if core.fault != Fault::NoOrder {
        let (summary, ops) = Teller { history }.sentence(&core.fault);
        return told(summary, ops);
    }
    let (summary, ops) = core.tell();
    told(summary, ops)
}

/// An impossible part of a history, getting smaller.
struct Core<'a> {
    history: &'a History,
    partition: Partition,
    horizon_ns: u64,
    fault: Fault,
    budget: Budget,
}

impl<'a> Core<'a> {
    fn new(history: &'a History, partition: &Partition, budget: Budget) -> Self {
        Core {
            history,
            partition: partition.clone(),
            horizon_ns: NEVER,
            fault: Fault::NoOrder,
            budget,
        }
    }

    fn record(&self, op: u32) -> &'a OperationRecord {
        &self.history.operations[op as usize]
    }

    /// Takes `ops` up to `horizon_ns` as the core if they are impossible too.
    fn adopt(&mut self, ops: Vec<u32>, horizon_ns: u64) -> bool {
        let smaller = self.partition.with_ops(ops);
        // Over budget counts as possible: the explanation is then larger, never wrong.
        let Err(Stop::Fault(fault)) = smaller.check(self.history, horizon_ns, self.budget) else {
            return false;
        };
        (self.partition, self.horizon_ns, self.fault) = (smaller, horizon_ns, fault);
        true
    }

    /// Finds the first answer that makes the history impossible.
    fn shorten(&mut self) {
        let answered = |&op: &u32| {
            let record = self.record(op);
            record.response_ns.filter(|_| matches!(record.completion, Completion::Ok(_)))
        };
        let mut ends: Vec<u64> = self.partition.ops.iter().filter_map(answered).collect();
        ends.sort_unstable();
        let (mut low, mut high) = (0, ends.len().saturating_sub(1));
        while low < high {
            let middle = usize::midpoint(low, high);
            let horizon_ns = ends[middle];
            let begun = |&op: &u32| self.record(op).invoke_ns <= horizon_ns;
            let ops = self.partition.ops.iter().copied().filter(begun).collect();
            if self.adopt(ops, horizon_ns) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
    }

    /// Leaves out whatever the contradiction does not need.
    fn thin(&mut self) {
        if self.partition.object != Object::Register {
            return;
        }
        let Ok(ops) = self.partition.register_ops(self.history, self.horizon_ns) else { return };
        // Without the one, another that was not answered may no longer explain what a third saw.
        if !ops.iter().any(|op| op.after.depends()) {
            self.leave_out(values_apart(&ops));
        }
        let reads = ops.iter().filter(|op| op.after == After::Same);
        self.leave_out(reads.map(|op| vec![op.id]).collect());
        let effective: Vec<u32> = ops.iter().map(|op| op.id).collect();
        self.partition.ops.retain(|op| effective.contains(op));
    }

    /// Tries to leave out ever smaller runs of `units`.
    fn leave_out(&mut self, mut units: Vec<Vec<u32>>) {
        let mut run = units.len();
        while run > 0 {
            let mut first = 0;
            while first < units.len() {
                let end = units.len().min(first + run);
                let mut dropped = units[first..end].concat();
                dropped.sort_unstable();
                let kept = |op: &u32| dropped.binary_search(op).is_err();
                let ops = self.partition.ops.iter().copied().filter(kept).collect();
                if self.adopt(ops, self.horizon_ns) {
                    units.drain(first..end);
                } else {
                    first = end;
                }
            }
            run /= 2;
        }
    }

    /// The summary, and the operations to list.
    fn tell(&self) -> (String, Vec<u32>) {
        let teller = Teller { history: self.history };
        let ops = &self.partition.ops;
        let last = ops
            .iter()
            .copied()
            .find(|&op| self.record(op).response_ns.is_some_and(|end| end == self.horizon_ns));
        let Some(last) = last else {
            return ("no order of the operations explains all answers".into(), self.nearest(ops));
        };
        let summary = format!(
            "no order explains {} after the {} operations begun before it ended; without its answer there is one",
            teller.phrase(last),
            ops.len() - 1
        );
        // What closes a circle through several keys need not touch the last's.
        let few = ops.len() <= LISTED_MAX;
        let touches = |&op: &u32| few || self.shares_key(op, last);
        let near: Vec<u32> = ops.iter().copied().filter(touches).collect();
        (summary, self.nearest(&near))
    }

    fn shares_key(&self, a: u32, b: u32) -> bool {
        let keys = |op| match *self.record(op) {
            OperationRecord { key, call: Call::Transfer { to, .. }, .. } => [key, to],
            OperationRecord { key, .. } => [key, key],
        };
        keys(a).iter().any(|key| keys(b).contains(key))
    }

    /// Those that end last.
    fn nearest(&self, ops: &[u32]) -> Vec<u32> {
        let mut ops = ops.to_vec();
        ops.sort_by_key(|&op| self.record(op).response_ns.unwrap_or(self.horizon_ns));
        ops.split_off(ops.len().saturating_sub(LISTED_MAX))
    }
}

/// Groups of operations that share values with no others, less those that bring about absence.
fn values_apart(ops: &[RegisterOp]) -> Vec<Vec<u32>> {
    let mut leaders: FxHashMap<u64, u64> = FxHashMap::default();
    let leader = |leaders: &FxHashMap<u64, u64>, mut token: u64| {
        while let Some(&parent) = leaders.get(&token) {
            token = parent;
        }
        token
    };
    for op in ops {
        if let (Some(found), Some(written)) = (op.found(), op.written()) {
            let (found, written) = (leader(&leaders, found), leader(&leaders, written));
            if found != written {
                leaders.insert(found.max(written), found.min(written));
            }
        }
    }
    let mut groups: FxHashMap<u64, (bool, Vec<u32>)> = FxHashMap::default();
    for op in ops {
        let Some(token) = op.found().or(op.written()) else { continue };
        let group = groups.entry(leader(&leaders, token)).or_default();
        group.0 |= op.after == After::Holds(None);
        group.1.push(op.id);
    }
    let mut groups: Vec<Vec<u32>> =
        groups.into_values().filter(|(deletes, _)| !deletes).map(|(_, ops)| ops).collect();
    groups.sort();
    groups
}

/// Puts operations into words.
struct Teller<'a> {
    history: &'a History,
}

impl Teller<'_> {
    fn record(&self, op: u32) -> &OperationRecord {
        &self.history.operations[op as usize]
    }

    /// What a fault says, and the operations that show it.
    fn sentence(&self, fault: &Fault) -> (String, Vec<u32>) {
        let phrase = |op: u32| self.phrase(op);
        match *fault {
            Fault::Corrupt { op } => {
                (format!("{}: bytes that no client wrote", phrase(op)), vec![op])
            }
            Fault::Contradiction { op } => {
                (format!("{}: no balances before it give that answer", phrase(op)), vec![op])
            }
            Fault::Overspent { ref ops } => (
                format!("{} transfers started from one balance of one account, which came about less often; among them {}", ops.len(), phrase(ops[0])),
                ops.iter().copied().take(LISTED_MAX).collect(),
            ),
            Fault::NeverWritten { op } => {
                (format!("{}, a value that no operation wrote", phrase(op)), vec![op])
            }
            Fault::ReplacedTwice { first, second } => (
                format!("{} and {}: both replaced the same value, so one update was lost", phrase(first), phrase(second)),
                vec![first, second],
            ),
            Fault::Circle { ref ops } => (
                "each of these operations replaced the value that another of them wrote, in a circle".into(),
                ops.clone(),
            ),
            Fault::OutOfOrder { early, late } => (self.out_of_order(early, late), vec![early, late]),
            Fault::Vanished { read, value } => (
                format!("{}, but {} before it began, and nothing deleted it", phrase(read), self.had(value)),
                vec![read, value],
            ),
            Fault::NotFirst { start, member, other } => (
                format!(
                    "{}, so the values from there to that of {} came first; but {} before the latter began",
                    phrase(start), phrase(member), self.had(other)
                ),
                vec![start, member, other],
            ),
            Fault::Interleaved { a_ended, b_began, b_ended, a_began } => (
                self.interleaved(a_ended, b_began, b_ended, a_began),
                vec![a_ended, b_began, b_ended, a_began],
            ),
            Fault::NoOrder => ("no order of the operations explains all answers".into(), vec![]),
        }
    }

    fn out_of_order(&self, early: u32, late: u32) -> String {
        let (first, second) = (self.phrase(early), self.phrase(late));
        let (early, late) = (self.record(early), self.record(late));
        if written(early).is_some() && written(early) == found(late) {
            return format!("{second}, but ended before {first}, which wrote that value, began");
        }
        if found(early).is_some() && found(early) == found(late) {
            return format!("{first}, but {second} had replaced that value before it began");
        }
        format!(
            "by the values they saw, {first} comes before {second}; but the latter ended before the former began"
        )
    }

    fn interleaved(&self, a_ended: u32, b_began: u32, b_ended: u32, a_began: u32) -> String {
        // Told from the side whose last operation is a read, if there is one: that read is stale.
        if written(self.record(a_began)).is_some() && written(self.record(b_began)).is_none() {
            return self.stale(b_ended, a_began, a_ended, b_began);
        }
        self.stale(a_ended, b_began, b_ended, a_began)
    }

    fn stale(&self, old_ended: u32, new_began: u32, new_ended: u32, read: u32) -> String {
        format!(
            "{}, but {} before it began, and the values that belong with it were there earlier: {} before {} began",
            self.phrase(read),
            self.had(new_ended),
            self.had(old_ended),
            self.phrase(new_began)
        )
    }

    /// `44 had been written and acknowledged`.
    fn had(&self, op: u32) -> String {
        let record = self.record(op);
        match (written(record), found(record)) {
            (Some(token), _) => format!("{token} had been written and acknowledged"),
            (None, Some(token)) => format!("{token} had been returned"),
            (None, None) => format!("{} had ended", self.phrase(op)),
        }
    }

    /// `get by process 7 at tokyo returned 41 at 3201.000–3280.000 ms`.
    fn phrase(&self, op: u32) -> String {
        let record = self.record(op);
        let site = &self.history.sites[usize::from(record.site)];
        let who = format!("{} by process {} at {site}", call(record), record.process);
        match &record.completion {
            Completion::Ok(reply) => format!("{who}{} at {}", answer(record, reply), times(record)),
            _ => format!("{who}, never answered, at {}", times(record)),
        }
    }

    fn line(&self, op: u32) -> String {
        format!("{}  {}", self.record(op).key, self.phrase(op))
    }
}

/// The token that an operation wrote or may have written.
fn written(record: &OperationRecord) -> Option<u64> {
    match record.call {
        Call::Put { value } | Call::Rmw { new: value } => Some(value),
        Call::Add { .. } | Call::Append { .. } => {
            register_op(0, record, NEVER).ok().flatten().and_then(|op| op.written())
        }
        Call::Cas { expected, new } => {
            let unanswered = !matches!(record.completion, Completion::Ok(_));
            (unanswered || found(record) == expected).then_some(new)
        }
        _ => None,
    }
}

/// The token that an operation returned.
fn found(record: &OperationRecord) -> Option<u64> {
    match record.completion {
        Completion::Ok(Reply::Found(Seen::Token(token)) | Reply::Full(Seen::Token(token))) => {
            Some(token)
        }
        _ => None,
    }
}

fn call(record: &OperationRecord) -> String {
    let or_absent = |token: Option<u64>| token.map_or("absent".into(), |token| token.to_string());
    match record.call {
        Call::Get => "get".into(),
        Call::Delete => "delete".into(),
        Call::Put { value } => format!("put {value}"),
        Call::Rmw { new } => format!("rmw to {new}"),
        Call::Add { amount } => format!("add {amount}"),
        Call::Append { new } => format!("append {new}"),
        Call::Cas { expected, new } => format!("cas from {} to {new}", or_absent(expected)),
        Call::Transfer { to, amount } => {
            format!("transfer of {amount} from {} to {to}", record.key)
        }
    }
}

fn answer(record: &OperationRecord, reply: &Reply) -> String {
    match reply {
        Reply::Done => String::new(),
        Reply::Full(Seen::Token(token)) => format!(" found it full at {token}"),
        Reply::Found(Seen::Absent) | Reply::Full(Seen::Absent) => " found it absent".into(),
        Reply::Found(Seen::Token(token)) => format!(" returned {token}"),
        Reply::Found(Seen::Corrupt(bytes)) | Reply::Full(Seen::Corrupt(bytes)) => {
            let mut digits = String::new();
            for byte in bytes.iter().take(32) {
                let _ = write!(digits, "{byte:02x}"); // strings take any write
            }
            format!(" returned corrupt:{digits}")
        }
        Reply::Balances { moved, from, to } => {
            let Call::Transfer { to: receiver, .. } = record.call else { return String::new() };
            let what = if *moved { "left" } else { "was refused with" };
            format!(" {what} {} at {from} and {receiver} at {to}", record.key)
        }
    }
}

fn times(record: &OperationRecord) -> String {
    let ms = |ns: u64| format!("{}.{:03}", ns / 1_000_000, ns / 1_000 % 1_000);
    match record.response_ns {
        Some(end_ns) => format!("{}–{} ms", ms(record.invoke_ns), ms(end_ns)),
        None => format!("{} ms", ms(record.invoke_ns)),
    }
}
