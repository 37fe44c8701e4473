//! Header fields in the types of the `http` crate.

throttlekit_http::put_field!(http::header);
