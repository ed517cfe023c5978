//! Which instances interfere with a command: the index behind lines 2, 3, 6 and 8 of §5.1.
//!
//! Every instance whose command is known is in it, by whatever message it became known, until it is
//! forgotten or committed as a no-op. Reads do not interfere with reads, so a key keeps its readers and
//! its writers apart.
//!
//! *Explicit:* a key lists its instances. A proposer names those that it has not executed, and of the
//! others the last write that it executed and the reads since: all earlier ones are reachable from these,
//! because two interfering commands that are executed one after the other are so because the later one
//! reaches the earlier. A replica that answers names those that the proposer had not executed.
//!
//! *Prefix:* a key keeps the highest instance of each owner.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

use super::deps::{Deps, PerNode};
use super::message::InstanceId;
use super::options::Dependencies;
use crate::command::{Command, Key};
use crate::mutants::mutant;

/// A key of a command, by its place in the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyUse {
    slot: u32,
    key: Key,
    writes: bool,
}

/// The keys of a command, ascending, each once. Empty for a command that is not in the index.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Keys(SmallVec<[KeyUse; 2]>);

/// The command tells its keys; where the index has them tells nothing more.
impl Hash for Keys {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Keys {
    /// Whether two commands share a key that one of them writes.
    pub fn interfere(&self, other: &Keys) -> bool {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            match a.key.cmp(&b.key) {
                std::cmp::Ordering::Less => drop(mine.next()),
                std::cmp::Ordering::Greater => drop(theirs.next()),
                std::cmp::Ordering::Equal if a.writes || b.writes => return true,
                std::cmp::Ordering::Equal => drop((mine.next(), theirs.next())),
            }
        }
        false
    }

    /// Whether the command is in the index.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the index keeps of one key.
#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    /// Instances in the index that use the key.
    users: u32,
    /// Own instances that use the key and keep others from it.
    holders: u32,
    writers: SmallVec<[InstanceId; 2]>,
    readers: SmallVec<[InstanceId; 1]>,
    /// The last write that was executed here.
    last_write: Option<InstanceId>,
    /// The reads that were executed here since.
    reads_since: Vec<InstanceId>,
    /// By owner: one past the highest writer and reader.
    highest: Option<Box<(PerNode, PerNode)>>,
}

/// The index of one replica.
#[derive(Clone, Debug)]
pub struct Conflicts {
    size: u8,
    kind: Dependencies,
    /// Never iterated, so that its order shows nowhere.
    slots: FxHashMap<Key, u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Instances that keep others from their keys.
    holders: u32,
}

/// The lists of an entry are sets: what comes of them is sorted (`Deps::tidy`).
impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.key, self.users, self.last_write, &self.highest).hash(state);
        for list in [&self.writers[..], &self.readers[..], &self.reads_since[..]] {
            let mut list = list.to_vec();
            list.sort_unstable();
            list.hash(state);
        }
    }
}

/// Equal indices are equal whatever the places of their keys.
impl Hash for Conflicts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut used: Vec<_> = self.entries.iter().filter(|entry| entry.users > 0).collect();
        used.sort_unstable_by_key(|entry| entry.key);
        used.hash(state);
    }
}

impl Conflicts {
    /// An empty index of a cluster of `size` replicas.
    pub fn new(size: u8, kind: Dependencies) -> Conflicts {
        let slots = FxHashMap::default();
        Conflicts { size, kind, slots, entries: Vec::new(), free: Vec::new(), holders: 0 }
    }

    /// The keys of a command. They have a place in the index until they are removed, which must happen
    /// once for each call.
    pub fn keys(&mut self, command: &[Command]) -> Keys {
        let mut uses: SmallVec<[(Key, bool); 8]> = SmallVec::new();
        for command in command {
            let (first, second) = command.operation.keys();
            let writes = !command.operation.is_read();
            uses.push((first, writes));
            uses.extend(second.map(|key| (key, writes)));
        }
        uses.sort_unstable();
        // Of a key's uses the last writes, if any does.
        uses.reverse();
        uses.dedup_by_key(|(key, _)| *key);
        uses.reverse();
        let place = |(key, writes)| KeyUse { slot: self.place(key), key, writes };
        Keys(uses.into_iter().map(place).collect())
    }

    fn place(&mut self, key: Key) -> u32 {
        let slot = *self.slots.entry(key).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.entries.push(Entry::unused());
                self.entries.len() as u32 - 1
            })
        });
        let entry = &mut self.entries[slot as usize];
        entry.key = key;
        entry.users += 1;
        slot
    }

    /// Records an instance under the keys of its command.
    pub fn record(&mut self, id: InstanceId, keys: &Keys) {
        for used in &keys.0 {
            let entry = &mut self.entries[used.slot as usize];
            match self.kind {
                Dependencies::Explicit if used.writes => entry.writers.push(id),
                Dependencies::Explicit => entry.readers.push(id),
                Dependencies::Prefix => {
                    let zeros = || PerNode::from_elem(0, usize::from(self.size));
                    let highest = entry.highest.get_or_insert_with(|| Box::new((zeros(), zeros())));
                    let row = if used.writes { &mut highest.0 } else { &mut highest.1 };
                    let row = &mut row[usize::from(id.owner.0)];
                    *row = (*row).max(id.number + 1);
                }
            }
        }
    }

    /// Notes that an instance was executed: all that was executed before it and interferes is behind it.
    pub fn executed(&mut self, id: InstanceId, keys: &Keys) {
        if self.kind == Dependencies::Prefix {
            return;
        }
        for used in &keys.0 {
            let entry = &mut self.entries[used.slot as usize];
            if used.writes {
                entry.last_write = Some(id);
                entry.reads_since.clear();
            } else {
                entry.reads_since.push(id);
            }
        }
    }

    /// The order of what was executed is no longer known: the state came from elsewhere.
    pub fn forget_executions(&mut self) {
        for entry in &mut self.entries {
            entry.last_write = None;
            entry.reads_since.clear();
        }
    }

    /// Takes an instance out. What a prefix says of it stays: to depend on too much harms nobody.
    pub fn remove(&mut self, id: InstanceId, keys: &Keys) {
        for used in &keys.0 {
            let entry = &mut self.entries[used.slot as usize];
            let of = |list: &[InstanceId]| list.iter().position(|other| *other == id);
            if let Some(place) = of(&entry.writers) {
                entry.writers.remove(place);
            } else if let Some(place) = of(&entry.readers) {
                entry.readers.remove(place);
            }
            if entry.last_write == Some(id) {
                entry.last_write = None;
            }
            if let Some(place) = of(&entry.reads_since) {
                entry.reads_since.remove(place);
            }
            entry.users -= 1;
            if entry.users == 0 {
                self.slots.remove(&entry.key);
                *entry = Entry::unused();
                self.free.push(used.slot);
            }
        }
    }

    /// From now on nothing that uses these keys is to be proposed.
    pub fn hold(&mut self, keys: &Keys) {
        self.holders += 1;
        for used in &keys.0 {
            self.entries[used.slot as usize].holders += 1;
        }
    }

    /// One that held its keys does so no longer.
    pub fn release(&mut self, keys: &Keys) {
        self.holders -= 1;
        for used in &keys.0 {
            self.entries[used.slot as usize].holders -= 1;
        }
    }

    /// Whether anything may not be proposed now.
    pub fn holds_any(&self) -> bool {
        self.holders > 0
    }

    /// Whether a command may not be proposed now.
    pub fn is_held(&self, command: &Command) -> bool {
        let held = |key: &Key| {
            let slot = self.slots.get(key);
            slot.is_some_and(|slot| self.entries[*slot as usize].holders > 0)
        };
        let (first, second) = command.operation.keys();
        held(&first) || second.is_some_and(|key| held(&key))
    }

    /// What a command depends on as its proposer computes it, beside the prefix that is in `deps` already:
    /// `deps.settled` says what the proposer has executed.
    pub fn add_proposed(&self, keys: &Keys, deps: &mut Deps) {
        self.add(keys, None, deps);
        for used in &keys.0 {
            let entry = &self.entries[used.slot as usize];
            if !mutant!(ExecutedNotNamed) {
                deps.ids.extend(entry.last_write);
            }
            if used.writes && !mutant!(WritesIgnoreReads) {
                deps.ids.extend(&entry.reads_since);
            }
        }
        deps.tidy();
    }

    /// What a replica that is asked adds: what it has recorded and the proposer had not executed.
    pub fn add_known(&self, id: InstanceId, keys: &Keys, deps: &mut Deps) {
        self.add(keys, Some(id), deps);
        deps.tidy();
    }

    /// All that is recorded, whoever proposed it, and the command itself.
    pub fn add_all(&self, keys: &Keys, deps: &mut Deps) {
        self.add(keys, None, deps);
        deps.tidy();
    }

    fn add(&self, keys: &Keys, not: Option<InstanceId>, deps: &mut Deps) {
        for used in &keys.0 {
            let entry = &self.entries[used.slot as usize];
            let after_reads = used.writes && !mutant!(WritesIgnoreReads);
            let readers = if after_reads { entry.readers.as_slice() } else { &[] };
            let writers = match mutant!(LatestWriteAlone) {
                true => &entry.writers[entry.writers.len().saturating_sub(1)..],
                false => entry.writers.as_slice(),
            };
            for other in writers.iter().chain(readers) {
                let settled = other.number < deps.settled[usize::from(other.owner.0)];
                // What the same owner proposed later depends on this one from the start.
                let later = not.is_some_and(|id| id.owner == other.owner && id <= *other);
                if !settled && !later {
                    deps.ids.push(*other);
                }
            }
            if let Some(highest) = &entry.highest {
                raise(&mut deps.prefix, &highest.0, not);
                if after_reads {
                    raise(&mut deps.prefix, &highest.1, not);
                }
            }
        }
    }

    /// Keys in the index.
    pub fn key_count(&self) -> usize {
        self.slots.len()
    }
}

/// Raises a prefix to cover another; an instance does not depend on itself, nor on what its owner
/// proposed later.
fn raise(prefix: &mut PerNode, other: &PerNode, id: Option<InstanceId>) {
    for (owner, (mine, theirs)) in prefix.iter_mut().zip(other).enumerate() {
        let own = id.filter(|id| usize::from(id.owner.0) == owner);
        let limit = own.map_or(u64::MAX, |id| id.number);
        *mine = (*mine).max((*theirs).min(limit));
    }
}

impl Entry {
    fn unused() -> Entry {
        Entry {
            key: Key(0),
            users: 0,
            holders: 0,
            writers: SmallVec::new(),
            readers: SmallVec::new(),
            last_write: None,
            reads_since: Vec::new(),
            highest: None,
        }
    }
}
