<?php

declare(strict_types=1);

namespace Duly\Tests;

/**
 * A real server with a clock that only the test moves. Killed, it comes back by itself on the same
 * port over the same directory, as a supervisor would have it.
 */
final class Server
{
    /** Started again if a signal killed it, and only then. */
    private const SUPERVISOR = <<<'SH'
        trap 'kill "$server"; wait "$server"; exit' TERM
        while :; do
          "$@" & server=$!
          echo "$server" > "$PID_FILE.new" && mv "$PID_FILE.new" "$PID_FILE"
          wait "$server" || [ $? -gt 128 ] || exit
        done
        SH;

    /** @var string */
    public $directory;

    /** @var int */
    public $port;

    /** @var Started */
    private $supervisor;

    /** @param string[] $config lines of the configuration */
    public function __construct(array $config = [])
    {
        $binary = getenv('DULY_BINARY');
        if ($binary === false || !is_executable($binary)) {
            throw new \RuntimeException('DULY_BINARY must name the built binary of duly');
        }
        $this->directory = sys_get_temp_dir() . '/duly-php-' . bin2hex(random_bytes(6));
        mkdir($this->directory);
        $this->port = Started::freePort();
        file_put_contents("{$this->directory}/duly.toml", implode("\n", $config));
        $this->supervisor = new Started(
            ['sh', '-c', self::SUPERVISOR, 'supervisor', $binary, 'serve', '--data', "{$this->directory}/data",
                '--http', "127.0.0.1:{$this->port}", '--redis', 'off', '--clock', 'manual', '--config', "{$this->directory}/duly.toml"],
            "{$this->directory}/server.log",
            ['PID_FILE' => $this->pidFile(), 'DULY_JOURNAL_SEGMENT_SIZE' => '1MiB']
        );
        Started::until([$this, 'isReady'], "the server is ready: {$this->supervisor->said()}");
    }

    public function url(): string
    {
        return "http://127.0.0.1:{$this->port}";
    }

    public function pidFile(): string
    {
        return "{$this->directory}/pid";
    }

    public function isReady(): bool
    {
        if (!$this->supervisor->isAlive()) {
            throw new \RuntimeException("the server has ended: {$this->supervisor->said()}");
        }
        return @file_get_contents($this->url() . '/readyz') !== false;
    }

    /** SIGKILL: no goodbye. Returns when it is gone; the next one is being started. */
    public function kill(): void
    {
        $pid = file_get_contents($this->pidFile());
        exec('kill -9 ' . (int) $pid);
        Started::until(function () use ($pid): bool {
            return file_get_contents($this->pidFile()) !== $pid;
        }, 'the killed server is gone');
    }

    public function stop(): void
    {
        $this->supervisor->stop();
        exec('rm -rf ' . escapeshellarg($this->directory));
    }
}
