// ioredis, as it comes from npm, through the scenario that every client goes through.

import { Redis } from 'ioredis';
import { createInterface } from 'node:readline';

const [port, name] = [Number(process.argv[2]), process.argv[3]];
const step = (what, good) => console.log(good ? 'good' : 'bad', what);
const client = new Redis({ port, connectionName: name });
client.on('error', () => {});

step('connect', await client.ping() === 'PONG' && await client.client('GETNAME') === name);
step('schedule', await client.setex(`${name}:1`, 3600, '{"total":"19.90"}') === 'OK'
  && await client.ttl(`${name}:1`) > 3590 && await client.get(`${name}:1`) === '{"total":"19.90"}');
step('once', await client.set(`${name}:1`, 'x', 'EX', 60, 'NX') === null);
step('extend', await client.expire(`${name}:1`, 7200) === 1 && await client.ttl(`${name}:1`) > 3600);
step('settle', await client.del(`${name}:1`) === 1 && await client.del(`${name}:1`) === 0
  && await client.get(`${name}:1`) === null);

const events = client.duplicate();
await events.psubscribe('__keyevent@*__:expired');
const heard = new Promise((resolve) => events.on('pmessage', (pattern, channel, key) => resolve(key)));
await client.psetex(`${name}:2`, 200, 'x');
step('event', await heard === `${name}:2` && await client.exists(`${name}:2`) === 0);
events.disconnect();

const pipeline = client.pipeline();
for (let number = 0; number < 10_000; number += 1) pipeline.setex(`${name}-many:${number}`, 3600, number);
const answers = await pipeline.exec();
step('pipeline', answers.length === 10_000 && answers.every(([error, answer]) => !error && answer === 'OK'));

await client.psetex(`${name}-work:1`, 300, 'x');
// Names and values in turn: one list, of deliveries, each of which is told in the same way.
const [, leased] = await client.call('DULY.LEASE', `${name}-work`, 'WAIT', '20s');
const delivery = Object.fromEntries(Array.from({ length: leased[0].length / 2 }, (_, at) => leased[0].slice(2 * at, 2 * at + 2)));
step('lease', leased.length === 1 && delivery.key === '1');
await client.call('DULY.VERDICT', delivery.id, delivery.token, 'done');

await client.setex(`${name}:3`, 3600, 'kept');
console.log('kill');
const lines = createInterface({ input: process.stdin });
await new Promise((resolve) => lines.once('line', resolve));
step('reconnect', await client.get(`${name}:3`) === 'kept');
lines.close();
client.disconnect();
