//! The table of what is refused: each with one line that says what, where and how to mend it, and nothing changed.

#[path = "refusals/machines.rs"]
mod machines;
#[path = "refusals/modes.rs"]
mod modes;

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_tests::{
    ask::{self, json, number, pinned},
    bed::{Bed, INTERFACE, attach_pass, built, shown},
    config::{Service, config},
    wait::wait_for,
};
use lb_userspace::dataplane::object::PASS;

const REFUSED: i32 = 1;
const USAGE: i32 = 2;
/// How long a command may take until it is refused; the daemon waits 2 s for backends that do not answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A row: what it is called, the command, the exit code, and what the error must say.
struct Row<'a> {
    name: &'a str,
    command: Command,
    code: i32,
    says: Vec<String>,
}

fn row<'a>(name: &'a str, command: Command, says: &[&str]) -> Row<'a> {
    Row { name, command, code: REFUSED, says: says.iter().map(|&words| words.to_owned()).collect() }
}

/// Runs every row; fails once, with all that was wrong.
fn check(bed: &Bed, rows: Vec<Row<'_>>) {
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|mut row| refused(bed, &mut row).err().map(|error| format!("{}: {error:#}", row.name)))
        .collect();
    assert!(wrong.is_empty(), "{} rows are wrong:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

fn refused(bed: &Bed, row: &mut Row<'_>) -> Result<()> {
    let before = traces(bed)?;
    let output = ended(&mut row.command)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(row.code), "ended with {}: {said}", output.status);
    ensure!(
        output.stdout.is_empty(),
        "wrote to standard output: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    ensure!(row.code == USAGE || said.lines().count() == 1, "not one line: {said}");
    ensure!(row.code == USAGE || said.starts_with("xdp-lb: "), "not its own message: {said}");
    for words in &row.says {
        ensure!(said.contains(words.as_str()), "no {words:?} in: {said}");
    }
    let after = traces(bed)?;
    let differ: Vec<_> = before.symmetric_difference(&after).collect();
    ensure!(differ.is_empty(), "it changed {differ:?}, saying: {said}");
    Ok(())
}

/// Runs a command that ends by itself. A daemon that takes what it should refuse would never do so.
fn ended(command: &mut Command) -> Result<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let end = wait_for(PATIENCE, "the refusal", || Ok(child.try_wait()?));
    if end.is_err() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    end.with_context(|| {
        format!("{} goes on, saying: {}", shown(command), String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(output)
}

/// Everything that a command could leave: files and pins of the bed, and programs on interfaces of the balancer.
fn traces(bed: &Bed) -> Result<BTreeSet<String>> {
    let mut traces = BTreeSet::new();
    list(&bed.directory(), &mut traces)?;
    list(&bed.name().pins(), &mut traces)?;
    let links = ask::text(bed.balancer().command("ip").args(["-o", "link", "show"]))?;
    traces.extend(links.lines().map(str::to_owned));
    Ok(traces)
}

fn list(directory: &Path, into: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, into)?;
        }
        into.insert(path.display().to_string());
    }
    Ok(())
}

/// Writes a file of its own for each configuration and gives the arguments of `run -c FILE`.
fn run(bed: &Bed, text: &str) -> Result<Command> {
    let mut command = bed.xdp_lb()?;
    command.arg("run").arg("-c").arg(file(bed, text)?);
    Ok(command)
}

fn file(bed: &Bed, text: &str) -> Result<PathBuf> {
    let file = bed.balancer().file("refused.toml");
    fs::write(&file, text)?;
    Ok(file)
}

fn lb(bed: &Bed, args: &[&str]) -> Result<Command> {
    let mut command = bed.xdp_lb()?;
    command.args(args);
    Ok(command)
}

/// A configuration with one service of one backend.
fn good(bed: &Bed) -> Result<String> {
    let vip = SocketAddr::new(bed.vip(false)?, 80);
    Ok(config(bed, &[Service::tcp("web", vip).hosts(bed.backends(), &[1])]))
}

/// A configuration whose only backend has this address.
fn with_backend(bed: &Bed, address: &str) -> Result<String> {
    Ok(good(bed)?.replace(&bed.backend(0).address_v4().to_string(), address))
}

#[test]
fn bad_configurations() {
    let bed = Bed::builder().build().unwrap();
    let good = good(&bed).unwrap();
    let service = good[good.find("[[service]]").unwrap()..].to_owned();
    let backend = service[service.find("[[service.backend]]").unwrap()..].to_owned();
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{good}");
        good.replacen(from, to, 1)
    };
    // Each of two that differ in all but the one thing.
    let (name, second) = (service.replace(":80", ":81"), service.replace("\"web\"", "\"other\""));
    let (again, twin) = (backend.replace(".11", ".12"), backend.replace("backend-1", "backend-2"));
    let bad: [(&str, String, &[&str]); 10] = [
        ("an unknown key", changed("weight = 1", "wieght = 1"), &["unknown key \"wieght\"", "did you mean"]),
        ("a bad address", changed("192.0.2.10:80", "192.0.2.300:80"), &["192.0.2.300:80", "write it like"]),
        ("no port", changed("192.0.2.10:80", "192.0.2.10"), &["has no port", "192.0.2.10:PORT"]),
        ("a service's name twice", format!("{good}\n{name}"), &["service name \"web\"", "choose another"]),
        ("a service's address twice", format!("{good}\n{second}"), &["is taken by line", "another address"]),
        (
            "a backend's name twice",
            format!("{good}\n{again}"),
            &["backend name \"backend-1\"", "choose another"],
        ),
        (
            "a backend's address twice",
            format!("{good}\n{twin}"),
            &["backend address 198.18.0.11 is taken by line"],
        ),
        (
            "a weight out of range",
            changed("weight = 1", "weight = 10001"),
            &["weight 10001", "use 0 to 10000"],
        ),
        ("the other family", changed("198.18.0.11", "2001:db8:18::11"), &["l2-dsr", "use an IPv4 address"]),
        ("not TOML", changed("[daemon]", "[daemon"), &["not valid TOML", "mend the line"]),
    ];
    let mut rows = Vec::new();
    for (name, text, says) in &bad {
        for command in ["check", "run"] {
            let file = file(&bed, text).unwrap();
            let place = format!("{}:", file.display());
            let mut command = lb(&bed, &[command, "-c"]).unwrap();
            command.arg(file);
            let mut row = row(name, command, says);
            row.says.push(place);
            rows.push(row);
        }
    }
    let missing = lb(&bed, &["run", "-c", "/nonexistent/xdp-lb.toml"]).unwrap();
    rows.push(row("no file", missing, &["/nonexistent/xdp-lb.toml: cannot be read", "-c FILE"]));
    let mut directory = lb(&bed, &["check", "-c"]).unwrap();
    directory.arg(bed.directory());
    rows.push(row("a directory", directory, &["cannot be read", "name a file in it"]));
    check(&bed, rows);
}

#[test]
fn networks_that_do_not_fit() {
    let bed = Bed::builder().build().unwrap();
    let lines = [
        // A bridge has no native XDP.
        "link add plain type bridge".to_owned(),
        "link set plain up".to_owned(),
        "link add taken type veth peer name other".to_owned(),
        "link set taken up".to_owned(),
        format!("route add 203.0.113.0/28 via {} dev {INTERFACE}", bed.client().address_v4()),
        "route add blackhole 203.0.113.32/28".to_owned(),
    ];
    bed.balancer().namespace().ip(&lines).unwrap();
    let _pass = attach_pass(PASS, bed.balancer().namespace(), &["taken"]).unwrap();
    let on = |interface: &str| {
        let good = good(&bed).unwrap();
        good.replace(&format!("interfaces = [\"{INTERFACE}\"]"), &format!("interfaces = [\"{interface}\"]"))
    };
    let native = on("plain").replace("state_dir", "log = \"error\"\nxdp_mode = \"native\"\nstate_dir");
    let own = bed.balancer().address_v4().to_string();
    let backend = |address: &str| run(&bed, &with_backend(&bed, address).unwrap()).unwrap();
    let none = ["there is no interface \"eth7\"", "`ip link` lists"];
    let taken =
        ["interface taken already carries XDP program \"pass\" (id ", "ip link set dev taken xdp off"];
    let no_native = ["cannot attach to interface plain in native mode", "--mode generic"];
    let rows = vec![
        row("no such interface: run", run(&bed, &on("eth7")).unwrap(), &none),
        row("no such interface: attach", lb(&bed, &["attach", "eth7"]).unwrap(), &none),
        row("another's program: run", run(&bed, &on("taken")).unwrap(), &taken),
        row("another's program: attach", lb(&bed, &["attach", "taken"]).unwrap(), &taken),
        row("no native mode: run", run(&bed, &native).unwrap(), &no_native),
        row(
            "no native mode: attach",
            lb(&bed, &["attach", "plain", "--mode", "native"]).unwrap(),
            &no_native,
        ),
        row(
            "no route",
            backend("203.0.113.99"),
            &["web/backend-1", "no route to 203.0.113.99", "ip route add"],
        ),
        row("a refusing route", backend("203.0.113.40"), &["web/backend-1", "the route to 203.0.113.40 is"]),
        row(
            "a gateway",
            backend("203.0.113.9"),
            &["web/backend-1", "gateway 198.18.0.1", "l2-dsr", "move it"],
        ),
        row("its own address", backend(&own), &["web/backend-1", "this host's own address", "another host"]),
    ];
    let shown = ask::value(bed.balancer().command("bpftool").args(["-j", "net", "show"])).unwrap();
    let id = number(&shown[0]["xdp"][0], "id").unwrap().to_string();
    let mut rows = rows;
    rows[2].says.push(format!("(id {id})"));
    check(&bed, rows);
}

#[test]
fn pins_that_are_not_there_or_do_not_fit() {
    let bed = Bed::builder().build().unwrap();
    let good = good(&bed).unwrap();
    let elsewhere = bed.directory().join("pins");
    let on_disk = || {
        let mut command = bed.balancer().command(built("xdp-lb").unwrap());
        command.arg("--pin-dir").arg(&elsewhere);
        command
    };
    let disk =
        ["is not on a BPF file system", "choose a directory below /sys/fs/bpf", "mount -t bpf bpf DIR"];
    let nothing = ["nothing is loaded under", "start `xdp-lb run -c FILE`", "--pin-dir"];
    let mut run_on_disk = on_disk();
    run_on_disk.arg("run").arg("-c").arg(file(&bed, &good).unwrap());
    let mut attach_on_disk = on_disk();
    attach_on_disk.args(["attach", INTERFACE]);
    let rows = vec![
        row("no bpffs: run", run_on_disk, &disk),
        row("no bpffs: attach", attach_on_disk, &disk),
        row("nothing pinned: stats", lb(&bed, &["stats"]).unwrap(), &nothing),
        row("nothing pinned: backends", lb(&bed, &["backend", "list"]).unwrap(), &nothing),
        row("nothing pinned: detach", lb(&bed, &["detach", INTERFACE]).unwrap(), &nothing),
        row("nothing pinned: detach --all", lb(&bed, &["detach", "--all"]).unwrap(), &nothing),
    ];
    check(&bed, rows);

    drop(ask::start(&bed, &good).unwrap());
    bed.balancer().namespace().ip(&["link add free type bridge"]).unwrap();
    let unknown = ["there is no service \"nosuch\"", "there are: web"];
    let not_ours = ["interface free carries no program of ours", "attached: eth0", "--all"];
    let rows = vec![
        row("an unknown service: stats", lb(&bed, &["stats", "nosuch"]).unwrap(), &unknown),
        row("an unknown service: backends", lb(&bed, &["backend", "list", "nosuch"]).unwrap(), &unknown),
        row("not attached", lb(&bed, &["detach", "free"]).unwrap(), &not_ours),
    ];
    check(&bed, rows);

    let version = lb_common::ABI_VERSION + 7;
    write_abi_version(&bed, version).unwrap();
    let found = format!("layout version {version}");
    let abi = [found.as_str(), "use the xdp-lb that made them", "xdp-lb detach --all"];
    let rows = vec![
        row("another layout: run", run(&bed, &good).unwrap(), &abi),
        row("another layout: attach", lb(&bed, &["attach", "free"]).unwrap(), &abi),
        row("another layout: stats", lb(&bed, &["stats"]).unwrap(), &abi),
        row("another layout: backends", lb(&bed, &["backend", "list"]).unwrap(), &abi),
    ];
    check(&bed, rows);
    // What the message says to do works.
    assert_eq!(json(&bed, &["detach", "--all"]).unwrap()["removed"], true);
    drop(ask::start(&bed, &good).unwrap());
}

/// Makes the pinned maps those of another version.
fn write_abi_version(bed: &Bed, version: u32) -> Result<()> {
    let pin = bed.pin_dir().join("META");
    ensure!(number(&pinned("map", &pin)?, "bytes_value")? == 128, "META is of another size");
    let mut meta: Array<MapData, [u8; 128]> = Array::try_from(Map::Array(MapData::from_pin(&pin)?))?;
    let mut record = meta.get(&0, 0)?;
    record[..4].copy_from_slice(&version.to_ne_bytes());
    Ok(meta.set(0, record, 0)?)
}

#[test]
fn usage() {
    let bed = Bed::builder().backends(0).build().unwrap();
    let bad: [(&str, &[&str], &[&str]); 9] = [
        ("no argument", &[], &["Usage: xdp-lb", "attach", "detach", "stats"]),
        ("an unknown subcommand", &["atach"], &["unrecognized subcommand 'atach'", "attach"]),
        ("run without a file", &["run"], &["--config <FILE>"]),
        ("check without a file", &["check"], &["--config <FILE>"]),
        ("attach without an interface", &["attach"], &["<IFACE>"]),
        ("detach without an interface", &["detach"], &["<IFACE>"]),
        ("detach with one and all", &["detach", INTERFACE, "--all"], &["--all", "cannot be used with"]),
        ("a bad mode", &["attach", INTERFACE, "--mode", "natve"], &["'natve'", "--mode", "did you mean"]),
        ("an unknown option", &["stats", "--jsn"], &["unexpected argument '--jsn'", "--json"]),
    ];
    let mut rows = Vec::new();
    for (name, args, says) in bad {
        let mut command = bed.balancer().command(built("xdp-lb").unwrap());
        command.args(args);
        rows.push(Row { code: USAGE, ..row(name, command, says) });
    }
    check(&bed, rows);
}
