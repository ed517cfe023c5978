//! The search for an order: Wing and Gong's algorithm with Lowe's improvements.
//!
//! *Items* are put in an order one by one. An item may come next if no other that is still to be
//! placed ended before it began. When nothing fits, the search takes back its last choice; it
//! remembers every situation (which items are placed, and the state they lead to) and never tries
//! one twice.
//!
//! An item is an operation, or a whole group of operations that must stand together (see
//! `register.rs`). For a group, `begin_ns` is the latest invocation and `end_ns` the earliest
//! response in it, so that "ended before it began" says that some operation of one group ended
//! before some operation of the other began; `end_ns` may then precede `begin_ns`.
//!
//! Two reductions keep the search narrow. An item that the [`Model`] calls *free* (a read that fits
//! the present state, say) is placed at once, and its place is never reconsidered. Optional items
//! that are alike are used in the order in which they began.
//!
//! Situations are remembered by 128-bit fingerprints. Two different ones share a fingerprint with
//! probability below 2^-80 in the largest search that fits into memory.

use std::hash::Hash;
use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};

/// The end of an operation that was never answered.
pub(crate) const NEVER: u64 = u64::MAX;

/// Something to be placed in the order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Items that ended before this come before it.
    pub(crate) begin_ns: u64,
    /// Items that began after this come after it; [`NEVER`] if it was never answered.
    pub(crate) end_ns: u64,
    /// It may also be left out.
    pub(crate) optional: bool,
    /// An optional item that is alike and began no later: this one is used only after that one.
    pub(crate) after: Option<u32>,
}

/// Links optional items that `class` says are alike, each after the one that began before it.
pub(crate) fn link_alike<C: Hash + Eq>(items: &mut [Item], class: impl Fn(usize) -> Option<C>) {
    let mut optional: Vec<usize> = (0..items.len()).filter(|&item| items[item].optional).collect();
    optional.sort_by_key(|&item| items[item].begin_ns);
    let mut last = FxHashMap::default();
    for item in optional {
        if let Some(class) = class(item) {
            items[item].after = last.insert(class, item as u32);
        }
    }
}

/// The sequential object: knows what each item does to its state.
pub(crate) trait Model {
    /// What takes an item back.
    type Undo;
    /// Applies an item if it fits the present state.
    fn apply(&mut self, item: usize) -> Option<Self::Undo>;
    /// Takes back the item applied last.
    fn undo(&mut self, item: usize, undo: Self::Undo);
    /// Whether the item fits, and placing it now can never prevent an order that exists.
    fn free(&self, item: usize) -> bool;
    /// Among items that fit, those of the lowest rank are tried first.
    fn rank(&self, item: usize) -> u8;
    /// Tells states apart.
    fn fingerprint(&self) -> u128;
}

/// What a search may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Bytes that remembered situations may take.
    pub(crate) memory_bytes: u64,
    /// When to give up.
    pub(crate) deadline: Instant,
}

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// An order exists.
    Order,
    /// No order exists.
    NoOrder,
    /// The budget is spent; says which.
    OverBudget(String),
}

/// Looks for an order of all required and any optional items.
pub(crate) fn search(items: &[Item], model: impl Model, budget: Budget) -> Answer {
    Search::new(items, model, budget).run()
}

const NOTHING: u32 = u32::MAX;

/// A doubly linked list over item numbers, from which items are taken and put back in reverse.
struct List {
    next: Vec<u32>,
    previous: Vec<u32>,
}

impl List {
    /// A list of `members` in that order; the sentinel is `count`.
    fn new(count: usize, members: &[u32]) -> Self {
        let mut list = List { next: vec![NOTHING; count + 1], previous: vec![NOTHING; count + 1] };
        let mut last = count as u32;
        for &member in members {
            list.next[last as usize] = member;
            list.previous[member as usize] = last;
            last = member;
        }
        list
    }

    fn first(&self) -> u32 {
        self.next[self.next.len() - 1]
    }

    fn remove(&mut self, item: u32) {
        let (previous, next) = (self.previous[item as usize], self.next[item as usize]);
        self.next[previous as usize] = next;
        if next != NOTHING {
            self.previous[next as usize] = previous;
        }
    }

    fn restore(&mut self, item: u32) {
        let (previous, next) = (self.previous[item as usize], self.next[item as usize]);
        self.next[previous as usize] = item;
        if next != NOTHING {
            self.previous[next as usize] = item;
        }
    }
}

/// A choice that can be taken back: what was placed before it, and what else may be tried.
struct Frame {
    placed: usize,
    candidates: usize,
}

struct Search<'a, M: Model> {
    items: &'a [Item],
    model: M,
    budget: Budget,
    /// Required items not yet placed, by begin and by end; optional ones by begin.
    by_begin: List,
    by_end: List,
    optional: List,
    is_placed: Vec<bool>,
    /// Placed items in order.
    trail: Vec<(u32, M::Undo)>,
    frames: Vec<Frame>,
    /// Candidates of all frames, each frame's best last.
    candidates: Vec<u32>,
    required_left: usize,
    placed_mark: u128,
    seen: FxHashSet<u128>,
    steps: u64,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(items: &'a [Item], model: M, budget: Budget) -> Self {
        let sorted = |optional: bool, time: fn(&Item) -> u64| {
            let mut members: Vec<u32> = (0..items.len() as u32)
                .filter(|&item| items[item as usize].optional == optional)
                .collect();
            members.sort_by_key(|&item| time(&items[item as usize]));
            members
        };
        let by_end = sorted(false, |item| item.end_ns);
        Search {
            items,
            model,
            budget,
            by_begin: List::new(items.len(), &sorted(false, |item| item.begin_ns)),
            optional: List::new(items.len(), &sorted(true, |item| item.begin_ns)),
            required_left: by_end.len(),
            by_end: List::new(items.len(), &by_end),
            is_placed: vec![false; items.len()],
            trail: Vec::with_capacity(items.len()),
            frames: Vec::new(),
            candidates: Vec::new(),
            placed_mark: 0,
            seen: FxHashSet::default(),
            steps: 0,
        }
    }

    fn run(mut self) -> Answer {
        self.place_free();
        self.open_frame(0);
        while self.required_left > 0 {
            if let Some(spent) = self.spent() {
                return Answer::OverBudget(spent);
            }
            let Some(frame) = self.frames.last() else { return Answer::NoOrder };
            let (placed, candidates) = (frame.placed, frame.candidates);
            if self.candidates.len() == candidates {
                self.frames.pop();
                self.take_back(placed);
                continue;
            }
            let candidate = self.candidates.pop().expect("just counted");
            let before = self.trail.len();
            assert!(self.place(candidate), "a candidate fits");
            self.place_free();
            if self.seen.insert(self.placed_mark ^ self.model.fingerprint()) {
                self.open_frame(before);
            } else {
                self.take_back(before);
            }
        }
        Answer::Order
    }

    /// Whether the budget is spent, and which part of it.
    fn spent(&mut self) -> Option<String> {
        self.steps += 1;
        // The table doubles when full: old and new then stand side by side, 17 bytes a slot.
        let grows = self.seen.len() == self.seen.capacity();
        let bytes = self.seen.capacity() as u64 * if grows { 51 } else { 17 };
        if bytes > self.budget.memory_bytes {
            return Some(format!("over the memory limit after {} situations", self.seen.len()));
        }
        if self.steps.is_multiple_of(256) && Instant::now() > self.budget.deadline {
            return Some(format!("over the time limit after {} situations", self.seen.len()));
        }
        None
    }

    /// Places an item if it fits the state.
    fn place(&mut self, item: u32) -> bool {
        let Some(undo) = self.model.apply(item as usize) else { return false };
        if self.items[item as usize].optional {
            self.optional.remove(item);
        } else {
            self.by_begin.remove(item);
            self.by_end.remove(item);
            self.required_left -= 1;
        }
        self.is_placed[item as usize] = true;
        self.placed_mark ^= fingerprint(0, u64::from(item));
        self.trail.push((item, undo));
        true
    }

    /// Takes back all items but the first `keep`.
    fn take_back(&mut self, keep: usize) {
        while self.trail.len() > keep {
            let (item, undo) = self.trail.pop().expect("longer than keep");
            self.model.undo(item as usize, undo);
            if self.items[item as usize].optional {
                self.optional.restore(item);
            } else {
                self.by_end.restore(item);
                self.by_begin.restore(item);
                self.required_left += 1;
            }
            self.is_placed[item as usize] = false;
            self.placed_mark ^= fingerprint(0, u64::from(item));
        }
    }

    /// The required item that ends first, and the latest begin of an item that may come before it.
    fn head(&self) -> Option<(u32, u64)> {
        let head = self.by_end.first();
        (head != NOTHING).then(|| (head, self.items[head as usize].end_ns))
    }

    /// Whether the head, whose begin may lie after its own end, may come next.
    fn head_may_come(&self, head: u32) -> bool {
        let second = self.by_end.next[head as usize];
        second == NOTHING
            || self.items[head as usize].begin_ns <= self.items[second as usize].end_ns
    }

    /// Goes once through the items that may come next and places the free ones.
    fn place_free_once(&mut self) -> bool {
        let Some((head, limit_ns)) = self.head() else { return false };
        if self.model.free(head as usize) && self.head_may_come(head) {
            return self.place(head);
        }
        let mut any = false;
        let mut item = self.by_begin.first();
        while item != NOTHING && self.items[item as usize].begin_ns <= limit_ns {
            let next = self.by_begin.next[item as usize];
            if item != head && self.model.free(item as usize) {
                any |= self.place(item);
            }
            item = next;
        }
        any
    }

    /// Places free items until there is none.
    fn place_free(&mut self) {
        while self.place_free_once() {}
    }

    /// Opens a frame with all items that may come next and fit, the best last.
    fn open_frame(&mut self, placed: usize) {
        let first = self.candidates.len();
        self.frames.push(Frame { placed, candidates: first });
        let Some((head, limit_ns)) = self.head() else { return };
        if self.head_may_come(head) {
            self.offer(head);
        }
        let mut item = self.by_begin.first();
        while item != NOTHING && self.items[item as usize].begin_ns <= limit_ns {
            if item != head {
                self.offer(item);
            }
            item = self.by_begin.next[item as usize];
        }
        let mut item = self.optional.first();
        while item != NOTHING && self.items[item as usize].begin_ns <= limit_ns {
            let after = self.items[item as usize].after;
            if after.is_none_or(|alike| self.is_placed[alike as usize]) {
                self.offer(item);
            }
            item = self.optional.next[item as usize];
        }
        let (items, model) = (self.items, &self.model);
        self.candidates[first..].sort_by_key(|&item| {
            let Item { optional, end_ns, .. } = items[item as usize];
            std::cmp::Reverse((optional, model.rank(item as usize), end_ns))
        });
    }

    /// Adds an item to the candidates if it fits.
    fn offer(&mut self, item: u32) {
        if let Some(undo) = self.model.apply(item as usize) {
            self.model.undo(item as usize, undo);
            self.candidates.push(item);
        }
    }
}

/// A number that looks random, always the same for the same arguments. Different kinds of things
/// use different domains; 0 is the items' own.
pub(crate) fn fingerprint(domain: u64, of: u64) -> u128 {
    let low = mix(of ^ mix(domain.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    let high = mix(of.wrapping_mul(0xa24b_aed4_963e_e407) ^ mix(domain ^ 0xd1b5_4a32_d192_ed03));
    u128::from(high) << 64 | u128::from(low)
}

/// The finaliser of splitmix64.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
