//! From the configuration as written to the model. Every problem is kept, so that one run tells them all.

mod api_tls;
mod health;
mod nat;
mod tracking;
mod weights;

use super::error::{Problem, Source};
use super::model::{
    Backend, Choice, Config, Daemon, HashOn, LogLevel, Protocol, Service, TunnelSource, XdpMode,
};
use super::own;
use super::raw::{RawBackend, RawConfig, RawDaemon, RawService, Text};
use super::rules::{self, Checked, MAX_TOTAL_SLOTS, Refusal};
use lb_common::backend::Forwarding;
use lb_common::limits::{DEFAULT_SLOTS, MAX_BACKENDS, MAX_SERVICES};
use lb_common::service::ServiceKey;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use toml::Spanned;

/// Where durable state is kept unless told otherwise.
pub(super) const STATE_DIR: &str = "/var/lib/xdp-lb";
const PIN_DIR: &str = "/sys/fs/bpf/xdp-lb";
const API: &str = "/run/xdp-lb/api.sock";
/// Port of generic UDP encapsulation (IANA, service name `gue`).
const GUE_PORT: u16 = 6080;
pub(super) const ANSWER_RATE: u32 = 1000;
const DEFAULT_WEIGHT: u32 = 100;

/// The model, or every problem in the order of the file.
pub(super) fn validate(raw: &RawConfig, source: Source<'_>) -> Result<Config, Vec<Problem>> {
    let mut check = Check { source, problems: Vec::new() };
    let daemon = check.daemon(&raw.daemon);
    let services = check.services(&raw.services);
    if let (Some(daemon), Some(services)) = (&daemon, &services) {
        check.own(&raw.services, daemon, services);
    }
    check.problems.sort();
    match (daemon, services) {
        (Some(daemon), Some(services)) if check.problems.is_empty() => Ok(Config { daemon, services }),
        _ => Err(check.problems),
    }
}

struct Check<'a> {
    source: Source<'a>,
    problems: Vec<Problem>,
}

/// Where each value was first seen, as a byte offset.
type Seen<T> = HashMap<T, usize>;

/// A check returns `None` exactly when it has added a problem.
impl Check<'_> {
    /// The value, or `None` after its problem at `at` was added.
    fn at<T>(&mut self, at: usize, checked: Checked<T>) -> Option<T> {
        checked.map_err(|Refusal(message)| self.problems.push(self.source.problem(at, message))).ok()
    }

    fn text<T>(&mut self, text: &Text, rule: impl FnOnce(&str) -> Checked<T>) -> Option<T> {
        self.at(text.span().start, rule(text.get_ref()))
    }

    fn or<T>(&mut self, text: Option<&Text>, default: T, rule: impl FnOnce(&str) -> Checked<T>) -> Option<T> {
        text.map_or(Some(default), |text| self.text(text, rule))
    }

    /// A value that must be there; `table` is the offset of the table that lacks it.
    fn required<'t, T>(&mut self, table: usize, value: Option<&'t T>, missing: &str) -> Option<&'t T> {
        self.at(table, value.ok_or_else(|| Refusal(missing.to_owned())))
    }

    fn unique<T: Hash + Eq>(
        &mut self,
        seen: &mut Seen<T>,
        value: T,
        at: usize,
        what: &str,
        mend: &str,
    ) -> Option<()> {
        if let Some(&first) = seen.get(&value) {
            let refusal = rules::taken(what, self.source.line(first), mend);
            return self.at(at, Err(refusal));
        }
        seen.insert(value, at);
        Some(())
    }

    fn daemon(&mut self, raw: &RawDaemon) -> Option<Daemon> {
        let interfaces = self.interfaces(&raw.interfaces);
        let xdp_mode = self.or(raw.xdp_mode.as_ref(), XdpMode::default(), rules::choice);
        let state_dir =
            self.or(raw.state_dir.as_ref(), STATE_DIR.into(), |text| rules::path("state_dir", text));
        let pin_dir = self.or(raw.pin_dir.as_ref(), PIN_DIR.into(), |text| rules::path("pin_dir", text));
        let hash_key = self.or(raw.hash_key.as_ref(), None, |text| rules::hash_key(text).map(Some));
        let api = self.or(raw.api.as_ref(), API.into(), |text| rules::socket_path("api", text));
        let api_tls = raw.api_tls.as_ref().map_or(Some(None), |raw| self.api_tls(raw).map(Some));
        let listen = |text: &str| rules::listen_address("metrics", text).map(Some);
        let metrics = self.or(raw.metrics.as_ref(), None, listen);
        let log = self.or(raw.log.as_ref(), LogLevel::default(), rules::choice);
        let tunnel_source = self.tunnel_source(&raw.tunnel_source);
        let gue_port = match &raw.gue_port {
            Some(number) => self.at(number.span().start, rules::port("gue_port", *number.get_ref())),
            None => Some(GUE_PORT),
        };
        let answer_rate = match &raw.answer_rate {
            Some(number) => self.at(number.span().start, rules::answer_rate(*number.get_ref())),
            None => Some(ANSWER_RATE),
        };
        let tracking = self.tracking(raw);
        Some(Daemon {
            interfaces: interfaces?,
            xdp_mode: xdp_mode?,
            state_dir: state_dir?,
            pin_dir: pin_dir?,
            hash_key: hash_key?,
            api: api?,
            api_tls: api_tls?,
            metrics: metrics?,
            log: log?,
            tunnel_source: tunnel_source?,
            gue_port: gue_port?,
            answer_rate: answer_rate?,
            tracking: tracking?,
        })
    }

    /// That no service is where the daemon itself listens.
    fn own(&mut self, raw: &[Spanned<RawService>], daemon: &Daemon, services: &[Service]) {
        for (raw, service) in raw.iter().zip(services) {
            let address = raw.get_ref().address.as_ref();
            let at = address.map_or_else(|| raw.span().start, |address| address.span().start);
            let _ = self.at(at, own::check(daemon, service));
        }
    }

    fn tunnel_source(&mut self, raw: &[Text]) -> Option<TunnelSource> {
        let mut source = TunnelSource::default();
        let mut all = Some(());
        for text in raw {
            let Some(prefix) = self.text(text, rules::prefix) else {
                all = None;
                continue;
            };
            let (place, family) =
                if prefix.address.is_ipv4() { (&mut source.v4, "IPv4") } else { (&mut source.v6, "IPv6") };
            if place.replace(prefix).is_some() {
                let refusal =
                    Refusal(format!("a second {family} prefix in tunnel_source; name one of a family"));
                all = self.at(text.span().start, Err(refusal));
            }
        }
        all.map(|()| source)
    }

    fn interfaces(&mut self, raw: &[Text]) -> Option<Vec<String>> {
        let mut seen = Seen::new();
        let checked: Vec<Option<String>> = raw
            .iter()
            .map(|text| {
                let name = self.text(text, rules::interface)?;
                let what = format!("interface {name:?}");
                self.unique(&mut seen, name.clone(), text.span().start, &what, "name it once")?;
                Some(name)
            })
            .collect();
        checked.into_iter().collect()
    }

    fn services(&mut self, raw: &[Spanned<RawService>]) -> Option<Vec<Service>> {
        let (mut names, mut keys) = (Seen::new(), Seen::new());
        let services: Vec<Option<Service>> =
            raw.iter().map(|raw| self.service(raw, &mut names, &mut keys)).collect();
        self.totals(raw)?;
        let services: Vec<Service> = services.into_iter().collect::<Option<_>>()?;
        self.total_slots(raw, &services)?;
        self.answers(raw, &services)?;
        Some(services)
    }

    fn service(
        &mut self,
        spanned: &Spanned<RawService>,
        names: &mut Seen<String>,
        keys: &mut Seen<ServiceKey>,
    ) -> Option<Service> {
        let (table, raw) = (spanned.span().start, spanned.get_ref());
        let name = self.name(table, raw.name.as_ref(), names, "service");
        let missing = "service has no address; add one like address = \"192.0.2.10:8583\"";
        let address = self.required(table, raw.address.as_ref(), missing);
        let address = address.and_then(|text| self.text(text, rules::service_address));
        let missing = "service has no protocol; add protocol = \"tcp\" or \"udp\"";
        let protocol = self.required(table, raw.protocol.as_ref(), missing);
        let protocol = protocol.and_then(|text| self.text(text, rules::choice));
        let unique = self.unique_key(raw.address.as_ref(), address, protocol, keys);
        let forwarding = self.or(raw.forwarding.as_ref(), Forwarding::L2Dsr, rules::choice);
        let algorithm = self.algorithm(raw);
        let hash_on = self.or(raw.hash_on.as_ref(), HashOn::default(), rules::choice);
        let mss = match &raw.mss {
            Some(number) => self.at(number.span().start, rules::mss(*number.get_ref())).map(Some),
            None => Some(None),
        };
        let backends = self.backends(&raw.backends, address.map(SocketAddr::from).zip(forwarding));
        let slots = self.slots(table, raw);
        let follows_latency = weights::follow_checks(raw);
        let of = health::Of { address, forwarding, backends: backends.as_deref(), follows_latency };
        let health = raw.health.as_ref().map_or(Some(None), |health| self.health(health, &of));
        let panic_threshold = self.panic_threshold(raw.panic_threshold.as_ref());
        let slow_start = self.slow_start(raw.slow_start.as_ref());
        let of = weights::Service::new(forwarding, algorithm, health.as_ref(), panic_threshold, slow_start);
        let weights = self.weights(raw, of.as_ref());
        let (address, port) = address?;
        let service = Service {
            name: name?,
            address,
            port,
            protocol: protocol?,
            forwarding: forwarding?,
            algorithm: algorithm?,
            hash_on: hash_on?,
            mss: mss?,
            slots: slots?,
            health: health?,
            weights: weights?,
            panic_threshold: panic_threshold?,
            slow_start: slow_start?,
            backends: backends?,
        };
        unique.then_some(service)
    }

    /// Whether the service's address, port and protocol, as far as they are known, are its alone.
    fn unique_key(
        &mut self,
        text: Option<&Text>,
        address: Option<(IpAddr, u16)>,
        protocol: Option<Protocol>,
        keys: &mut Seen<ServiceKey>,
    ) -> bool {
        let (Some(text), Some((ip, port)), Some(protocol)) = (text, address, protocol) else { return true };
        let what = format!("address {:?} with protocol {:?}", text.get_ref(), protocol.word());
        let key = ServiceKey::new(ip, port, protocol.number());
        let mend = "give one of the two another address, port or protocol";
        self.unique(keys, key, text.span().start, &what, mend).is_some()
    }

    /// A name that must be there and be the only one of its kind.
    fn name(
        &mut self,
        table: usize,
        name: Option<&Text>,
        seen: &mut Seen<String>,
        of: &str,
    ) -> Option<String> {
        let text = self.required(table, name, &format!("{of} has no name; add name = \"...\""))?;
        let name = self.text(text, rules::name)?;
        let what = format!("{of} name {name:?}");
        self.unique(seen, name.clone(), text.span().start, &what, "choose another")?;
        Some(name)
    }

    fn slots(&mut self, table: usize, raw: &RawService) -> Option<u32> {
        let (at, slots) = match &raw.slots {
            Some(number) => {
                (number.span().start, self.at(number.span().start, rules::slots(*number.get_ref()))?)
            }
            None => (table, DEFAULT_SLOTS),
        };
        let weight = |backend: &Spanned<RawBackend>| backend.get_ref().weight.as_ref().map(|w| *w.get_ref());
        let weighted = raw.backends.iter().filter(|backend| weight(backend) != Some(0)).count();
        self.at(at, rules::enough_slots(slots, weighted))?;
        Some(slots)
    }

    fn backends(
        &mut self,
        raw: &[Spanned<RawBackend>],
        service: Option<(SocketAddr, Forwarding)>,
    ) -> Option<Vec<Backend>> {
        let (mut names, mut addresses) = (Seen::new(), Seen::new());
        let checked: Vec<Option<Backend>> =
            raw.iter().map(|raw| self.backend(raw, service, &mut names, &mut addresses)).collect();
        checked.into_iter().collect()
    }

    fn backend(
        &mut self,
        spanned: &Spanned<RawBackend>,
        service: Option<(SocketAddr, Forwarding)>,
        names: &mut Seen<String>,
        addresses: &mut Seen<(IpAddr, u16)>,
    ) -> Option<Backend> {
        let (table, raw) = (spanned.span().start, spanned.get_ref());
        let name = self.name(table, raw.name.as_ref(), names, "backend");
        let missing = "backend has no address; add one like address = \"198.18.0.11\"";
        let address = self.required(table, raw.address.as_ref(), missing);
        let address = address.and_then(|text| self.backend_address(text, service, addresses));
        let weight = match &raw.weight {
            Some(number) => self.at(number.span().start, rules::weight(*number.get_ref())),
            None => Some(DEFAULT_WEIGHT),
        };
        let (address, port) = address?;
        Some(Backend { name: name?, address, port, weight: weight? })
    }

    fn backend_address(
        &mut self,
        text: &Text,
        service: Option<(SocketAddr, Forwarding)>,
        seen: &mut Seen<(IpAddr, u16)>,
    ) -> Option<(IpAddr, u16)> {
        let address = self.text(text, rules::backend_address)?;
        if let Some((service, forwarding)) = service {
            self.text(text, |_| rules::reachable(forwarding, service, address))?;
        }
        let what = format!("backend address {}", text.get_ref());
        self.unique(
            seen,
            address,
            text.span().start,
            &what,
            "name each server once, with the weight it is to have",
        )?;
        Some(address)
    }

    fn totals(&mut self, raw: &[Spanned<RawService>]) -> Option<()> {
        if let Some(service) = raw.get(MAX_SERVICES as usize) {
            let message = format!("more than {MAX_SERVICES} services; move some to another balancer");
            self.at::<()>(service.span().start, Err(Refusal(message)))?;
        }
        let mut backends = raw.iter().flat_map(|service| &service.get_ref().backends);
        if let Some(backend) = backends.nth(MAX_BACKENDS as usize) {
            let message = format!("more than {MAX_BACKENDS} backends in all; move some to another balancer");
            self.at::<()>(backend.span().start, Err(Refusal(message)))?;
        }
        Some(())
    }

    fn total_slots(&mut self, raw: &[Spanned<RawService>], services: &[Service]) -> Option<()> {
        let mut total = 0;
        for (raw, service) in raw.iter().zip(services) {
            total += u64::from(service.algorithm.places(service.slots));
            if total > MAX_TOTAL_SLOTS {
                let message = format!("more than {MAX_TOTAL_SLOTS} slots in all; give the services fewer");
                return self.at(raw.span().start, Err(Refusal(message)));
            }
        }
        Some(())
    }
}
