// What most shops do: a table of orders in MariaDB, and a job that looks every second for unpaid ones that are
// overdue and cancels them, 1,000 at a time, each under the guard that it is still unpaid.

import { createRequire, key, numberOf, payload } from "./measure.mjs";

const BATCH = 1_000;

export async function open(options) {
  const mysql = createRequire(options.packages)("mysql2/promise");
  const pool = mysql.createPool({
    socketPath: options.socket,
    user: "root",
    connectionLimit: Math.min(options.connections, 64),
    timezone: "Z",
  });
  await pool.query("create database if not exists bench");
  await pool.query(
    `create table if not exists bench.orders (id char(24) primary key, status varchar(10) not null,
     pay_before datetime(3) not null, payload varchar(400) not null, index (status, pay_before)) engine = InnoDB`,
  );
  const row = (number, due) => [key(number), "unpaid", new Date(due), JSON.stringify(payload(number))];
  return {
    async schedule(number, due) {
      await pool.execute("insert into bench.orders values (?, ?, ?, ?)", row(number, due));
    },
    async scheduleMany(numbers, due) {
      const rows = numbers.map((number) => row(number, due(number)));
      await pool.query("insert into bench.orders values ?", [rows]);
    },
    async settle(number) {
      const [{ affectedRows }] = await pool.execute(
        "update bench.orders set status = 'paid' where id = ? and status = 'unpaid'",
        [key(number)],
      );
      if (affectedRows !== 1) throw new Error(`${key(number)} was not unpaid`);
    },
    async work({ handed, done }) {
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 1_000 - (Date.now() % 1_000)));
        for (let full = true; full; ) {
          const [rows] = await pool.query(
            `select id, payload from bench.orders where status = 'unpaid' and pay_before <= utc_timestamp(3)
             order by pay_before limit ${BATCH}`,
          );
          const ids = rows.map((row) => row.id);
          ids.forEach((id) => handed(numberOf(id)));
          if (ids.length > 0) {
            await pool.query("update bench.orders set status = 'cancelled' where id in (?) and status = 'unpaid'", [ids]);
          }
          ids.forEach((id) => done(numberOf(id)));
          full = ids.length === BATCH;
        }
      }
    },
  };
}
