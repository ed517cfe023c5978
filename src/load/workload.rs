//! Which operations, on which keys, with which values.
//!
//! Every written value begins with a *token*, a number that no other operation of the run writes,
//! so that a history says exactly which write a read saw. The rest of the value is a filler that
//! follows from the token: a read whose filler does not match was answered with something that
//! nobody wrote. (Values of 8 bytes are all token.) Where operations add or append, a register's token is
//! its number, or follows from the tokens of its list ([`appended`]).

use rand::RngExt;
use rand_distr::{Distribution, Zipf};

use super::plan::{ACCOUNTS, KeyChoice, LoadPlan, OperationMix, Values};
use super::seed::{ClientRng, Stream, generator, mix, site_seed};
use crate::check::history::appended;
use crate::command::{APPENDED_BYTES_MAX, Key, Operation, VALUE_BYTES_MAX, Value};

/// Sites of a run: a token has 8 bits for its site.
pub const SITES_MAX: usize = 1 << 8;

/// Clients of a site: tokens and client ids have 16 bits for the client.
pub const CLIENTS_PER_SITE_MAX: usize = 1 << 16;

/// Bytes of the shortest value: a token.
pub const TOKEN_BYTES: usize = 8;

/// Transfers move between 1 and this much.
pub const TRANSFER_AMOUNT_MAX: u64 = 400;

/// Adds are of 1 to this much. Those that were not answered differ in nothing else, so the checker has few
/// cases to try.
pub const ADD_AMOUNT_MAX: u64 = 3;

/// How many registers a client remembers for its compare-and-sets.
const REMEMBERED_MAX: u64 = 1 << 12;

/// The operations by name, in the order of [`OperationMix`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Writes a register.
    Put,
    /// Reads a register.
    Get,
    /// Compare-and-set.
    Cas,
    /// Read-modify-write.
    Rmw,
    /// Makes a register absent.
    Delete,
    /// Moves an amount between accounts.
    Transfer,
    /// Reads a register, then writes the next value: two commands, one after the other.
    Increment,
    /// Adds to a register's number.
    Add,
    /// Appends to a register's list.
    Append,
}

/// How many kinds of operations there are.
pub const KINDS: usize = 9;

impl Kind {
    /// All of them, by their number.
    pub const ALL: [Kind; KINDS] = [
        Kind::Put,
        Kind::Get,
        Kind::Cas,
        Kind::Rmw,
        Kind::Delete,
        Kind::Transfer,
        Kind::Increment,
        Kind::Add,
        Kind::Append,
    ];

    /// The one that files call so.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How many commands it is, one after the other.
    pub fn commands(self) -> u32 {
        match self {
            Kind::Increment => 2,
            _ => 1,
        }
    }

    /// What files call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Put => "put",
            Kind::Get => "get",
            Kind::Cas => "cas",
            Kind::Rmw => "rmw",
            Kind::Delete => "delete",
            Kind::Transfer => "transfer",
            Kind::Increment => "increment",
            Kind::Add => "add",
            Kind::Append => "append",
        }
    }
}

/// What a client decided to do when the operation was scheduled; tokens and what a cas expects are
/// added when it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Which operation.
    pub kind: Kind,
    /// On which key; for a transfer the payer.
    pub key: Key,
    /// A transfer's receiver; else the same key.
    pub to: Key,
    /// The amount of a transfer or an add; else 0.
    pub amount: u64,
}

/// A command's operation with tokens in place of values: small, and enough to build the same command again
/// for a retry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Intent {
    /// Reads a register.
    Get {
        /// The register.
        key: Key,
    },
    /// Writes a register.
    Put {
        /// The register.
        key: Key,
        /// The token of what it writes.
        token: u64,
    },
    /// Writes a register if it holds what the client saw last.
    Cas {
        /// The register.
        key: Key,
        /// The token seen last; `None` for an absent register.
        expected: Option<u64>,
        /// The token of what it writes.
        token: u64,
    },
    /// Replaces a register's value.
    Rmw {
        /// The register.
        key: Key,
        /// The token of what it writes.
        token: u64,
    },
    /// Makes a register absent.
    Delete {
        /// The register.
        key: Key,
    },
    /// Adds to a register's number.
    Add {
        /// The register.
        key: Key,
        /// How much.
        amount: u64,
    },
    /// Appends to a register's list.
    Append {
        /// The register.
        key: Key,
        /// The token of what it appends.
        token: u64,
    },
    /// Moves an amount.
    Transfer {
        /// The account that pays.
        from: Key,
        /// The account that receives.
        to: Key,
        /// How much.
        amount: u64,
    },
}

impl Intent {
    /// Which operation it is by itself.
    pub fn kind(&self) -> Kind {
        match self {
            Intent::Get { .. } => Kind::Get,
            Intent::Put { .. } => Kind::Put,
            Intent::Cas { .. } => Kind::Cas,
            Intent::Rmw { .. } => Kind::Rmw,
            Intent::Delete { .. } => Kind::Delete,
            Intent::Add { .. } => Kind::Add,
            Intent::Append { .. } => Kind::Append,
            Intent::Transfer { .. } => Kind::Transfer,
        }
    }

    /// The key; for a transfer the payer.
    pub fn key(&self) -> Key {
        match *self {
            Intent::Get { key }
            | Intent::Put { key, .. }
            | Intent::Cas { key, .. }
            | Intent::Rmw { key, .. }
            | Intent::Add { key, .. }
            | Intent::Append { key, .. }
            | Intent::Delete { key } => key,
            Intent::Transfer { from, .. } => from,
        }
    }

    /// The operation, with values of `value_bytes` bytes.
    pub fn operation(&self, value_bytes: usize) -> Operation {
        let value = |token| value_of(token, value_bytes);
        match *self {
            Intent::Get { key } => Operation::Get { key },
            Intent::Put { key, token } => Operation::Put { key, value: value(token) },
            Intent::Cas { key, expected, token } => {
                Operation::Cas { key, expected: expected.map(value), value: value(token) }
            }
            Intent::Rmw { key, token } => Operation::Rmw { key, value: value(token) },
            Intent::Delete { key } => Operation::Delete { key },
            Intent::Add { key, amount } => Operation::Add { key, amount },
            Intent::Append { key, token } => Operation::Append { key, value: value(token) },
            Intent::Transfer { from, to, amount } => Operation::Transfer { from, to, amount },
        }
    }
}

/// The value of `token`: its 8 bytes, little-endian, and a filler that follows from it.
pub fn value_of(token: u64, value_bytes: usize) -> Value {
    let mut value = Value::from_slice(&token.to_le_bytes());
    while value.len() < value_bytes {
        let filler = filler(token, value.len()).to_le_bytes();
        let wanted = (value_bytes - value.len()).min(filler.len());
        value.extend_from_slice(&filler[..wanted]);
    }
    value
}

/// The token of a value, if it is one that [`value_of`] makes.
pub fn token_of(value: &[u8], value_bytes: usize) -> Option<u64> {
    let (token, rest) = value.split_first_chunk::<TOKEN_BYTES>()?;
    if value.len() != value_bytes {
        return None;
    }
    let token = u64::from_le_bytes(*token);
    let intact = rest.chunks(TOKEN_BYTES).enumerate().all(|(index, chunk)| {
        let filler = filler(token, (index + 1) * TOKEN_BYTES).to_le_bytes();
        *chunk == filler[..chunk.len()]
    });
    intact.then_some(token)
}

/// The token of a list of such values, if it is one that fits.
fn token_of_list(list: &[u8], value_bytes: usize) -> Option<u64> {
    let fits = (1..=APPENDED_BYTES_MAX).contains(&list.len());
    let mut values = list.chunks(value_bytes);
    let all = values.try_fold(None, |before, value| {
        Some(Some(appended(before, token_of(value, value_bytes)?)))
    });
    all?.filter(|_| fits)
}

/// Eight bytes of the filler, those that begin at `offset`.
fn filler(token: u64, offset: usize) -> u64 {
    mix(token ^ mix(offset as u64))
}

/// A plan that no load generator can carry out: where, what, and how to mend it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("load.{key}: {what}")]
pub struct BadPlan {
    /// The key of the plan.
    pub key: &'static str,
    /// What is wrong, and what is possible.
    pub what: String,
}

pub(crate) fn refuse<T>(key: &'static str, what: impl Into<String>) -> Result<T, BadPlan> {
    Err(BadPlan { key, what: what.into() })
}

/// What all clients of a site share of the workload.
#[derive(Debug)]
pub struct Workload {
    /// Running sums of the shares; the last that is above zero is 1.
    sums: [f64; KINDS],
    keys: Keys,
    values: Values,
    value_bytes: usize,
    site_index: u64,
    clients_per_site: u64,
    /// How many registers each client remembers; 0 without cas.
    remembered: usize,
}

#[derive(Debug)]
enum Keys {
    Conflict { share: f64, own_keys: u64 },
    Uniform { keys: u64 },
    Zipf(Zipf<f64>),
}

impl Workload {
    /// The workload of `plan` at the site with this index among the run's sites.
    pub fn new(plan: &LoadPlan, site_index: usize) -> Result<Self, BadPlan> {
        if site_index >= SITES_MAX {
            return refuse("site", format!("{site_index} is over the limit of {SITES_MAX} sites"));
        }
        if !(TOKEN_BYTES..=VALUE_BYTES_MAX).contains(&plan.value_bytes) {
            let what = format!(
                "{} bytes cannot be: a value has {TOKEN_BYTES} to {VALUE_BYTES_MAX} bytes",
                plan.value_bytes
            );
            return refuse("value_bytes", what);
        }
        let Some(values) = plan.operations.values() else {
            return refuse("operations", OPERATIONS_THAT_DO_NOT_MIX);
        };
        if values == Values::Lists && plan.value_bytes > APPENDED_BYTES_MAX {
            let what = format!(
                "{} bytes cannot be appended: a list has at most {APPENDED_BYTES_MAX}",
                plan.value_bytes
            );
            return refuse("value_bytes", what);
        }
        let remembered = if plan.operations.cas > 0.0 {
            keys_of_one_client(plan.keys).min(REMEMBERED_MAX).next_power_of_two() as usize
        } else {
            0
        };
        Ok(Workload {
            sums: running_sums(&plan.operations)?,
            keys: Keys::new(plan.keys)?,
            values,
            value_bytes: plan.value_bytes,
            site_index: site_index as u64,
            clients_per_site: plan.clients_per_site as u64,
            remembered,
        })
    }

    /// Bytes of a written value.
    pub fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// The token of what a register holds, if clients can have brought that about.
    pub fn token_of(&self, held: &[u8]) -> Option<u64> {
        match self.values {
            Values::Tokens => token_of(held, self.value_bytes),
            Values::Numbers => held.try_into().ok().map(u64::from_le_bytes),
            Values::Lists => token_of_list(held, self.value_bytes),
        }
    }

    /// Whether another value does not fit behind these bytes.
    pub fn is_full(&self, held: &[u8]) -> bool {
        held.len() + self.value_bytes > APPENDED_BYTES_MAX
    }
}

/// Why a mix is refused, and what to do.
pub(crate) const OPERATIONS_THAT_DO_NOT_MIX: &str = "add, append, and those that write a whole value (put, \
     cas, rmw, increment) do not mix, as what is read would not say who wrote it; beside add or append \
     write only get, delete and transfer";

fn running_sums(mix: &OperationMix) -> Result<[f64; KINDS], BadPlan> {
    let shares = mix.shares();
    let total: f64 = shares.iter().sum();
    if shares.iter().any(|share| !(0.0..=1.0).contains(share)) || (total - 1.0).abs() > 1e-6 {
        return refuse(
            "operations",
            format!("shares must lie in 0 to 1 and add up to 1: {shares:?}"),
        );
    }
    let mut sum = 0.0;
    let mut sums = shares.map(|share| {
        sum += share;
        sum
    });
    // Rounding must not leave a gap below 1 for an operation whose share is zero to fill.
    let last = shares.iter().rposition(|share| *share > 0.0).unwrap_or(0);
    sums[last..].fill(1.0);
    Ok(sums)
}

fn keys_of_one_client(keys: KeyChoice) -> u64 {
    match keys {
        KeyChoice::Conflict { own_keys, .. } => own_keys.saturating_add(1),
        KeyChoice::Uniform { keys } | KeyChoice::Zipf { keys, .. } => keys,
    }
}

impl Keys {
    fn new(choice: KeyChoice) -> Result<Self, BadPlan> {
        match choice {
            KeyChoice::Conflict { share, .. } if !(0.0..=1.0).contains(&share) => {
                refuse("keys.conflict.share", format!("{share} is no probability: 0 to 1"))
            }
            KeyChoice::Conflict { own_keys: 0, .. } => {
                refuse("keys.conflict.own_keys", "each client needs a key of its own: at least 1")
            }
            KeyChoice::Conflict { share, own_keys } => Ok(Keys::Conflict { share, own_keys }),
            KeyChoice::Uniform { keys: 0 } => refuse("keys.uniform.keys", "at least 1 key"),
            KeyChoice::Uniform { keys } => Ok(Keys::Uniform { keys }),
            KeyChoice::Zipf { keys: 0, .. } => refuse("keys.zipf.keys", "at least 1 key"),
            KeyChoice::Zipf { keys, theta } if theta > 0.0 && theta.is_finite() => {
                match Zipf::new(keys as f64, theta) {
                    Ok(zipf) => Ok(Keys::Zipf(zipf)),
                    Err(e) => refuse("keys.zipf", e.to_string()),
                }
            }
            KeyChoice::Zipf { theta, .. } => {
                refuse("keys.zipf.theta", format!("{theta} cannot be: a number above 0"))
            }
        }
    }
}

/// One client's part: its random choices, its tokens, and what it saw last. Its choices do not
/// depend on what other clients do or on when answers arrive.
#[derive(Debug)]
pub struct ClientWorkload {
    rng: ClientRng,
    /// This client among all of the run.
    global_index: u64,
    next_token: u64,
    memory: Memory,
}

impl ClientWorkload {
    /// The client number `index` of a site.
    pub fn new(workload: &Workload, seed: u64, site: &str, index: usize) -> Self {
        assert!(index < CLIENTS_PER_SITE_MAX, "refused with the plan");
        let index = index as u64;
        ClientWorkload {
            rng: generator(site_seed(seed, site, Stream::Operations), index),
            global_index: workload.site_index * workload.clients_per_site + index,
            next_token: workload.site_index << 56 | index << 40 | 1,
            memory: Memory(vec![None; workload.remembered]),
        }
    }

    /// What to do next.
    pub fn choose(&mut self, workload: &Workload) -> Choice {
        let draw: f64 = self.rng.random();
        let index = workload.sums.iter().position(|sum| draw < *sum).unwrap_or(0);
        let kind = Kind::ALL[index];
        if kind == Kind::Transfer {
            return self.choose_transfer();
        }
        let key = Key::register(self.choose_key(&workload.keys));
        let amount = if kind == Kind::Add { self.rng.random_range(1..=ADD_AMOUNT_MAX) } else { 0 };
        Choice { kind, key, to: key, amount }
    }

    fn choose_transfer(&mut self) -> Choice {
        let from = self.rng.random_range(0..ACCOUNTS);
        let to = (from + self.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        Choice {
            kind: Kind::Transfer,
            key: Key::account(from),
            to: Key::account(to),
            amount: self.rng.random_range(1..=TRANSFER_AMOUNT_MAX),
        }
    }

    /// Register 0 is the shared one; behind it each client has its own range.
    fn choose_key(&mut self, keys: &Keys) -> u64 {
        match keys {
            Keys::Conflict { share, .. } if self.rng.random::<f64>() < *share => 0,
            Keys::Conflict { own_keys, .. } => {
                1 + self.global_index * own_keys + self.rng.random_range(0..*own_keys)
            }
            Keys::Uniform { keys } => self.rng.random_range(0..*keys),
            // Ranks count from 1.
            Keys::Zipf(zipf) => zipf.sample(&mut self.rng) as u64 - 1,
        }
    }

    /// Makes the command that a choice stands for, the first if it is two: takes a token where it writes, and expects
    /// what the client saw last where it compares.
    pub fn intend(&mut self, choice: Choice) -> Intent {
        let key = choice.key;
        match choice.kind {
            Kind::Get | Kind::Increment => Intent::Get { key },
            Kind::Put => Intent::Put { key, token: self.take_token() },
            Kind::Cas => {
                Intent::Cas { key, expected: self.memory.recall(key), token: self.take_token() }
            }
            Kind::Rmw => Intent::Rmw { key, token: self.take_token() },
            Kind::Delete => Intent::Delete { key },
            Kind::Add => Intent::Add { key, amount: choice.amount },
            Kind::Append => Intent::Append { key, token: self.take_token() },
            Kind::Transfer => Intent::Transfer { from: key, to: choice.to, amount: choice.amount },
        }
    }

    /// The second command of an increment: the next value.
    pub fn write_back(&mut self, key: Key) -> Intent {
        Intent::Put { key, token: self.take_token() }
    }

    fn take_token(&mut self) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        token
    }

    /// Remembers what a register holds after `intent` was answered. `found` is what it held before,
    /// for the operations that say so.
    pub fn learn(&mut self, intent: &Intent, found: Option<u64>) {
        match *intent {
            Intent::Get { key } => self.memory.remember(key, found),
            Intent::Put { key, token } | Intent::Rmw { key, token } => {
                self.memory.remember(key, Some(token));
            }
            Intent::Cas { key, expected, token } => {
                self.memory.remember(key, if found == expected { Some(token) } else { found });
            }
            Intent::Delete { key } => self.memory.remember(key, None),
            // Where these are, nothing compares.
            Intent::Add { .. } | Intent::Append { .. } | Intent::Transfer { .. } => {}
        }
    }
}

/// The tokens that a client saw last, by register.
///
/// *Bounded:* one place per hash, at most [`REMEMBERED_MAX`]; a register that falls on the place of
/// another replaces it, and a forgotten register is expected to be absent.
#[derive(Debug)]
struct Memory(Vec<Option<(Key, u64)>>);

impl Memory {
    fn place(&mut self, key: Key) -> Option<&mut Option<(Key, u64)>> {
        let mask = self.0.len().checked_sub(1)?;
        self.0.get_mut(mix(key.0) as usize & mask)
    }

    fn recall(&mut self, key: Key) -> Option<u64> {
        match self.place(key) {
            Some(Some((held, token))) if *held == key => Some(*token),
            _ => None,
        }
    }

    fn remember(&mut self, key: Key, token: Option<u64>) {
        let Some(place) = self.place(key) else { return };
        match token {
            Some(token) => *place = Some((key, token)),
            None if place.is_some_and(|(held, _)| held == key) => *place = None,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::super::plan::{Arrival, Retries};
    use super::*;

    fn plan(keys: KeyChoice, operations: OperationMix) -> LoadPlan {
        LoadPlan {
            clients_per_site: 4,
            arrival: Arrival::Closed { outstanding: 1 },
            operations,
            keys,
            value_bytes: 16,
            warmup: Duration::ZERO,
            measure: Duration::from_secs(1),
            retry_after: Duration::from_millis(100),
            retries: Retries::default(),
            timeout: Duration::from_secs(1),
            seed: 7,
            record_history: false,
        }
    }

    const PUTS: OperationMix = OperationMix {
        put: 1.0,
        get: 0.0,
        cas: 0.0,
        rmw: 0.0,
        delete: 0.0,
        transfer: 0.0,
        increment: 0.0,
        add: 0.0,
        append: 0.0,
    };

    fn choices(plan: &LoadPlan, site: usize, client: usize, count: usize) -> Vec<Choice> {
        let workload = Workload::new(plan, site).unwrap();
        let mut client = ClientWorkload::new(&workload, plan.seed, &format!("s{site}"), client);
        (0..count).map(|_| client.choose(&workload)).collect()
    }

    #[test]
    fn the_shared_key_comes_up_at_the_conflict_rate_and_own_keys_are_disjoint() {
        let plan = plan(KeyChoice::Conflict { share: 0.02, own_keys: 10 }, PUTS);
        let mut owned = HashSet::new();
        for (site, client) in (0..3).flat_map(|site| (0..4).map(move |client| (site, client))) {
            let chosen = choices(&plan, site, client, 100_000);
            let shared = chosen.iter().filter(|c| c.key == Key::register(0)).count();
            // Five standard deviations of a binomial with p = 0.02.
            assert!((1780..=2220).contains(&shared), "{shared} of 100000");
            let own: HashSet<Key> =
                chosen.iter().map(|c| c.key).filter(|key| *key != Key::register(0)).collect();
            assert_eq!(own.len(), 10);
            assert!(own.into_iter().all(|key| owned.insert(key)), "a key belongs to two clients");
        }
    }

    #[test]
    fn zipf_ranks_have_the_shares_of_zipfs_law() {
        let plan = plan(KeyChoice::Zipf { keys: 1000, theta: 0.99 }, PUTS);
        let chosen = choices(&plan, 0, 0, 200_000);
        let total: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-0.99)).sum();
        for rank in [1_u64, 2, 10, 100] {
            let count = chosen.iter().filter(|c| c.key == Key::register(rank - 1)).count() as f64;
            let expected = 200_000.0 * (rank as f64).powf(-0.99) / total;
            let tolerance = 5.0 * expected.sqrt();
            assert!((count - expected).abs() < tolerance, "rank {rank}: {count}, not {expected}");
        }
        assert!(chosen.iter().all(|c| c.key.0 < 1000));
    }

    #[test]
    fn uniform_keys_cover_their_range_and_no_more() {
        let plan = plan(KeyChoice::Uniform { keys: 8 }, PUTS);
        let seen: HashSet<Key> = choices(&plan, 0, 0, 1000).iter().map(|c| c.key).collect();
        assert_eq!(seen, (0..8).map(Key::register).collect());
    }

    #[test]
    fn operations_come_in_their_shares_and_absent_ones_never() {
        let mix = OperationMix { put: 0.3, get: 0.5, cas: 0.1, rmw: 0.1, ..PUTS };
        let mix = OperationMix { transfer: 0.0, delete: 0.0, ..mix };
        let chosen = choices(&plan(KeyChoice::Uniform { keys: 8 }, mix), 0, 0, 100_000);
        let count = |kind| chosen.iter().filter(|c| c.kind == kind).count() as i64;
        assert!((count(Kind::Put) - 30_000).abs() < 750);
        assert!((count(Kind::Get) - 50_000).abs() < 800);
        assert!((count(Kind::Cas) - 10_000).abs() < 480);
        assert_eq!(count(Kind::Delete) + count(Kind::Transfer), 0);
    }

    #[test]
    fn transfers_move_small_amounts_between_two_different_accounts() {
        let mix = OperationMix { put: 0.0, transfer: 1.0, ..PUTS };
        for choice in choices(&plan(KeyChoice::Uniform { keys: 8 }, mix), 0, 0, 10_000) {
            assert!(choice.key != choice.to && choice.key.is_account() && choice.to.is_account());
            assert!((1..=TRANSFER_AMOUNT_MAX).contains(&choice.amount));
        }
    }

    #[test]
    fn tokens_are_unique_over_all_clients_of_all_sites() {
        let plan = plan(KeyChoice::Uniform { keys: 8 }, PUTS);
        let mut tokens = HashSet::new();
        for site in 0..3 {
            let workload = Workload::new(&plan, site).unwrap();
            for index in 0..4 {
                let mut client = ClientWorkload::new(&workload, plan.seed, "same name", index);
                for _ in 0..1000 {
                    let choice = client.choose(&workload);
                    let Intent::Put { token, .. } = client.intend(choice) else { panic!("a put") };
                    assert!(tokens.insert(token));
                }
            }
        }
        assert_eq!(tokens.len(), 12_000);
    }

    #[test]
    fn values_give_their_token_back_and_any_flipped_bit_is_seen() {
        for value_bytes in [8, 9, 16, 23, 100] {
            let value = value_of(0x0102_0304_0506_0708, value_bytes);
            assert_eq!(value.len(), value_bytes);
            assert_eq!(token_of(&value, value_bytes), Some(0x0102_0304_0506_0708));
            assert_eq!(token_of(&value[..value_bytes - 1], value_bytes), None);
            // Shorter ones have too little filler to vouch for their token.
            for bit in 0..if value_bytes < 16 { 0 } else { value_bytes * 8 } {
                let mut damaged = value.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(token_of(&damaged, value_bytes), None, "bit {bit} of {value_bytes}");
            }
        }
    }

    #[test]
    fn a_list_has_the_token_that_appending_gives_and_no_other_bytes_have_one() {
        let of = |tokens: &[u64]| -> Vec<u8> {
            tokens.iter().flat_map(|token| value_of(*token, 24)).collect()
        };
        assert_eq!(token_of_list(&of(&[7]), 24), Some(appended(None, 7)));
        let both = Some(appended(Some(appended(None, 7)), 8));
        assert_eq!(token_of_list(&of(&[7, 8]), 24), both);
        assert_ne!(token_of_list(&of(&[8, 7]), 24), both);
        assert_eq!(token_of_list(&of(&[7, 8])[..40], 24), None);
        assert_eq!(token_of_list(&[], 24), None);
        let most = APPENDED_BYTES_MAX / 24;
        assert!(token_of_list(&of(&vec![7; most]), 24).is_some());
        assert_eq!(token_of_list(&of(&vec![7; most + 1]), 24), None, "no register holds that");
    }

    #[test]
    fn a_cas_expects_what_the_client_saw_last_and_else_an_absent_register() {
        let mix = OperationMix { put: 0.5, cas: 0.5, ..PUTS };
        let workload = Workload::new(&plan(KeyChoice::Uniform { keys: 8 }, mix), 0).unwrap();
        let mut client = ClientWorkload::new(&workload, 7, "tokyo", 0);
        let key = Key::register(3);
        let choice = Choice { kind: Kind::Cas, key, to: key, amount: 0 };
        let expected = |client: &mut ClientWorkload| match client.intend(choice) {
            Intent::Cas { expected, .. } => expected,
            other => panic!("{other:?} is no cas"),
        };
        assert_eq!(expected(&mut client), None);
        client.learn(&Intent::Get { key }, Some(40));
        assert_eq!(expected(&mut client), Some(40));
        client.learn(&Intent::Put { key, token: 41 }, None);
        assert_eq!(expected(&mut client), Some(41));
        client.learn(&Intent::Cas { key, expected: Some(41), token: 42 }, Some(41));
        assert_eq!(expected(&mut client), Some(42));
        client.learn(&Intent::Cas { key, expected: Some(41), token: 43 }, Some(50));
        assert_eq!(expected(&mut client), Some(50));
        client.learn(&Intent::Delete { key }, Some(50));
        assert_eq!(expected(&mut client), None);
    }

    #[test]
    fn plans_that_cannot_be_carried_out_are_refused_with_the_key_and_the_remedy() {
        let uniform = KeyChoice::Uniform { keys: 8 };
        let error = |plan: &LoadPlan| Workload::new(plan, 0).unwrap_err().to_string();
        let short = LoadPlan { value_bytes: 7, ..plan(uniform, PUTS) };
        assert_eq!(
            error(&short),
            "load.value_bytes: 7 bytes cannot be: a value has 8 to 1048576 bytes"
        );
        let half = OperationMix { put: 0.5, ..PUTS };
        assert!(error(&plan(uniform, half)).starts_with("load.operations:"));
        for mix in [
            OperationMix { put: 0.5, add: 0.5, ..PUTS },
            OperationMix { put: 0.0, add: 0.5, append: 0.5, ..PUTS },
            OperationMix { put: 0.0, increment: 0.5, append: 0.5, ..PUTS },
        ] {
            let told = error(&plan(uniform, mix));
            assert!(told.starts_with("load.operations: add, append, and those"), "{told}");
        }
        let append = OperationMix { put: 0.0, append: 1.0, ..PUTS };
        let long = LoadPlan { value_bytes: 4097, ..plan(uniform, append) };
        assert!(error(&long).starts_with("load.value_bytes: 4097 bytes cannot be appended"));
        let flat = KeyChoice::Zipf { keys: 10, theta: 0.0 };
        assert!(error(&plan(flat, PUTS)).starts_with("load.keys.zipf.theta:"));
    }
}
