<?php

declare(strict_types=1);

namespace Duly\Tests;

use Duly\Client;
use Duly\Delivery;
use Duly\Refused;
use Duly\Verdict;
use Duly\Worker;

final class WorkerTest extends Served
{
    private function lapsed(string $queue, int $count): void
    {
        for ($key = 0; $key < $count; $key++) {
            $this->duly->schedule($queue, $key, ['after' => $key, 'payload' => ['number' => $key]]);
        }
        $this->advance("{$count}s");
    }

    public function testAWorkerActsOnEachOnceInTheOrderOfTheirDueTimes(): void
    {
        $queue = $this->queueName();
        $this->lapsed($queue, 20);
        $seen = [];
        $worker = new Worker($this->duly, $queue, static function (Delivery $delivery) use (&$seen): Verdict {
            $seen[] = $delivery->payload['number'];
            return $delivery->payload['number'] % 2 ? Verdict::superseded() : Verdict::done();
        }, ['wait' => 0]);
        while ($worker->once() > 0) {
            continue;
        }
        self::assertSame(range(0, 19), $seen);
        $total = $this->total($queue);
        self::assertSame([20, 10, 10], [$total['attempts'], $total['done'], $total['superseded']]);
    }

    public function testAHandlerThatThrowsIsTriedAgain(): void
    {
        $queue = $this->queueName();
        $this->duly->setQueue($queue, ['retry' => ['1s']]);
        $this->lapsed($queue, 1);
        $before = ini_set('error_log', '/dev/null');
        $ids = [];
        $worker = new Worker($this->duly, $queue, static function (Delivery $delivery) use (&$ids): Verdict {
            $ids[] = $delivery->id;
            if ($delivery->attempt < 3) {
                throw new \LogicException('the database is away');
            }
            return Verdict::done();
        }, ['wait' => 0]);
        for ($turn = 0; $turn < 3; $turn++) {
            self::assertSame(1, $worker->once());
            $this->advance('2s');
        }
        ini_set('error_log', $before);
        self::assertSame([3, 1], [count($ids), count(array_unique($ids))]);
        $deadline = $this->duly->get($queue, '0');
        self::assertSame('done', $deadline->delivery['state']);
        self::assertStringContainsString('LogicException', json_encode($deadline->timeline));
        self::assertStringNotContainsString('database', json_encode($deadline->timeline));
    }

    public function testNothingThatAHandlerSaysEndsTheWorker(): void
    {
        $queue = $this->queueName();
        $this->lapsed($queue, 3);
        $before = ini_set('error_log', '/dev/null');
        $worker = new Worker($this->duly, $queue, function (Delivery $delivery) use ($queue): Verdict {
            switch ($delivery->key) {
                case '0':
                    return Verdict::dead("bytes \xff\xfe and " . str_repeat('length ', 1000));
                case '1':
                    $this->advance('1h');   // longer than its lease
                    return Verdict::done();
                default:
                    $this->duly->verdict($delivery, Verdict::done());
                    $this->duly->erase($queue, $delivery->key);
                    return Verdict::done();
            }
        }, ['wait' => 0]);
        self::assertSame([1, 1, 1], [$worker->once(), $worker->once(), $worker->once()]);
        ini_set('error_log', $before);
        self::assertSame('dead', $this->duly->get($queue, '0')->delivery['state']);
        self::assertStringContainsString('bytes', $this->duly->get($queue, '0')->delivery['last_error']);
    }

    public function testALeaseThatRanOutIsLost(): void
    {
        $queue = $this->queueName();
        $this->lapsed($queue, 1);
        [$delivery] = $this->duly->lease($queue, ['lease' => '10s']);
        self::assertTrue($this->duly->touch($delivery, '20s'));
        $this->advance('15s');
        self::assertTrue($this->duly->touch($delivery, '20s'));
        $this->advance('21s');
        self::assertFalse($this->duly->touch($delivery));
        self::assertTrue($this->duly->verdict($delivery, Verdict::done())->leaseLost);
    }

    public function testAWorkerGoesOnWhileTheServerIsKilledAndEndsWhenItIsTold(): void
    {
        $queue = $this->queueName();
        // It does not exist yet: a worker may be started before the first order.
        $worker = new Started([PHP_BINARY, '-r', <<<'PHP'
            require $argv[1];
            $client = new Duly\Client($argv[2], ['budget' => 0.2]);
            (new Duly\Worker($client, $argv[3], function ($delivery) {
                echo 'acted on ', $delivery->key, "\n";
                return Duly\Verdict::done();
            }, ['wait' => 1]))->run();
            echo "ended\n";
            PHP, dirname(__DIR__) . '/duly.php', self::$server->url(), $queue], self::$server->directory . '/worker.log');
        foreach (['before', 'after'] as $key) {
            $this->duly->schedule($queue, $key, ['after' => 0]);
            $this->advance('1s');
            Started::until(static function () use ($worker, $key): bool {
                return strpos($worker->said(), "acted on $key\n") !== false;
            }, "the worker acts on $key: " . $worker->said());
            self::$server->kill();
            Started::until([self::$server, 'isReady'], 'the server is back');
        }
        self::assertTrue($worker->isAlive());
        if (!function_exists('pcntl_async_signals')) {
            self::markTestIncomplete('without pcntl a worker is simply ended');
        }
        $worker->stop();
        self::assertStringContainsString("ended\n", $worker->said());
        self::assertSame(2, substr_count($worker->said(), 'acted on'));
    }

    public function testAMistakeEndsTheWorkerAtOnce(): void
    {
        $queue = $this->queueName();
        $this->duly->setQueue($queue, ['target' => 'none']);
        $this->expectException(Refused::class);
        $this->expectExceptionMessage('not_pull');
        (new Worker($this->duly, $queue, static function (): void {
        }))->run();
    }
}
