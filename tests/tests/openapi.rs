//! Schemathesis drives the API with what its document allows and forbids: no answer may be a failure of the server, and each
//! has the status and the form that the document says.

use std::{env, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use lb_tests::{
    api::ask,
    api_tls::ApiTls,
    ask::start_resolved,
    bed::Bed,
    config::{Service, config_with},
};

/// Where `cargo xtask setup` puts it.
fn schemathesis() -> Result<PathBuf> {
    let this = env::current_exe()?;
    let mut folders = this.ancestors().map(|folder| folder.join("tools/schemathesis/bin/schemathesis"));
    folders.find(|program| program.is_file()).context("no schemathesis; `cargo xtask setup` installs it")
}

/// Each of these is judged for every answer. `positive_data_acceptance` is not: a schema cannot say which addresses have a
/// route, or which names are taken.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance";

#[test]
fn no_request_fails_the_server_and_every_answer_is_as_documented() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let tls = ApiTls::new(&bed).unwrap();
    tls.client("tester").unwrap();
    let vip = SocketAddr::new(bed.vip(false).unwrap(), 80);
    let services = [Service::tcp("web", vip).hosts(&bed.backends()[..2], &[1, 1])];
    let text = config_with(&bed, &tls.key(), &services);
    let text = text.replace("algorithm = \"hash\"", "algorithm = \"hash\"\nslots = 256");
    let mut balancer = start_resolved(&bed, &text).unwrap();

    let mut command = bed.client().command(schemathesis().unwrap());
    command.current_dir(bed.directory()).args(["run", &tls.url("/v1/openapi.json"), "--checks", CHECKS]);
    // The events have no end; another test reads them.
    command.args(["--exclude-path", "/v1/events", "--max-time", "50", "--request-timeout", "20"]);
    command.args(["--seed", "1", "--generation-database", "none", "--no-color", "--no-shrink"]);
    command.arg("--tls-verify").arg(tls.file("server-ca.pem"));
    command.arg("--request-cert").arg(tls.file("tester.pem"));
    command.arg("--request-cert-key").arg(tls.file("tester.key"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", balancer.log());
    // It is still there, and answers.
    balancer.must_run().unwrap();
    assert_eq!(ask(&bed, "GET", "/v1/services", "").unwrap().status, 200);
}
