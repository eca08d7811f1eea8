<?php

declare(strict_types=1);

namespace Duly\Tests;

use Duly\Client;
use PHPUnit\Framework\TestCase;

/**
 * Tests against a real server, one for the whole class.
 */
abstract class Served extends TestCase
{
    /** @var Server */
    protected static $server;

    /** @var Client */
    protected $duly;

    public static function setUpBeforeClass(): void
    {
        self::$server = new Server();
    }

    public static function tearDownAfterClass(): void
    {
        self::$server->stop();
    }

    protected function setUp(): void
    {
        $this->duly = new Client(self::$server->url());
    }

    /** Moves the server's clock; what became due has lapsed afterwards. */
    protected function advance(string $by): void
    {
        $this->duly->call('POST', '/v1/clock/advance', ['by' => $by]);
    }

    /** A queue of its own for each test. */
    protected function queueName(): string
    {
        return $this->getName(false);
    }

    /** @return array<string, mixed> the counts of a queue since it was created */
    protected function total(string $queue): array
    {
        return $this->duly->stats($queue)['queue']['total'];
    }
}
