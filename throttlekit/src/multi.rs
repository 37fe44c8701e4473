//! Several dimensions, admitted atomically.
