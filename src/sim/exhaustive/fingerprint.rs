//! 128-bit fingerprints, the same on every machine and in every run.

use std::hash::{Hash, Hasher};

const LEFT: u64 = 0x9e37_79b9_7f4a_7c15;
const RIGHT: u64 = 0xd6e8_feb8_6659_fd93;

/// The fingerprint of what `feed` feeds.
///
/// Of *n* different things, two share a fingerprint with a chance of about *n*² / 2¹²⁹: for the
/// thousand million states of the largest models that is 10⁻²¹.
pub(super) fn fingerprint(feed: impl FnOnce(&mut Fingerprinter)) -> u128 {
    let mut state = Fingerprinter(LEFT, RIGHT);
    feed(&mut state);
    (u128::from(mixed(state.0, RIGHT)) << 64) | u128::from(mixed(state.1, LEFT))
}

/// The fingerprint of one thing.
pub(super) fn fingerprint_of(thing: &impl Hash) -> u128 {
    fingerprint(|state| thing.hash(state))
}

/// Two lanes of multiply-and-fold, with different multipliers.
pub(super) struct Fingerprinter(u64, u64);

/// The two halves of the product: every bit of the input reaches every bit of the output.
fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for Fingerprinter {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u8(&mut self, i: u8) {
        self.write_u64(u64::from(i));
    }

    fn write_u16(&mut self, i: u16) {
        self.write_u64(u64::from(i));
    }

    fn write_u32(&mut self, i: u32) {
        self.write_u64(u64::from(i));
    }

    fn write_u64(&mut self, i: u64) {
        // The additions keep a lane that reaches 0 from staying there.
        self.0 = mixed(self.0 ^ i, LEFT).wrapping_add(RIGHT);
        self.1 = mixed(self.1 ^ i.rotate_left(29), RIGHT).wrapping_add(LEFT);
    }

    fn write_u128(&mut self, i: u128) {
        self.write_u64(i as u64);
        self.write_u64((i >> 64) as u64);
    }

    fn write_usize(&mut self, i: usize) {
        self.write_u64(i as u64);
    }

    fn write_isize(&mut self, i: isize) {
        self.write_u64(i as u64);
    }

    fn finish(&self) -> u64 {
        mixed(self.0, RIGHT) ^ self.1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_fingerprint_is_the_same_everywhere_and_in_every_run() {
        let thing = (7u8, "paxos", vec![Some(1u64), None], 3usize);
        assert_eq!(fingerprint_of(&thing), PINNED);
    }

    const PINNED: u128 = 38_958_359_520_140_804_167_107_213_011_162_694_079;

    #[test]
    fn near_things_have_fingerprints_that_share_neither_half() {
        let all: Vec<u128> = (0..200u64)
            .flat_map(|a| (0..200u64).map(move |b| fingerprint_of(&(a, b))))
            .chain((0..64).map(|bit| fingerprint_of(&(1u64 << bit))))
            .collect();
        let halves = |shift| all.iter().map(|f| (f >> shift) as u64).collect::<BTreeSet<_>>().len();
        assert_eq!((halves(0), halves(64)), (all.len(), all.len()));
    }
}
