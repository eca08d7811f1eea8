// Clocks, latencies, keys and payloads, the same as those of `duly-sim load`.

/** Milliseconds by the stopwatch, with fractions. */
export function clockMs() {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** The same moment by the wall clock and by the stopwatch. */
export function both() {
  const [wall, clock] = [performance.timeOrigin + performance.now(), clockMs()];
  return { wall, clock };
}

export function key(number) {
  return `order-${String(number).padStart(18, "0")}`;
}

export function numberOf(key) {
  return Number(key.slice("order-".length));
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const NOISE = Array.from({ length: 1 << 18 }, () => LETTERS[Math.floor(Math.random() * 64)]).join("");

/** 200 bytes of JSON that nothing can make smaller. */
export function payload(number) {
  const noise = 200 - '{"note":""}'.length;
  const place = Number((BigInt(number) * 0x9e3779b97f4a7c15n & 0xffffffffffffffffn) >> 40n);
  const from = place % (NOISE.length - noise);
  return { note: NOISE.slice(from, from + noise) };
}

/** Times, all of them kept. */
export class Latencies {
  times = [];

  add(ms) {
    this.times.push(ms);
  }

  quantiles() {
    const sorted = Float64Array.from(this.times).sort();
    const at = (share) => {
      const place = Math.max(0, Math.ceil(sorted.length * share) - 1);
      return Math.round(sorted[place] * 1e3) / 1e3;
    };
    return { p50_ms: at(0.5), p90_ms: at(0.9), p99_ms: at(0.99), p999_ms: at(0.999), max_ms: at(1) };
  }
}

/** The packages, which are installed away from these files. */
export { createRequire } from "node:module";
