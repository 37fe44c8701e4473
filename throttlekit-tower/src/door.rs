//! tower, as the doors' common part knows it.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use throttlekit_http::{Answer, Door, FieldText, Present};

use crate::fields;
use crate::layer::FrameworkLayer;
use crate::request::{Framework, RequestHead};

/// tower services within the framework `F`.
pub struct Tower<F>(PhantomData<fn() -> F>);

impl<F: Framework> Door for Tower<F> {
    type Head<'a> = RequestHead<'a, F>;
    type Response = Response<Bytes>;
    type HeaderMap = HeaderMap;
    type Layer = FrameworkLayer<F>;

    const PEER_REMEDY: &'static str = F::PEER_REMEDY;

    #[inline]
    fn shorten<'a: 'b, 'b>(head: RequestHead<'a, F>) -> RequestHead<'b, F> {
        head
    }

    fn respond(answer: Answer) -> Response<Bytes> {
        let mut response = Response::new(answer.body);
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
        for (name, value) in answer.fields {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn headers_of(response: &mut Response<Bytes>) -> &mut HeaderMap {
        response.headers_mut()
    }

    fn reserve(map: &mut HeaderMap, count: usize) {
        map.reserve(count);
    }

    #[inline]
    fn put(map: &mut HeaderMap, name: usize, text: FieldText, present: Present) {
        fields::put(map, name, text, present);
    }
}

impl<F> fmt::Debug for Tower<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tower")
    }
}
