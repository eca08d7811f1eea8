<?php

declare(strict_types=1);

namespace Duly;

/**
 * A worker of a `pull` queue: leases, acts, answers, until it is told to stop.
 *
 * It leases one delivery at a time, so that no lease runs out while others are worked on. It ends
 * itself on SIGTERM and SIGINT where PHP has pcntl, after what it is doing; an idle one that waits
 * for a delivery notices when that wait is over.
 */
final class Worker
{
    private const LONGEST_PAUSE = 30;

    /** @var Client */
    private $client;

    /** @var string */
    private $queue;

    /** @var callable(Delivery): Verdict */
    private $act;

    /** @var array<string, mixed> */
    private $how;

    /** @var bool */
    private $goesOn = true;

    /**
     * @param callable(Delivery): Verdict $act
     * @param array<string, mixed> $how `max` (1), `wait` (`20s`), `lease` (`30s`)
     */
    public function __construct(Client $client, string $queue, callable $act, array $how = [])
    {
        $this->client = $client;
        $this->queue = $queue;
        $this->act = $act;
        $this->how = $how + ['max' => 1, 'wait' => '20s', 'lease' => '30s'];
    }

    /** Works until it is stopped. While the server is away it waits, ever longer. */
    public function run(): void
    {
        if (function_exists('pcntl_async_signals')) {
            pcntl_async_signals(true);
            pcntl_signal(SIGTERM, [$this, 'stop']);
            pcntl_signal(SIGINT, [$this, 'stop']);
        }
        $pause = 1;
        while ($this->goesOn) {
            try {
                $this->once();
                $pause = 1;
            } catch (Problem $problem) {
                $mayPass = !$problem instanceof Refused || $problem->status >= 500
                    || $problem->errorCode === 'unknown_queue';
                if (!$mayPass) {
                    throw $problem;
                }
                error_log('Duly: the worker waits: ' . $problem->getMessage());
                sleep($pause);
                $pause = min($pause * 2, self::LONGEST_PAUSE);
            }
        }
    }

    /** Leases once and acts on what came; says how many there were. */
    public function once(): int
    {
        $deliveries = $this->client->lease($this->queue, $this->how);
        foreach ($deliveries as $delivery) {
            $answer = $this->client->verdict($delivery, Verdict::by($this->act, $delivery));
            if (!$answer->ok) {
                // Most often it took longer than its lease, and comes again.
                error_log("Duly: the verdict on delivery {$delivery->id} came too late: {$answer->result}");
            }
        }
        return count($deliveries);
    }

    /** Ends `run` after what is under way. */
    public function stop(): void
    {
        $this->goesOn = false;
    }
}
