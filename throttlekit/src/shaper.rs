//! The leaky-bucket shaper: it delays instead of denying.
