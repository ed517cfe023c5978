//! Tests of the core that need none of its drivers.
