<?php

declare(strict_types=1);

namespace Duly\Tests;

use Duly\Client;
use Duly\NoAnswer;
use Duly\Refused;
use Duly\Verdict;

final class CallsTest extends Served
{
    public function testAnOrderIsPaidInTime(): void
    {
        $queue = $this->queueName();
        $answer = $this->duly->schedule($queue, 42, ['after' => '30m', 'payload' => ['total' => '19.90']]);
        self::assertTrue($answer->created && $answer->ok);
        self::assertSame(['created', ['nobody_acts'], false], [$answer->result, $answer->warnings, $answer->repeated]);
        $deadline = $answer->deadline;
        self::assertSame(['42', 'pending', 1, ['total' => '19.90']], [$deadline->key, $deadline->state, $deadline->generation, $deadline->payload]);
        self::assertSame(1800, $deadline->due->getTimestamp() - $deadline->createdAt->getTimestamp());

        $again = $this->duly->schedule($queue, 42, ['after' => 60, 'payload' => ['total' => '20.00']]);
        self::assertSame(['kept', ['due', 'payload']], [$again->result, $again->differs]);

        $paid = $this->duly->settle($queue, '42', 'paid');
        self::assertSame(['settled', true, false], [$paid->result, $paid->settled, $paid->tooLate]);
        self::assertSame('paid', $paid->deadline->outcome);
        $paid = $this->duly->settle($queue, '42', 'paid');
        self::assertSame(['already_settled', true], [$paid->result, $paid->settled]);
        $other = $this->duly->settle($queue, '42', 'cancelled');
        self::assertSame([false, true, 'paid'], [$other->settled, $other->settledOtherwise, $other->deadline->outcome]);
        self::assertTrue($this->duly->get($queue, 42)->isOver());
    }

    public function testAnOrderIsPaidTooLate(): void
    {
        $queue = $this->queueName();
        $this->duly->schedule($queue, 'a', ['after' => new \DateInterval('PT30M')]);
        $this->duly->schedule($queue, 'b', ['after' => 1801]);
        $this->advance('30m');
        $late = $this->duly->settle($queue, 'a', 'paid');
        self::assertSame(['too_late', false, true, 'no'], [$late->result, $late->settled, $late->tooLate, $late->acted]);
        self::assertSame($late->deadline->delivery['id'], $this->duly->get($queue, 'a')->delivery['id']);
        self::assertTrue($this->duly->settle($queue, 'b', 'paid')->settled);
        [$delivery] = $this->duly->lease($queue);
        self::assertSame('maybe', $this->duly->settle($queue, 'a', 'paid')->acted);
        self::assertSame('accepted', $this->duly->verdict($delivery, Verdict::done())->result);
        self::assertSame('yes', $this->duly->settle($queue, 'a', 'paid')->acted);
    }

    public function testWhatIsNotThereIsAnAnswer(): void
    {
        $queue = $this->queueName();
        $this->duly->schedule($queue, 'here', ['after' => '1h']);
        self::assertNull($this->duly->get($queue, 'not'));
        self::assertTrue($this->duly->settle($queue, 'not', 'paid')->unknownDeadline);
        self::assertTrue($this->duly->extend($queue, 'not', '5m')->unknownDeadline);
        self::assertTrue($this->duly->freeze($queue, 'not', '5m')->unknownDeadline);
        self::assertTrue($this->duly->revive($queue, 'not')->unknownDeadline);
        self::assertFalse($this->duly->erase($queue, 'not'));
        $remembered = $this->duly->settle($queue, 'soon', 'paid', ['remember' => '1h']);
        self::assertSame(['remembered', true, false], [$remembered->result, $remembered->ok, $remembered->settled]);
        self::assertSame('settled', $this->duly->schedule($queue, 'soon', ['after' => '1h'])->deadline->state);
        self::assertSame('other_generation', $this->duly->settle($queue, 'here', 'paid', ['generation' => 2])->result);
    }

    public function testMoreTime(): void
    {
        $queue = $this->queueName();
        $due = $this->duly->schedule($queue, 'a', ['after' => '10m'])->deadline->due;
        $extended = $this->duly->extend($queue, 'a', '5m', ['if_due' => $due]);
        self::assertSame('extended', $extended->result);
        self::assertSame(300, $extended->deadline->due->getTimestamp() - $due->getTimestamp());
        self::assertEquals($due, $this->duly->extend($queue, 'a', $due)->deadline->due);
        $frozen = $this->duly->freeze($queue, 'a', 600);
        self::assertSame('frozen', $frozen->result);
        self::assertNotNull($frozen->deadline->frozenUntil);
        $this->duly->settle($queue, 'a', 'paid');
        self::assertSame('already_settled', $this->duly->extend($queue, 'a', '5m')->result);
        self::assertFalse($this->duly->extend($queue, 'a', '5m')->settled, 'it was not this call that settled');
        $this->duly->schedule($queue, 'b', ['after' => 0]);
        $this->advance('1s');
        self::assertTrue($this->duly->freeze($queue, 'b', '5m')->tooLate);
    }

    /** @return array<string, array{callable, string, int}> */
    public function refusals(): array
    {
        $call = static function (string $verb, ...$rest): callable {
            return static function (Client $duly, string $queue) use ($verb, $rest) {
                return $duly->$verb($queue, 'a', ...$rest);
            };
        };
        return [
            'a typing error' => [$call('schedule', ['aftre' => 1800]), 'unknown_field', 400],
            'a time in the past' => [$call('schedule', ['due' => new \DateTimeImmutable('2020-01-01'), 'if_exists' => 'replace']), 'due_in_past', 422],
            'seconds where milliseconds belong' => [$call('schedule', ['due' => 1795350600]), 'instant_in_seconds', 400],
            'it is there already' => [$call('schedule', ['after' => 9, 'if_exists' => 'fail']), 'already_exists', 409],
            'too much time' => [$call('extend', '30d'), 'max_total', 409],
            'due at another time' => [$call('extend', '5m', ['if_due' => new \DateTimeImmutable('2026-01-01')]), 'due_changed', 409],
            'frozen for too long' => [$call('freeze', '1d'), 'max_freeze', 409],
            'no outcome' => [$call('settle', ''), 'bad_outcome', 400],
            'not over' => [$call('erase'), 'still_pending', 409],
        ];
    }

    /** @dataProvider refusals */
    public function testARefusalIsAnExceptionWithItsCode(callable $call, string $code, int $status): void
    {
        $queue = 'refusals';
        $this->duly->schedule($queue, 'a', ['after' => '1h']);
        try {
            $call($this->duly, $queue);
            self::fail("$code was not thrown");
        } catch (Refused $refused) {
            self::assertSame([$code, $status, $status], [$refused->errorCode, $refused->status, $refused->getCode()]);
            self::assertNotSame('', $refused->hint);
            self::assertStringContainsString($code, $refused->getMessage());
            self::assertFalse($refused->unknown, 'a refusal has changed nothing');
            self::assertSame($status === 409 && $code !== 'max_total' && $code !== 'max_freeze', $refused->deadline !== null);
        }
    }

    public function testAnUnknownQueueIsATypingError(): void
    {
        $this->expectException(Refused::class);
        $this->expectExceptionMessage('unknown_queue');
        $this->duly->settle('ordres', '42', 'paid');
    }

    public function testEveryKeyArrivesAsItIs(): void
    {
        $queue = $this->queueName();
        foreach (['a/b', '..', '.', 'Zürich ☕', 'a?b#c%2F', '0', ' ', '+', str_repeat('k', 512)] as $key) {
            self::assertSame($key, $this->duly->schedule($queue, $key, ['after' => '1h'])->deadline->key);
            self::assertTrue($this->duly->settle($queue, $key, 'paid')->settled, $key);
        }
    }

    public function testPayloadsComeBackAsTheyWent(): void
    {
        $queue = $this->queueName();
        $payloads = [null, 'text', 7, 1.0, false, [], ['a' => ['b' => [1, 2, null]]], "\u{2028}\"\\/", '9007199254740993123'];
        foreach ($payloads as $key => $payload) {
            $this->duly->schedule($queue, $key, ['after' => '1h', 'payload' => $payload]);
            self::assertSame($payload, $this->duly->get($queue, $key)->payload);
        }
        $this->duly->schedule($queue, 'large', ['after' => '1h', 'payload' => str_repeat('€', 20000)]);
        self::assertSame(str_repeat('€', 20000), $this->duly->get($queue, 'large')->payload);
    }

    public function testManyOperationsInOneRequest(): void
    {
        $queue = $this->queueName();
        $operations = [];
        for ($key = 0; $key < 2000; $key++) {
            $operations[] = ['op' => 'schedule', 'queue' => $queue, 'key' => $key, 'after' => new \DateInterval('PT1H')];
        }
        $operations[] = ['op' => 'settle', 'queue' => $queue, 'key' => 7, 'outcome' => 'paid'];
        $operations[] = ['op' => 'schedule', 'queue' => $queue, 'key' => 8, 'aftre' => '1h'];
        $operations[] = ['op' => 'get', 'queue' => $queue, 'key' => 'not'];
        $answers = $this->duly->batch($operations);
        self::assertCount(2003, $answers);
        self::assertSame(['created'], array_values(array_unique(array_column(array_slice($answers, 0, 2000), 'result'))));
        self::assertTrue($answers[2000]->settled);
        self::assertSame(['unknown_field', 400], [$answers[2001]->result, $answers[2001]->refused->status]);
        self::assertTrue($answers[2002]->unknownDeadline);
        $keys = [];
        foreach ($this->duly->deadlines($queue, ['state' => 'pending', 'limit' => 300]) as $deadline) {
            $keys[] = $deadline->key;
        }
        self::assertCount(1999, array_unique($keys));
    }

    public function testQueuesAndCounts(): void
    {
        $queue = $this->queueName();
        $policy = ['default_delay' => new \DateInterval('PT20M'), 'target' => 'none', 'grace' => '5s'];
        self::assertSame('none', $this->duly->setQueue($queue, $policy)['target']);
        self::assertSame('20m', $this->duly->queue($queue)['policy']['default_delay']);
        $this->duly->schedule($queue, 'a');
        self::assertSame(1, $this->duly->stats($queue)['queue']['now']['pending']);
        self::assertContains($queue, array_column($this->duly->stats()['queues'], 'name'));
        self::assertArrayHasKey('queues', $this->duly->call('GET', '/v1/forecast?ahead=1h'));
    }

    public function testADeadDeliveryIsRevivedAndErased(): void
    {
        $queue = $this->queueName();
        $this->duly->schedule($queue, 'a', ['after' => 0]);
        $this->advance('1s');
        [$delivery] = $this->duly->lease($queue);
        $this->duly->verdict($delivery, Verdict::dead('no such address'));
        self::assertSame('dead', $this->duly->get($queue, 'a')->delivery['state']);
        self::assertSame('revived', $this->duly->revive($queue, 'a')->result);
        self::assertSame('not_dead', $this->duly->revive($queue, 'a')->result);
        [$again] = $this->duly->lease($queue);
        self::assertSame([$delivery->id, 2], [$again->id, $again->attempt]);
        $this->duly->verdict($again, Verdict::dead('still not'));
        self::assertTrue($this->duly->erase($queue, 'a'));
        self::assertNull($this->duly->get($queue, 'a'));
    }

    public function testOneConnectionIsKeptAndAForkedChildOpensItsOwn(): void
    {
        $queue = $this->queueName();
        foreach (['parent', 'child'] as $key) {
            $this->duly->schedule($queue, $key, ['after' => '1h']);
        }
        $first = $this->connection();
        self::assertNotNull($first);
        self::assertNull($this->duly->get($queue, 'not'));
        self::assertSame($first, $this->connection(), 'refusals leave the connection as good as it was');
        if (!function_exists('pcntl_fork')) {
            self::markTestIncomplete('without pcntl nothing can be forked');
        }
        $told = self::$server->directory . '/child';
        $child = pcntl_fork();
        if ($child === 0) {
            $key = $this->duly->get($queue, 'child')->key;
            file_put_contents($told, $this->connection() === $first ? 'the same connection' : "its own, for $key");
            posix_kill(getmypid(), SIGKILL);
        }
        pcntl_waitpid($child, $status);
        self::assertSame('its own, for child', file_get_contents($told));
        self::assertSame('parent', $this->duly->get($queue, 'parent')->key);
        self::assertSame($first, $this->connection(), 'the child has not closed it');
    }

    /** The local end of the client's idle connection. */
    private function connection(): ?string
    {
        $held = $this->duly;
        foreach (['http', 'idle'] as $name) {
            $property = new \ReflectionProperty($held, $name);
            $property->setAccessible(true);
            $held = $property->getValue($held);
        }
        return $held === null ? null : stream_socket_get_name($held, false);
    }

    public function testEveryWayToEndAnAnswerIsUnderstood(): void
    {
        $queue = $this->queueName();
        $payload = str_repeat("long\r\n\r\n0\r\n\r\n", 3000);
        $this->duly->schedule($queue, 'a', ['after' => '1h', 'payload' => $payload]);
        $fates = ['chunked', 'endless', 'hinted', 'kept', 'chunked'];
        $between = new Between(self::$server, $fates);
        $duly = new Client($between->url());
        foreach ($fates as $fate) {
            self::assertSame($payload, $duly->get($queue, 'a')->payload, $fate);
        }
        self::assertCount(count($fates), $between->requests(), 'none was asked twice');
        $between->stop();
    }

    public function testWhatIsNotDulyIsNoSuccess(): void
    {
        $fates = ['login' => true, 'missing' => false, 'stranger' => true, 'page' => true];
        $between = new Between(self::$server, array_keys($fates));
        $duly = new Client($between->url());
        foreach ($fates as $fate => $unknown) {
            try {
                $duly->schedule('orders', '42', ['after' => 1, 'if_exists' => 'renew']);
                self::fail("$fate was taken for Duly");
            } catch (NoAnswer $failure) {
                self::assertSame($unknown, $failure->unknown, $fate);
            }
        }
        self::assertCount(count($fates), $between->requests());
        $between->stop();
    }
}
