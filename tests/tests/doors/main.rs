//! One suite over all HTTP doors, on real connections: the same limits in front of the same handlers have to come to the
//! same, whatever the framework. A case that could differ says so here.
//!
//! | case | tower on hyper, HTTP/1 and 2 | axum, HTTP/1 and 2 | actix-web, HTTP/1 | actix-web, HTTP/2 | why |
//! |---|---|---|---|---|---|
//! | a handler fails | the connection or stream breaks off, dropped work | 500, complete | 500, complete | 500, complete | frameworks make responses of failures; a bare service has nothing to make one of |
//! | trailers | HTTP/2 only | HTTP/2 only | none | none | HTTP/1 clients have to ask for them, and actix-web has none |
//! | a client goes away before the head | dropped work at once | dropped work at once | dropped work at once if half-closed connections are not allowed | dropped work when the handler answers | an HTTP/1 client may close its own side and still read, which actix-web allows for by default; over HTTP/2 it lets handlers run on |
//! | a client goes away in a stream | dropped work at once | dropped work at once | dropped work at once, as above | dropped work when the next part is sent | actix-web learns of the end of a stream of HTTP/2 by sending on it |
//! | a WebSocket | | yes | yes | | a bare service speaks none; over HTTP/2 clients hardly do |

mod client;
mod keys;
mod limits;
mod meters;
mod observed;
mod plans;
mod servers;
mod setup;
mod site;
mod slots;
mod sockets;
#[allow(dead_code)] // a part is used
#[path = "../../../throttlekit/tests/support/story.rs"]
mod story;

/// Each case as a test.
macro_rules! cases {
    ($framework:ident: $($module:ident::$case:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $module::$case::<$framework>().await;
        }
    )*};
}

macro_rules! suite {
    ($($module:ident: $framework:ident;)*) => {$(
        mod $module {
            use crate::servers::$framework;
            use crate::{keys, limits, meters, observed, plans, slots};

            cases! { $framework:
                keys::calls_of_grpc_are_refused_as_such,
                keys::each_source_of_a_key_is_found,
                limits::admitted_responses_keep_what_they_are,
                limits::a_denial_says_when_to_come_back,
                limits::a_denial_of_head_has_no_body,
                limits::header_families_are_those_of_the_rule,
                limits::own_denials_keep_the_fields,
                limits::several_policies_are_charged_together_or_not,
                limits::requests_tokens_and_slots_are_charged_together_or_not,
                limits::all_connections_of_a_peer_count_together,
                limits::a_connection_carries_many_requests,
                limits::options_pass_unless_they_are_to_count,
                limits::skipped_requests_are_left_alone,
                limits::rules_hold_however_a_path_is_spelt,
                limits::keys_come_from_a_header_field,
                limits::the_fail_mode_decides_when_the_store_is_out,
                limits::clients_of_one_ipv6_network_count_together,
                limits::clients_cannot_choose_their_address,
                limits::shadows_refuse_nobody,
                limits::denials_can_be_problem_details,
                limits::who_only_knocks_is_refused_for_a_while,
                meters::a_handler_that_refuses_says_when_to_come_back,
                meters::handlers_count_more_under_the_same_key,
                meters::handlers_settle_what_the_admission_took,
                observed::a_limiter_tells_the_observer_of_its_door,
                observed::a_guard_tells_of_those_who_wait,
                observed::a_unified_admission_tells_of_its_parts_and_of_the_whole,
                observed::a_file_tells_also_of_what_is_loaded_later,
                observed::a_file_with_an_observer_tells_that_one_once,
                plans::a_header_names_the_plan,
                plans::a_key_has_a_plan,
                plans::a_plan_may_hold_slots,
                plans::an_unknown_plan_is_an_error_and_counts_on_the_rule,
                slots::every_complete_response_counts_as_completed,
                slots::a_stream_holds_its_slot_until_it_ends,
                slots::a_declared_length_ends_the_response,
                slots::a_length_that_only_a_field_says_ends_the_response,
                slots::a_slow_client_holds_its_slot,
                slots::a_slow_client_that_goes_away_is_dropped_work,
                slots::a_client_that_goes_away_in_a_stream_is_dropped_work,
                slots::a_body_that_breaks_off_is_dropped_work,
                slots::a_body_that_panics_is_dropped_work,
                slots::a_handler_that_panics_is_dropped_work,
                slots::a_handler_that_fails_counts_as_what_the_client_sees,
                slots::denied_requests_hold_nothing,
                slots::a_failing_server_counts_if_it_is_to,
                slots::a_client_that_goes_away_counts_for_nothing_if_it_is_to,
            }
        }
    )*};
}

suite! {
    tower_http1: TowerHttp1;
    tower_http2: TowerHttp2;
    axum_http1: AxumHttp1;
    axum_http2: AxumHttp2;
    actix_http1: ActixHttp1;
    actix_http2: ActixHttp2;
}

/// Cases that not all have.
macro_rules! some {
    ($($module:ident::$case:ident: $($framework:ident)*;)*) => {$(
        mod $case {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[allow(non_snake_case)] // named after the framework
            async fn $framework() {
                crate::$module::$case::<crate::servers::$framework>().await;
            }
        )*}
    )*};
}

some! {
    slots::trailers_belong_to_the_response: TowerHttp2 AxumHttp2;
    slots::trailers_behind_a_known_length_belong_to_the_response: TowerHttp2 AxumHttp2;
    slots::a_client_that_goes_away_before_the_head_is_dropped_work: TowerHttp1 TowerHttp2 AxumHttp1 AxumHttp2 ActixHttp1;
    slots::a_stream_that_the_client_resets_is_dropped_work: TowerHttp2 AxumHttp2 ActixHttp2;
    slots::a_request_that_the_client_resets_is_dropped_work: TowerHttp2 AxumHttp2 ActixHttp2;
    sockets::a_websocket_frees_its_slot_with_the_handshake: AxumHttp1 ActixHttp1;
    sockets::a_websocket_that_keeps_its_slot_frees_it_when_it_closes: AxumHttp1 ActixHttp1;
    sockets::a_websocket_on_a_stream_frees_its_slot_with_the_handshake: AxumHttp2;
    sockets::a_websocket_on_a_stream_that_keeps_its_slot_frees_it_when_it_closes: AxumHttp2;
}
