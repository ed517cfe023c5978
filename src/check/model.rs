//! The sequential store, as the checker understands it: a second opinion on [`crate::kv`].
//!
//! [`RegisterOp`] reduces an operation to what the order of operations must respect: what it saw
//! before it, and what it left behind. [`TransferOp`] does the same for accounts.

use rustc_hash::FxHashSet;

use super::history::{Call, Completion, OperationRecord, Reply, Seen, appended};
use super::linearizability::search::{Item, Model, NEVER, fingerprint};

/// A register's state; `None` is absent, as every register is at first.
pub(crate) type Register = Option<u64>;

/// What an operation tells about the register before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Before {
    /// Nothing.
    Any,
    /// It held this.
    Held(Register),
}

/// What an operation did to a register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum After {
    /// It left it as it was.
    Same,
    /// It holds this from then on.
    Holds(Register),
    /// Its number is greater by so much: an add whose answer is unknown.
    Adds(u64),
    /// Its list has one more: an append whose answer is unknown.
    Appends(u64),
}

impl After {
    /// What the register holds afterwards that held `before`.
    fn of(self, before: Register) -> Register {
        match self {
            After::Same => before,
            After::Holds(register) => register,
            After::Adds(amount) => Some(before.unwrap_or(0).wrapping_add(amount)),
            After::Appends(new) => Some(appended(before, new)),
        }
    }

    /// Whether what it leaves depends on what was there.
    pub(crate) fn depends(self) -> bool {
        matches!(self, After::Adds(_) | After::Appends(_))
    }
}

/// An operation on one register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegisterOp {
    /// Index into the history.
    pub(crate) id: u32,
    /// When it began and ended, and whether it may have had no effect.
    pub(crate) span: Item,
    /// What it saw.
    pub(crate) before: Before,
    /// What it left.
    pub(crate) after: After,
}

impl RegisterOp {
    /// The token it wrote, if any is known.
    pub(crate) fn written(&self) -> Option<u64> {
        match self.after {
            After::Holds(register) => register,
            After::Same | After::Adds(_) | After::Appends(_) => None,
        }
    }

    /// The token it saw, if any.
    pub(crate) fn found(&self) -> Option<u64> {
        match self.before {
            Before::Held(register) => register,
            Before::Any => None,
        }
    }

    /// Whether it saw the register absent.
    pub(crate) fn found_absent(&self) -> bool {
        self.before == Before::Held(None)
    }
}

/// Bytes were returned that no operation wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Corrupt;

/// What of an operation must be ordered, going by what is known at `horizon_ns`: a later answer
/// counts as unknown. `None` if nothing: it failed, had not begun, or is a read without an answer.
pub(crate) fn register_op(
    id: u32,
    record: &OperationRecord,
    horizon_ns: u64,
) -> Result<Option<RegisterOp>, Corrupt> {
    let Some(span) = span(record, horizon_ns) else { return Ok(None) };
    let effect = if span.optional {
        unanswered(record.call)
    } else {
        let found = match &record.completion {
            Completion::Ok(Reply::Found(seen) | Reply::Full(seen)) => match seen {
                Seen::Corrupt(_) => return Err(Corrupt),
                Seen::Token(token) => Some(*token),
                Seen::Absent => None,
            },
            _ => None,
        };
        if matches!(record.completion, Completion::Ok(Reply::Full(_))) {
            Some((Before::Held(found), After::Same))
        } else {
            Some(answered(record.call, found))
        }
    };
    Ok(effect.map(|(before, after)| RegisterOp { id, span, before, after }))
}

/// When an operation began and ended; `None` if it cannot have taken effect.
fn span(record: &OperationRecord, horizon_ns: u64) -> Option<Item> {
    if record.completion == Completion::Failed || record.invoke_ns > horizon_ns {
        return None;
    }
    let answered = matches!(record.completion, Completion::Ok(_));
    let end_ns = record.response_ns.filter(|&end| answered && end <= horizon_ns);
    Some(Item {
        begin_ns: record.invoke_ns,
        end_ns: end_ns.unwrap_or(NEVER),
        optional: end_ns.is_none(),
        after: None,
    })
}

/// The effect of an operation that returned what it found.
fn answered(call: Call, found: Register) -> (Before, After) {
    let held = Before::Held(found);
    match call {
        Call::Put { value } => (Before::Any, After::Holds(Some(value))),
        Call::Rmw { new } => (held, After::Holds(Some(new))),
        Call::Add { amount } => (held, After::Holds(After::Adds(amount).of(found))),
        Call::Append { new } => (held, After::Holds(After::Appends(new).of(found))),
        Call::Cas { expected, new } if expected == found => (held, After::Holds(Some(new))),
        Call::Delete if found.is_some() => (held, After::Holds(None)),
        Call::Get | Call::Cas { .. } | Call::Delete => (held, After::Same),
        Call::Transfer { .. } => unreachable!("registers see no transfers"),
    }
}

/// The effect that an operation without an answer may have had, if it can be seen.
fn unanswered(call: Call) -> Option<(Before, After)> {
    match call {
        Call::Put { value } | Call::Rmw { new: value } => {
            Some((Before::Any, After::Holds(Some(value))))
        }
        Call::Cas { expected, new } => {
            (expected != Some(new)).then_some((Before::Held(expected), After::Holds(Some(new))))
        }
        Call::Add { amount } => Some((Before::Any, After::Adds(amount))),
        Call::Append { new } => Some((Before::Any, After::Appends(new))),
        Call::Delete => Some((Before::Any, After::Holds(None))),
        Call::Get => None,
        Call::Transfer { .. } => unreachable!("registers see no transfers"),
    }
}

/// A register to which operations are applied one by one: decides any history, also one that
/// writes a value twice, or in which what was written depends on what was there.
pub(crate) struct RegisterModel<'a> {
    ops: &'a [RegisterOp],
    state: Register,
    /// What some operation saw.
    seen: FxHashSet<Register>,
}

impl<'a> RegisterModel<'a> {
    /// A register that nobody has touched.
    pub(crate) fn new(ops: &'a [RegisterOp]) -> Self {
        let seen = |op: &RegisterOp| match op.before {
            Before::Held(register) => Some(register),
            Before::Any => None,
        };
        RegisterModel { ops, state: None, seen: ops.iter().filter_map(seen).collect() }
    }

    fn fits(&self, item: usize) -> bool {
        match self.ops[item].before {
            Before::Any => true,
            Before::Held(register) => register == self.state,
        }
    }
}

impl Model for RegisterModel<'_> {
    type Undo = Register;

    fn apply(&mut self, item: usize) -> Option<Register> {
        let before = self.state;
        if !self.fits(item) {
            return None;
        }
        self.state = self.ops[item].after.of(before);
        Some(before)
    }

    fn undo(&mut self, _item: usize, before: Register) {
        self.state = before;
    }

    /// A read that fits changes nothing wherever it stands.
    fn free(&self, item: usize) -> bool {
        self.ops[item].after == After::Same && self.fits(item)
    }

    /// First what leaves a register as somebody saw it: of many appends that were not answered, the one
    /// that is missing here.
    fn rank(&self, item: usize) -> u8 {
        u8::from(!self.seen.contains(&self.ops[item].after.of(self.state)))
    }

    fn fingerprint(&self) -> u128 {
        match self.state {
            None => 0,
            Some(token) => fingerprint(1, token),
        }
    }
}

/// A transfer between two accounts, numbered within their partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferOp {
    /// Index into the history.
    pub(crate) id: u32,
    /// When it began and ended, and whether it may have had no effect.
    pub(crate) span: Item,
    /// The payer.
    pub(crate) from: u32,
    /// The receiver.
    pub(crate) to: u32,
    /// How much.
    pub(crate) amount: u64,
    /// Whether it moved, and both balances after it; `None` if unknown.
    pub(crate) outcome: Option<(bool, u64, u64)>,
}

impl TransferOp {
    /// The balances of payer and receiver that its answer implies before it.
    pub(crate) fn needs(&self) -> Option<(u64, u64)> {
        let amount = if self.is_idle() { 0 } else { self.amount };
        self.outcome.map(|(_, from, to)| (from + amount, to - amount))
    }

    /// Whether it moves nothing, wherever it stands.
    pub(crate) fn is_idle(&self) -> bool {
        self.amount == 0 || self.outcome.is_some_and(|(moved, ..)| !moved)
    }

    /// Whether no balances could bring about its answer. The other methods need that they can.
    pub(crate) fn contradicts_itself(&self) -> bool {
        match self.outcome {
            Some((true, from, to)) => from.checked_add(self.amount).is_none() || to < self.amount,
            Some((false, from, to)) => from >= self.amount && to.checked_add(self.amount).is_some(),
            None => false,
        }
    }
}

/// What of a transfer must be ordered at `horizon_ns`, as in [`register_op`].
pub(crate) fn transfer_op(
    id: u32,
    record: &OperationRecord,
    accounts: (u32, u32),
    horizon_ns: u64,
) -> Option<TransferOp> {
    let span = span(record, horizon_ns)?;
    let Call::Transfer { amount, .. } = record.call else {
        unreachable!("accounts see transfers only")
    };
    let outcome = match record.completion {
        Completion::Ok(Reply::Balances { moved, from, to }) if !span.optional => {
            Some((moved, from, to))
        }
        _ => None,
    };
    Some(TransferOp { id, span, from: accounts.0, to: accounts.1, amount, outcome })
}
