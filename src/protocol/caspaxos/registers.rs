//! The acceptor: what it has promised and accepted, register by register (§2.2, the right column's second and
//! fourth row).
//!
//! *Many registers:* each is one entry of a table, found by its key through an index; the place of one that was
//! removed is used again. Registers share nothing but the floor.
//!
//! *Removal:* a register whose tombstone is at every acceptor is removed (§3.1). What is left of all removed
//! registers together is one ballot, the *floor*: a register that is absent here counts as having promised
//! it. So an Accept that was sent before the removal and arrives after it finds a promise above its ballot,
//! and a proposer whose counter lags hears of a higher one. (The paper's process has neither, and its later
//! text an age for each proposer, which acceptors hold against its messages. A floor needs no proposer's
//! help.)
//!
//! *Comparison:* the digest of a register is a hash of its key and the ballot in which its state was accepted,
//! which determines the state. Each bucket of registers keeps the exclusive or over those that have a value.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHashMap;

use super::ballot::Ballot;
use super::message::Change;
use super::state::State;
use crate::command::Key;
use crate::mutants::mutant;

/// How many parts are compared.
pub const BUCKETS: usize = 1024;

/// Entries of one piece of the table. Pieces do not move when the table grows.
const PIECE: usize = 4096;

/// No work.
pub const NO_WORK: u32 = u32::MAX;

/// In place of a work: there is no register at this place of the table.
const NO_REGISTER: u32 = NO_WORK - 1;

/// One register at one acceptor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Register {
    /// Its key.
    pub key: Key,
    /// Below this ballot nothing is accepted. After an Accept that brought the next Prepare this is that
    /// one's; else it may be older than `accepted`, which counts as well.
    pub promise: Ballot,
    /// The ballot of what was accepted; [`Ballot::ZERO`] if nothing was.
    pub accepted: Ballot,
    /// What was accepted; ∅ if nothing was.
    pub state: State,
    /// What the proposer here does with it, by its place among its works; else [`NO_WORK`].
    pub work: u32,
    /// Whether the promise is of the proposer here, and a prepare quorum gave it after an accept quorum
    /// accepted `state`: the next attempt needs no Prepare.
    pub is_prepared: bool,
    /// Whether it was seen without a value, and not touched since.
    pub is_idle: bool,
    /// Whether what it holds was copied below its promise. Whoever was given that promise has read the register
    /// without it, and may write what does not descend from it: this copy does not count for its having been
    /// chosen.
    pub is_borrowed: bool,
}

impl Register {
    fn new(key: Key) -> Register {
        Register {
            key,
            promise: Ballot::ZERO,
            accepted: Ballot::ZERO,
            state: State::default(),
            work: NO_WORK,
            is_prepared: false,
            is_idle: false,
            is_borrowed: false,
        }
    }

    /// The highest ballot that it has seen.
    fn seen(&self) -> Ballot {
        self.promise.max(self.accepted)
    }

    /// Whether nothing was promised or accepted: somebody has only made a place for it.
    fn is_blank(&self) -> bool {
        self.seen().is_zero()
    }

    fn is_live(&self) -> bool {
        self.state.value.is_some()
    }

    /// Its part of a digest.
    fn mark(&self) -> u64 {
        if self.is_live() { mix(mix(self.key.0) ^ self.accepted.0) } else { 0 }
    }
}

/// All registers of one acceptor.
#[derive(Clone, Debug)]
pub struct Registers {
    /// Never iterated, so that its order shows nowhere.
    places: FxHashMap<Key, u32>,
    table: Vec<Vec<Register>>,
    free: Vec<u32>,
    floor: Ballot,
    digests: Vec<u64>,
    /// When each bucket was changed last, in ticks.
    touched: Vec<u32>,
    tick: u32,
    live: u64,
    removals: u64,
}

/// Equal registers are equal whatever their places.
impl Hash for Registers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut all: Vec<&Register> = self.iter().map(|(_, register)| register).collect();
        all.sort_unstable_by_key(|register| register.key);
        for register in all {
            (register.key, register.promise, register.accepted, &register.state).hash(state);
            let Register { work, is_prepared, is_idle, is_borrowed, .. } = register;
            (*work == NO_WORK, is_prepared, is_idle, is_borrowed).hash(state);
        }
        (self.floor, self.removals).hash(state);
        if self.tick > 0 {
            let age = |touched: &u32| self.tick.wrapping_sub(*touched).min(2);
            self.touched.iter().map(age).for_each(|age| age.hash(state));
        }
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The bucket of a key.
pub fn bucket_of(key: Key) -> usize {
    (mix(key.0) >> 54) as usize
}

impl Default for Registers {
    fn default() -> Self {
        Registers {
            places: FxHashMap::default(),
            table: Vec::new(),
            free: Vec::new(),
            floor: Ballot::ZERO,
            digests: vec![0; BUCKETS],
            touched: vec![0; BUCKETS],
            tick: 0,
            live: 0,
            removals: 0,
        }
    }
}

impl Registers {
    /// The ballot up to which registers that are not here may have been removed.
    pub fn floor(&self) -> Ballot {
        self.floor
    }

    /// Takes over another acceptor's floor: to have promised more is always safe.
    pub fn raise_floor(&mut self, floor: Ballot) {
        self.floor = self.floor.max(floor);
    }

    /// How many registers have a value.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// How many there are, with or without a value.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// How often registers were removed.
    pub fn removals(&self) -> u64 {
        self.removals
    }

    /// The digest of all.
    pub fn digest(&self) -> u64 {
        self.digests.iter().fold(0, |all, part| all ^ part)
    }

    /// The digest of each bucket.
    pub fn digests(&self) -> &[u64] {
        &self.digests
    }

    /// Time passes, for [`Registers::is_quiet`].
    pub fn tick(&mut self) {
        self.tick = self.tick.wrapping_add(1);
    }

    /// Whether nothing in a bucket was changed in this tick and the one before.
    pub fn is_quiet(&self, bucket: usize) -> bool {
        self.tick.wrapping_sub(self.touched[bucket]) > 1
    }

    /// The place of a register on which something was promised or accepted. Any other counts as absent, although
    /// the proposer here may have made a place for it.
    fn known_place(&self, key: Key) -> Option<u32> {
        let bypassed = mutant!(BlankPlaceBypassesFloor);
        self.place(key).filter(|place| bypassed || !self.at(*place).is_none_or(Register::is_blank))
    }

    /// One past the last place.
    pub fn end(&self) -> u32 {
        self.table.last().map_or(0, |last| ((self.table.len() - 1) * PIECE + last.len()) as u32)
    }

    /// The place of a register; none if it is absent.
    pub fn place(&self, key: Key) -> Option<u32> {
        self.places.get(&key).copied()
    }

    /// The register at a place; none if there is a hole.
    pub fn at(&self, place: u32) -> Option<&Register> {
        let piece = self.table.get(place as usize / PIECE)?;
        piece.get(place as usize % PIECE).filter(|register| register.work != NO_REGISTER)
    }

    /// The register at a place that holds one.
    pub fn at_mut(&mut self, place: u32) -> &mut Register {
        &mut self.table[place as usize / PIECE][place as usize % PIECE]
    }

    /// The register of a key; none if it is absent.
    pub fn get(&self, key: Key) -> Option<&Register> {
        self.at(self.place(key)?)
    }

    /// Looks at some registers before they are needed one after the other. They lie far apart in memory: to
    /// fetch one takes longer than to change it, and here the processor fetches several at once.
    pub fn fetch(&self, keys: impl Iterator<Item = Key>) {
        let seen = keys.filter_map(|key| self.get(key)).fold(0, |seen, r| seen ^ r.promise.0);
        std::hint::black_box(seen);
    }

    /// All registers, by place.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Register)> {
        (0..self.end()).filter_map(|place| Some((place, self.at(place)?)))
    }

    /// The place of a register, which is made if need be.
    pub fn place_or_make(&mut self, key: Key) -> u32 {
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            if self.table.last().is_none_or(|last| last.len() == PIECE) {
                self.table.push(Vec::with_capacity(PIECE));
            }
            let last = self.table.last_mut().expect("just made");
            last.push(Register::new(key));
            ((self.table.len() - 1) * PIECE + last_len(&self.table) - 1) as u32
        });
        *self.at_mut(place) = Register::new(key);
        self.places.insert(key, place);
        place
    }

    /// Takes an absent register away again, of which nothing was said to anybody.
    pub fn drop_unused(&mut self, place: u32) {
        let register = self.at_mut(place);
        if register.is_blank() && register.work == NO_WORK {
            register.work = NO_REGISTER;
            let key = register.key;
            self.places.remove(&key);
            self.free.push(place);
        }
    }

    /// *Prepare*: promises a ballot above all that were seen, or says which was. A repeated Prepare is
    /// answered again: nothing below it was accepted in between.
    pub fn prepare(&mut self, key: Key, ballot: Ballot) -> Result<&Register, Ballot> {
        let place = match self.known_place(key) {
            Some(place) => place,
            None if ballot <= self.floor && !mutant!(FloorNotAsked) => return Err(self.floor),
            None => self.place_or_make(key),
        };
        let register = self.at_mut(place);
        let below = if mutant!(PromiseIgnoredByPrepare) {
            ballot <= register.accepted
        } else {
            ballot < register.promise || ballot <= register.accepted
        };
        if below {
            return Err(register.seen());
        }
        if ballot != register.promise {
            register.promise = ballot;
            register.is_prepared = false;
            register.is_idle = false;
        }
        Ok(register)
    }

    /// *Accept*: accepts a state in a ballot that is not below the promise, and promises `next`; or says
    /// which ballot was seen. What is held already, be it copied from another acceptor, is
    /// confirmed, and the next promised all the same.
    pub fn accept(&mut self, change: &Change, next: Ballot) -> Result<(), Ballot> {
        let Change { key, ballot, state } = change;
        let place = match self.known_place(*key) {
            Some(place) => place,
            None if *ballot <= self.floor && !mutant!(FloorNotAsked) => return Err(self.floor),
            None => self.place_or_make(*key),
        };
        let register = self.at_mut(place);
        if *ballot == register.accepted {
            // What it brings may have been promised with the same message before; any other promise is to
            // somebody who has read a state without this one.
            if register.promise > *ballot && register.promise != next {
                return Err(register.promise);
            }
            if !mutant!(NextNotPromisedForCopies) {
                register.promise = register.promise.max(next);
            }
            return Ok(());
        }
        let promised = *ballot >= register.promise || mutant!(PromiseIgnoredByAccept);
        if !promised || *ballot < register.accepted && !mutant!(PromiseErasedTooEarly) {
            return Err(register.seen());
        }
        self.put(place, *ballot, state.clone());
        let register = self.at_mut(place);
        // "Erases the promise" (§2.2): what was accepted stands for it. The next Prepare is a new one.
        register.promise = if mutant!(PromiseErasedTooEarly) { Ballot::ZERO } else { *ballot };
        register.promise = register.promise.max(next);
        Ok(())
    }

    /// Copies what another acceptor has accepted, if it is newer than what is here. To hold one more copy of
    /// what was accepted changes nothing for who prepares: it takes the highest ballot, and whatever was
    /// accepted above a chosen one descends from that. Above the promise it is as if the Accept had come
    /// here too; below it, it is borrowed.
    pub fn copy(&mut self, change: &Change) -> bool {
        let place = match self.known_place(change.key) {
            // A tombstone that was removed here, or would be.
            None if change.state.value.is_none() && change.ballot <= self.floor => return false,
            None => self.place_or_make(change.key),
            Some(place) => place,
        };
        let register = self.at_mut(place);
        let (newer, below) = (change.ballot > register.accepted, change.ballot < register.promise);
        if newer {
            self.put(place, change.ballot, change.state.clone());
            self.at_mut(place).is_borrowed = below;
        }
        newer
    }

    fn put(&mut self, place: u32, ballot: Ballot, state: State) {
        let tick = self.tick;
        let register = self.at_mut(place);
        let (bucket, was_live, before) =
            (bucket_of(register.key), register.is_live(), register.mark());
        register.accepted = ballot;
        register.state = state;
        register.is_prepared &= mutant!(PromiseOfAnotherUsed);
        register.is_idle = false;
        register.is_borrowed = false;
        let (is_live, after) = (register.is_live(), register.mark());
        self.digests[bucket] ^= before ^ after;
        self.touched[bucket] = tick;
        self.live = self.live + u64::from(is_live) - u64::from(was_live);
    }

    /// Step (c) of a removal: takes a tombstone away that is still the one of this ballot, with no promise
    /// above it. Whatever was there, nothing up to this ballot is accepted here any more.
    pub fn remove(&mut self, key: Key, tombstone: Ballot) -> bool {
        let Some(place) = self.place(key) else { return false };
        let register = self.at_mut(place);
        let intact = register.accepted == tombstone && register.promise <= tombstone;
        if register.work != NO_WORK || !intact && !mutant!(RemovedThoughRewritten) {
            return false;
        }
        let (bucket, mark) = (bucket_of(key), register.mark());
        self.live -= u64::from(register.is_live());
        self.digests[bucket] ^= mark;
        let register = self.at_mut(place);
        register.work = NO_REGISTER;
        register.state = State::default();
        self.places.remove(&key);
        self.free.push(place);
        self.removals += 1;
        if !mutant!(FloorNotRaised) {
            self.floor = self.floor.max(tombstone);
        }
        true
    }

    /// Forgets everything: what is here may be older than what was removed elsewhere.
    pub fn clear(&mut self) {
        let (tick, removals) = (self.tick, self.removals);
        *self = Registers { tick, removals: removals + 1, ..Registers::default() };
    }
}

fn last_len(table: &[Vec<Register>]) -> usize {
    table.last().map_or(0, Vec::len)
}
