//! ThrottleKit as tower middleware.
