//! What the kernel knows about a process and the machine, from `/proc`.
//!
//! Processor time comes in ticks of 10 ms, so it says something only about runs of seconds. Where
//! there is no `/proc` these readings fail and nothing is measured: half a table would be worse.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// The tick of `/proc`: 100 a second on every machine that Linux calls a server.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process so far, user and system together, ended threads included.
pub(super) fn processor_time(process: u32) -> anyhow::Result<Duration> {
    let text = read(&format!("/proc/{process}/stat"))?;
    // The second field is the program's name in brackets, which may hold anything.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

/// Memory of a process that is in RAM, in bytes.
pub(super) fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let text = read(&format!("/proc/{process}/status"))?;
    let kibibytes = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kibibytes.map(|kibibytes: u64| kibibytes * 1_024).context("no VmRSS in /proc")
}

/// Processor time that the whole machine has spent on anything so far.
pub(super) fn machine_time() -> anyhow::Result<Duration> {
    let text = read("/proc/stat")?;
    let all = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal; what guests used is in user already.
    let busy: u64 = all
        .take(8)
        .enumerate()
        .filter(|(place, _)| !matches!(place, 3 | 4))
        .filter_map(|(_, field)| field.parse::<u64>().ok())
        .sum();
    let tick = u64::try_from(TICK.as_millis()).unwrap_or(10);
    Ok(Duration::from_millis(busy * tick))
}

/// The load average of the last minute.
pub(super) fn load() -> String {
    let text = read("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The machine in a line: kernel, processors.
pub(super) fn machine() -> String {
    let kernel = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = read("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("processors", |(_, model)| model);
    format!("Linux {}, {} × {model}", kernel.trim(), cores())
}

/// Processors that may be used.
pub(super) fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_memory_and_the_machine_time() {
        let own = std::process::id();
        assert!(resident_bytes(own).expect("Linux says so") > 100_000);
        let machine = machine_time().expect("Linux says so");
        assert!(machine > Duration::ZERO);
        assert!(processor_time(own).expect("Linux says so") < machine);
    }
}
