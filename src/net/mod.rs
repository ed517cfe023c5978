//! QUIC endpoints, identities, the WAN shaper.
