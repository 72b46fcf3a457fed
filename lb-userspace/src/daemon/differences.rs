//! What differs between two configurations, key by key: pure.

use super::commands::Difference;
use crate::config::WrittenConfig;
use serde_json::{Map, Value};

/// What differs between a file and what is in force.
pub(super) fn between(file: &WrittenConfig, in_force: &WrittenConfig) -> Vec<Difference> {
    let mut all = Vec::new();
    keys("[daemon]", &value(&file.daemon), &value(&in_force.daemon), &mut all);
    let services = |config: &WrittenConfig| named(&value(&config.services));
    each("", &services(file), &services(in_force), &mut all, &|what, file, in_force, all| {
        let backends = |service: &Value| named(service.get("backend").unwrap_or(&Value::Null));
        let prefix = format!("{what}/");
        each(&prefix, &backends(file), &backends(in_force), all, &keys);
        keys(what, &without_backends(file), &without_backends(in_force), all);
    });
    all
}

type Compare<'c> = &'c dyn Fn(&str, &Value, &Value, &mut Vec<Difference>);

/// Compares what both have, and tells what one has alone.
fn each(
    prefix: &str,
    file: &Map<String, Value>,
    in_force: &Map<String, Value>,
    all: &mut Vec<Difference>,
    both: Compare<'_>,
) {
    for (name, says) in file {
        let what = format!("{prefix}{name}");
        match in_force.get(name) {
            Some(is) => both(&what, says, is, all),
            None => all.push(Difference { what, file: says.clone(), in_force: Value::Null }),
        }
    }
    for (name, is) in in_force.iter().filter(|(name, _)| !file.contains_key(*name)) {
        all.push(Difference { what: format!("{prefix}{name}"), file: Value::Null, in_force: is.clone() });
    }
}

/// Tells each key whose values differ.
fn keys(what: &str, file: &Value, in_force: &Value, all: &mut Vec<Difference>) {
    let (Value::Object(file), Value::Object(in_force)) = (file, in_force) else { return };
    each(&format!("{what} "), file, in_force, all, &|what, file, in_force, all| {
        if file != in_force {
            all.push(Difference { what: what.to_owned(), file: file.clone(), in_force: in_force.clone() });
        }
    });
}

fn value(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// An array's objects by their names.
fn named(array: &Value) -> Map<String, Value> {
    let all = array.as_array().into_iter().flatten();
    all.filter_map(|one| Some((one.get("name")?.as_str()?.to_owned(), one.clone()))).collect()
}

fn without_backends(service: &Value) -> Value {
    let mut service = service.clone();
    if let Some(object) = service.as_object_mut() {
        object.remove("backend");
    }
    service
}

#[cfg(test)]
mod tests {
    use super::between;
    use crate::config::{WrittenConfig, parse};

    fn written(text: &str) -> WrittenConfig {
        (&parse(text, "test.toml").unwrap()).into()
    }

    #[test]
    fn keys_backends_and_services_are_told() {
        let text = |daemon: &str, service: &str, backends: &str| {
            written(&format!(
                "[daemon]\n{daemon}\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10:80\"\nprotocol = \"tcp\"\n{service}\n{backends}"
            ))
        };
        let backend = |name: &str, weight: u32| {
            format!(
                "[[service.backend]]\nname = \"{name}\"\naddress = \"198.18.0.1{weight}\"\nweight = {weight}\n"
            )
        };
        let file = text("", "", &(backend("a", 1) + &backend("b", 2)));
        let in_force = text("gue_port = 7", "mss = 1400", &(backend("b", 3) + &backend("c", 4)));
        let told: Vec<_> = between(&file, &in_force)
            .into_iter()
            .map(|d| (d.what, d.file.is_null(), d.in_force.is_null()))
            .collect();
        let expected = [
            ("[daemon] gue_port", false, false),
            ("web/a", false, true),
            ("web/b address", false, false),
            ("web/b weight", false, false),
            ("web/c", true, false),
            ("web mss", true, false),
        ];
        assert_eq!(told, expected.map(|(what, file, in_force)| (what.to_owned(), file, in_force)));
        assert_eq!(between(&file, &file), []);
        let none = written("");
        assert_eq!(between(&file, &none)[0].what, "web");
    }
}
