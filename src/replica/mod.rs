//! Drives one core over the network and the log.
