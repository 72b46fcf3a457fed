//! Hosts of ISO 8583 that accept connections and do not approve.

use lb_tests::{
    bed::Bed,
    iso8583_host::{Iso8583Host, Options},
};

use crate::site::Site;

const PORT: u16 = 8583;
const CHECK: &str =
    "type = \"iso8583\", interval = \"250ms\", timeout = \"250ms\", rise = 2, fall = 3, grace = \"500ms\"";

#[test]
fn a_host_that_answers_another_code_than_00_is_out_until_it_approves() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let start = |host: usize, response: &str| {
        let options = Options { response: Some(response.to_owned()), ..Options::default() };
        Iso8583Host::start_on(bed.backend(host), PORT, options).unwrap()
    };
    let (_approves, approves) = (start(0, "00"), start(1, "00"));
    let mut hosts = Some(approves);
    let site = Site::start(bed, PORT, CHECK, "slow_start = \"0s\"").unwrap();
    site.wait_until_all_pass().unwrap();
    drop(hosts.take());
    let options = Options { response: Some("91".to_owned()), ..Options::default() };
    let refuses = Iso8583Host::start_on(site.bed.backend(1), PORT, options).unwrap();
    let row = site.wait_for("backend-2", "down").unwrap();
    let reason = "answered with response code \"91\" (element 39), not \"00\"";
    assert_eq!((&row["slots"], &row["health"]["reason"]), (&0.into(), &reason.into()), "{row}");
    assert_eq!(site.slots("backend-1").unwrap(), 256);
    drop(refuses);
    let _approves_again = Iso8583Host::start_on(site.bed.backend(1), PORT, Options::default()).unwrap();
    site.wait_for("backend-2", "up").unwrap();
    assert!(site.balancer.log().contains(reason), "{}", site.balancer.log());
}
