//! Clocks, processor time, memory, and rounds in which a case and its limit take turns.
//!
//! On a machine that others use, times of one run say little and ratios of neighbouring rounds much. The processor time of
//! all threads is disturbed least, so it decides where a bar says "per core"; the clock decides where it does not.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one round took, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Cost {
    /// By the clock.
    pub clock: f64,
    /// By the processor, all threads together.
    pub processor: f64,
}

/// Median, lowest and highest.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Spread {
    /// The middle value.
    pub median: f64,
    /// The lowest.
    pub least: f64,
    /// The highest.
    pub most: f64,
}

impl Spread {
    /// Of values, at least one.
    ///
    /// # Panics
    /// Without a value.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], least: values[0], most: values[values.len() - 1] }
    }
}

/// Rounds of a case beside its limit.
#[derive(Debug, Clone)]
pub struct Pair {
    rounds: Vec<(Cost, Cost)>,
}

impl Pair {
    /// Runs both once unmeasured, then `rounds` times in turns, each first in every second round.
    pub fn measure(rounds: usize, mut case: impl FnMut(), mut limit: impl FnMut()) -> Self {
        case();
        limit();
        let rounds = (0..rounds.max(1))
            .map(|round| {
                if round % 2 == 0 {
                    let cost = time(&mut case);
                    (cost, time(&mut limit))
                } else {
                    let cost = time(&mut limit);
                    (time(&mut case), cost)
                }
            })
            .collect();
        Self { rounds }
    }

    /// The case's seconds by the clock.
    #[must_use]
    pub fn clock(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(case, _)| case.clock).collect())
    }

    /// The case's seconds by the processor.
    #[must_use]
    pub fn processor(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(case, _)| case.processor).collect())
    }

    /// The limit's seconds by the processor.
    #[must_use]
    pub fn limit_processor(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(_, limit)| limit.processor).collect())
    }

    /// The limit's seconds by the clock.
    #[must_use]
    pub fn limit_clock(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(_, limit)| limit.clock).collect())
    }

    /// How much of the limit the case reaches, in percent of processor time.
    #[must_use]
    pub fn share(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(case, limit)| 100.0 * limit.processor / case.processor.max(1e-9)).collect())
    }

    /// The same by the clock.
    #[must_use]
    pub fn share_by_clock(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(case, limit)| 100.0 * limit.clock / case.clock.max(1e-9)).collect())
    }

    /// How many times as fast as the limit the case is, by the clock.
    #[must_use]
    pub fn times_by_clock(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(case, limit)| limit.clock / case.clock.max(1e-9)).collect())
    }
}

/// Times one call.
pub fn time(work: &mut impl FnMut()) -> Cost {
    let (clock, processor) = (Instant::now(), processor_seconds());
    work();
    Cost { clock: clock.elapsed().as_secs_f64(), processor: processor_seconds() - processor }
}

/// Seconds of processor time of this process so far, all threads, those that have ended included; 0 where the system does not tell.
#[must_use]
pub fn processor_seconds() -> f64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID);
    time.map_or(0.0, |time| Duration::from(time).as_secs_f64())
}

/// The most memory that this process has had so far, in bytes; 0 where the system does not tell.
#[must_use]
pub fn peak_memory() -> u64 {
    peak_bytes("self")
}

/// The same of a process by its id, as a number to compute with.
#[must_use]
pub fn peak_memory_of(id: &str) -> f64 {
    crate::number(peak_bytes(id))
}

fn peak_bytes(process: &str) -> u64 {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{process}/status")) else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// This program again, as a process of its own, doing one thing; what it printed.
///
/// # Errors
/// When it fails, with what it printed.
pub fn child(arguments: &[&str]) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    run(Command::new(program).args(arguments))
}

/// Runs a program to its end; what it printed.
///
/// # Errors
/// When it cannot be started or fails, with the last line of what it said.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, said.trim().lines().last().unwrap_or_default()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Instructions that one round of `case` takes: a run with two rounds less a run with one, so that nothing else counts.
///
/// # Errors
/// When valgrind is not there or fails.
pub fn instructions(case: &str, folder: &Path, changes: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let count = |rounds: &str| -> Result<u64, String> {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(&program);
        command.args(["once", case, "--rounds", rounds, "--changes", &changes.to_string(), "--folder"]).arg(folder);
        let output = command.stdin(Stdio::null()).output().map_err(|error| format!("valgrind: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let collected = said.lines().find_map(|line| line.split_once("Collected : ").map(|(_, rest)| rest.trim()));
        match (output.status.success(), collected.and_then(|text| text.split(' ').next()?.parse().ok())) {
            (true, Some(count)) => Ok(count),
            _ => Err(format!("valgrind: {}", said.lines().last().unwrap_or_default())),
        }
    };
    Ok(count("2")?.saturating_sub(count("1")?))
}

/// The processor's name and number, and the system's memory in bytes.
#[must_use]
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().trim_end_matches(" kB").trim().parse().ok())
        .unwrap_or(0);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!("{}, {cores} cores, {} GiB, load {load}", model.trim_start_matches([' ', '\t', ':']), memory >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        let spread = Spread::of(vec![3.0, 1.0, 9.0, 2.0, 4.0]);
        assert_eq!((spread.median, spread.least, spread.most), (3.0, 1.0, 9.0));
    }

    #[test]
    fn a_case_and_its_limit_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        Pair::measure(3, || order.borrow_mut().push('c'), || order.borrow_mut().push('l'));
        assert_eq!(*order.borrow(), "clcllccl");
    }
}
