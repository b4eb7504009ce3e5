// Works jobs down with Graphile Worker and prints what it took: node worker.js URL N batch|default.
// batch is the setting of its documentation's performance page: 1 process, 24 jobs at once, fetched by 500 into a local queue.
import { EventEmitter } from "node:events";
import { Logger, run } from "graphile-worker";
import pg from "pg";

const [, , connectionString, count, mode] = process.argv;
const n = Number(count);
const worker =
  mode === "batch"
    ? { concurrentJobs: 24, localQueue: { size: 500, refetchDelay: { durationMs: 10 } }, completeJobBatchDelay: 0, failJobBatchDelay: 0, maxPoolSize: 16 }
    : {};
const pool = new pg.Pool({ connectionString, max: 1 });
const one = async (text) => (await pool.query(text)).rows[0];
const durability = await one("SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit");
const events = new EventEmitter();
const ran = new Map();
let completed = 0;
let full;
const done = new Promise((resolve) => (full = resolve));
events.on("job:complete", () => {
  if (++completed === n) full();
});
const before = process.cpuUsage();
const start = performance.now();
const runner = await run({
  preset: { worker: { connectionString, logger: new Logger(() => () => {}), ...worker } },
  events,
  taskList: { deploy: (_, helpers) => void ran.set(helpers.job.id, (ran.get(helpers.job.id) ?? 0) + 1) },
});
await done;
while ((await one("SELECT EXISTS (SELECT 1 FROM graphile_worker._private_jobs) AS left")).left) await new Promise((r) => setTimeout(r, 2));
const seconds = (performance.now() - start) / 1000;
const cpu = process.cpuUsage(before);
const twice = [...ran.values()].filter((times) => times !== 1).length;
console.log(JSON.stringify({ seconds, cpu: cpu.user + cpu.system, ran: ran.size, twice, durability }));
await runner.stop();
await pool.end();
process.exit(0);
