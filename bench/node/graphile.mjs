// graphile-worker on PostgreSQL: jobs by key, a local queue of 500, completions in batches.

import { createRequire, key, numberOf, payload } from "./measure.mjs";

export async function open(options) {
  const require = createRequire(options.packages);
  const { Pool } = require("pg");
  const { makeWorkerUtils, run, Logger } = require("graphile-worker");
  const pgPool = new Pool({ host: options.socket, port: options.port, user: "postgres", database: "postgres", max: 32 });
  const logger = new Logger(() => () => {});
  const utils = await makeWorkerUtils({ pgPool, logger });
  await utils.migrate();
  const body = (number) => ({ key: key(number), ...payload(number) });
  return {
    async schedule(number, due) {
      await utils.addJob("lapsed", body(number), { runAt: new Date(due), jobKey: key(number) });
    },
    async scheduleMany(numbers, due) {
      const jobs = numbers.map((number) => ({
        identifier: "lapsed",
        payload: body(number),
        runAt: new Date(due(number)),
        jobKey: key(number),
      }));
      await utils.addJobs(jobs);
    },
    async settle(number) {
      const { rows } = await pgPool.query("select graphile_worker.remove_job($1) as gone", [key(number)]);
      if (!rows[0].gone) throw new Error(`${key(number)} was not there`);
    },
    async work({ handed, done }) {
      const runner = await run({
        pgPool,
        logger,
        taskList: { lapsed: (body) => handed(numberOf(body.key)) },
        preset: {
          worker: {
            concurrentJobs: 64,
            // Its default is two seconds; this is what pg-boss is given, too.
            pollInterval: 500,
            localQueue: { size: 500 },
            completeJobBatchDelay: 5,
          },
        },
      });
      // A completion in a batch is told by no event of its own: the table says what is left.
      const waiting = new Set();
      runner.events.on("job:complete", ({ job }) => waiting.add(numberOf(job.payload.key)));
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (waiting.size === 0) continue;
        const asked = [...waiting];
        const { rows } = await pgPool.query(
          "select key from graphile_worker._private_jobs where key = any($1)",
          [asked.map(key)],
        );
        const left = new Set(rows.map((row) => numberOf(row.key)));
        for (const number of asked) {
          if (left.has(number)) continue;
          waiting.delete(number);
          done(number);
        }
      }
    },
  };
}
