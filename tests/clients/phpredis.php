<?php
// phpredis, the extension of Debian's package, through the scenario that every client goes through.

[, $port, $name] = $argv;

function step(string $name, bool $good): void
{
    echo $good ? 'good' : 'bad', " $name\n";
}

function client(int $port): Redis
{
    $client = new Redis();
    $client->connect('127.0.0.1', $port, 5.0);
    $client->select(0);
    return $client;
}

$client = client((int) $port);
step('connect', $client->ping() == true && $client->client('setname', $name) === true
    && $client->client('getname') === $name);
step('schedule', $client->setEx("$name:1", 3600, '{"total":"19.90"}') === true
    && $client->ttl("$name:1") > 3590 && $client->get("$name:1") === '{"total":"19.90"}');
step('once', $client->set("$name:1", 'x', ['nx', 'ex' => 60]) === false);
step('extend', $client->expire("$name:1", 7200) === true && $client->ttl("$name:1") > 3600);
step('settle', $client->del("$name:1") === 1 && $client->del("$name:1") === 0
    && $client->get("$name:1") === false);

// A subscriber is a process of its own, as with every PHP client: it waits in subscribe().
[$here, $there] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
$child = pcntl_fork();
if ($child === 0) {
    $listener = client((int) $port);
    $listener->setOption(Redis::OPT_READ_TIMEOUT, 10);
    fwrite($there, "ready\n");
    try {
        $listener->psubscribe(['__keyevent@*__:expired'], function ($redis, $pattern, $channel, $key) use ($there) {
            fwrite($there, "$key\n");
            exit(0);
        });
    } catch (RedisException $error) {
        fwrite($there, "{$error->getMessage()}\n");
    }
    exit(1);
}
fgets($here);
usleep(300_000);
$client->pSetEx("$name:2", 200, 'x');
step('event', trim(fgets($here)) === "$name:2" && $client->exists("$name:2") === 0);
pcntl_waitpid($child, $status);

$pipeline = $client->pipeline();
for ($number = 0; $number < 10_000; $number++) {
    $pipeline->setEx("$name-many:$number", 3600, (string) $number);
}
$answers = $pipeline->exec();
step('pipeline', count($answers) === 10_000 && count(array_filter($answers)) === 10_000);

$client->pSetEx("$name-work:1", 300, 'x');
$leased = $client->rawCommand('DULY.LEASE', "$name-work", 'WAIT', '15s');
// Names and values in turn: one list, of deliveries, each of which is told in the same way.
$delivery = array_combine(...array_map(null, ...array_chunk($leased[1][0] ?? ['key', ''], 2)));
step('lease', count($leased[1]) === 1 && $delivery['key'] === '1');
$client->rawCommand('DULY.VERDICT', $delivery['id'], $delivery['token'], 'done');

$client->setEx("$name:3", 3600, 'kept');
echo "kill\n";
fgets(STDIN);
$kept = null;
for ($try = 0; $try < 100 && $kept === null; $try++) {
    try {
        $kept = $client->get("$name:3");
    } catch (RedisException $error) {
        usleep(100_000);
    }
}
step('reconnect', $kept === 'kept');
