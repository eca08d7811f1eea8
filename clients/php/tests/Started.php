<?php

declare(strict_types=1);

namespace Duly\Tests;

/**
 * A process that a test has started: it is waited for, and ended with the test.
 */
class Started
{
    /** How long a condition may take before it counts as never, in seconds. */
    private const PATIENCE = 30;

    /** @var resource */
    private $process;

    /** @var string */
    public $log;

    /**
     * @param string[] $command
     * @param array<string, string> $env beside what this process has
     */
    public function __construct(array $command, string $log, array $env = [])
    {
        $this->log = $log;
        $pipes = [];
        $out = ['file', $log, 'a'];
        $process = proc_open($command, [['file', '/dev/null', 'r'], $out, $out], $pipes, null, $env + getenv());
        if ($process === false) {
            throw new \RuntimeException("cannot start $command[0]");
        }
        $this->process = $process;
        register_shutdown_function([$this, 'stop']);
    }

    public function stop(): void
    {
        if (is_resource($this->process)) {
            proc_terminate($this->process);
            proc_close($this->process);
        }
    }

    public function isAlive(): bool
    {
        return proc_get_status($this->process)['running'];
    }

    /** All it has said so far. */
    public function said(): string
    {
        return (string) @file_get_contents($this->log);
    }

    /**
     * Waits until there is something true, and gives it.
     *
     * @return mixed
     */
    public static function until(callable $condition, string $what)
    {
        $end = hrtime(true) + self::PATIENCE * 1e9;
        do {
            $found = $condition();
            if ($found) {
                return $found;
            }
            usleep(5000);
        } while (hrtime(true) < $end);
        throw new \RuntimeException("waited in vain: $what");
    }

    /** A loopback port that nobody listens on, below those the system hands out by itself. */
    public static function freePort(): int
    {
        while (true) {
            $port = random_int(20000, 32000);
            $probe = @stream_socket_server("tcp://127.0.0.1:$port");
            if ($probe !== false) {
                fclose($probe);
                return $port;
            }
        }
    }
}
