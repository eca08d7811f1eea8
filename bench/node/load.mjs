// The load generator for rivals that are libraries: they are used in this very process, as a shop would.
//
//   node load.mjs RIVAL WORK '{"port": …}'
//
// It says `begin` on a line and waits for a line, works, and prints what came of it as one line of JSON,
// as `duly-sim load` does, so that whoever started it can read the server's processor time around the
// work. Anything refused or lost ends it with an error.

import { Latencies, both, clockMs, payload } from "./measure.mjs";

const PATIENCE_MS = 120_000;
const HEAD_START_MS = 300;
const TRIAL = { count: 1_000, ms: 1_000 };
const FAR_MS = 86_400_000;
const WARM = 500_000_000;
const FILL = 500;

const [rivalName, work, optionsText] = process.argv.slice(2);
const options = { connections: 64, batch: 1, count: 1e9, time_ms: 2_000, fill_ms: 2_000, ...JSON.parse(optionsText) };
const { open } = await import(`./${rivalName}.mjs`);

/** Says that the work can begin, waits for a word, and returns what tells the figures. */
async function begin() {
  process.stdout.write("begin\n");
  await new Promise((resolve) => process.stdin.once("data", resolve));
  process.stdin.pause();
  const cpu = process.cpuUsage();
  return (operations, ms) => {
    const { user, system } = process.cpuUsage(cpu);
    return { operations, seconds: ms / 1e3, generator_seconds: (user + system) / 1e6, early: 0, again: 0 };
  };
}

/** So many callers, each of whom asks again when it is answered. */
async function closed({ callers, batch, first, end, ms, ask }) {
  const latencies = new Latencies();
  const begun = clockMs();
  let next = first;
  const caller = async () => {
    while (next < end && clockMs() - begun < ms) {
      const from = next;
      const to = Math.min(next + batch, end);
      next = to;
      const asked = clockMs();
      await ask(from, to);
      latencies.add(clockMs() - asked);
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return { count: next - first, ms: clockMs() - begun, latencies };
}

/** Schedules as fast as it goes, where that is not what is measured. */
function fill(rival, first, end, ms, due) {
  const ask = (from, to) => rival.scheduleMany(range(from, to), due);
  return closed({ callers: 4, batch: FILL, first, end, ms, ask });
}

/** Opens all connections and lets the code be compiled, with deadlines that nobody looks at. */
async function warm(rival) {
  const ask = (from) => rival.schedule(from, Date.now() + FAR_MS);
  await closed({ callers: options.connections, batch: 1, first: WARM, end: Infinity, ms: 300, ask });
}

function range(from, to) {
  return Array.from({ length: to - from }, (_, place) => from + place);
}

const works = {
  async schedule(rival) {
    const due = () => Date.now() + FAR_MS;
    const ask =
      options.batch > 1
        ? (from, to) => rival.scheduleMany(range(from, to), due)
        : (from) => rival.schedule(from, due(from));
    // In batches few connections do, and what is there is counted.
    if (options.batch === 1) await warm(rival);
    const outcome = await begin();
    const { connections: callers, batch, count: end, time_ms: ms } = options;
    const done = await closed({ callers, batch, first: 0, end, ms, ask });
    return { ...outcome(done.count, done.ms), latency: done.latencies.quantiles() };
  },

  async settle(rival) {
    const filled = await fill(rival, 0, options.count, options.fill_ms, () => Date.now() + FAR_MS);
    await warm(rival);
    const outcome = await begin();
    const ask = (from) => rival.settle(from);
    const { connections: callers, time_ms: ms } = options;
    const done = await closed({ callers, batch: 1, first: 0, end: filled.count, ms, ask });
    return { ...outcome(done.count, done.ms), latency: done.latencies.quantiles() };
  },

  async due(rival) {
    const { count, time_ms: spread } = options;
    const tried = await fill(rival, count, count + TRIAL.count, TRIAL.ms, () => Date.now() + FAR_MS);
    const lead = (tried.ms * count * 1.5) / tried.count + 1_500;
    if (lead > PATIENCE_MS) throw new Error(`to schedule ${count} would take ${(lead / 1e3).toFixed(0)} s`);
    const { wall, clock } = both();
    const first = Math.ceil(wall + lead);
    const due = (number) => first + Math.floor((number * spread) / count);
    const late = (number) => Math.max(0, clockMs() - clock - (due(number) - wall));
    await fill(rival, 0, count, PATIENCE_MS, due);
    const left = first - Date.now() - HEAD_START_MS;
    if (left < 0) throw new Error("to schedule them took longer than foreseen");
    await new Promise((resolve) => setTimeout(resolve, left));
    const outcome = await begin();
    const seen = new Uint8Array(count);
    const [handed, done] = [new Latencies(), new Latencies()];
    let [again, acknowledged] = [0, 0];
    await new Promise((resolve, reject) => {
      const patience = setTimeout(
        () => reject(new Error(`${count - acknowledged} of ${count} were never done`)),
        lead + spread + PATIENCE_MS,
      );
      rival
        .work({
          handed(number) {
            again += seen[number];
            seen[number] = 1;
            handed.add(late(number));
          },
          done(number) {
            done.add(late(number));
            acknowledged += 1;
            if (acknowledged === count) {
              clearTimeout(patience);
              resolve();
            }
          },
        })
        .catch(reject);
    });
    const ms = clockMs() - clock - (first - wall);
    return { ...outcome(count, ms), late: handed.quantiles(), done: done.quantiles(), again };
  },
};

const rival = await open(options, payload);
console.log(JSON.stringify(await works[work](rival)));
// Libraries keep timers and connections; what they hold is over with this process.
process.exit(0);
