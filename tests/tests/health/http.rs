//! Requests to nginx: status, path, host, body.

use lb_tests::bed::{Bed, HttpServer, Nginx};

use crate::checked::{assert_passed, check, failure};

#[test]
fn nginx_is_asked_for_a_path_and_answers_with_a_status_and_a_body() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    // nginx puts in what it was asked.
    let _nginx =
        Nginx::start(backend, "$request_method $request_uri of $http_host by $http_user_agent\n").unwrap();
    for v6 in [false, true] {
        let passes = |keys: &str| assert_passed(&check(&bed, backend, v6, 80, "http", keys), true);
        passes("");
        passes("status = \"200\"");
        passes("path = \"/health?deep=1\"\nbody = \"GET /health?deep=1 of\"");
        passes("host = \"pay.example\"\nbody = \"of pay.example by xdp-lb\"");
        let own = if v6 { "[2001:db8:18::11]:80" } else { "198.18.0.11:80" };
        passes(&format!("body = \"of {own} by\""));
        let fails = |keys: &str| failure(&check(&bed, backend, v6, 80, "http", keys));
        assert_eq!(fails("status = \"204\""), "answered with status 200, not 204 to 204");
        assert_eq!(fails("status = \"300-399\""), "answered with status 200, not 300 to 399");
        assert_eq!(
            fails("host = \"pay.example\"\nbody = \"of shop.example\""),
            "the answer's body does not hold \"of shop.example\""
        );
    }
}

#[test]
fn what_is_no_answer() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let _redis = lb_tests::tier::redis(backend, 6379).unwrap();
    let _nginx = Nginx::start(backend, "ok").unwrap();
    let mute = lb_tests::bed::Silent::start(backend, 9000).unwrap();
    let fails = |port, keys: &str| failure(&check(&bed, backend, false, port, "http", keys));
    // redis takes a request of HTTP for an attack and hangs up.
    assert_eq!(fails(6379, ""), "the connection ended before the answer: closed by the backend");
    assert_eq!(fails(9000, "timeout = \"200ms\""), "no answer within 200 ms");
    assert_eq!(fails(9001, ""), "no connection: connection refused");
    drop(mute);
    assert_eq!(fails(9000, ""), "no connection: connection refused");
}

/// The answer of another server than nginx, which leaves the connection open.
#[test]
fn a_server_that_keeps_the_connection_open_passes() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let server = HttpServer::start(backend, 8080, "fine").unwrap();
    assert_passed(&check(&bed, backend, false, 8080, "http", "body = \"fine\""), true);
    assert_eq!(server.accepted(), 1);
}
