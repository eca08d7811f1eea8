// pg-boss on PostgreSQL: two workers that poll as often as it allows, in batches of 2,000.

import { createRequire, numberOf, key, payload } from "./measure.mjs";

export async function open(options) {
  const required = createRequire(options.packages)("pg-boss");
  const PgBoss = required.default ?? required;
  const boss = new PgBoss({
    host: options.socket,
    port: options.port,
    user: "postgres",
    database: "postgres",
    max: 32,
    supervise: false,
    schedule: false,
  });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  await boss.createQueue("bench");
  const ids = new Map();
  const data = (number) => ({ key: key(number), ...payload(number) });
  return {
    async schedule(number, due) {
      const id = await boss.send("bench", data(number), { startAfter: new Date(due) });
      if (!id) throw new Error("it was not taken");
    },
    async scheduleMany(numbers, due) {
      const jobs = numbers.map((number) => {
        // It calls a job by a UUID, which whoever wants to settle must keep.
        const id = crypto.randomUUID();
        ids.set(number, id);
        return { id, name: "bench", data: data(number), startAfter: new Date(due(number)) };
      });
      await boss.insert(jobs);
    },
    async settle(number) {
      const { affected } = await boss.cancel("bench", ids.get(number));
      if (affected !== 1) throw new Error(`${key(number)} was not there`);
    },
    async work({ handed, done }) {
      // What `work` does, but one hears when a completion has been written.
      const worker = async () => {
        for (;;) {
          const begun = Date.now();
          const jobs = await boss.fetch("bench", { batchSize: 2_000 });
          const numbers = jobs.map((job) => numberOf(job.data.key));
          numbers.forEach(handed);
          if (jobs.length > 0) await boss.complete("bench", jobs.map((job) => job.id));
          numbers.forEach(done);
          // Half a second is the shortest interval of its own workers; a full batch is followed at once.
          const rest = jobs.length === 2_000 ? 0 : Math.max(0, 500 - (Date.now() - begun));
          await new Promise((resolve) => setTimeout(resolve, rest));
        }
      };
      await Promise.all([worker(), worker()]);
    },
  };
}
