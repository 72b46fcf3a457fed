//! Making one check from the balancer of a bed, as the daemon would.

use std::{fmt::Write as _, net::IpAddr};

use lb_tests::bed::{Bed, Host};
use lb_userspace::{
    config,
    health::{
        report::{Outcome, Report},
        target::{Target, targets},
    },
};

/// A configuration: a service on a port of the VIP of IPv4 or IPv6, with these keys of `[service.health]` (without
/// `type`, which comes first) and backends.
pub fn configuration(vip: IpAddr, port: u16, kind: &str, keys: &str, backends: &[(&str, IpAddr)]) -> String {
    let vip = std::net::SocketAddr::new(vip, port);
    let mut text = format!(
        "[[service]]\nname = \"s\"\naddress = \"{vip}\"\nprotocol = \"tcp\"\n[service.health]\ntype = \"{kind}\"\n{keys}\n"
    );
    for (name, address) in backends {
        write!(text, "[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n").unwrap();
    }
    text
}

/// The targets of a configuration.
pub fn targets_of(text: &str) -> Vec<Target> {
    let config = config::parse(text, "lb.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    targets(&config.services).unwrap()
}

/// One check of a backend from the balancer, on a port of that backend; its connection is closed when this returns.
pub fn check(bed: &Bed, backend: &Host, v6: bool, port: u16, kind: &str, keys: &str) -> Report {
    let backends = [(backend.role(), backend.address(v6))];
    let vip = bed.vip(v6).unwrap();
    let target = targets_of(&configuration(vip, port, kind, keys, &backends)).remove(0);
    let made = bed.balancer().run_in(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (report, closing) = target.probe.run(&target.endpoint).await;
            if let Some(closing) = closing {
                closing.await;
            }
            Ok(report)
        })
    });
    made.unwrap()
}

/// Why a check failed, in words; a check that passed fails the test.
pub fn failure(report: &Report) -> String {
    match &report.outcome {
        Outcome::Failed(failure) => failure.to_string(),
        other => panic!("{other:?} rather than a failure"),
    }
}

/// That a check passed, with a whole set of measurements.
pub fn assert_passed(report: &Report, asks: bool) {
    assert_eq!(report.outcome, Outcome::Passed);
    let connect = report.connect.unwrap();
    assert!(connect <= report.latency, "{report:?}");
    assert_eq!(report.first_byte.is_some(), asks, "{report:?}");
    assert!(report.first_byte.is_none_or(|first_byte| connect + first_byte <= report.latency), "{report:?}");
}
