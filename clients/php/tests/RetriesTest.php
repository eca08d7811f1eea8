<?php

declare(strict_types=1);

namespace Duly\Tests;

use Duly\Client;
use Duly\NoAnswer;
use Duly\Refused;
use Duly\Verdict;

/**
 * What is repeated does nothing twice, and what would is not repeated: counted by the server, and by
 * what stood between.
 */
final class RetriesTest extends Served
{
    /** Everything that can befall a request, each followed by one that passes. */
    private const BAD = ['lost', 'cut', 'late', 'silent', 'killed', 'stabbed', 'deaf', 'busy', 'page'];

    /** @var Between|null */
    private $between;

    protected function tearDown(): void
    {
        if ($this->between !== null) {
            $this->between->stop();
        }
    }

    /**
     * @param string[] $fates
     * @param array<string, mixed> $how
     */
    private function through(array $fates, array $how = []): Client
    {
        $this->between = new Between(self::$server, $fates);
        return new Client($this->between->url(), $how + ['answer' => 0.5]);
    }

    /** @return string[] */
    private static function alternating(int $rounds): array
    {
        $fates = [];
        for ($round = 0; $round < $rounds; $round++) {
            foreach (self::BAD as $bad) {
                array_push($fates, $bad, 'pass');
            }
        }
        return $fates;
    }

    public function testThroughEverythingThatCanBefallARequestEachIsDoneOnce(): void
    {
        $queue = $this->queueName();
        $this->duly->setQueue($queue, ['target' => 'none', 'max_freeze' => '25m']);
        $rounds = 3;
        $orders = $rounds * count(self::BAD);
        $fates = self::alternating($rounds);
        $duly = $this->through(array_merge($fates, $fates, $fates, $fates));
        for ($order = 0; $order < $orders; $order++) {
            $answer = $duly->schedule($queue, $order, ['after' => '30m', 'payload' => $order]);
            self::assertSame([1, $order], [$answer->deadline->generation, $answer->deadline->payload]);
            self::assertTrue($answer->created || $answer->repeated, 'what was there before is owned up to');
        }
        for ($order = 0; $order < $orders; $order++) {
            $before = $this->duly->get($queue, $order);
            $answer = $duly->extend($queue, $order, '15m', ['if_due' => $before->due]);
            self::assertSame('extended', $answer->result);
            self::assertSame(900, $answer->deadline->due->getTimestamp() - $before->due->getTimestamp());
        }
        for ($order = 0; $order < $orders; $order++) {
            // Twice would be more than the 25 minutes that are allowed.
            self::assertSame('frozen', $duly->freeze($queue, $order, '20m')->result);
        }
        for ($order = 0; $order < $orders; $order++) {
            self::assertTrue($duly->settle($queue, $order, 'paid')->settled);
        }
        $total = $this->total($queue);
        self::assertSame(
            [$orders, 0, ['paid' => $orders], 0],
            [$total['scheduled'], $total['replaced'], $total['settled'], $total['lapsed']]
        );
        $requests = $this->between->requests();
        self::assertGreaterThanOrEqual($orders * 8, count($requests), 'every call was repeated');
        foreach (self::BAD as $bad) {
            self::assertGreaterThanOrEqual($rounds * 4, count(preg_grep("/^$bad /", $requests)), $bad);
        }
    }

    public function testALostSettleIsToldTheSameWinnerEvenAfterTheDueTime(): void
    {
        $queue = $this->queueName();
        foreach (['won', 'lost'] as $key) {
            $this->duly->schedule($queue, $key, ['after' => '30m']);
        }
        $impatient = $this->through(array_merge(['lost'], array_fill(0, 50, 'deaf')), ['budget' => 1]);
        try {
            $impatient->settle($queue, 'won', 'paid');
            self::fail('the answer was lost');
        } catch (NoAnswer $failure) {
            self::assertTrue($failure->unknown);
        }
        $this->advance('30m');
        self::assertSame('already_settled', $this->duly->settle($queue, 'won', 'paid')->result);
        $late = $this->duly->settle($queue, 'lost', 'paid');
        self::assertTrue($late->tooLate);
        foreach (self::BAD as $bad) {
            $again = $this->through([$bad, $bad])->settle($queue, 'lost', 'paid');
            self::assertSame(
                [$late->result, $late->deadline->delivery['id'], $late->body['deadline']['lapsed_at']],
                [$again->result, $again->deadline->delivery['id'], $again->body['deadline']['lapsed_at']]
            );
            $this->between->stop();
        }
    }

    public function testABatchOfHarmlessLinesIsRepeatedAsAWhole(): void
    {
        $queue = $this->queueName();
        $operations = [];
        for ($key = 0; $key < 500; $key++) {
            $operations[] = ['op' => 'schedule', 'queue' => $queue, 'key' => $key, 'after' => '1h'];
        }
        for ($key = 0; $key < 100; $key++) {
            $operations[] = ['op' => 'settle', 'queue' => $queue, 'key' => $key, 'outcome' => 'paid'];
        }
        $answers = $this->through(['lost', 'stabbed', 'killed', 'cut'])->batch($operations);
        self::assertCount(100, array_filter(array_column($answers, 'settled')));
        self::assertSame([500, ['paid' => 100]], [$this->total($queue)['scheduled'], $this->total($queue)['settled']]);
        self::assertCount(5, array_unique(preg_grep('/batch/', $this->between->requests())));

        $this->between->stop();
        $operations[] = ['op' => 'extend', 'queue' => $queue, 'key' => 400, 'by' => '5m'];
        try {
            $this->through(['lost'])->batch($operations);
            self::fail('one line of it may not be repeated');
        } catch (NoAnswer $failure) {
            self::assertTrue($failure->unknown);
        }
        self::assertCount(1, $this->between->requests());
    }

    public function testALostVerdictIsSaidAgainAndALostLeaseActsOnNothing(): void
    {
        $queue = $this->queueName();
        $this->duly->schedule($queue, 'a', ['after' => 0]);
        $this->advance('1s');
        $duly = $this->through(['lost', 'pass', 'lost', 'killed', 'pass', 'lost']);
        self::assertSame([], $duly->lease($queue, ['lease' => '30s']), 'it is leased by the answer that was lost');
        $this->advance('30s');
        // It counts as a failed attempt: the queue's first pause follows.
        $this->advance('10s');
        [$delivery] = $this->duly->lease($queue, ['lease' => '30s']);
        self::assertSame([2, $delivery->id], [$delivery->attempt, $this->duly->get($queue, 'a')->delivery['id']]);
        self::assertTrue($duly->touch($delivery, '30s'));
        self::assertSame('accepted', $duly->verdict($delivery, Verdict::done())->result);
        $total = $this->total($queue);
        self::assertSame([2, 1, 0], [$total['attempts'], $total['done'], $total['died']]);
    }

    /** @return array<string, array{callable}> */
    public function actsTwice(): array
    {
        $schedule = static function (string $ifExists): array {
            return [static function (Client $duly, string $queue) use ($ifExists): void {
                $duly->schedule($queue, 'a', ['after' => '1h', 'if_exists' => $ifExists]);
            }];
        };
        return [
            'replace' => $schedule('replace'),
            'renew' => $schedule('renew'),
            'fail' => $schedule('fail'),
            'extend by a duration' => [static function (Client $duly, string $queue): void {
                $duly->extend($queue, 'a', '5m');
            }],
            'any other call' => [static function (Client $duly): void {
                $duly->call('POST', '/v1/clock/advance', ['by' => '1s']);
            }],
        ];
    }

    /** @dataProvider actsTwice */
    public function testWhatWouldActTwiceIsNotRepeatedOnceItMayHaveBeenHeard(callable $call): void
    {
        foreach (self::BAD as $bad) {
            $queue = "twice-$bad";
            $this->duly->schedule($queue, 'a', ['after' => '1h']);
            try {
                $call($this->through([$bad]), $queue);
                self::fail("$bad: it was repeated");
            } catch (Refused | NoAnswer $failure) {
                self::assertTrue($failure->unknown, "$bad: {$failure->getMessage()}");
            }
            self::assertCount(1, $this->between->requests(), $bad);
            $this->between->stop();
            Started::until([self::$server, 'isReady'], 'the server is back');
        }
    }

    public function testWhatWasSurelyNotHeardIsRepeatedWhateverItIs(): void
    {
        $queue = $this->queueName();
        for ($generation = 1; $generation <= 5; $generation++) {
            $answer = $this->duly->schedule($queue, 'a', ['after' => '1h', 'if_exists' => 'replace']);
            self::assertSame($generation, $answer->deadline->generation);
            // The connection that was kept is dead now, and for a moment nobody listens.
            self::$server->kill();
        }
        Started::until([self::$server, 'isReady'], 'the server is back');
    }

    public function testNobodyListens(): void
    {
        $duly = new Client('http://127.0.0.1:' . Started::freePort(), ['budget' => 0.2]);
        try {
            $duly->settle('orders', '42', 'paid');
            self::fail('somebody answered');
        } catch (NoAnswer $failure) {
            self::assertFalse($failure->unknown, 'nothing has happened, and that is known');
            self::assertStringContainsString('refused', $failure->getMessage());
        }
    }

    public function testACertificateThatNobodyVouchesForIsNotTrusted(): void
    {
        $key = openssl_pkey_new();
        $certificate = openssl_csr_sign(openssl_csr_new(['commonName' => '127.0.0.1'], $key), null, $key, 1);
        openssl_x509_export($certificate, $text);
        openssl_pkey_export($key, $private);
        file_put_contents($file = self::$server->directory . '/certificate.pem', $text . $private);
        $stranger = new Started([PHP_BINARY, '-r', <<<'PHP'
            $context = stream_context_create(['ssl' => ['local_cert' => $argv[1]]]);
            $flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;
            $listener = stream_socket_server('ssl://127.0.0.1:0', $number, $why, $flags, $context);
            echo 'port ', parse_url('tcp://' . stream_socket_get_name($listener, false), PHP_URL_PORT), "\n";
            while (true) {
                $client = @stream_socket_accept($listener, -1);
                if ($client !== false) {
                    fwrite($client, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
                }
            }
            PHP, $file], self::$server->directory . '/stranger.log');
        $port = Started::until(static function () use ($stranger) {
            return preg_match('/^port (\d+)$/m', $stranger->said(), $match) === 1 ? $match[1] : null;
        }, 'the stranger listens');
        try {
            (new Client("https://127.0.0.1:$port", ['budget' => 1]))->stats();
            self::fail('it was trusted');
        } catch (NoAnswer $failure) {
            self::assertFalse($failure->unknown, 'it was not told anything');
            self::assertStringContainsString('SSL', $failure->getMessage());
        }
        $stranger->stop();
    }

    public function testAServerThatAsksForMoreTimeThanThereIsIsBelieved(): void
    {
        $queue = $this->queueName();
        $this->duly->schedule($queue, 'a', ['after' => '1h']);
        try {
            $this->through(['weary'])->settle($queue, 'a', 'paid');
            self::fail('it was asked again');
        } catch (Refused $refused) {
            self::assertSame(['stopping', 503, true], [$refused->errorCode, $refused->status, $refused->unknown]);
        }
        self::assertCount(1, $this->between->requests());
    }

    public function testALongPollOutlivesTheServer(): void
    {
        $queue = $this->queueName();
        $this->duly->schedule($queue, 'a', ['after' => '10s']);
        $this->through([]);
        $worker = new Started([PHP_BINARY, '-r', <<<'PHP'
            require $argv[1];
            $duly = new Duly\Client($argv[2]);
            foreach ($duly->lease($argv[3], ['wait' => 60, 'lease' => '1h']) as $delivery) {
                echo 'got ', $delivery->key, "\n";
            }
            PHP, dirname(__DIR__) . '/duly.php', $this->between->url(), $queue], self::$server->directory . '/poll.log');
        Started::until(function (): bool {
            return $this->between->requests() !== [];
        }, 'the worker asks');
        self::$server->kill();
        Started::until([self::$server, 'isReady'], 'the server is back');
        $this->advance('10s');
        Started::until(static function () use ($worker): bool {
            return !$worker->isAlive();
        }, 'the worker ends: ' . $worker->said());
        self::assertSame("got a\n", $worker->said());
        self::assertGreaterThan(1, count($this->between->requests()));
        self::assertSame([1, 1], [$this->total($queue)['lapsed'], $this->total($queue)['attempts']]);
    }
}
