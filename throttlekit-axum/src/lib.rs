//! ThrottleKit for axum.
