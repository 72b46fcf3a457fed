//! What the console of an emulated machine tells of the tests.

use std::time::Duration;

/// Longest line that is quoted, in characters: of a program that the verifier refuses there are many thousands.
const QUOTED: usize = 200;
/// Most lines that are quoted.
const COMPLAINTS: usize = 20;

/// What became of the tests on one kernel.
#[derive(Debug)]
pub struct Report {
    /// The kernel's first two numbers.
    pub series: &'static str,
    /// What went wrong, a line each.
    pub complaints: Vec<String>,
    /// `uname -r`, as the kernel said.
    release: Option<String>,
    /// The end of `uname -v`: who built it, and the build's version.
    build: String,
    /// Specialisations that the verifier took.
    specialisations: Option<u64>,
    /// Instructions that it looked at in the one that kept it longest; it refuses more than a million.
    instructions: Option<u64>,
    /// Rows of the packet fixtures that passed, that ran, and that this kernel cannot run.
    rows: Option<[u64; 3]>,
    /// Tests that passed, failed and were left out.
    tests: [u64; 3],
    took: Duration,
}

impl Report {
    /// Reads the console's lines; ours start with `token`.
    pub fn of(series: &'static str, console: &[String], token: &str, took: Duration) -> Self {
        let mut report = Self {
            series,
            complaints: Vec::new(),
            release: None,
            build: String::new(),
            specialisations: None,
            instructions: None,
            rows: None,
            tests: [0; 3],
            took,
        };
        let mut running = None;
        let mut done = false;
        for line in console {
            let ours = line.strip_prefix(token).map(|said| said.split_whitespace().collect::<Vec<_>>());
            match ours.as_deref() {
                Some(["kernel", release, version @ ..]) => report.read_kernel(release, version),
                Some(["begin", test]) => running = Some(((*test).to_owned(), report.tests)),
                Some(["end", test, status]) => report.end(running.take(), test, status),
                Some(["done"]) => done = true,
                _ => report.read(line),
            }
        }
        if let Some((test, _)) = running {
            report.complaints.push(format!("{test} did not end"));
        } else if !done {
            report.complaints.push("the machine did not come to the end of the tests".to_owned());
        }
        report
    }

    /// Whether every test ran and passed.
    pub const fn is_good(&self) -> bool {
        self.complaints.is_empty()
    }

    /// The report in a few words.
    pub fn summary(&self) -> String {
        let word = if self.is_good() { "passed" } else { "FAILED" };
        let [_, build, specialisations, _, rows, tests, ..] = self.row();
        format!("{word}: {build}; specialisations {specialisations}, fixture rows {rows}, tests {tests}")
    }

    /// The report as a row of the table.
    pub fn row(&self) -> [String; 8] {
        let none = || "-".to_owned();
        let of =
            |part: u64, all: u64| if part == all { part.to_string() } else { format!("{part} of {all}") };
        let [passed, failed, ignored] = self.tests;
        let left_out = |count| if count == 0 { String::new() } else { format!(", {count} left out") };
        [
            self.release.clone().unwrap_or_else(|| format!("{}?", self.series)),
            self.build.clone(),
            self.specialisations.map_or_else(none, |count| count.to_string()),
            self.instructions.map_or_else(none, |count| count.to_string()),
            self.rows.map_or_else(none, |[passed, all, absent]| of(passed, all) + &left_out(absent)),
            of(passed, passed + failed) + &left_out(ignored),
            self.took.as_secs().to_string(),
            if self.is_good() { "passed" } else { "FAILED" }.to_owned(),
        ]
    }

    /// `#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)`: what is behind the words in capitals, without the date.
    fn read_kernel(&mut self, release: &str, version: &[&str]) {
        self.release = Some(release.to_owned());
        let start = version.iter().position(|word| word.chars().any(char::is_lowercase));
        let words = version[start.unwrap_or(0)..].iter().filter(|word| !word.starts_with('('));
        self.build = words.copied().collect::<Vec<_>>().join(" ");
    }

    /// A test program has ended. `began`: its name, and the tests that were counted before it.
    fn end(&mut self, began: Option<(String, [u64; 3])>, test: &str, status: &str) {
        match began {
            Some((name, before)) if name == test => {
                if status != "0" {
                    self.complaints.push(format!("{test} failed with status {status}"));
                } else if self.tests[0] == before[0] {
                    self.complaints.push(format!("{test} ran no test"));
                }
            }
            _ => self.complaints.push(format!("{test} ended without having begun")),
        }
    }

    /// A line of a test program. With its output in between, libtest's own words may share a line with the test's.
    fn read(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        for window in words.windows(2) {
            match *window {
                [count, "specialisations" | "specialisations,"] => {
                    self.specialisations = count.parse().ok().or(self.specialisations);
                }
                [count, "instructions"] => self.instructions = count.parse().ok().or(self.instructions),
                _ => {}
            }
        }
        for window in words.windows(5) {
            let counts = match window {
                [passed, "of", all, "rows", "pass"] => [Some(*passed), Some(*all), None],
                [absent, "rows", "left", "out:", _] => [None, None, Some(*absent)],
                _ => continue,
            };
            let sums = self.rows.get_or_insert_default().iter_mut();
            for (sum, count) in sums.zip(counts) {
                *sum += count.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        if line.starts_with("test result: ") {
            let counts = ["passed;", "failed;", "ignored;"].map(|what| {
                let place = words.iter().position(|word| *word == what);
                place.and_then(|place| words.get(place.checked_sub(1)?)?.parse::<u64>().ok()).unwrap_or(0)
            });
            for (sum, count) in self.tests.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        let telling = line.contains("panicked at") || line.starts_with("* ") || line.starts_with("0b");
        if (telling || line.contains("Kernel panic")) && self.complaints.len() < COMPLAINTS {
            self.complaints.push(line.chars().take(QUOTED).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &str) -> Report {
        let console: Vec<_> = lines.lines().map(str::to_owned).collect();
        Report::of("6.1", &console, "token-1", Duration::from_secs(7))
    }

    const KERNEL: &str =
        "SeaBIOS\ntoken-1 kernel 6.1.0-56-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)\n";
    const SPECIALISATIONS: &str = "token-1 begin specialisations\n\nrunning 1 test\n\
        test every_pair ... 47 specialisations, at most 9000 instructions\nok\n\n\
        test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s\n\n\
        token-1 end specialisations 0\n";
    const FIXTURES: &str = "token-1 begin fixtures\ntest a ... 3 of 3 rows pass\nok\ntest b ... 2 of 2 rows pass\n\
        4 of 4 rows pass\n5 rows left out: this kernel\nok\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\ntoken-1 end fixtures 0\n";

    #[test]
    fn all_passed() {
        let report = report(&format!("{KERNEL}{SPECIALISATIONS}{FIXTURES}token-1 done\n"));
        assert!(report.is_good(), "{report:?}");
        assert_eq!(
            report.row(),
            ["6.1.0-56-amd64", "Debian 6.1.192-2", "47", "9000", "9, 5 left out", "3", "7", "passed"]
        );
    }

    #[test]
    fn a_failure_is_quoted_and_cut() {
        let refused = "token-1 begin specialisations\n45 specialisations\n\
            thread 'every_pair' (9) panicked at tests/tests/specialisations.rs:31:5:\n0b100001: ";
        let long = "x".repeat(1000);
        let end = "\ntest result: FAILED. 0 passed; 1 failed; 0 ignored\ntoken-1 end specialisations 101\n";
        let report = report(&format!("{KERNEL}{refused}{long}{end}token-1 done\n"));
        assert!(!report.is_good());
        assert_eq!(report.complaints.len(), 3, "{report:?}");
        assert!(report.complaints.iter().all(|line| line.chars().count() <= QUOTED));
        assert_eq!(report.row()[2..6], ["45", "-", "-", "0 of 1"]);
    }

    #[test]
    fn what_is_missing_is_a_failure() {
        for lines in [
            String::new(),
            KERNEL.to_owned(),
            format!("{KERNEL}{SPECIALISATIONS}"),
            format!("{KERNEL}{SPECIALISATIONS}token-1 begin fixtures\n"),
            format!(
                "{KERNEL}token-1 begin fixtures\ntest result: ok. 0 passed;\ntoken-1 end fixtures 0\ntoken-1 done"
            ),
            format!("{KERNEL}token-1 end fixtures 0\ntoken-1 done\n"),
            // Another run's, or a program's, word is not ours.
            format!("{KERNEL}{SPECIALISATIONS}token-2 done\n"),
        ] {
            assert!(!report(&lines).is_good(), "{lines}");
        }
    }
}
