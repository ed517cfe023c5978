//! Decides a set of accounts that transfers connect.
//!
//! A transfer returns both balances after it, so few fit any state. But a wrong choice between two
//! that fit may show only much later, and until then hundreds of transfers between other accounts
//! are placed: to try all their orders before the choice is reconsidered would take for ever. So
//! the search knows *why* it is stuck.
//!
//! It always works on the *head*, the unplaced transfer that was answered first: nothing that was
//! asked after that answer can be placed before it. A *region* is a set of accounts that keeps the
//! head from being placed, whatever happens to the accounts outside. It grows from the head's two
//! accounts: each transfer that touches the region and does not fit adds an account whose balance
//! is wrong for it; each that fits is tried, and if that fails, the region of the failure is added,
//! unless that region does not touch the transfer: then the transfer was not to blame, and the
//! failure is one of the earlier situation too. (This joins conflict-directed backjumping, Prosser
//! 1993, with stubborn sets, Valmari 1989.) Failures are remembered by what was placed in their
//! region, so they are recognised whatever was done elsewhere.
//!
//! A look ahead finds most wrong choices at once: when an account leaves a balance that another
//! transfer still needs, something must be able to bring that balance back before the latter's
//! answer.
//!
//! Regions are bit masks over 128 *buckets* of accounts; accounts beyond the first 128 share them,
//! which makes regions larger than need be, and nothing else.

use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::register::{Fault, Stop};
use super::search::{Budget, Item, fingerprint, link_alike};
use crate::check::model::TransferOp;
use crate::kv::OPENING_BALANCE;

/// Decides the transfers between `count` accounts.
pub(super) fn check_accounts(ops: &[TransferOp], count: usize, budget: Budget) -> Result<(), Stop> {
    if let Some(op) = ops.iter().find(|op| op.contradicts_itself()) {
        return Err(Stop::Fault(Fault::Contradiction { op: op.id }));
    }
    departures_need_arrivals(ops)?;
    Search::new(ops, count, budget).run()
}

/// An account can leave a balance only as often as it came to it. Decides most wrong answers
/// without a search; says nothing on accounts that a transfer of unknown outcome touches.
fn departures_need_arrivals(ops: &[TransferOp]) -> Result<(), Fault> {
    let unsure: FxHashSet<u32> =
        ops.iter().filter(|op| op.outcome.is_none()).flat_map(|op| [op.from, op.to]).collect();
    let mut surplus: FxHashMap<(u32, u64), i64> = FxHashMap::default();
    let sides = |op: &TransferOp| {
        let (payer, receiver) = op.needs()?;
        let (_, from, to) = op.outcome?;
        (!op.is_idle()).then_some([(op.from, payer, from), (op.to, receiver, to)])
    };
    for (account, left, reached) in ops.iter().filter_map(sides).flatten() {
        *surplus.entry((account, left)).or_default() += 1;
        *surplus.entry((account, reached)).or_default() -= 1;
    }
    let opening = |balance| i64::from(balance == OPENING_BALANCE);
    let overdone = surplus
        .into_iter()
        .filter(|&((account, balance), surplus)| {
            surplus > opening(balance) && !unsure.contains(&account)
        })
        .map(|(place, _)| place)
        .min();
    let Some(place) = overdone else { return Ok(()) };
    let leaves = |op: &&TransferOp| {
        sides(op)
            .is_some_and(|sides| sides.iter().any(|&(account, left, _)| (account, left) == place))
    };
    Err(Fault::Overspent { ops: ops.iter().filter(leaves).map(|op| op.id).collect() })
}

/// A set of buckets.
type Region = u128;

const BUCKETS: usize = 128;
const REGIONS_MAX: usize = 64;

/// A situation in which a transfer was chosen.
struct Frame {
    /// What is known to keep the head from being placed.
    region: Region,
    tried: SmallVec<[u32; 4]>,
    /// The last tried one fits wherever it stands: there is no need to try another.
    decided: bool,
}

struct Search<'a> {
    ops: &'a [TransferOp],
    items: Vec<Item>,
    budget: Budget,
    balances: Vec<u64>,
    is_placed: Vec<bool>,
    /// Required transfers by the time of their answer; those before `head` are placed.
    by_end: Vec<u32>,
    head: usize,
    required_left: usize,
    /// For each bucket the required transfers that touch it, by begin, then the same of optional
    /// ones. Those before `first` are placed.
    touching: Vec<Vec<u32>>,
    first: Vec<usize>,
    /// For each item the lists of those that need the payer's and the receiver's balance before
    /// it, then of those that bring about the balances after it.
    balance_lists: Vec<[u32; 4]>,
    /// What is placed in each bucket.
    marks: Vec<u128>,
    frames: Vec<Frame>,
    /// Situations that fail, by region.
    failed: FxHashMap<Region, FxHashSet<u128>>,
    failed_count: u64,
    steps: u64,
}

impl<'a> Search<'a> {
    fn new(ops: &'a [TransferOp], count: usize, budget: Budget) -> Self {
        let mut items: Vec<Item> = ops.iter().map(|op| op.span).collect();
        link_alike(&mut items, |item| Some((ops[item].from, ops[item].to, ops[item].amount)));
        let mut by_begin: Vec<u32> = (0..ops.len() as u32).collect();
        let mut by_end = by_begin.clone();
        by_begin.sort_by_key(|&item| items[item as usize].begin_ns);
        by_end.retain(|&item| !items[item as usize].optional);
        by_end.sort_by_key(|&item| items[item as usize].end_ns);
        let mut touching = vec![Vec::new(); 2 * BUCKETS];
        for &item in &by_begin {
            for bucket in buckets(touched(&ops[item as usize])) {
                touching[list_of(&items[item as usize], bucket)].push(item);
            }
        }
        let balance_lists = index_balances(ops, &by_begin, &mut touching);
        Search {
            ops,
            items,
            balance_lists,
            budget,
            balances: vec![OPENING_BALANCE; count],
            is_placed: vec![false; ops.len()],
            head: 0,
            required_left: by_end.len(),
            by_end,
            first: vec![0; touching.len()],
            marks: vec![0; BUCKETS],
            touching,
            frames: Vec::new(),
            failed: FxHashMap::default(),
            failed_count: 0,
            steps: 0,
        }
    }

    fn run(mut self) -> Result<(), Stop> {
        self.open_frame();
        while self.required_left > 0 {
            if let Some(spent) = self.spent() {
                return Err(Stop::OverBudget(spent));
            }
            let failure = if let Some(item) = self.choose() {
                self.place(item);
                let failure = self.look_ahead(item).or_else(|| self.known_failure());
                if failure.is_none() {
                    self.open_frame();
                }
                failure
            } else {
                let region = self.frames.pop().map(|frame| frame.region);
                self.remember(region.expect("a frame is open"));
                region
            };
            if let Some(region) = failure
                && !self.blame(region)
            {
                return Err(Stop::Fault(Fault::NoOrder));
            }
        }
        Ok(())
    }

    /// Whether the budget is spent, and which part of it.
    fn spent(&mut self) -> Option<String> {
        self.steps += 1;
        // A slot takes 17 bytes; a table is half empty after it grew, and grows beside the old one.
        if self.failed_count * 68 > self.budget.memory_bytes {
            return Some(format!("over the memory limit after {} failures", self.failed_count));
        }
        if self.steps.is_multiple_of(256) && Instant::now() > self.budget.deadline {
            return Some(format!("over the time limit after {} failures", self.failed_count));
        }
        None
    }

    fn open_frame(&mut self) {
        self.frames.push(Frame { region: 0, tried: SmallVec::new(), decided: false });
    }

    /// Takes back choices until one to blame for the failure of `region` is found, whose situation
    /// may offer another. Says whether there is one.
    fn blame(&mut self, mut region: Region) -> bool {
        while let Some(frame) = self.frames.last_mut() {
            let item = *frame.tried.last().expect("a failure follows a choice");
            let touched = touched(&self.ops[item as usize]);
            if touched & region != 0 {
                frame.region |= region;
                if !frame.decided {
                    self.take_back(item);
                    return true;
                }
                region = frame.region | touched;
            }
            self.take_back(item);
            self.frames.pop();
        }
        false
    }

    /// The untried transfer to try next in the open situation; `None` if all that could help
    /// failed. Completes the region.
    fn choose(&mut self) -> Option<u32> {
        while self.is_placed[self.by_end[self.head] as usize] {
            self.head += 1;
        }
        let head = self.by_end[self.head];
        let limit_ns = self.items[head as usize].end_ns;
        let frame = self.frames.last().expect("a frame is open");
        assert!(!frame.decided, "a decided frame is not tried again");
        let mut region = frame.region | touched(&self.ops[head as usize]);
        let (mut visited, mut best) = (0, None);
        let mut idle = None;
        while region & !visited != 0 && idle.is_none() {
            let bucket = (region & !visited).trailing_zeros() as usize;
            visited |= 1 << bucket;
            for list in [bucket, BUCKETS + bucket] {
                self.visit(list, limit_ns, &mut region, &mut best, &mut idle);
            }
        }
        let frame = self.frames.last_mut().expect("a frame is open");
        frame.region = region;
        frame.decided = idle.is_some();
        let choice = idle.or(best)?;
        frame.tried.push(choice);
        Some(choice)
    }

    /// Goes through the transfers of a list that may come next: notes the best that fits and the
    /// one that is idle, and adds to the region what keeps the others from fitting.
    fn visit(
        &mut self,
        list: usize,
        limit_ns: u64,
        region: &mut Region,
        best: &mut Option<u32>,
        idle: &mut Option<u32>,
    ) {
        let first = &mut self.first[list];
        let members = &self.touching[list];
        while members.get(*first).is_some_and(|&item| self.is_placed[item as usize]) {
            *first += 1;
        }
        let tried = &self.frames.last().expect("a frame is open").tried;
        for &item in &members[*first..] {
            let Item { begin_ns, end_ns, optional, after } = self.items[item as usize];
            if begin_ns > limit_ns {
                break;
            }
            let waits = after.is_some_and(|alike| !self.is_placed[alike as usize]);
            if self.is_placed[item as usize] || waits || tried.contains(&item) {
                continue;
            }
            let op = &self.ops[item as usize];
            match self.obstacle(op, *region) {
                Some(account) => *region |= account,
                None if !optional && op.is_idle() => *idle = Some(item),
                None => {
                    let rank = |item: u32| (self.items[item as usize].end_ns, item);
                    if best.is_none_or(|best| (end_ns, item) < rank(best)) {
                        *best = Some(item);
                    }
                }
            }
        }
    }

    /// An account whose balance keeps a transfer from fitting, if one does: where there is a
    /// choice, one of the region.
    fn obstacle(&self, op: &TransferOp, region: Region) -> Option<Region> {
        let (payer, receiver) = (self.balances[op.from as usize], self.balances[op.to as usize]);
        let (payer_is_wrong, receiver_is_wrong) = match op.needs() {
            Some((needs_payer, needs_receiver)) => {
                (payer != needs_payer, receiver != needs_receiver)
            }
            None => (payer < op.amount, receiver.checked_add(op.amount).is_none()),
        };
        match (payer_is_wrong, receiver_is_wrong) {
            (false, false) => None,
            (true, true) if bit(op.to) & region != 0 => Some(bit(op.to)),
            (true, _) => Some(bit(op.from)),
            (false, true) => Some(bit(op.to)),
        }
    }

    /// The account, if there is one, that `item` moved away from a balance which a transfer still
    /// needs and nothing can bring back in time.
    fn look_ahead(&mut self, item: u32) -> Option<Region> {
        let op = self.ops[item as usize];
        if op.is_idle() || op.outcome.is_none() {
            return None;
        }
        let [payer, receiver, ..] = self.balance_lists[item as usize];
        [(op.from, payer), (op.to, receiver)]
            .into_iter()
            .find(|&(account, list)| self.is_stranded(account, list as usize))
            .map(|(account, _)| bit(account))
    }

    /// Whether a transfer of list `needing` waits for a balance of `account` in vain.
    fn is_stranded(&mut self, account: u32, needing: usize) -> bool {
        let unknown = self.first_unplaced(BUCKETS + account as usize % BUCKETS);
        let bringing = self.first_unplaced(needing + 1);
        let rescue_ns = [unknown, bringing]
            .into_iter()
            .flatten()
            .map(|item| self.items[item as usize].begin_ns)
            .min();
        self.first_unplaced(needing);
        let waiting = &self.touching[needing][self.first[needing]..];
        let earliest_ns = self.by_end[self.head..]
            .iter()
            .find(|&&item| !self.is_placed[item as usize])
            .map_or(0, |&item| self.items[item as usize].end_ns);
        waiting
            .iter()
            .take_while(|&&item| self.items[item as usize].begin_ns <= earliest_ns)
            .filter(|&&item| !self.is_placed[item as usize])
            .any(|&item| rescue_ns.is_none_or(|begin| begin > self.items[item as usize].end_ns))
    }

    /// The first of a list that is not placed.
    fn first_unplaced(&mut self, list: usize) -> Option<u32> {
        let first = &mut self.first[list];
        let members = &self.touching[list];
        while members.get(*first).is_some_and(|&item| self.is_placed[item as usize]) {
            *first += 1;
        }
        members.get(*first).copied()
    }

    fn place(&mut self, item: u32) {
        let op = self.ops[item as usize];
        if !op.is_idle() {
            self.balances[op.from as usize] -= op.amount;
            self.balances[op.to as usize] += op.amount;
        }
        self.is_placed[item as usize] = true;
        self.required_left -= usize::from(!op.span.optional);
        self.mark(item);
    }

    fn take_back(&mut self, item: u32) {
        let op = self.ops[item as usize];
        if !op.is_idle() {
            self.balances[op.from as usize] += op.amount;
            self.balances[op.to as usize] -= op.amount;
        }
        self.is_placed[item as usize] = false;
        self.required_left += usize::from(!op.span.optional);
        self.mark(item);
        self.rewind(item);
    }

    fn mark(&mut self, item: u32) {
        for bucket in buckets(touched(&self.ops[item as usize])) {
            self.marks[bucket] ^= fingerprint(bucket as u64 + 1, u64::from(item));
        }
    }

    /// Moves the starts of the lists back to an item that is unplaced again.
    fn rewind(&mut self, item: u32) {
        let Item { begin_ns, end_ns, optional, .. } = self.items[item as usize];
        for bucket in buckets(touched(&self.ops[item as usize])) {
            let list = list_of(&self.items[item as usize], bucket);
            let begin = |&other: &u32| self.items[other as usize].begin_ns < begin_ns;
            self.first[list] = self.touching[list][..self.first[list]].partition_point(begin);
        }
        for list in self.balance_lists[item as usize] {
            if let Some(first) = self.first.get_mut(list as usize) {
                let begin = |&other: &u32| self.items[other as usize].begin_ns < begin_ns;
                *first = self.touching[list as usize][..*first].partition_point(begin);
            }
        }
        if !optional {
            let end = |&other: &u32| self.items[other as usize].end_ns < end_ns;
            self.head = self.by_end[..self.head].partition_point(end);
        }
    }

    /// What is placed in a region.
    fn situation(&self, region: Region) -> u128 {
        buckets(region).fold(0, |mark, bucket| mark ^ self.marks[bucket])
    }

    /// Remembers that the present situation of a region fails. It then also fails as that of any
    /// larger region: there are at most [`REGIONS_MAX`], so that looking one up stays cheap.
    fn remember(&mut self, mut region: Region) {
        if self.failed.len() == REGIONS_MAX && !self.failed.contains_key(&region) {
            let larger = self.failed.keys().filter(|&&other| other & region == region);
            region = larger.min_by_key(|other| other.count_ones()).copied().unwrap_or(Region::MAX);
        }
        let situation = self.situation(region);
        let is_new = self.failed.entry(region).or_default().insert(situation);
        self.failed_count += u64::from(is_new);
    }

    /// The region of a failure that the present situation repeats.
    fn known_failure(&self) -> Option<Region> {
        let repeats = |(region, failed): &(&Region, &FxHashSet<u128>)| {
            failed.contains(&self.situation(**region))
        };
        self.failed.iter().find(repeats).map(|(region, _)| *region)
    }
}

/// Appends to `lists`, for every balance of an account that an answer tells of, the list of items
/// that need it and, right after it, the list of those that bring it about; both by begin.
fn index_balances(
    ops: &[TransferOp],
    by_begin: &[u32],
    lists: &mut Vec<Vec<u32>>,
) -> Vec<[u32; 4]> {
    let mut known: FxHashMap<(u32, u64), u32> = FxHashMap::default();
    let mut member_of = vec![[u32::MAX; 4]; ops.len()];
    for &item in by_begin {
        let op = &ops[item as usize];
        let (Some((payer, receiver)), Some((_, from, to))) = (op.needs(), op.outcome) else {
            continue;
        };
        let told = [(op.from, payer), (op.to, receiver), (op.from, from), (op.to, to)];
        for (place, balance) in told.into_iter().enumerate() {
            let list = *known.entry(balance).or_insert_with(|| {
                lists.extend([Vec::new(), Vec::new()]);
                lists.len() as u32 - 2
            });
            let brings = place >= 2;
            if brings && op.is_idle() {
                continue;
            }
            let list = list + u32::from(brings);
            lists[list as usize].push(item);
            member_of[item as usize][place] = list;
        }
    }
    member_of
}

/// Which list of [`Search::touching`] holds an item for a bucket.
fn list_of(item: &Item, bucket: usize) -> usize {
    bucket + if item.optional { BUCKETS } else { 0 }
}

fn bit(account: u32) -> Region {
    1 << (account as usize % BUCKETS)
}

fn touched(op: &TransferOp) -> Region {
    bit(op.from) | bit(op.to)
}

/// The buckets of a region.
fn buckets(mut region: Region) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bucket = region.trailing_zeros() as usize;
        region &= region.wrapping_sub(1);
        (bucket < BUCKETS).then_some(bucket)
    })
}
