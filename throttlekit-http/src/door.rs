//! What a framework has to tell and to do.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::fields::FieldText;
use crate::limits::Limits;

/// An HTTP framework, as far as limits have to know it: how its requests look, and how its responses are made.
///
/// A crate for a framework implements this once; routes, keys, costs, decisions and hooks then work for it as they do for
/// the others.
pub trait Door: Sized + Send + Sync + 'static {
    /// A request without its body, as closures and hooks see it.
    type Head<'a>: Head<'a>;
    /// The response to a request that is not passed on.
    type Response;
    /// The header fields of a response.
    type HeaderMap;
    /// What a [`Builder`](crate::Builder) makes: the framework's middleware.
    type Layer: From<Limits<Self>>;

    /// What an application has to do where the [peer](Head::peer) of its requests is not known, as the end of a sentence
    /// for its log.
    const PEER_REMEDY: &'static str;

    /// `head`, for a shorter time: for each framework it is `head` itself, but that cannot be known here.
    fn shorten<'a: 'b, 'b>(head: Self::Head<'a>) -> Self::Head<'b>;

    /// The response that says `answer`.
    fn respond(answer: Answer) -> Self::Response;

    /// The header fields of `response`.
    fn headers_of(response: &mut Self::Response) -> &mut Self::HeaderMap;

    /// Makes room for `count` header fields more.
    fn reserve(map: &mut Self::HeaderMap, count: usize);

    /// Sets the header field whose name is at `name` of [`FIELD_NAMES`](crate::FIELD_NAMES).
    fn put(map: &mut Self::HeaderMap, name: usize, text: FieldText, present: Present);
}

/// A request without its body.
///
/// Names of header fields are in lower case.
pub trait Head<'a>: Copy + fmt::Debug {
    /// The method, in upper case.
    fn method(&self) -> &'a str;

    /// The path that rules match, percent-encoded as it was sent.
    fn path(&self) -> &'a str;

    /// What follows the path behind `?`.
    fn query(&self) -> Option<&'a str>;

    /// The address of the other end of the connection, if the server says it.
    fn peer(&self) -> Option<SocketAddr>;

    /// The values of the header field `name`, in the order in which they came.
    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]>;

    /// What the [`Claims`](crate::key::Claims) in the request's extensions say under `name`.
    fn claim(&self, name: &str) -> Option<Cow<'a, str>>;
}

/// What happens to a header field that a response has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Present {
    /// It is replaced.
    Replace,
    /// It stays as it is.
    Keep,
}

/// A response, before a framework makes it one of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The status, from 100 to 599.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// Other header fields: names in lower case, and values of printable ASCII.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}
