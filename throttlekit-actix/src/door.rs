//! actix-web, as the doors' common part knows it.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use throttlekit_http::{Answer, Door, FieldText, Present};

use crate::fields;
use crate::request::RequestHead;
use crate::throttle::Throttle;

/// actix-web.
#[derive(Debug)]
pub struct Actix(());

impl Door for Actix {
    type Head<'a> = RequestHead<'a>;
    type Response = HttpResponse;
    type HeaderMap = HeaderMap;
    type Layer = Throttle;

    const PEER_REMEDY: &'static str = "actix-web knows it of connections over TCP; on a Unix socket count by what the \
                                       proxy in front says (`key::ClientIp`), or under another key";

    #[inline]
    fn shorten<'a: 'b, 'b>(head: RequestHead<'a>) -> RequestHead<'b> {
        head
    }

    fn respond(answer: Answer) -> HttpResponse {
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        response.content_type(answer.content_type);
        for field in answer.fields {
            response.insert_header(field);
        }
        response.body(answer.body)
    }

    fn headers_of(response: &mut HttpResponse) -> &mut HeaderMap {
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
