<?php
// Predis, the library of Debian's package, through the scenario that every client goes through.

require 'Predis/Autoloader.php';
Predis\Autoloader::register();
[, $port, $name] = $argv;

function step(string $name, bool $good): void
{
    echo $good ? 'good' : 'bad', " $name\n";
}

function client(string $port): Predis\Client
{
    return new Predis\Client(['port' => (int) $port, 'database' => 0, 'timeout' => 5, 'read_write_timeout' => 20]);
}

$client = client($port);
step('connect', (string) $client->ping() === 'PONG' && (string) $client->client('setname', $name) === 'OK'
    && $client->client('getname') === $name);
step('schedule', (string) $client->setex("$name:1", 3600, '{"total":"19.90"}') === 'OK'
    && $client->ttl("$name:1") > 3590 && $client->get("$name:1") === '{"total":"19.90"}');
step('once', $client->set("$name:1", 'x', 'EX', 60, 'NX') === null);
step('extend', $client->expire("$name:1", 7200) === 1 && $client->ttl("$name:1") > 3600);
step('settle', $client->del("$name:1") === 1 && $client->del("$name:1") === 0
    && $client->get("$name:1") === null);

$events = client($port)->pubSubLoop();
$events->psubscribe('__keyevent@*__:expired');
$heard = null;
foreach ($events as $message) {
    if ($message->kind === 'psubscribe') {
        $client->psetex("$name:2", 200, 'x');
    } elseif ($message->kind === 'pmessage') {
        $heard = $message->payload;
        $events->stop();
    }
}
step('event', $heard === "$name:2" && $client->exists("$name:2") === 0);

$answers = $client->pipeline(function ($pipeline) use ($name) {
    for ($number = 0; $number < 10_000; $number++) {
        $pipeline->setex("$name-many:$number", 3600, (string) $number);
    }
});
step('pipeline', count($answers) === 10_000 && array_unique(array_map('strval', $answers)) === ['OK']);

$client->psetex("$name-work:1", 300, 'x');
$leased = $client->executeRaw(['DULY.LEASE', "$name-work", 'WAIT', '15s']);
// Names and values in turn: one list, of deliveries, each of which is told in the same way.
$delivery = array_combine(...array_map(null, ...array_chunk($leased[1][0] ?? ['key', ''], 2)));
step('lease', count($leased[1]) === 1 && $delivery['key'] === '1');
$client->executeRaw(['DULY.VERDICT', $delivery['id'], $delivery['token'], 'done']);

$client->setex("$name:3", 3600, 'kept');
echo "kill\n";
fgets(STDIN);
$kept = null;
for ($try = 0; $try < 100 && $kept === null; $try++) {
    try {
        $kept = $client->get("$name:3");
    } catch (Predis\Connection\ConnectionException $error) {
        usleep(100_000);
    }
}
step('reconnect', $kept === 'kept');
