// BullMQ: delayed jobs in Redis, named by our keys; a worker with 64 at a time.

import { createRequire, key, numberOf, payload } from "./measure.mjs";

export async function open(options) {
  const { Queue, Worker } = createRequire(options.packages)("bullmq");
  const connection = { host: "127.0.0.1", port: options.port, maxRetriesPerRequest: null };
  const queue = new Queue("bench", { connection });
  await queue.waitUntilReady();
  const job = (number, due) => ({
    name: "lapsed",
    data: payload(number),
    opts: { jobId: key(number), delay: due - Date.now(), removeOnComplete: true },
  });
  return {
    async schedule(number, due) {
      const { name, data, opts } = job(number, due);
      await queue.add(name, data, opts);
    },
    async scheduleMany(numbers, due) {
      await queue.addBulk(numbers.map((number) => job(number, due(number))));
    },
    async settle(number) {
      if ((await queue.remove(key(number))) !== 1) throw new Error(`${key(number)} was not there`);
    },
    async work({ handed, done }) {
      const worker = new Worker("bench", async (job) => handed(numberOf(job.id)), { connection, concurrency: 64 });
      worker.on("completed", (job) => done(numberOf(job.id)));
      worker.on("error", (error) => console.error(error));
      await worker.waitUntilReady();
    },
  };
}
