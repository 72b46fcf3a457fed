use crate::api::routes::{all, document};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Operations = BTreeSet<(String, String)>;

fn written() -> Value {
    serde_json::from_str(&document().to_json().unwrap()).unwrap()
}

fn documented() -> Operations {
    let document = written();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

/// What the router serves, from what it shows of itself: by each route's number, its methods and its path.
fn served() -> Operations {
    let (router, _) = all().split_for_parts();
    let shown = format!("{router:?}");
    // Behind that come the routes of what is not found, with numbers of their own.
    let shown = shown.split("fallback_router").next().unwrap();
    let (mut methods, mut paths) = (BTreeMap::new(), BTreeMap::new());
    for piece in shown.split("RouteId(").skip(1) {
        let Some((number, rest)) = piece.split_once("): ") else { continue };
        if let Some(path) = rest.strip_prefix('"') {
            paths.insert(number, path.split('"').next().unwrap());
        } else if let Some((_, allowed)) = rest.split_once("allow_header: Bytes(b\"") {
            methods.insert(number, allowed.split('"').next().unwrap());
        }
    }
    assert!(paths.len() >= 12, "the router shows itself in another way: {shown}");
    let each = paths.iter().flat_map(|(number, path)| {
        // GET answers HEAD too.
        let methods = methods[number].split(',').filter(|method| *method != "HEAD");
        methods.map(|method| (method.to_owned(), (*path).to_owned()))
    });
    each.collect()
}

/// What docs/api.md lists, with `{s}` and `{b}` written out.
fn told() -> Operations {
    let text = include_str!("../../../../docs/api.md");
    let mut told = Operations::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split('|').nth(1).unwrap();
        let mut last = (String::new(), String::new());
        for quoted in cell.split('`').skip(1).step_by(2) {
            let (method, path) = match quoted.split_once(' ') {
                Some((method, path)) => (method.to_owned(), path.to_owned()),
                None => (last.0.clone(), quoted.replace("...", &last.1)),
            };
            last = (method.clone(), path.clone());
            told.insert((method, path.replace("{s}", "{service}").replace("{b}", "{backend}")));
        }
    }
    told
}

#[test]
fn every_route_is_in_the_document_and_in_the_manual() {
    let documented = documented();
    assert!(documented.len() >= 16, "{documented:#?}");
    assert_eq!(served(), documented);
    assert_eq!(told(), documented);
}

#[test]
fn the_document_is_whole() {
    let document = written();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            let answers = operation["responses"].as_object().unwrap();
            let stream = path == "/v1/events";
            for (status, answer) in answers {
                assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{at} {status}");
                let kind = if stream { "text/event-stream" } else { "application/json" };
                assert!(answer["content"][kind]["schema"].is_object(), "{at} {status}: {answer}");
            }
            let names = path.matches('{').count();
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let of = |place: &str| parameters.iter().filter(|parameter| parameter["in"] == place).count();
            assert_eq!(of("path"), names, "{at}");
            let writes = method != "get";
            assert_eq!(parameters.iter().any(|parameter| parameter["name"] == "dry_run"), writes, "{at}");
            assert_eq!(parameters.iter().any(|parameter| parameter["name"] == "If-Match"), writes, "{at}");
            if writes {
                for status in ["400", "403", "412", "422", "500", "503"] {
                    assert!(answers.contains_key(status), "{at} {status}");
                }
            }
            assert_eq!(answers.contains_key("404"), names > 0, "{at}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{at}");
        }
    }
}

/// A reference of the document that leads nowhere would only be met by a reader.
#[test]
fn every_reference_is_followed() {
    fn references(of: &Value, all: &mut Vec<String>) {
        match of {
            Value::Object(keys) => keys.iter().for_each(|(key, value)| match value {
                Value::String(to) if key == "$ref" => all.push(to.clone()),
                _ => references(value, all),
            }),
            Value::Array(values) => values.iter().for_each(|value| references(value, all)),
            _ => {}
        }
    }
    let document = written();
    let mut all = Vec::new();
    references(&document, &mut all);
    assert!(all.len() > 20);
    for reference in all {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}
