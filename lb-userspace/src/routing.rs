//! What nat needs of the kernel: that it routes. Answers of backends take its routing on their way to the client.

use crate::config::Service;
use lb_common::backend::Forwarding;
use std::{fs, path::Path};

/// What is missing, one line each: interfaces of the balancer that do not route what nat's services need.
#[must_use]
pub fn missing(services: &[Service], interfaces: &[String]) -> Vec<String> {
    missing_under(Path::new("/proc/sys/net"), services, interfaces)
}

fn missing_under(sysctls: &Path, services: &[Service], interfaces: &[String]) -> Vec<String> {
    let nat = || services.iter().filter(|service| service.forwarding == Forwarding::Nat);
    let families =
        [("ipv4", nat().any(|s| s.address.is_ipv4())), ("ipv6", nat().any(|s| s.address.is_ipv6()))];
    let used = families.into_iter().filter(|(_, used)| *used);
    let keys = used.flat_map(|(family, _)| interfaces.iter().map(move |name| (family, name)));
    let off = keys.filter(|(family, name)| {
        let value = fs::read_to_string(sysctls.join(family).join("conf").join(name).join("forwarding"));
        // What cannot be read cannot be judged.
        value.is_ok_and(|value| value.trim() == "0")
    });
    off.map(|(family, name)| {
        format!(
            "forwarding \"nat\" needs {name} to route {family}, or no answer reaches a client; set net.{family}.conf.{name}.forwarding=1"
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::missing_under;
    use crate::config::parse;
    use std::fs;

    #[test]
    fn only_the_families_of_nat_and_only_what_is_off_is_told() {
        let directory = tempfile::tempdir().unwrap();
        for (family, name, value) in
            [("ipv4", "eth0", "0\n"), ("ipv4", "eth1", "1\n"), ("ipv6", "eth0", "0\n")]
        {
            let conf = directory.path().join(family).join("conf").join(name);
            fs::create_dir_all(&conf).unwrap();
            fs::write(conf.join("forwarding"), value).unwrap();
        }
        let told = |text: &str| {
            let services = parse(text, "lb.toml").unwrap().services;
            missing_under(directory.path(), &services, &["eth0".to_owned(), "eth1".to_owned()])
        };
        let v6 = "[[service]]\nname = \"b\"\naddress = \"[2001:db8::1]:80\"\nprotocol = \"tcp\"\n";
        let v4 = "[[service]]\nname = \"a\"\naddress = \"192.0.2.10:80\"\nprotocol = \"tcp\"\nforwarding = \"nat\"\n";
        assert_eq!(
            told(&format!("{v4}{v6}")),
            [
                "forwarding \"nat\" needs eth0 to route ipv4, or no answer reaches a client; set net.ipv4.conf.eth0.forwarding=1"
            ]
        );
        assert_eq!(told(v6), [""; 0]);
    }
}
