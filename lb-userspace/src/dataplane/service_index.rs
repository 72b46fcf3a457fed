//! The index by which packets find a service: an array instead of SERVICES, which is a hash map and costs a call.
//!
//! A place of `SERVICE_INDEX` names a line of `SERVICE_LINES`. A line that is named is never written to: what changes goes to
//! another line, and one store into the index lets packets find that instead. A line that was named is used again only when no
//! packet can hold it any more.

use super::{Error, grace, kernel::mapped, mapped::MappedArray};
use bytemuck::Zeroable as _;
use lb_common::service::{MAX_AT_PLACE, PLACES, Service, ServiceKey, ServiceLine, place};
use std::{collections::BTreeMap, io, iter, path::Path};

const INDEX: &str = "SERVICE_INDEX";
const LINES: &str = "SERVICE_LINES";

/// The index, and what belongs into it.
pub(super) struct ServiceIndex {
    places: MappedArray<u64>,
    lines: MappedArray<ServiceLine>,
    /// What SERVICES holds; `None`: not asked yet.
    known: Option<Known>,
}

/// What the index is made of.
#[derive(Default)]
struct Known {
    services: BTreeMap<u32, BTreeMap<ServiceKey, Service>>,
    free: FreeLines,
}

/// Lines that nobody is led to.
#[derive(Debug, Default, PartialEq, Eq)]
struct FreeLines {
    /// No packet holds one of these.
    free: Vec<u32>,
    /// A packet may hold one of these.
    retired: Vec<u32>,
}

impl FreeLines {
    /// A line; `wait` returns when no packet holds one that was retired before. `None`: all are in use.
    fn take(&mut self, wait: impl FnOnce()) -> Option<u32> {
        if self.free.is_empty() && !self.retired.is_empty() {
            wait();
            self.free.append(&mut self.retired);
        }
        self.free.pop()
    }
}

/// The lines of a place with these services, and the number of the first; `take` gives the numbers.
fn chain<E>(
    services: &BTreeMap<ServiceKey, Service>,
    mut take: impl FnMut() -> Result<u32, E>,
) -> Result<(u32, Vec<(u32, ServiceLine)>), E> {
    let (mut next, mut lines) = (0, Vec::new());
    for (key, service) in services.iter().rev() {
        let number = take()?;
        lines.push((number, ServiceLine { key: *key, service: *service, next, reserved: [0; 5] }));
        next = number;
    }
    Ok((next, lines))
}

fn place_of(key: &ServiceKey) -> u32 {
    place(bytemuck::cast(*key))
}

impl ServiceIndex {
    pub(super) fn open(pin_dir: &Path) -> Result<Self, Error> {
        Ok(Self { places: mapped(pin_dir, INDEX)?, lines: mapped(pin_dir, LINES)?, known: None })
    }

    /// Whether it knows what SERVICES holds.
    pub(super) const fn is_adopted(&self) -> bool {
        self.known.is_some()
    }

    /// Takes over what is there, given what SERVICES holds. A place that says something else is written anew: whoever wrote it
    /// died between the two maps.
    pub(super) fn adopt(
        &mut self,
        services: impl IntoIterator<Item = (ServiceKey, Service)>,
    ) -> Result<(), Error> {
        let mut known = Known::default();
        for (key, service) in services {
            known.services.entry(place_of(&key)).or_default().insert(key, service);
        }
        let mut named = vec![false; self.lines.len() as usize];
        for place in 0..PLACES {
            for number in self.numbers(place) {
                named[number as usize] = true;
            }
        }
        // Line 0 is no line. One that was never written was never found by a packet either.
        for (number, line) in self.lines.iter().enumerate().skip(1) {
            match (named[number], line == ServiceLine::zeroed()) {
                (false, true) => known.free.free.push(number as u32),
                (false, false) => known.free.retired.push(number as u32),
                (true, _) => {}
            }
        }
        let wrong: Vec<_> = (0..PLACES).filter(|place| !self.is_right(&known, *place)).collect();
        self.known = Some(known);
        wrong.into_iter().try_for_each(|place| self.publish(place))
    }

    /// SERVICES has the service now.
    pub(super) fn put(&mut self, key: ServiceKey, service: Service) -> Result<(), Error> {
        let place = place_of(&key);
        if let Some(known) = &mut self.known {
            known.services.entry(place).or_default().insert(key, service);
        }
        self.publish(place)
    }

    /// SERVICES will have it no more.
    pub(super) fn remove(&mut self, key: &ServiceKey) -> Result<(), Error> {
        let place = place_of(key);
        if let Some(known) = &mut self.known
            && let Some(services) = known.services.get_mut(&place)
        {
            services.remove(key);
        }
        self.publish(place)
    }

    /// Numbers of the lines at a place.
    fn numbers(&self, place: u32) -> Vec<u32> {
        let first = self.places.get(place).unwrap_or(0) as u32;
        let next = |number: &u32| self.lines.get(*number).map(|line| line.next);
        let all = iter::successors(Some(first), next);
        all.take(MAX_AT_PLACE).take_while(|number| *number != 0 && *number < self.lines.len()).collect()
    }

    fn is_right(&self, known: &Known, place: u32) -> bool {
        let lines = self.numbers(place).into_iter().filter_map(|number| self.lines.get(number));
        let found = lines.map(|line| (line.key, line.service));
        let wanted = known.services.get(&place).into_iter().flatten();
        found.eq(wanted.map(|(key, service)| (*key, *service)))
    }

    /// Lets packets find at a place what belongs there.
    fn publish(&mut self, place: u32) -> Result<(), Error> {
        let old = self.numbers(place);
        let Some(known) = &mut self.known else { return Ok(()) };
        let none = BTreeMap::new();
        let services = known.services.get(&place).unwrap_or(&none);
        let full =
            |what: &'static str| Error::map("write", LINES)(io::Error::new(io::ErrorKind::StorageFull, what));
        if services.len() > MAX_AT_PLACE {
            return Err(full("too many services at one place"));
        }
        let free = &mut known.free;
        let (first, lines) =
            chain(services, || free.take(grace::wait).ok_or_else(|| full("no line is free")))?;
        for (number, line) in lines {
            self.lines.set(number, &line).map_err(Error::map("write", LINES))?;
        }
        self.places.set(place, &first.into()).map_err(Error::map("write", INDEX))?;
        known.free.retired.extend(old);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{FreeLines, chain};
    use bytemuck::Zeroable as _;
    use lb_common::service::{PLACES, Service, ServiceKey, TCP, place};
    use std::{
        cell::Cell,
        collections::{BTreeMap, HashSet},
        net::Ipv4Addr,
    };

    #[test]
    fn a_line_is_used_again_only_after_a_wait() {
        let mut lines = FreeLines { free: vec![2, 1], retired: vec![] };
        let waits = Cell::new(0);
        let wait = || waits.set(waits.get() + 1);
        assert_eq!(lines.take(wait), Some(1));
        lines.retired.push(1);
        assert_eq!(lines.take(wait), Some(2));
        assert_eq!(waits.get(), 0);
        assert_eq!(lines.take(wait), Some(1));
        assert_eq!(waits.get(), 1);
        assert_eq!(lines.take(wait), None);
        assert_eq!(waits.get(), 1, "there was nothing to wait for");
    }

    #[test]
    fn services_at_one_place_are_a_chain() {
        let mut services = BTreeMap::new();
        for port in [443, 80, 8443] {
            let key = ServiceKey::new(Ipv4Addr::new(192, 0, 2, 1).into(), port, TCP);
            services.insert(key, Service { id: port.into(), ..Service::zeroed() });
        }
        let mut numbers = 5..;
        let (mut number, lines) = chain(&services, || numbers.next().ok_or(())).unwrap();
        let lines: BTreeMap<_, _> = lines.into_iter().collect();
        let mut found = Vec::new();
        while number != 0 {
            found.push((lines[&number].key.port(), lines[&number].service.id));
            number = lines[&number].next;
        }
        assert_eq!(found, [(80, 80), (443, 443), (8443, 8443)]);
        assert_eq!(chain(&services, || Err::<u32, _>("full")), Err("full"));
        assert_eq!(chain::<()>(&BTreeMap::new(), || Ok(1)), Ok((0, Vec::new())));
    }

    /// As many addresses and ports as there may be services, the closest together: no more of them share a place than of random
    /// keys. Of n keys in m places, n - m (1 - e^(-n/m)) come too late.
    #[test]
    fn services_seldom_share_a_place() {
        let keys = |subnet: u8, port: u16| {
            (0..4096u16).map(move |number| {
                let [high, low] = number.to_be_bytes();
                let address = Ipv4Addr::new(10, subnet, high, low);
                if port == 0 { (Ipv4Addr::new(10, subnet, 0, 1), number + 1) } else { (address, port) }
            })
        };
        for (subnet, port) in [(0, 443), (7, 8583), (1, 0)] {
            let places: HashSet<_> = keys(subnet, port)
                .map(|(address, port)| place(bytemuck::cast(ServiceKey::new(address.into(), port, TCP))))
                .collect();
            let late = 4096 - places.len();
            let random = 4096.0 - f64::from(PLACES) * (1.0 - (-4096.0 / f64::from(PLACES)).exp());
            println!("{late} of 4096, {random:.0} of random keys");
            assert!(late as u32 <= random as u32 + 100, "{late} of 4096 come too late");
        }
    }
}
