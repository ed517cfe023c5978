//! The execution algorithm (§5.2), one commit at a time: strongly connected components of the committed
//! graph, in dependency order, each in one total order, by (seq, number, owner).
//!
//! Tarjan's algorithm with a stack of its own instead of recursion. A component is executed as soon as
//! its search leaves it: what it depends on came out before. A search that meets an instance that is not
//! committed ends there: all that is on its stack reaches that instance, so it is noted at each, and the
//! search starts again when that one is executed. Not when it is merely committed: if it is blocked itself, so
//! is all that reaches it. So an edge is looked at once for each time that its source is blocked, however
//! long the backlog.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use super::deps::Deps;
use super::instances::Rows;
use super::message::InstanceId;
use crate::mutants::mutant;

/// Where a search met an instance.
#[derive(Clone, Hash, Debug, Default)]
pub struct Visit {
    /// The order in which it was met, from 1; 0 if it was not, or the search is over.
    index: u32,
    /// The lowest index that it reaches.
    low: u32,
    /// The last search that met it ended at this instance, which was not committed.
    blocked_on: Option<InstanceId>,
}

/// An instance whose dependencies are being looked at.
#[derive(Clone, Hash, Debug)]
struct Frame {
    id: InstanceId,
    next: Cursor,
}

/// A place among the dependencies of an instance.
#[derive(Clone, Copy, Hash, Debug, Default)]
struct Cursor {
    owner: u8,
    number: u64,
    position: usize,
}

/// The executor: what is left to look at between two commits.
#[derive(Clone, Hash, Debug, Default)]
pub struct Executor {
    roots: VecDeque<InstanceId>,
    frames: Vec<Frame>,
    /// Tarjan's stack: met, and not yet in a component that is complete.
    stack: Vec<InstanceId>,
    /// What it did.
    pub counts: Counts,
}

/// What an executor did so far.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Components that were executed.
    pub components: u64,
    /// The size of the largest.
    pub component_max: u64,
    /// Instances in components of more than one.
    pub in_cycles: u64,
    /// Dependencies that were looked at, and steps from one that is blocked to what blocks it.
    pub looks: u64,
}

/// As all that a replica counts, no part of its state.
impl Hash for Counts {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// What a look at the next dependency of an instance shows.
enum Next {
    /// One that was not met yet.
    Unmet(InstanceId),
    /// One that is on the stack.
    OnStack(InstanceId),
    /// One that is not committed.
    Blocked(InstanceId),
    /// There are no more.
    None,
}

impl Executor {
    /// An instance is final: it may be executed now, and what waited for it.
    pub fn committed(&mut self, id: InstanceId) {
        self.roots.push_back(id);
    }

    /// Executes all that can be: appends it to `order`.
    pub fn run(&mut self, rows: &mut Rows, order: &mut Vec<InstanceId>) {
        while let Some(root) = self.roots.pop_front() {
            let ready = rows.get(root).is_some_and(|i| i.final_here && !i.executed);
            if ready {
                self.search(root, rows, order);
            }
            if let Some(instance) = rows.get_mut(root).filter(|instance| instance.executed) {
                self.roots.extend(instance.waiters.drain(..));
            }
        }
    }

    fn search(&mut self, root: InstanceId, rows: &mut Rows, order: &mut Vec<InstanceId>) {
        let mut indices = 0;
        self.meet(root, &mut indices, rows);
        while let Some(frame) = self.frames.last_mut() {
            let id = frame.id;
            match look(id, &mut frame.next, rows, &mut self.counts.looks) {
                Next::Unmet(other) => self.meet(other, &mut indices, rows),
                Next::OnStack(other) => {
                    let index = visit(rows, other).index;
                    lower(rows, id, index);
                }
                Next::Blocked(other) => return self.block(root, other, rows),
                Next::None => self.leave(id, rows, order),
            }
        }
    }

    fn meet(&mut self, id: InstanceId, indices: &mut u32, rows: &mut Rows) {
        *indices += 1;
        let visit = visit_mut(rows, id);
        *visit = Visit { index: *indices, low: *indices, blocked_on: None };
        self.stack.push(id);
        self.frames.push(Frame { id, next: Cursor::default() });
    }

    /// All dependencies of an instance were looked at.
    fn leave(&mut self, id: InstanceId, rows: &mut Rows, order: &mut Vec<InstanceId>) {
        self.frames.pop();
        let Visit { index, low, .. } = *visit(rows, id);
        if let Some(parent) = self.frames.last().filter(|_| !mutant!(LowNotPassedOn)) {
            lower(rows, parent.id, low);
        }
        if low != index {
            return;
        }
        let first = self.stack.iter().rposition(|other| *other == id).expect("it was met");
        let mut component = self.stack.split_off(first);
        let seq =
            |id: &InstanceId| rows.get(*id).and_then(|i| i.attributes.as_ref()).map(|a| a.seq);
        if !mutant!(ComponentUnsorted) {
            component.sort_unstable_by_key(|id| (seq(id), id.number, id.owner));
        }
        self.counts.components += 1;
        self.counts.component_max = self.counts.component_max.max(component.len() as u64);
        if component.len() > 1 {
            self.counts.in_cycles += component.len() as u64;
        }
        for id in component {
            *visit_mut(rows, id) = Visit::default();
            rows.of_mut(id.owner).set_executed(id.number);
            order.push(id);
        }
    }

    /// The search of `root` ends at an instance that is not committed. What waits for `root` goes on doing so.
    fn block(&mut self, root: InstanceId, on: InstanceId, rows: &mut Rows) {
        self.frames.clear();
        for id in self.stack.drain(..) {
            *visit_mut(rows, id) = Visit { blocked_on: Some(on), ..Visit::default() };
        }
        rows.get_mut(on).expect("it was made for this").waiters.push(root);
    }
}

fn visit(rows: &Rows, id: InstanceId) -> &Visit {
    &rows.get(id).expect("what is met has a record").visit
}

fn visit_mut(rows: &mut Rows, id: InstanceId) -> &mut Visit {
    &mut rows.get_mut(id).expect("what is met has a record").visit
}

fn lower(rows: &mut Rows, id: InstanceId, to: u32) {
    let visit = visit_mut(rows, id);
    visit.low = visit.low.min(to);
}

/// The instance, not committed, that one which was met and is not executed has been blocked on: the end of
/// a chain, as what blocked it may have been committed since, and blocked by another. None if nothing that
/// is known blocks it.
fn blocker(id: InstanceId, rows: &mut Rows, looks: &mut u64) -> Option<InstanceId> {
    let mut end = next_blocker(id, rows)?;
    while let Some(next) = next_blocker(end, rows) {
        *looks += 1;
        end = next;
    }
    // The next look finds the end at once.
    let mut at = id;
    while let Some(next) = next_blocker(at, rows) {
        visit_mut(rows, at).blocked_on = Some(end);
        at = next;
    }
    rows.get(end).filter(|instance| !instance.final_here && !instance.executed).map(|_| end)
}

fn next_blocker(id: InstanceId, rows: &Rows) -> Option<InstanceId> {
    rows.get(id).filter(|i| i.final_here && !i.executed)?.visit.blocked_on
}

/// Looks at the dependencies of an instance from where the cursor stands to the first that matters.
fn look(id: InstanceId, cursor: &mut Cursor, rows: &mut Rows, looks: &mut u64) -> Next {
    let since = rows.get(id).map(|i| i.since).unwrap_or_default();
    while let Some(other) = step(deps(id, rows), cursor, rows, looks) {
        let Some(record) = rows.make(other, since) else { return Next::Blocked(id) };
        if record.executed || other == id {
            continue;
        }
        if !record.final_here && mutant!(UncommittedPassedOver) {
            continue;
        }
        if !record.final_here {
            return Next::Blocked(other);
        }
        if record.visit.index > 0 {
            return Next::OnStack(other);
        }
        return match blocker(other, rows, looks) {
            Some(on) => Next::Blocked(on),
            None => Next::Unmet(other),
        };
    }
    Next::None
}

fn deps(id: InstanceId, rows: &Rows) -> &Deps {
    let attributes = rows.get(id).and_then(|i| i.attributes.as_ref());
    &attributes.expect("what is committed has attributes").deps
}

/// The dependency at the cursor, which moves on; none at the end. Passes over what is executed.
fn step(deps: &Deps, cursor: &mut Cursor, rows: &Rows, looks: &mut u64) -> Option<InstanceId> {
    while let Some(below) = deps.prefix.get(usize::from(cursor.owner)) {
        *looks += 1;
        let owner = crate::command::NodeId(cursor.owner);
        let number = cursor.number.max(rows.of(owner).executed_below());
        if number < *below {
            cursor.number = number + 1;
            return Some(InstanceId { owner, number });
        }
        *cursor = Cursor { owner: cursor.owner + 1, ..Cursor::default() };
    }
    while let Some(id) = deps.ids.get(cursor.position) {
        *looks += 1;
        cursor.position += 1;
        if !rows.is_executed(*id) {
            return Some(*id);
        }
    }
    None
}
