//! `[daemon.api_tls]`: whole or not at all.

use super::{Check, rules};
use crate::config::{
    model::ApiTls,
    raw::{RawApiTls, Text},
};
use std::path::PathBuf;
use toml::Spanned;

impl Check<'_> {
    pub(super) fn api_tls(&mut self, spanned: &Spanned<RawApiTls>) -> Option<ApiTls> {
        let (table, raw) = (spanned.span().start, spanned.get_ref());
        let missing = "api_tls has no address; add one like address = \"192.0.2.1:9478\"";
        let address = self.required(table, raw.address.as_ref(), missing);
        let address = address.and_then(|text| self.text(text, |text| rules::listen_address("address", text)));
        let certificate =
            self.file(table, "certificate", raw.certificate.as_ref(), "the daemon's certificate");
        let key = self.file(table, "key", raw.key.as_ref(), "the key of its certificate");
        let client_ca = "the authority whose certificates may use the API; it is not served without";
        let client_ca = self.file(table, "client_ca", raw.client_ca.as_ref(), client_ca);
        Some(ApiTls { address: address?, certificate: certificate?, key: key?, client_ca: client_ca? })
    }

    /// A PEM file that must be named.
    fn file(&mut self, table: usize, key: &str, text: Option<&Text>, of: &str) -> Option<PathBuf> {
        let missing = format!("api_tls has no {key}; name a PEM file with {of}");
        let text = self.required(table, text, &missing)?;
        self.text(text, |text| rules::path(key, text))
    }
}
