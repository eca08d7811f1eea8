<?php

declare(strict_types=1);

namespace Duly\Tests;

use Duly\Client;
use Duly\Duly;
use Duly\NoAnswer;
use Duly\Verdict;

final class AfterTest extends Served
{
    protected function setUp(): void
    {
        parent::setUp();
        Duly::using($this->duly);
    }

    protected function tearDown(): void
    {
        Duly::using(null);
    }

    public function testTheSameWordsMeanTheSameDeadline(): void
    {
        $first = Duly::after('30m', 'cancel_order', ['id' => 42]);
        self::assertSame(['created', 'cancel_order', 'id=42', ['id' => 42]], [
            $first->result, $first->deadline->queue, $first->deadline->key, $first->deadline->payload,
        ]);
        $again = Duly::after('1h', 'cancel_order', ['id' => '42']);
        self::assertSame('kept', $again->result);
        self::assertEquals($first->deadline->due, $again->deadline->due);
        self::assertTrue(Duly::after('30m', 'cancel_order', ['id' => 43])->created);
        self::assertTrue(Duly::after('30m', 'remind', ['id' => 42])->created);
        self::assertTrue(Duly::settle('cancel_order', ['id' => '42'], 'paid')->settled);
        self::assertTrue(Duly::settle('cancel_order', ['id' => 44], 'paid')->unknownDeadline);
    }

    public function testWhatIsOverBeginsAnew(): void
    {
        $queue = $this->queueName();
        Duly::after('30m', $queue, ['id' => 1]);
        Duly::settle($queue, ['id' => 1], 'paid');
        $second = Duly::after('30m', $queue, ['id' => 1]);
        self::assertSame(['created', 2, 'pending'], [$second->result, $second->deadline->generation, $second->deadline->state]);
        $this->advance('30m');
        self::assertSame('lapsed', Duly::after('30m', $queue, ['id' => 1])->deadline->state, 'somebody is still to act');
        [$delivery] = $this->duly->lease($queue);
        $this->duly->verdict($delivery, Verdict::done());
        self::assertSame(3, Duly::after('30m', $queue, ['id' => 1])->deadline->generation);
        self::assertSame(3, $this->total($queue)['scheduled']);
    }

    public function testALostAnswerSchedulesOnceAndAnythingUnsureIsSaid(): void
    {
        $queue = $this->queueName();
        $between = new Between(self::$server, ['lost', 'killed', 'pass', 'lost', 'pass', 'pass', 'lost']);
        Duly::using(new Client($between->url()));
        self::assertTrue(Duly::after('30m', $queue, ['id' => 1])->repeated);
        $this->duly->settle($queue, 'id=1', 'paid');
        foreach (['an old one or this very one', 'the new one was lost'] as $unsure) {
            try {
                Duly::after('30m', $queue, ['id' => 1]);
                self::fail($unsure);
            } catch (NoAnswer $failure) {
                self::assertTrue($failure->unknown, $unsure);
            }
        }
        $between->stop();
        Duly::using($this->duly);
        self::assertSame('kept', Duly::after('30m', $queue, ['id' => 1])->result);
        self::assertSame(2, $this->total($queue)['scheduled']);
    }

    public function testTheAddressComesFromTheEnvironment(): void
    {
        putenv('DULY_URL=' . self::$server->url());
        Duly::using(null);
        self::assertTrue(Duly::after(60, $this->queueName(), ['id' => 1])->created);
        putenv('DULY_URL');
    }
}
