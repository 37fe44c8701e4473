//! Header fields in the types of actix-web.

throttlekit_http::put_field!(actix_web::http::header);
