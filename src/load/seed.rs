//! Streams of random numbers from one seed: the same on every machine and in every release.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

/// The generator of every random choice of the clients. Its algorithm is named, so that a seed
/// means the same choices on every platform.
pub type ClientRng = Xoshiro256PlusPlus;

/// One step of SplitMix64: a bijection that spreads every bit of `x` over all bits.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What a stream of random numbers is for. Streams do not share numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Arrivals = 1,
    Operations = 2,
    Sessions = 3,
}

/// The seed of one stream of one site, by the site's name.
pub(crate) fn site_seed(seed: u64, site: &str, stream: Stream) -> u64 {
    let named = site.bytes().fold(mix(seed), |x, byte| mix(x ^ u64::from(byte)));
    mix(named ^ ((stream as u64) << 32) ^ site.len() as u64)
}

/// A generator that starts from `seed` and `index`.
pub(crate) fn generator(seed: u64, index: u64) -> ClientRng {
    ClientRng::seed_from_u64(mix(seed ^ mix(index)))
}
