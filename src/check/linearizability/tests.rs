//! The checker against a brute-force search over permutations, and its fast path against its
//! general search, on histories of a simulated linearizable store and on damaged ones.

use std::collections::BTreeMap;

use super::partition::{Object, partitions};
use super::register::{Stop, conclude, search_register};
use super::search::{Model, fingerprint, link_alike, search};
use super::*;
use crate::check::history::{Call, Completion, OperationRecord, Reply, Seen, appended};
use crate::check::model::{TransferOp, register_op};
use crate::kv::OPENING_BALANCE;

/// A small generator of numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % sides
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// The store's specification, once more and as plainly as possible.
#[derive(Clone, Default)]
struct Spec {
    registers: BTreeMap<Key, u64>,
    /// How long lists are.
    lengths: BTreeMap<Key, u64>,
    accounts: BTreeMap<Key, u64>,
}

/// How long lists become in these tests.
const LENGTH_MAX: u64 = 3;

impl Spec {
    fn apply(&mut self, key: Key, call: Call) -> Reply {
        let old = self.registers.get(&key).copied();
        let length = old.map_or(0, |_| self.lengths.get(&key).copied().unwrap_or(1));
        let idle = match call {
            Call::Cas { expected, .. } => expected != old,
            _ => call == Call::Get,
        };
        if !idle {
            self.lengths.remove(&key);
        }
        match call {
            Call::Get => {}
            Call::Put { value } => {
                self.registers.insert(key, value);
                return Reply::Done;
            }
            Call::Rmw { new } => {
                self.registers.insert(key, new);
            }
            Call::Cas { expected, new } => {
                if old == expected {
                    self.registers.insert(key, new);
                }
            }
            Call::Add { amount } => {
                self.registers.insert(key, old.unwrap_or(0).wrapping_add(amount));
            }
            Call::Append { .. } if length >= LENGTH_MAX => {
                self.lengths.insert(key, length);
                return Reply::Full(old.into());
            }
            Call::Append { new } => {
                self.registers.insert(key, appended(old, new));
                self.lengths.insert(key, length + 1);
            }
            Call::Delete => {
                self.registers.remove(&key);
            }
            Call::Transfer { to, amount } => return self.transfer(key, to, amount),
        }
        Reply::Found(old.into())
    }

    fn transfer(&mut self, from: Key, to: Key, amount: u64) -> Reply {
        let payer = *self.accounts.get(&from).unwrap_or(&OPENING_BALANCE);
        let receiver = *self.accounts.get(&to).unwrap_or(&OPENING_BALANCE);
        if payer < amount {
            return Reply::Balances { moved: false, from: payer, to: receiver };
        }
        self.accounts.insert(from, payer - amount);
        self.accounts.insert(to, receiver + amount);
        Reply::Balances { moved: true, from: payer - amount, to: receiver + amount }
    }
}

/// What histories to draw.
#[derive(Clone, Copy)]
struct Recipe {
    operations: usize,
    processes: u64,
    /// Of put, get, rmw, cas, delete.
    weights: [u64; 5],
    /// Of add, append.
    makers: [u64; 2],
    /// Tokens to write; 0 makes each unique.
    tokens: u64,
    unknown_percent: u64,
    /// How many accounts transfers choose from; 0 draws no transfers.
    accounts: u64,
    /// Times are drawn from few numbers, so that some are equal.
    longest: u64,
}

const SMALL: Recipe = Recipe {
    operations: 7,
    processes: 3,
    weights: [3, 3, 2, 2, 2],
    makers: [0, 0],
    tokens: 0,
    unknown_percent: 15,
    accounts: 0,
    longest: 9,
};

fn draw_call(dice: &mut Dice, recipe: &Recipe, written: &mut Vec<u64>) -> (Key, Call) {
    if recipe.accounts > 0 {
        let from = dice.roll(recipe.accounts);
        let to = Key::account((from + 1 + dice.roll(recipe.accounts - 1)) % recipe.accounts);
        return (Key::account(from), Call::Transfer { to, amount: dice.roll(3) * 400 });
    }
    let mut token = || {
        let fresh = written.len() as u64 + 1;
        let token = if recipe.tokens == 0 { fresh } else { 1 + dice.roll(recipe.tokens) };
        written.push(token);
        token
    };
    let new = token();
    let weights = [&recipe.weights[..], &recipe.makers].concat();
    let mut pick = dice.roll(weights.iter().sum());
    let mut kind = 0;
    while pick >= weights[kind] {
        pick -= weights[kind];
        kind += 1;
    }
    let recent = new.saturating_sub(1 + dice.roll(3));
    let expected = (recent > 0 && dice.chance(80)).then_some(recent);
    let call = match kind {
        0 => Call::Put { value: new },
        1 => Call::Get,
        2 => Call::Rmw { new },
        3 => Call::Cas { expected, new },
        4 => Call::Delete,
        5 => Call::Add { amount: 1 + new % 3 },
        _ => Call::Append { new },
    };
    (Key::register(0), call)
}

/// A history of a store that is linearizable.
fn draw_valid(dice: &mut Dice, recipe: &Recipe) -> History {
    let mut clocks: Vec<(u64, u64)> = (0..recipe.processes).map(|process| (process, 0)).collect();
    let mut next_process = recipe.processes;
    let mut written = Vec::new();
    let mut history = History { sites: vec!["tokyo".into()], ..History::default() };
    let mut points = Vec::new();
    for index in 0..recipe.operations {
        let slot = dice.roll(recipe.processes) as usize;
        let (process, clock) = clocks[slot];
        let invoke_ns = clock + dice.roll(3);
        let response_ns = invoke_ns + dice.roll(recipe.longest);
        let unknown = dice.chance(recipe.unknown_percent);
        let (key, call) = draw_call(dice, recipe, &mut written);
        let point = if unknown {
            (dice.chance(60)).then(|| invoke_ns + dice.roll(40))
        } else {
            Some(invoke_ns + dice.roll(response_ns - invoke_ns + 1))
        };
        points.extend(point.map(|point| (point, dice.roll(8), index)));
        clocks[slot] = (process, response_ns);
        if unknown {
            clocks[slot].0 = next_process;
            next_process += 1;
        }
        history.operations.push(OperationRecord {
            process,
            site: 0,
            key,
            call,
            invoke_ns,
            response_ns: (!unknown).then_some(response_ns),
            completion: Completion::Unknown,
        });
    }
    points.sort_unstable();
    let mut spec = Spec::default();
    for (_, _, index) in points {
        let record = &mut history.operations[index];
        let reply = spec.apply(record.key, record.call);
        if record.response_ns.is_some() {
            record.completion = Completion::Ok(reply);
        }
    }
    history
}

/// Changes an answer or a time, so that the history may be linearizable no more.
fn damage(dice: &mut Dice, history: &mut History) {
    let count = history.operations.len() as u64;
    let token = dice.roll(count + 1);
    let record = &mut history.operations[dice.roll(count) as usize];
    match &mut record.completion {
        Completion::Ok(Reply::Found(seen)) if dice.chance(70) => {
            *seen = if token == 0 { Seen::Absent } else { Seen::Token(token) };
        }
        Completion::Ok(Reply::Balances { from, to, .. }) if dice.chance(50) => {
            let shift = 400 * dice.roll(2);
            *from = from.saturating_add(shift);
            *to = to.saturating_sub(shift);
        }
        Completion::Ok(_) => {
            let shift = dice.roll(12);
            record.invoke_ns += shift;
            record.response_ns = record.response_ns.map(|end| end + shift);
        }
        _ => record.invoke_ns += dice.roll(30),
    }
}

/// Tries every order.
fn brute_force(history: &History) -> bool {
    let effective = |record: &&OperationRecord| record.completion != Completion::Failed;
    let operations: Vec<&OperationRecord> = history.operations.iter().filter(effective).collect();
    extend(&operations, &mut vec![false; operations.len()], &Spec::default(), None)
}

/// Tries every order of the operations that touch a key; the other account of each transfer has
/// just the balance that the answer asks for, or enough.
fn brute_force_alone(history: &History, key: Key) -> bool {
    let touches = |record: &&OperationRecord| {
        record.completion != Completion::Failed && touched(record).contains(&key)
    };
    let operations: Vec<&OperationRecord> = history.operations.iter().filter(touches).collect();
    extend(&operations, &mut vec![false; operations.len()], &Spec::default(), Some(key))
}

/// The keys of an operation.
fn touched(record: &OperationRecord) -> Vec<Key> {
    match record.call {
        Call::Transfer { to, .. } => vec![record.key, to],
        _ => vec![record.key],
    }
}

impl Spec {
    /// Gives the account of a transfer that is not `key` the balance that suits the transfer.
    fn suit(&mut self, key: Key, record: &OperationRecord) {
        let Call::Transfer { to, amount } = record.call else { return };
        let (payer, receiver) = match record.completion {
            Completion::Ok(Reply::Balances { moved: true, from, to }) => {
                (from + amount, to.saturating_sub(amount))
            }
            Completion::Ok(Reply::Balances { moved: false, from, to }) => (from, to),
            _ => (amount, 0),
        };
        if record.key == key {
            self.accounts.insert(to, receiver);
        } else {
            self.accounts.insert(record.key, payer);
        }
    }
}

fn extend(
    operations: &[&OperationRecord],
    placed: &mut [bool],
    spec: &Spec,
    alone: Option<Key>,
) -> bool {
    let answered = |index: usize| matches!(operations[index].completion, Completion::Ok(_));
    let left: Vec<usize> = (0..operations.len()).filter(|&index| !placed[index]).collect();
    if !left.iter().any(|&index| answered(index)) {
        return true;
    }
    left.iter().any(|&index| {
        let began = operations[index].invoke_ns;
        let too_early = |&other: &usize| {
            other != index && operations[other].response_ns.is_some_and(|end| end < began)
        };
        if left.iter().any(too_early) {
            return false;
        }
        let mut spec = spec.clone();
        if let Some(key) = alone {
            spec.suit(key, operations[index]);
        }
        let reply = spec.apply(operations[index].key, operations[index].call);
        if answered(index) && operations[index].completion != Completion::Ok(reply) {
            return false;
        }
        placed[index] = true;
        let found = extend(operations, placed, &spec, alone);
        placed[index] = false;
        found
    })
}

/// All accounts that transfers connect, for the general search.
struct AccountsModel<'a> {
    ops: &'a [TransferOp],
    balances: Vec<u64>,
    mark: u128,
}

impl<'a> AccountsModel<'a> {
    /// `count` accounts that nobody has touched.
    fn new(ops: &'a [TransferOp], count: usize) -> Self {
        AccountsModel { ops, balances: vec![OPENING_BALANCE; count], mark: 0 }
    }

    /// The balances after an item, and whether it moved anything, if it fits.
    fn outcome(&self, item: usize) -> Option<(bool, u64, u64)> {
        let op = &self.ops[item];
        let (payer, receiver) = (self.balances[op.from as usize], self.balances[op.to as usize]);
        let outcome = match (payer.checked_sub(op.amount), receiver.checked_add(op.amount)) {
            (Some(payer), Some(receiver)) => (true, payer, receiver),
            _ => (false, payer, receiver),
        };
        op.outcome.is_none_or(|seen| seen == outcome).then_some(outcome)
    }

    fn set(&mut self, account: u32, balance: u64) {
        let slot = &mut self.balances[account as usize];
        let tag = |balance: u64| fingerprint(u64::from(account) + 1, balance);
        self.mark ^= tag(*slot) ^ tag(balance);
        *slot = balance;
    }
}

impl Model for AccountsModel<'_> {
    type Undo = (u64, u64);

    fn apply(&mut self, item: usize) -> Option<(u64, u64)> {
        let op = &self.ops[item];
        let (moved, payer, receiver) = self.outcome(item)?;
        if !moved && op.outcome.is_none() {
            // A refused transfer that nobody saw is as good as none.
            return None;
        }
        let before = (self.balances[op.from as usize], self.balances[op.to as usize]);
        self.set(op.from, payer);
        self.set(op.to, receiver);
        Some(before)
    }

    fn undo(&mut self, item: usize, (payer, receiver): (u64, u64)) {
        let op = &self.ops[item];
        self.set(op.from, payer);
        self.set(op.to, receiver);
    }

    /// A transfer that was refused, or moved nothing, changes nothing wherever it stands.
    fn free(&self, item: usize) -> bool {
        let op = &self.ops[item];
        let idle = op.outcome.is_some_and(|(moved, ..)| !moved) || op.amount == 0;
        !op.span.optional && idle && self.outcome(item).is_some()
    }

    fn rank(&self, _item: usize) -> u8 {
        0
    }

    fn fingerprint(&self) -> u128 {
        self.mark
    }
}

fn limits() -> Limits {
    Limits { threads: 1, ..Limits::default() }
}

fn is_valid(history: &History) -> bool {
    match check(history, &limits()) {
        Verdict::Valid => true,
        Verdict::Invalid(_) => false,
        Verdict::Unknown(reason) => panic!("undecided: {reason}"),
    }
}

fn search_accounts(ops: &[TransferOp], count: usize, budget: Budget) -> Result<(), Stop> {
    let mut items: Vec<_> = ops.iter().map(|op| op.span).collect();
    link_alike(&mut items, |item| Some((ops[item].from, ops[item].to, ops[item].amount)));
    conclude(search(&items, AccountsModel::new(ops, count), budget))
}

/// The general search's answer, where the fast path would have been taken.
fn is_valid_by_search(history: &History) -> bool {
    let budget = Budget { memory_bytes: 1 << 30, deadline: Instant::now() + limits().time };
    partitions(history).iter().all(|partition| {
        let answer = if partition.object == Object::Accounts {
            search_accounts(&partition.transfers(history, NEVER), partition.keys.len(), budget)
        } else {
            let ops = partition.register_ops(history, NEVER).expect("no corrupt values");
            search_register(&ops, budget)
        };
        match answer {
            Ok(()) => true,
            Err(Stop::Fault(_)) => false,
            Err(Stop::OverBudget(reason)) => panic!("undecided: {reason}"),
        }
    })
}

/// Runs `rounds` of a recipe, half of them damaged, and returns how many were valid and invalid.
fn agree_with_brute_force(recipe: Recipe, rounds: u64, seed: u64) -> [u64; 2] {
    let mut counts = [0; 2];
    for round in 0..rounds {
        let mut dice = Dice(seed << 32 | round);
        let mut history = draw_valid(&mut dice, &recipe);
        if round % 2 == 0 {
            assert!(
                is_valid(&history),
                "seed {seed} round {round}: valid by construction\n{history:#?}"
            );
        } else {
            (0..=dice.roll(3)).for_each(|_| damage(&mut dice, &mut history));
        }
        let expected = brute_force(&history);
        let verdict = check(&history, &limits());
        assert_eq!(
            verdict == Verdict::Valid,
            expected,
            "seed {seed} round {round}: {verdict:?}\n{history:#?}"
        );
        counts[usize::from(expected)] += 1;
    }
    counts
}

#[test]
fn registers_get_the_verdict_of_a_brute_force_search() {
    let no_deletes = [3, 3, 2, 2, 0];
    let swaps = [1, 2, 4, 2, 1];
    let deletes = [2, 4, 2, 2, 5];
    for (seed, weights) in (1..).zip([SMALL.weights, no_deletes, swaps, deletes]) {
        let [invalid, valid] = agree_with_brute_force(Recipe { weights, ..SMALL }, 6_000, seed);
        assert!(invalid > 900 && valid > 3_000, "{invalid} invalid, {valid} valid");
    }
}

#[test]
fn registers_with_repeated_values_get_the_verdict_of_a_brute_force_search() {
    let recipe = Recipe { tokens: 3, ..SMALL };
    let [invalid, valid] = agree_with_brute_force(recipe, 6_000, 11);
    assert!(invalid > 900 && valid > 3_000, "{invalid} invalid, {valid} valid");
}

#[test]
fn many_unknown_outcomes_get_the_verdict_of_a_brute_force_search() {
    let recipe = Recipe { unknown_percent: 45, operations: 8, processes: 2, ..SMALL };
    let [invalid, valid] = agree_with_brute_force(recipe, 6_000, 12);
    assert!(invalid > 600 && valid > 3_000, "{invalid} invalid, {valid} valid");
}

#[test]
fn adds_and_appends_get_the_verdict_of_a_brute_force_search() {
    let adds = Recipe { weights: [0, 3, 0, 0, 1], makers: [6, 0], ..SMALL };
    let appends = Recipe { makers: [0, 6], ..adds };
    let all = Recipe { weights: [1, 3, 1, 1, 1], makers: [2, 2], ..SMALL };
    let unsure = Recipe { unknown_percent: 45, operations: 8, ..all };
    for (seed, recipe) in (31..).zip([adds, appends, all, unsure]) {
        let [invalid, valid] = agree_with_brute_force(recipe, 6_000, seed);
        assert!(invalid > 600 && valid > 3_000, "{seed}: {invalid} invalid, {valid} valid");
    }
}

#[test]
fn transfers_get_the_verdict_of_a_brute_force_search() {
    let recipe = Recipe { accounts: 3, ..SMALL };
    let [invalid, valid] = agree_with_brute_force(recipe, 10_000, 13);
    assert!(invalid > 1_500 && valid > 5_000, "{invalid} invalid, {valid} valid");
}

/// Whether each key alone is linearizable.
fn is_valid_alone(history: &History) -> bool {
    match per_object(history, &limits()) {
        Verdict::Valid => true,
        Verdict::Invalid(_) => false,
        Verdict::Unknown(reason) => panic!("undecided: {reason}"),
    }
}

/// Gives the operations that touch an account from `first` on times that are `lag_ns` later, as if
/// these accounts were kept by a store that lags; those that touch others too last until then.
fn delay(history: &mut History, first: Key, lag_ns: u64) {
    for record in &mut history.operations {
        let late = touched(record).into_iter().filter(|key| *key >= first).count();
        record.invoke_ns += if late == 2 { lag_ns } else { 0 };
        record.response_ns = record.response_ns.map(|end| end + if late > 0 { lag_ns } else { 0 });
    }
}

#[test]
fn each_account_alone_gets_the_verdict_of_a_brute_force_search() {
    // Valid as a whole; valid for each key alone only; not even that.
    let mut counts = [0; 3];
    for round in 0..12_000 {
        let mut dice = Dice(21 << 32 | round);
        let mut history = draw_valid(&mut dice, &Recipe { accounts: 4, ..SMALL });
        if round % 2 == 0 {
            delay(&mut history, Key::account(2), 1 + dice.roll(20));
        }
        (0..dice.roll(3)).for_each(|_| damage(&mut dice, &mut history));
        let alone = is_valid_alone(&history);
        let mut keys = (0..4).map(Key::account);
        let expected = keys.all(|key| brute_force_alone(&history, key));
        assert_eq!(alone, expected, "round {round}\n{history:#?}");
        let whole = is_valid(&history);
        assert!(alone || !whole, "round {round}: valid as a whole only\n{history:#?}");
        counts[usize::from(!whole) + usize::from(!alone)] += 1;
    }
    let [whole, alone_only, neither] = counts;
    assert!(whole > 3_000 && alone_only > 200 && neither > 2_000, "{counts:?}");
}

#[test]
fn what_is_valid_as_a_whole_is_valid_for_each_key_alone() {
    let mut counts = [0; 3];
    for round in 0..6_000 {
        let mut dice = Dice(22 << 32 | round);
        let recipe = Recipe {
            operations: 10 + dice.roll(40) as usize,
            processes: 2 + dice.roll(6),
            accounts: 2 + dice.roll(7),
            unknown_percent: dice.roll(12),
            longest: 6 + dice.roll(12),
            ..SMALL
        };
        let mut history = draw_valid(&mut dice, &recipe);
        if round % 3 == 0 {
            delay(&mut history, Key::account(recipe.accounts / 2), 1 + dice.roll(20));
        }
        (0..dice.roll(3)).for_each(|_| damage(&mut dice, &mut history));
        let (whole, alone) = (is_valid(&history), is_valid_alone(&history));
        assert!(alone || !whole, "round {round}\n{history:#?}");
        counts[usize::from(!whole) + usize::from(!alone)] += 1;
    }
    let [whole, alone_only, neither] = counts;
    assert!(whole > 1_500 && alone_only > 150 && neither > 1_000, "{counts:?}");
}

#[test]
fn registers_are_alone_anyway() {
    let mut counts = [0; 2];
    for round in 0..2_000 {
        let mut dice = Dice(23 << 32 | round);
        let mut history = draw_valid(&mut dice, &Recipe { operations: 20, ..SMALL });
        (0..dice.roll(3)).for_each(|_| damage(&mut dice, &mut history));
        let verdict = per_object(&history, &limits());
        assert_eq!(verdict, check(&history, &limits()), "round {round}\n{history:#?}");
        counts[usize::from(verdict == Verdict::Valid)] += 1;
    }
    assert!(counts[0] > 500 && counts[1] > 500, "{counts:?}");
}

#[test]
fn the_fast_path_gives_the_verdict_of_the_general_search() {
    let mut counts = [0; 2];
    for round in 0..8_000 {
        let mut dice = Dice(99 << 32 | round);
        let weights = [[4, 6, 1, 1, 0], [3, 4, 2, 2, 3], [1, 1, 4, 2, 1], [2, 6, 1, 2, 4]];
        let recipe = Recipe {
            operations: 10 + dice.roll(40) as usize,
            processes: 2 + dice.roll(5),
            weights: weights[dice.roll(4) as usize],
            makers: [[0, 0], [4, 0], [0, 4], [1, 1]][dice.roll(4) as usize],
            unknown_percent: dice.roll(12),
            longest: 6 + dice.roll(12),
            ..SMALL
        };
        let mut history = draw_valid(&mut dice, &recipe);
        (0..dice.roll(3)).for_each(|_| damage(&mut dice, &mut history));
        let expected = is_valid_by_search(&history);
        assert_eq!(is_valid(&history), expected, "round {round}\n{history:#?}");
        counts[usize::from(expected)] += 1;
    }
    assert!(counts[0] > 1_500 && counts[1] > 2_500, "{counts:?}");
}

#[test]
fn transfers_get_the_verdict_of_the_general_search() {
    let mut counts = [0; 2];
    for round in 0..8_000 {
        let mut dice = Dice(77 << 32 | round);
        let recipe = Recipe {
            operations: 8 + dice.roll(22) as usize,
            processes: 2 + dice.roll(5),
            accounts: 2 + dice.roll(5),
            unknown_percent: dice.roll(15),
            longest: 6 + dice.roll(12),
            ..SMALL
        };
        let mut history = draw_valid(&mut dice, &recipe);
        (0..dice.roll(3)).for_each(|_| damage(&mut dice, &mut history));
        let expected = is_valid_by_search(&history);
        assert_eq!(is_valid(&history), expected, "round {round}\n{history:#?}");
        counts[usize::from(expected)] += 1;
    }
    assert!(counts[0] > 1_500 && counts[1] > 2_500, "{counts:?}");
}

#[test]
fn every_explanation_of_a_bad_history_is_short_and_names_the_key() {
    let mut told = 0;
    for round in 0..1_500 {
        let mut dice = Dice(5 << 32 | round);
        let mut history = draw_valid(&mut dice, &Recipe { operations: 40, ..SMALL });
        damage(&mut dice, &mut history);
        if let Verdict::Invalid(violation) = check(&history, &limits()) {
            let text = violation.to_string();
            assert!(text.starts_with("k0: "), "{text}");
            assert!(!violation.operations.is_empty() && violation.operations.len() <= 24, "{text}");
            told += 1;
        }
    }
    assert!(told > 300, "{told}");
}

#[test]
fn the_horizon_turns_later_answers_into_unknown_ones() {
    let record = OperationRecord {
        process: 0,
        site: 0,
        key: Key::register(0),
        call: Call::Rmw { new: 7 },
        invoke_ns: 10,
        response_ns: Some(20),
        completion: Completion::Ok(Reply::Found(Seen::Absent)),
    };
    let optional = |horizon| register_op(0, &record, horizon).unwrap().map(|op| op.span.optional);
    assert_eq!(optional(9), None);
    assert_eq!(optional(19), Some(true));
    assert_eq!(optional(20), Some(false));
}
