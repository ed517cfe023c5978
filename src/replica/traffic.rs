//! Counters of messages and bytes, by the names that the protocol gives its messages.

use crate::results::Traffic;

/// Messages of each kind in one direction. There are few kinds, so a list is the fastest map.
#[derive(Clone, Default, Debug)]
pub(crate) struct Tally {
    kinds: Vec<(&'static str, Traffic)>,
}

impl Tally {
    pub(crate) fn count(&mut self, kind: &'static str, messages: u64, bytes: u64) {
        let found = self.kinds.iter_mut().find(|(name, _)| std::ptr::eq(*name, kind));
        let traffic = if let Some((_, traffic)) = found {
            traffic
        } else {
            self.kinds.push((kind, Traffic::default()));
            &mut self.kinds.last_mut().expect("just pushed").1
        };
        traffic.messages += messages;
        traffic.bytes += bytes;
    }

    pub(crate) fn by_name(&self) -> impl Iterator<Item = (String, Traffic)> {
        self.kinds.iter().map(|(kind, traffic)| ((*kind).to_owned(), *traffic))
    }

    pub(crate) fn total_messages(&self) -> u64 {
        self.kinds.iter().map(|(_, traffic)| traffic.messages).sum()
    }
}
