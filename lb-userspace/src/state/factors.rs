//! The factors that latency puts on weights, as the slot tables follow them.

use super::{DesiredBackend, Standing, State};
use crate::{
    config::{Backend, Service},
    dataplane::{Installed, InstalledBackend, InstalledService},
    health::machine,
    weight::Health,
};
use lb_common::service::address_from_bytes;
use std::{collections::BTreeMap, net::IpAddr};

/// Factors of a service's backends, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Name of the service.
    pub service: String,
    /// By name of the backend; 1 for one that is not there.
    pub factors: BTreeMap<String, f64>,
}

/// A backend as its service's controller is to see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Steered {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its configured weight.
    pub weight: u32,
    /// Its share without the factor; 0: it takes no new connections.
    pub share: u32,
    /// The factor that its share is multiplied with now.
    pub factor: f64,
    /// What operator and checks make of it.
    pub health: Health,
}

impl State {
    /// Takes factors in. Says whether the desired state may have changed.
    pub(super) fn steer(&mut self, factors: Factors) -> bool {
        let Factors { service, factors } = factors;
        let there = self.services.iter().find(|have| have.name == service);
        if there.is_none_or(|service| service.weights.law().is_none()) {
            return false;
        }
        self.factors.insert(service, factors.clone()).is_none_or(|before| before != factors)
    }

    /// The factor on a backend's weight; 1 with static weights.
    pub(super) fn factor(&self, service: &Service, backend: &Backend) -> f64 {
        let own = self.factors.get(&service.name).filter(|_| service.weights.law().is_some());
        own.and_then(|own| own.get(&backend.name)).copied().unwrap_or(1.0)
    }

    /// The backends of a service whose weights follow latency.
    #[must_use]
    pub fn steered(&self, service: &Service) -> Vec<Steered> {
        let verdict = self.verdict(service);
        let all = service.backends.iter().map(|backend| {
            let desired = self.desired_backend(service, backend, verdict);
            let takes = desired.standing == Standing::Serving && desired.way.is_some();
            let drains = self.drains.contains_key(&(service.name.clone(), backend.name.clone()));
            let found = self.health_of(&service.name, &backend.name).unwrap_or(machine::State::Up);
            let health = match found {
                _ if drains => Health::Draining,
                machine::State::Up => Health::Up,
                machine::State::Failing | machine::State::Down => Health::Down,
            };
            Steered {
                name: backend.name.clone(),
                address: backend.address,
                weight: backend.weight,
                share: if takes { self.risen_share(service, backend, verdict) } else { 0 },
                factor: self.factor(service, backend),
                health,
            }
        });
        all.collect()
    }

    /// Takes over from an earlier daemon, by what the maps say, which factors its tables follow, so that a restart moves no slot.
    pub fn adopt_factors(&mut self, installed: &Installed) {
        for service in self.services.clone() {
            let there = installed.services.iter().find(|have| have.name == service.name);
            let (Some(there), Some(law)) = (there, service.weights.law()) else { continue };
            let serving: Vec<(String, f64, f64)> = self
                .steered(&service)
                .into_iter()
                .filter(|backend| backend.health == Health::Up && backend.weight > 0)
                .filter_map(|backend| {
                    let have = installed_of(installed, there, &backend.name, backend.address)?;
                    let slots = there.slots.iter().filter(|slot| slot.backend == have.index).count();
                    (slots > 0 && have.weight > 0)
                        .then(|| (backend.name, f64::from(slots as u32), f64::from(have.weight)))
                })
                .collect();
            let sum = |of: fn(&(String, f64, f64)) -> f64| serving.iter().map(of).sum::<f64>();
            let (slots, weights) = (sum(|(_, slots, _)| *slots), sum(|(_, _, weight)| *weight));
            let factors = serving.iter().map(|(name, held, weight)| {
                (name.clone(), (held / slots / (weight / weights)).clamp(law.floor, law.ceiling))
            });
            let factors = factors.collect();
            self.steer(Factors { service: service.name.clone(), factors });
        }
    }
}

/// A backend in the maps.
#[must_use]
pub fn installed_of<'i>(
    installed: &'i Installed,
    service: &InstalledService,
    name: &str,
    address: IpAddr,
) -> Option<&'i InstalledBackend> {
    let mut own = installed.backends.iter().filter(|have| have.service() == service.record.id);
    own.find(|have| have.name == name && address_from_bytes(have.record.address) == address)
}

impl DesiredBackend {
    /// The weight in force.
    #[must_use]
    pub fn effective_weight(&self) -> f64 {
        f64::from(self.share) / f64::from(crate::weight::WEIGHT_SCALE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, State, sizes_of};
    use super::Factors;
    use crate::{
        config::parse,
        dataplane::{Dataplane as _, fake::Fake},
        neighbour::NextHop,
        plan::plan,
        tracking::Census,
        weight::Health,
    };
    use std::time::Duration;

    const TEXT: &str = r#"
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
slots = 1024
health = { type = "http" }
weights = { mode = "latency" }
[[service.backend]]
name = "a"
address = "198.18.0.11"
[[service.backend]]
name = "b"
address = "198.18.0.12"
weight = 50
"#;

    fn state(text: &str) -> State {
        let mut state = State::default();
        state.handle(Event::Configured(parse(text, "test.toml").unwrap()));
        for address in state.addresses() {
            let way = NextHop {
                address,
                port: 0,
                vlan: 0,
                local: None,
                ifindex: 1,
                interface: String::new(),
                source: [2; 6],
                mac: Some([2; 6]),
                gateway: None,
                mtu: 1500,
            };
            state.handle(Event::NextHop(address, way));
        }
        state
    }

    fn factors(a: f64, b: f64) -> Event {
        let factors = [("a".to_owned(), a), ("b".to_owned(), b)].into();
        Event::Factors(Factors { service: "web".to_owned(), factors })
    }

    fn shares(state: &State) -> Vec<f64> {
        state.desired()[0].backends.iter().map(super::DesiredBackend::effective_weight).collect()
    }

    #[test]
    fn factors_hold_beside_health_and_only_where_latency_is_followed() {
        let mut state = state(TEXT);
        assert!(state.handle(factors(0.5, 1.6)));
        assert!(!state.handle(factors(0.5, 1.6)), "nothing new");
        assert_eq!(shares(&state), [50.0, 80.0]);
        let found = |to, recovered_at| {
            Event::Health(super::super::Finding {
                service: "web".to_owned(),
                backend: "a".to_owned(),
                state: to,
                tried: true,
                recovered_at,
            })
        };
        state.handle(found(super::machine::State::Failing, None));
        let steered = state.steered(&state.services()[0]);
        assert_eq!((steered[0].health, steered[0].share, steered[0].factor), (Health::Down, 0, 0.5));
        state.handle(found(super::machine::State::Up, Some(Duration::from_secs(10))));
        state.advance(Duration::from_secs(25));
        assert_eq!(shares(&state), [25.0, 80.0], "half of its slow start");
        let text = TEXT.replace("latency", "static");
        state.handle(Event::Configured(parse(&text, "test.toml").unwrap()));
        assert!(!state.handle(factors(0.3, 1.0)));
        let factor = state.factor(&state.services()[0], &state.services()[0].backends[0]);
        assert!((factor - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_restart_moves_no_slot() {
        let mut before = state(TEXT);
        before.handle(factors(0.37, 2.11));
        let mut maps = Fake::new(sizes_of(before.services(), 64));
        let planned = plan(&maps.installed().unwrap(), &before.desired(), &Census::default(), 1).unwrap();
        planned.operations.iter().for_each(|operation| maps.apply(operation).unwrap());
        let mut after = state(TEXT);
        after.adopt_factors(&maps.installed().unwrap());
        let planned = plan(&maps.installed().unwrap(), &after.desired(), &Census::default(), 2).unwrap();
        assert_eq!(planned.operations, []);
    }
}
