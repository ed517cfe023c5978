//! Decides one register.
//!
//! Written values are unique, so every read names the write that it saw. A write and its reads
//! form a *cluster*, which no other write may split. An rmw, a cas that succeeded and a delete see
//! one value and leave another: they chain clusters to a *block*, whose inner order is fixed. What
//! is left to find is the order of the blocks.
//!
//! 1. Within a block, no operation may end before one that stands earlier in it began.
//! 2. Block A must precede block B if an operation of A ended before one of B began, that is if
//!    A's earliest end is before B's latest begin. If the blocks can be ordered in pairs, they can
//!    be ordered as a whole: take a shortest cycle of three or more; since it has no chord, the
//!    earliest ends fall along it, for ever. So it suffices that no two blocks must precede each
//!    other. This is Gibbons and Korach's argument on zones, with blocks in place of clusters.
//! 3. Absence is the one value that may be written often (by deletes) and is there from the start.
//!    Without deletes, what saw absence forms the first block. With them, a search orders the
//!    blocks and tracks a single bit, whether the register is absent.
//!
//! An add or an append that was answered saw one value and left another, as an rmw does. If one was not
//! answered, what it may have left depends on its place: such a register, and one to which a value was
//! written twice, goes to the general search.

use rustc_hash::{FxHashMap, FxHashSet};

use super::search::{Answer, Budget, Item, Model, link_alike, search};
use crate::check::model::{After, RegisterModel, RegisterOp};

/// Why operations on a register have no order. Numbers are indices into the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It returned bytes that are no token.
    Corrupt {
        /// The operation.
        op: u32,
    },
    /// Its answer is impossible whatever went before.
    Contradiction {
        /// The operation.
        op: u32,
    },
    /// All started from one balance of one account, more often than it came about.
    Overspent {
        /// The transfers.
        ops: Vec<u32>,
    },
    /// It saw a value that no operation wrote.
    NeverWritten {
        /// The operation.
        op: u32,
    },
    /// Both saw the same value and replaced it.
    ReplacedTwice {
        /// One operation.
        first: u32,
        /// The other.
        second: u32,
    },
    /// Each saw what another of them wrote.
    Circle {
        /// The operations.
        ops: Vec<u32>,
    },
    /// By the values, `early` comes before `late`, but `late` ended before `early` began.
    OutOfOrder {
        /// First by its value.
        early: u32,
        /// First by the clock.
        late: u32,
    },
    /// It saw the register absent, which nothing had made so, after a value was there.
    Vanished {
        /// What saw absence.
        read: u32,
        /// What had written or seen a value before that.
        value: u32,
    },
    /// `start` saw absence, which nothing had brought about, so its value was the first; `member`
    /// saw that value or one that followed it directly, yet began after `other` ended.
    NotFirst {
        /// Replaced absence.
        start: u32,
        /// Of the same group as `start`.
        member: u32,
        /// Wrote or saw another value.
        other: u32,
    },
    /// `a_ended` before `b_began` and `b_ended` before `a_began`, where the two of each letter
    /// belong to one value that nothing may split.
    Interleaved {
        /// Of the one group, what ended first.
        a_ended: u32,
        /// Of the other, what began last.
        b_began: u32,
        /// Of the other, what ended first.
        b_ended: u32,
        /// Of the one, what began last.
        a_began: u32,
    },
    /// All orders were tried.
    NoOrder,
}

/// Why a partition was not found to be linearizable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// It is not.
    Fault(Fault),
    /// The budget was spent first.
    OverBudget(String),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

/// Decides the operations of one register.
pub(crate) fn check_register(mut ops: Vec<RegisterOp>, budget: Budget) -> Result<(), Stop> {
    if ops.iter().any(|op| op.after.depends()) {
        return search_register(&ops, budget);
    }
    let Some(writers) = unique_writers(&ops) else {
        drop_unseen(&mut ops);
        return search_register(&ops, budget);
    };
    let ops = settle_unknown(ops, &writers)?;
    let blocks = Blocks::new(&ops)?;
    let zones = blocks.zones()?;
    let leaves_absence = zones.iter().any(|zone| zone.leaves_absent);
    find_crossing(&zones)?;
    if !leaves_absence {
        return absence_comes_first(&blocks, &zones).map_err(Stop::Fault);
    }
    if !zones.iter().any(|zone| zone.needs_absent) {
        return Ok(());
    }
    order_blocks(&zones, budget)
}

/// The general search, which makes no assumption on values.
pub(crate) fn search_register(ops: &[RegisterOp], budget: Budget) -> Result<(), Stop> {
    let mut items: Vec<Item> = ops.iter().map(|op| op.span).collect();
    link_alike(&mut items, |item| Some((ops[item].before, ops[item].after)));
    conclude(search(&items, RegisterModel::new(ops), budget))
}

/// What a search's answer means for the partition.
pub(crate) fn conclude(answer: Answer) -> Result<(), Stop> {
    match answer {
        Answer::Order => Ok(()),
        Answer::NoOrder => Err(Stop::Fault(Fault::NoOrder)),
        Answer::OverBudget(spent) => Err(Stop::OverBudget(spent)),
    }
}

/// Leaves out writes of unknown outcome that nothing saw, which any order can do without.
fn drop_unseen(ops: &mut Vec<RegisterOp>) {
    let seen: FxHashSet<u64> = ops.iter().filter_map(RegisterOp::found).collect();
    ops.retain(|op| !op.span.optional || op.written().is_none_or(|token| seen.contains(&token)));
}

/// Which operation wrote each token; `None` if one was written twice.
fn unique_writers(ops: &[RegisterOp]) -> Option<FxHashMap<u64, u32>> {
    let mut writers = FxHashMap::default();
    for (index, op) in (0u32..).zip(ops) {
        if let Some(token) = op.written()
            && writers.insert(token, index).is_some()
        {
            return None;
        }
    }
    Some(writers)
}

/// Decides which writes of unknown outcome took effect: exactly those whose value was seen by an
/// operation that did. (An unseen one can be left out of any order.) Unknown deletes stay optional.
fn settle_unknown(
    mut ops: Vec<RegisterOp>,
    writers: &FxHashMap<u64, u32>,
) -> Result<Vec<RegisterOp>, Fault> {
    let mut effective: Vec<u32> =
        (0u32..).zip(&ops).filter(|(_, op)| !op.span.optional).map(|(index, _)| index).collect();
    while let Some(index) = effective.pop() {
        let op = ops[index as usize];
        let Some(token) = op.found() else { continue };
        let writer = *writers.get(&token).ok_or(Fault::NeverWritten { op: op.id })?;
        let writer_op = &mut ops[writer as usize];
        if writer_op.span.optional {
            writer_op.span.optional = false;
            effective.push(writer);
        }
    }
    ops.retain(|op| !op.span.optional || op.after == After::Holds(None));
    Ok(ops)
}

/// Where an operation stands: in which block, and how far from its start. Readers of one value
/// share a position.
#[derive(Clone, Copy)]
struct Place {
    block: u32,
    position: u32,
}

/// Operations grouped into blocks.
struct Blocks<'a> {
    ops: &'a [RegisterOp],
    places: Vec<Place>,
    count: u32,
}

const NOWHERE: Place = Place { block: u32::MAX, position: 0 };

impl<'a> Blocks<'a> {
    fn new(ops: &'a [RegisterOp]) -> Result<Self, Fault> {
        let mut blocks = Blocks { ops, places: vec![NOWHERE; ops.len()], count: 0 };
        let writers = unique_writers(ops).unwrap_or_default();
        let source = |op: &RegisterOp| op.found().map(|token| writers[&token]);
        let mut replacers = vec![u32::MAX; ops.len()];
        for (index, op) in (0u32..).zip(ops) {
            if let (Some(writer), After::Holds(_)) = (source(op), op.after) {
                let replacer = &mut replacers[writer as usize];
                if *replacer != u32::MAX {
                    let first = ops[*replacer as usize].id;
                    return Err(Fault::ReplacedTwice { first, second: op.id });
                }
                *replacer = index;
            }
        }
        for index in 0..ops.len() as u32 {
            if source(&ops[index as usize]).is_none() {
                blocks.follow(index, &replacers);
            }
        }
        blocks.find_circle(&replacers)?;
        for (index, op) in ops.iter().enumerate() {
            if let (Some(writer), After::Same) = (source(op), op.after) {
                let Place { block, position } = blocks.places[writer as usize];
                blocks.places[index] = Place { block, position: position + 1 };
            }
        }
        Ok(blocks)
    }

    /// Makes the block that starts with an operation which saw no value.
    fn follow(&mut self, first: u32, replacers: &[u32]) {
        let (mut index, mut position) = (first, 0);
        while index != u32::MAX {
            self.places[index as usize] = Place { block: self.count, position };
            position += 2;
            index = replacers[index as usize];
        }
        self.count += 1;
    }

    /// Operations that no block reaches replace each other's values in a circle: each replaces one
    /// value and writes one.
    fn find_circle(&self, replacers: &[u32]) -> Result<(), Fault> {
        let lost = |&index: &u32| {
            self.places[index as usize].block == NOWHERE.block
                && self.ops[index as usize].after != After::Same
        };
        let Some(start) = (0..self.ops.len() as u32).find(lost) else { return Ok(()) };
        let mut ops = vec![self.ops[start as usize].id];
        let mut index = replacers[start as usize];
        while index != start {
            ops.push(self.ops[index as usize].id);
            index = replacers[index as usize];
        }
        Err(Fault::Circle { ops })
    }

    /// The zone of every block, after checking its inner order.
    fn zones(&self) -> Result<Vec<Zone>, Fault> {
        let mut order: Vec<u32> = (0..self.ops.len() as u32).collect();
        order.sort_unstable_by_key(|&index| {
            let Place { block, position } = self.places[index as usize];
            (block, position)
        });
        let same_block =
            |&a: &u32, &b: &u32| self.places[a as usize].block == self.places[b as usize].block;
        order.chunk_by(same_block).map(|members| self.zone(members)).collect()
    }

    fn zone(&self, members: &[u32]) -> Result<Zone, Fault> {
        let op = |index: u32| &self.ops[index as usize];
        let same_position = |&a: &u32, &b: &u32| {
            self.places[a as usize].position == self.places[b as usize].position
        };
        let mut latest = op(members[0]);
        for level in members.chunk_by(same_position) {
            let late = level.iter().map(|&i| op(i)).min_by_key(|op| op.span.end_ns);
            let late = late.expect("levels have members");
            if late.span.end_ns < latest.span.begin_ns {
                return Err(Fault::OutOfOrder { early: latest.id, late: late.id });
            }
            let begun = level.iter().map(|&i| op(i)).max_by_key(|op| op.span.begin_ns);
            latest = begun
                .into_iter()
                .chain([latest])
                .max_by_key(|op| op.span.begin_ns)
                .expect("at least one");
        }
        let earliest = members.iter().map(|&i| op(i)).min_by_key(|op| op.span.end_ns);
        let earliest = earliest.expect("blocks have members");
        let first = op(members[0]);
        Ok(Zone {
            begin_ns: latest.span.begin_ns,
            end_ns: earliest.span.end_ns,
            began_last: latest.id,
            ended_first: earliest.id,
            needs_absent: first.found_absent(),
            leaves_absent: members.iter().any(|&i| op(i).after == After::Holds(None)),
            only_reads: first.after == After::Same,
            optional: first.span.optional,
        })
    }
}

/// A block, seen from outside.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read by name")]
struct Zone {
    /// The latest begin in it.
    begin_ns: u64,
    /// The earliest end in it.
    end_ns: u64,
    began_last: u32,
    ended_first: u32,
    /// Its first operation saw the register absent.
    needs_absent: bool,
    /// Its last operation is a delete.
    leaves_absent: bool,
    /// It is a single read that saw absence.
    only_reads: bool,
    /// It is a single delete of unknown outcome.
    optional: bool,
}

/// Finds two blocks that must precede each other.
fn find_crossing(zones: &[Zone]) -> Result<(), Fault> {
    // A zone that ends before it begins must hold the value all that time.
    let mut held: Vec<&Zone> = zones.iter().filter(|zone| zone.end_ns < zone.begin_ns).collect();
    held.sort_unstable_by_key(|zone| zone.end_ns);
    for pair in held.windows(2) {
        if pair[1].end_ns < pair[0].begin_ns {
            return Err(crossing(pair[0], pair[1]));
        }
    }
    for zone in zones.iter().filter(|zone| zone.end_ns >= zone.begin_ns) {
        let after = held.partition_point(|other| other.end_ns < zone.begin_ns);
        if after > 0 && zone.end_ns < held[after - 1].begin_ns {
            return Err(crossing(held[after - 1], zone));
        }
    }
    Ok(())
}

fn crossing(a: &Zone, b: &Zone) -> Fault {
    Fault::Interleaved {
        a_ended: a.ended_first,
        b_began: b.began_last,
        b_ended: b.ended_first,
        a_began: a.began_last,
    }
}

/// Without deletes, whatever saw absence precedes every value; at most one operation replaces it.
fn absence_comes_first(blocks: &Blocks<'_>, zones: &[Zone]) -> Result<(), Fault> {
    let mut replacers = zones.iter().filter(|zone| zone.needs_absent && !zone.only_reads);
    let replacer = replacers.next();
    if let (Some(first), Some(second)) = (replacer, replacers.next()) {
        let start = |zone: &Zone| blocks.start_of(zone.began_last);
        return Err(Fault::ReplacedTwice { first: start(first), second: start(second) });
    }
    let valued = zones.iter().filter(|zone| !zone.only_reads);
    let Some(value) = valued.clone().min_by_key(|zone| zone.end_ns) else { return Ok(()) };
    let reads = zones.iter().filter(|zone| zone.only_reads);
    if let Some(read) = reads.max_by_key(|zone| zone.begin_ns)
        && value.end_ns < read.begin_ns
    {
        return Err(Fault::Vanished { read: read.began_last, value: value.ended_first });
    }
    let Some(replacer) = replacer else { return Ok(()) };
    for other in valued.filter(|other| !other.needs_absent) {
        if other.end_ns < replacer.begin_ns {
            return Err(blocks.came_before_start(replacer, other));
        }
    }
    Ok(())
}

impl Blocks<'_> {
    /// The first operation of the block in which `id` stands.
    fn start_of(&self, id: u32) -> u32 {
        let index = self.ops.iter().position(|op| op.id == id).expect("of this register");
        let block = self.places[index].block;
        let starts = |place: &Place| place.block == block && place.position == 0;
        let start = self.places.iter().position(starts).expect("blocks have a start");
        self.ops[start].id
    }

    /// The block that replaced absence must be the first, but `other` must precede it.
    fn came_before_start(&self, first: &Zone, other: &Zone) -> Fault {
        let (start, member) = (self.start_of(first.began_last), first.began_last);
        if start == member {
            return Fault::Vanished { read: start, value: other.ended_first };
        }
        Fault::NotFirst { start, member, other: other.ended_first }
    }
}

/// Searches an order of the blocks in which each that needs absence finds it.
fn order_blocks(zones: &[Zone], budget: Budget) -> Result<(), Stop> {
    let mut items: Vec<Item> = zones
        .iter()
        .map(|zone| Item {
            begin_ns: zone.begin_ns,
            end_ns: zone.end_ns,
            optional: zone.optional,
            after: None,
        })
        .collect();
    link_alike(&mut items, |_| Some(()));
    conclude(search(&items, BlockModel { zones, absent: true }, budget))
}

/// A register of which only absence is tracked.
struct BlockModel<'a> {
    zones: &'a [Zone],
    absent: bool,
}

impl Model for BlockModel<'_> {
    type Undo = bool;

    fn apply(&mut self, item: usize) -> Option<bool> {
        let zone = &self.zones[item];
        if zone.needs_absent && !self.absent {
            return None;
        }
        let leaves_absent = zone.leaves_absent || zone.only_reads;
        Some(std::mem::replace(&mut self.absent, leaves_absent))
    }

    fn undo(&mut self, _item: usize, before: bool) {
        self.absent = before;
    }

    /// While absent: what needs absence and restores it. Otherwise: what neither needs nor brings
    /// it. Wherever an order has such a block, it can be moved to the front: what follows the gap
    /// it leaves found the register as it left it, and needed absence only if it still finds it.
    fn free(&self, item: usize) -> bool {
        let zone = &self.zones[item];
        let leaves_absent = zone.leaves_absent || zone.only_reads;
        if self.absent {
            zone.needs_absent && leaves_absent
        } else {
            !zone.needs_absent && !leaves_absent
        }
    }

    /// Absence is scarce: first use it.
    fn rank(&self, item: usize) -> u8 {
        u8::from(!self.zones[item].needs_absent)
    }

    fn fingerprint(&self) -> u128 {
        u128::from(self.absent)
    }
}
