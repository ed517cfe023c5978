//! Parts of a history that can be decided apart: each register, and each set of accounts that
//! transfers connect.

use rustc_hash::FxHashMap;

use super::accounts::check_accounts;
use super::per_object::check_account;
use super::register::{Fault, Stop, check_register};
use super::search::Budget;
use crate::check::history::{Call, Completion, History, OperationRecord};
use crate::check::model::{RegisterOp, TransferOp, register_op, transfer_op};
use crate::command::Key;

/// What a partition's operations are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Object {
    /// A register.
    Register,
    /// All accounts that transfers connect, as one object.
    Accounts,
    /// One account, whatever becomes of the others: see `per_object.rs`.
    Account,
}

/// The operations on a set of keys, to be decided without the others.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    /// What the keys are.
    pub(super) object: Object,
    /// The keys, in order.
    pub(super) keys: Vec<Key>,
    /// Indices into the history.
    pub(super) ops: Vec<u32>,
}

impl Partition {
    /// The same object with other operations.
    pub(super) fn with_ops(&self, ops: Vec<u32>) -> Partition {
        Partition { object: self.object, keys: self.keys.clone(), ops }
    }

    /// The keys one by one, each with the operations that touch it.
    pub(super) fn keys_alone(&self, history: &History) -> Vec<Partition> {
        if self.object == Object::Register {
            return vec![self.clone()];
        }
        let alone =
            |&key: &Key| Partition { object: Object::Account, keys: vec![key], ops: vec![] };
        let mut parts: Vec<Partition> = self.keys.iter().map(alone).collect();
        for &op in &self.ops {
            let (from, to) = accounts_of(&history.operations[op as usize]);
            parts[self.number(from) as usize].ops.push(op);
            parts[self.number(to) as usize].ops.push(op);
        }
        parts
    }

    /// Decides the partition by what was known at `horizon_ns`.
    pub(super) fn check(
        &self,
        history: &History,
        horizon_ns: u64,
        budget: Budget,
    ) -> Result<(), Stop> {
        match self.object {
            Object::Register => check_register(self.register_ops(history, horizon_ns)?, budget),
            Object::Accounts => {
                let ops = self.transfers(history, horizon_ns);
                check_accounts(&ops, self.keys.len(), budget)
            }
            Object::Account => check_account(&self.sides(history, horizon_ns), budget),
        }
    }

    /// The operations on this register.
    pub(super) fn register_ops(
        &self,
        history: &History,
        horizon_ns: u64,
    ) -> Result<Vec<RegisterOp>, Fault> {
        let mut ops = Vec::with_capacity(self.ops.len());
        for &op in &self.ops {
            let record = &history.operations[op as usize];
            match register_op(op, record, horizon_ns) {
                Ok(effect) => ops.extend(effect),
                Err(_) => return Err(Fault::Corrupt { op }),
            }
        }
        Ok(ops)
    }

    /// The transfers between these accounts.
    pub(super) fn transfers(&self, history: &History, horizon_ns: u64) -> Vec<TransferOp> {
        self.numbered(history, horizon_ns, |key| self.number(key))
    }

    /// The transfers that touch the only account, which is number 0; all others are number 1.
    fn sides(&self, history: &History, horizon_ns: u64) -> Vec<TransferOp> {
        self.numbered(history, horizon_ns, |key| u32::from(key != self.keys[0]))
    }

    fn numbered(
        &self,
        history: &History,
        horizon_ns: u64,
        number: impl Fn(Key) -> u32,
    ) -> Vec<TransferOp> {
        let transfer = |&op: &u32| {
            let record = &history.operations[op as usize];
            let (from, to) = accounts_of(record);
            transfer_op(op, record, (number(from), number(to)), horizon_ns)
        };
        self.ops.iter().filter_map(transfer).collect()
    }

    /// The number of an account within the partition.
    fn number(&self, key: Key) -> u32 {
        self.keys.binary_search(&key).expect("of this partition") as u32
    }
}

/// Payer and receiver of a transfer.
fn accounts_of(record: &OperationRecord) -> (Key, Key) {
    let Call::Transfer { to, .. } = record.call else {
        unreachable!("only transfers touch accounts")
    };
    (record.key, to)
}

/// Splits a history. Operations that failed belong nowhere.
pub(super) fn partitions(history: &History) -> Vec<Partition> {
    let effective = || {
        (0u32..)
            .zip(&history.operations)
            .filter(|(_, record)| record.completion != Completion::Failed)
    };
    let mut accounts = Union::default();
    for (_, record) in effective() {
        if let Call::Transfer { to, .. } = record.call {
            accounts.unite(record.key, to);
        }
    }
    let group = |key: Key| if key.is_account() { accounts.leader(key) } else { key };
    let mut members: Vec<(Key, u32)> =
        effective().map(|(index, record)| (group(record.key), index)).collect();
    members.sort_unstable();
    let mut keys = accounts.groups();
    members
        .chunk_by(|a, b| a.0 == b.0)
        .map(|chunk| {
            let key = chunk[0].0;
            let object = if key.is_account() { Object::Accounts } else { Object::Register };
            let keys = keys.remove(&key).unwrap_or_else(|| vec![key]);
            Partition { object, keys, ops: chunk.iter().map(|&(_, index)| index).collect() }
        })
        .collect()
}

/// Disjoint sets of accounts.
#[derive(Default)]
struct Union {
    parents: FxHashMap<Key, Key>,
}

impl Union {
    fn leader(&self, mut key: Key) -> Key {
        while let Some(&parent) = self.parents.get(&key)
            && parent != key
        {
            key = parent;
        }
        key
    }

    /// Unites two sets; the least key leads, and members point at it directly.
    fn unite(&mut self, a: Key, b: Key) {
        let (a_leader, b_leader) = (self.leader(a), self.leader(b));
        let leader = a_leader.min(b_leader);
        for key in [a, b, a_leader, b_leader] {
            self.parents.insert(key, leader);
        }
    }

    /// All sets by their leader, each sorted.
    fn groups(&self) -> FxHashMap<Key, Vec<Key>> {
        let mut groups: FxHashMap<Key, Vec<Key>> = FxHashMap::default();
        for &key in self.parents.keys() {
            groups.entry(self.leader(key)).or_default().push(key);
        }
        for keys in groups.values_mut() {
            keys.sort_unstable();
        }
        groups
    }
}
