//! The command line: what it refuses, and that it leaves nothing behind.

use aya::maps::{Array, Map, MapData};
use lb_tests::bed::{Bed, INTERFACE, attach_pass};
use lb_userspace::dataplane::object;

use crate::{decap, xdp_lb};

const REFUSED: i32 = 1;
const USAGE: i32 = 2;

/// Runs the command; fails unless it is refused in one line with this in it.
fn refused(bed: &Bed, arguments: &[&str], code: i32, says: &str) {
    let output = xdp_lb(bed, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(error.contains(says), "{arguments:?}: {error}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    if code == REFUSED {
        assert!(error.starts_with("xdp-lb: ") && error.lines().count() == 1, "{arguments:?}: {error}");
    }
}

#[test]
fn refusals() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0).namespace();
    backend.ip(&["link add bare type veth peer name bare2"]).unwrap();
    let on = |rest: &[&'static str]| [&["decap", "--iface", INTERFACE], rest].concat();
    let rows: [(Vec<&str>, i32, &str); 24] = [
        (vec!["decap", "--vip", "192.0.2.10"], USAGE, "--iface"),
        (on(&["--vip"]), USAGE, "--vip"),
        (on(&["--vip", "card-auth"]), USAGE, "invalid IP address"),
        (on(&["--vip", "192.0.2.10", "--gue-port", "0"]), USAGE, "--gue-port"),
        (on(&["--vip", "192.0.2.10", "--gue-port", "65536"]), USAGE, "--gue-port"),
        (on(&["--vip", "192.0.2.10", "--mode", "offload"]), USAGE, "--mode"),
        (on(&["--vip", "192.0.2.10", "--off"]), USAGE, "--off"),
        (on(&["--gue-port", "6080"]), USAGE, "--vip"),
        (on(&["--mode", "generic"]), USAGE, "--vip"),
        (on(&[]), REFUSED, "has no decap"),
        (on(&["--off"]), REFUSED, "has no decap"),
        (on(&["--vip", "0.0.0.0"]), REFUSED, "the unspecified address"),
        (on(&["--vip", "127.0.0.1"]), REFUSED, "a loopback address"),
        (on(&["--vip", "::1"]), REFUSED, "a loopback address"),
        (on(&["--vip", "224.0.0.1"]), REFUSED, "a multicast address"),
        (on(&["--vip", "ff02::1"]), REFUSED, "a multicast address"),
        (on(&["--vip", "255.255.255.255"]), REFUSED, "the broadcast address"),
        (on(&["--vip", "198.18.0.11"]), REFUSED, "is an address of eth0 itself"),
        (on(&["--vip", "::ffff:198.18.0.11"]), REFUSED, "VIP 198.18.0.11 is an address of eth0 itself"),
        (on(&["--vip", "192.0.2.10", "2001:db8:18::11"]), REFUSED, "is an address of eth0 itself"),
        (vec!["decap", "--iface", "eth7", "--vip", "192.0.2.10"], REFUSED, "there is no interface \"eth7\""),
        (vec!["decap", "--iface", "lo", "--vip", "192.0.2.10"], REFUSED, "is not Ethernet"),
        (vec!["decap", "--iface", "bare", "--vip", "192.0.2.10"], REFUSED, "has no address"),
        (vec!["--pin-dir", "/tmp", "decap", "--iface", INTERFACE, "--vip", "192.0.2.10"], USAGE, "--pin-dir"),
    ];
    for (arguments, code, says) in rows {
        refused(&bed, &arguments, code, says);
    }
    assert!(!bed.pin_dir().exists(), "a refusal left {}", bed.pin_dir().display());
}

#[test]
fn more_vips_than_there_is_room_for() {
    let bed = Bed::builder().build().unwrap();
    let vips: Vec<String> = (0..1025).map(|i| format!("192.0.2.{}", i % 256)).collect();
    let many: Vec<String> = (0..1025).map(|i| format!("2001:db8:5::{i:x}")).collect();
    let with = |vips: &[String]| {
        let mut arguments = vec!["decap", "--iface", INTERFACE, "--vip"];
        arguments.extend(vips.iter().map(String::as_str));
        xdp_lb(&bed, &arguments)
    };
    let output = with(&many);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("1025 VIPs are more than the 1024"), "{error}");
    // Said twice is one; and a full set can be replaced by a full set.
    assert!(with(&vips).status.success());
    for range in [0..1024, 1..1025] {
        let output = with(&many[range]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(decap(&bed, &[])["vips"].as_array().unwrap().len(), 1024);
}

#[test]
fn another_program_is_left_alone() {
    let bed = Bed::builder().build().unwrap();
    let _other = attach_pass(object::PASS, bed.backend(0).namespace(), &[INTERFACE]).unwrap();
    let says = "already carries XDP program \"pass\"";
    refused(&bed, &["decap", "--iface", INTERFACE, "--vip", "192.0.2.10"], REFUSED, says);
    assert!(!bed.pin_dir().exists());
}

#[test]
fn only_root_may() {
    let bed = Bed::builder().build().unwrap();
    // A copy: the build's own directory need not be open to everyone.
    let copy = bed.backend(0).file("xdp-lb");
    std::fs::copy(lb_tests::bed::built("xdp-lb").unwrap(), &copy).unwrap();
    for (options, says) in [
        (["--vip", "192.0.2.10"].as_slice(), "loading XDP programs needs root"),
        (&[], "reading the pinned maps needs root"),
        (&["--off"], "detaching XDP programs needs root"),
    ] {
        let mut command = bed.backend(0).command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&copy);
        let output = command.args(["decap", "--iface", INTERFACE]).args(options).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(REFUSED), "{error}");
        assert!(error.contains(says) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn set_up_shown_changed_and_removed() {
    let bed = Bed::builder().build().unwrap();
    let directory = bed.pin_dir().join("decap").join(INTERFACE);
    let answer = decap(&bed, &["--vip", "192.0.2.10", "--vip", "2001:db8::10", "192.0.2.10"]);
    assert_eq!(answer["vips"], serde_json::json!(["192.0.2.10", "2001:db8::10"]));
    assert_eq!(answer["mode"], "native");
    assert_eq!(answer["gue_port"], 6080);
    let own = answer["own_addresses"].as_array().unwrap();
    assert!(own.contains(&"198.18.0.11".into()) && own.contains(&"2001:db8:18::11".into()), "{own:?}");
    assert!(directory.join("links").join(INTERFACE).exists());

    // An address that came later is not taken for our own, and that is said; the next call takes it up.
    bed.backend(0).add_address("198.18.0.77".parse().unwrap(), 24).unwrap();
    let notes = decap(&bed, &[])["notes"].to_string();
    assert!(notes.contains("has other addresses now") && notes.contains("198.18.0.77"), "{notes}");
    let answer = decap(&bed, &["--vip", "192.0.2.99", "--mode", "native"]);
    assert!(answer["own_addresses"].as_array().unwrap().contains(&"198.18.0.77".into()));
    assert!(answer["notes"][0].as_str().unwrap().contains("ip addr add 192.0.2.99/32 dev lo"), "{answer}");

    let on = ["decap", "--iface", INTERFACE];
    refused(
        &bed,
        &[&on[..], &["--vip", "192.0.2.10", "--mode", "generic"]].concat(),
        REFUSED,
        "in native mode",
    );
    let text = String::from_utf8(xdp_lb(&bed, &on).stdout).unwrap();
    assert!(text.contains("gue at UDP port 6080") && text.contains("VERDICT"), "{text}");

    // The balancer's own pins and decap's are apart.
    refused(&bed, &["stats"], REFUSED, "nothing is loaded");
    assert!(xdp_lb(&bed, &[&on[..], &["--off"]].concat()).status.success());
    assert!(!bed.pin_dir().exists(), "--off left {}", bed.pin_dir().display());
    refused(&bed, &[&on[..], &["--off"]].concat(), REFUSED, "has no decap");
    decap(&bed, &["--vip", "192.0.2.10", "--mode", "generic"]);
}

/// Whoever takes it off and sets it up again in one breath must not find the program still there.
#[test]
fn what_is_off_is_off_when_the_command_returns() {
    let bed = Bed::builder().build().unwrap();
    for mode in ["native", "generic"].into_iter().cycle().take(60) {
        assert_eq!(decap(&bed, &["--vip", "192.0.2.10", "--mode", mode])["mode"], mode);
        decap(&bed, &["--off"]);
    }
}

#[test]
fn maps_of_another_version_are_not_touched() {
    let bed = Bed::builder().build().unwrap();
    decap(&bed, &["--vip", "192.0.2.10"]);
    let pin = bed.pin_dir().join("decap").join(INTERFACE).join("DECAP_META");
    let map = Map::Array(MapData::from_pin(pin).unwrap());
    // Version 99; the rest of the record is the port.
    Array::<_, u64>::try_from(map).unwrap().set(0, 99, 0).unwrap();
    let on = ["decap", "--iface", INTERFACE];
    for options in [[].as_slice(), &["--vip", "192.0.2.10"]] {
        refused(&bed, &[&on[..], options].concat(), REFUSED, "have layout version 99");
    }
    assert!(xdp_lb(&bed, &[&on[..], &["--off"]].concat()).status.success());
}

/// An interface that was removed takes the link with it; the next call sets everything up again.
#[test]
fn an_interface_that_came_back() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0).namespace();
    let make = [
        "link add eth1.5 type veth peer name far",
        "addr add 198.18.5.11/24 dev eth1.5",
        "link set eth1.5 up",
        "link set far up",
    ];
    let on = ["--json", "decap", "--iface", "eth1.5"];
    let set = [&on[..], &["--vip", "192.0.2.10"]].concat();
    let mode = |arguments: &[&str]| {
        let output = xdp_lb(&bed, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect(&error);
        answer["mode"].as_str().unwrap().to_owned()
    };
    backend.ip(&make).unwrap();
    assert_eq!(mode(&set), "native");
    backend.ip(&["link del eth1.5"]).unwrap();
    backend.ip(&make).unwrap();
    assert_eq!(mode(&on), "detached");
    assert_eq!(mode(&set), "native");
    assert_eq!(mode(&on), "native");
}
