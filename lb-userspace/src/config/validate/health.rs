//! `[service.health]`, with what depends on its type and on the service.

use super::{Check, Refusal, rules};
use crate::config::model::{
    self, Backend, CheckType, Choice as _, Forwarding, Health, Http, Iso8583, Start, Tls, Via,
};
use crate::config::raw::{Number, OF_ALL, OF_HTTP, OF_ISO8583, OF_TLS, RawHealth, Text};
use crate::health::iso8583::{Bitmap, DEFAULT_HEADER_BYTES, Encoding, LengthEncoding, LengthHeader, Packing};
use std::net::IpAddr;
use std::time::Duration;
use toml::Spanned;

const INTERVAL: Duration = Duration::from_secs(1);
const MIN_INTERVAL: Duration = Duration::from_millis(50);
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
/// The longest of every duration here.
const HOUR: Duration = Duration::from_hours(1);
/// A timeout is half the interval unless told otherwise, and at most so long.
const MAX_DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const RISE: u32 = 2;
const FALL: u32 = 3;
const GRACE: Duration = Duration::from_secs(10);
const STATUS: (u16, u16) = (200, 399);
const PANIC_THRESHOLD: u8 = 50;
const SLOW_START: Duration = Duration::from_secs(30);

/// What is known of the service that the checks are of, as far as it was valid.
pub(super) struct Of<'s> {
    pub address: Option<(IpAddr, u16)>,
    pub forwarding: Option<Forwarding>,
    pub backends: Option<&'s [Backend]>,
    /// Its weights follow the latencies of the checks.
    pub follows_latency: bool,
}

/// The longest interval of checks that weights follow: the control law was made for two samples a second.
const LATENCY_INTERVAL: Duration = Duration::from_millis(500);

impl Check<'_> {
    /// The checks; `Some(None)` for type "none".
    #[expect(clippy::option_option, reason = "whether it is valid, and within that whether there are checks")]
    pub(super) fn health(&mut self, spanned: &Spanned<RawHealth>, of: &Of<'_>) -> Option<Option<Health>> {
        let raw = spanned.get_ref();
        let missing = "health has no type; add type = \"tcp\", or \"none\"";
        let kind = self.required(spanned.span().start, raw.r#type.as_ref(), missing)?;
        let kind: CheckType = self.text(kind, rules::choice)?;
        let mut all = self.only_keys_of(raw, kind);
        if kind == CheckType::None {
            return all.map(|()| None);
        }
        let check = self.check(spanned, kind);
        let times = self.times(raw, of.follows_latency);
        let rise = self.number_or(raw.rise.as_ref(), RISE, |number| rules::run("rise", number));
        let fall = self.number_or(raw.fall.as_ref(), FALL, |number| rules::run("fall", number));
        let grace = self.duration_or("grace", raw.grace.as_ref(), GRACE, Duration::ZERO);
        let start = self.or(raw.start.as_ref(), Start::default(), rules::choice);
        let via = self.or(raw.via.as_ref(), Via::default(), rules::choice);
        if let (Some(via), Some(text)) = (via, &raw.via) {
            all = all.and(self.can_be_checked_via(via, text, of));
        }
        let source = match &raw.source {
            Some(text) => self.source(text, via, of).map(Some),
            None => Some(None),
        };
        let port = match &raw.port {
            Some(number) => self.at(number.span().start, rules::port("port", *number.get_ref())).map(Some),
            None => self.a_port_to_check(spanned.span().start, of).map(|()| None),
        };
        let (interval, timeout) = times?;
        let health = Health {
            check: check?,
            interval,
            timeout,
            rise: rise?,
            fall: fall?,
            grace: grace?,
            start: start?,
            source: source?,
            via: via?,
            port: port?,
        };
        all.map(|()| Some(health))
    }

    pub(super) fn panic_threshold(&mut self, number: Option<&Number>) -> Option<u8> {
        self.number_or(number, PANIC_THRESHOLD, rules::panic_threshold)
    }

    pub(super) fn slow_start(&mut self, text: Option<&Text>) -> Option<Duration> {
        self.duration_or("slow_start", text, SLOW_START, Duration::ZERO)
    }

    /// Refuses keys of other types: they would have no effect.
    fn only_keys_of(&mut self, raw: &RawHealth, kind: CheckType) -> Option<()> {
        let known: &[&[&str]] = match kind {
            CheckType::None => &[],
            CheckType::Tcp => &[OF_ALL],
            CheckType::Http => &[OF_ALL, OF_HTTP],
            CheckType::Https => &[OF_ALL, OF_HTTP, OF_TLS],
            CheckType::Tls => &[OF_ALL, OF_TLS],
            CheckType::Iso8583 => &[OF_ALL, OF_ISO8583],
        };
        let mut all = Some(());
        for (key, at) in raw.keys() {
            if !known.iter().any(|keys| keys.contains(&key)) {
                let word = kind.word();
                let refusal = format!("{key} has no effect with health type {word:?}; remove it");
                all = self.at(at, Err(Refusal(refusal)));
            }
        }
        all
    }

    fn check(&mut self, spanned: &Spanned<RawHealth>, kind: CheckType) -> Option<model::Check> {
        let raw = spanned.get_ref();
        Some(match kind {
            CheckType::Http => model::Check::Http(self.http(raw)?),
            CheckType::Https => {
                let (http, tls) = (self.http(raw), self.tls(spanned, kind));
                model::Check::Https(http?, tls?)
            }
            CheckType::Tls => model::Check::Tls(self.tls(spanned, kind)?),
            CheckType::Iso8583 => model::Check::Iso8583(self.iso8583(raw)?),
            CheckType::Tcp | CheckType::None => model::Check::Tcp,
        })
    }

    fn http(&mut self, raw: &RawHealth) -> Option<Http> {
        let path = self.or(raw.path.as_ref(), "/".to_owned(), rules::http_path);
        let host = self.or(raw.host.as_ref(), None, |text| rules::http_host(text).map(Some));
        let status = self.or(raw.status.as_ref(), STATUS, rules::http_status);
        let body = self.or(raw.body.as_ref(), None, |text| rules::http_body(text).map(Some));
        Some(Http { path: path?, host: host?, status: status?, body: body? })
    }

    fn tls(&mut self, spanned: &Spanned<RawHealth>, kind: CheckType) -> Option<Tls> {
        let raw = spanned.get_ref();
        let named = self.or(raw.server_name.as_ref(), None, |text| rules::server_name(text).map(Some));
        let ca = self.or(raw.ca.as_ref(), None, |text| rules::path("ca", text).map(Some));
        let verify = raw.verify.as_ref().is_none_or(|verify| *verify.get_ref());
        let (named, ca) = (named?, ca?);
        let of_host = raw.host.as_ref().and_then(|host| host_name(host.get_ref()));
        let server_name = named.or(of_host);
        if verify && server_name.is_none() {
            let word = kind.word();
            let refusal = format!(
                "health type {word:?} verifies the certificate and has no name for it; add server_name = \"...\", or verify = false"
            );
            return self.at(spanned.span().start, Err(Refusal(refusal)));
        }
        if let (false, Some(text)) = (verify, &raw.ca) {
            let refusal = "ca has no effect with verify = false; remove one of the two".to_owned();
            return self.at(text.span().start, Err(Refusal(refusal)));
        }
        Some(Tls { server_name, verify, ca })
    }

    fn iso8583(&mut self, raw: &RawHealth) -> Option<Iso8583> {
        let bytes = self.number_or(raw.header_bytes.as_ref(), DEFAULT_HEADER_BYTES, rules::header_bytes);
        let written = self.or(raw.header_encoding.as_ref(), LengthEncoding::default(), rules::choice);
        let encoding = self.or(raw.encoding.as_ref(), Encoding::default(), rules::choice);
        let of_encoding = if encoding == Some(Encoding::Bcd) { Bitmap::Binary } else { Bitmap::Hex };
        let bitmap = self.or(raw.bitmap.as_ref(), of_encoding, rules::choice);
        let header = match (bytes?, &raw.header_encoding) {
            (0, Some(text)) => {
                let refusal = "header_encoding has no effect with header_bytes 0; remove it".to_owned();
                self.at::<LengthHeader>(text.span().start, Err(Refusal(refusal)))
            }
            (bytes, text) => {
                let at = raw.header_bytes.as_ref().map(|number| number.span().start);
                let at = at.or(text.as_ref().map(|text| text.span().start)).unwrap_or_default();
                self.at(at, rules::length_header(bytes, written?))
            }
        };
        Some(Iso8583 { header: header?, packing: Packing { encoding: encoding?, bitmap: bitmap? } })
    }

    /// Interval and timeout.
    fn times(&mut self, raw: &RawHealth, follows_latency: bool) -> Option<(Duration, Duration)> {
        let usual = if follows_latency { LATENCY_INTERVAL } else { INTERVAL };
        let mut interval = self.duration_or("interval", raw.interval.as_ref(), usual, MIN_INTERVAL);
        if let (Some(text), Some(long)) = (&raw.interval, interval.filter(|&i| i > LATENCY_INTERVAL))
            && follows_latency
        {
            let refusal = format!(
                "interval \"{}\" is too long for weights mode \"latency\", which needs two checks a second; use at most \"{}\"",
                rules::span(long),
                rules::span(LATENCY_INTERVAL)
            );
            interval = self.at(text.span().start, Err(Refusal(refusal)));
        }
        let timeout = match &raw.timeout {
            Some(text) => {
                self.text(text, |text| rules::duration("timeout", text, MIN_TIMEOUT..=HOUR)).map(Some)
            }
            None => Some(None),
        };
        let interval = interval?;
        let timeout = match (timeout?, &raw.timeout) {
            (Some(timeout), Some(text)) => {
                self.at(text.span().start, rules::timeout_within(timeout, interval))?
            }
            _ => (interval / 2).min(MAX_DEFAULT_TIMEOUT),
        };
        Some((interval, timeout))
    }

    fn can_be_checked_via(&mut self, via: Via, text: &Text, of: &Of<'_>) -> Option<()> {
        let Some(forwarding) = of.forwarding.filter(|_| via == Via::DataPath) else { return Some(()) };
        if !forwarding.is_tunnel() {
            return Some(());
        }
        let refusal = format!(
            "via \"data-path\" with forwarding {:?} is not in this version; use \"direct\"",
            forwarding.word()
        );
        self.at(text.span().start, Err(Refusal(refusal)))
    }

    /// The source address, of the family of every address that checks go to.
    fn source(&mut self, text: &Text, via: Option<Via>, of: &Of<'_>) -> Option<IpAddr> {
        let source = self.text(text, rules::source)?;
        let vip = of.address.map(|(address, _)| address).filter(|_| via == Some(Via::DataPath));
        let mut targets =
            vip.into_iter().chain(of.backends.into_iter().flatten().map(|backend| backend.address));
        if let Some(other) = targets.find(|target| target.is_ipv4() != source.is_ipv4()) {
            let family = |v4| if v4 { "IPv4" } else { "IPv6" };
            let refusal = format!(
                "source {source} is {}, from which {other} cannot be checked; use an {} address",
                family(source.is_ipv4()),
                family(other.is_ipv4())
            );
            return self.at(text.span().start, Err(Refusal(refusal)));
        }
        Some(source)
    }

    /// Every backend has a port of its own or the service's; a service of every port has none to check.
    fn a_port_to_check(&mut self, table: usize, of: &Of<'_>) -> Option<()> {
        if of.address.is_none_or(|(_, port)| port != 0) {
            return Some(());
        }
        let refusal = "the service has every port, and health has none to check; add port = ...".to_owned();
        self.at(table, Err(Refusal(refusal)))
    }

    fn number_or<T>(
        &mut self,
        number: Option<&Number>,
        default: T,
        rule: impl FnOnce(i64) -> rules::Checked<T>,
    ) -> Option<T> {
        match number {
            Some(number) => self.at(number.span().start, rule(*number.get_ref())),
            None => Some(default),
        }
    }

    fn duration_or(
        &mut self,
        key: &str,
        text: Option<&Text>,
        default: Duration,
        least: Duration,
    ) -> Option<Duration> {
        self.or(text, default, |text| rules::duration(key, text, least..=HOUR))
    }
}

/// The host's name without a port, if it is a name that a certificate can have.
fn host_name(host: &str) -> Option<String> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    rules::server_name(name).ok()
}
