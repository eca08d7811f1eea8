<?php

declare(strict_types=1);

namespace Duly\Tests;

/**
 * Something between client and server that loses, cuts and delays, one request after the other as it
 * was told (`bad-line.php` says how). It writes down every request, so that they can be counted.
 */
final class Between
{
    /** @var Started */
    private $program;

    /** @var int */
    private $port;

    /** @param string[] $fates one for each request; then all pass */
    public function __construct(Server $server, array $fates)
    {
        $log = $server->directory . '/between-' . bin2hex(random_bytes(4)) . '.log';
        $this->program = new Started(
            [PHP_BINARY, __DIR__ . '/bad-line.php', (string) $server->port, $server->pidFile(), ...$fates],
            $log
        );
        $this->port = (int) Started::until(function () {
            return preg_match('/^port (\d+)$/m', $this->program->said(), $match) === 1 ? $match[1] : null;
        }, 'between listens');
    }

    public function url(): string
    {
        return "http://127.0.0.1:{$this->port}";
    }

    /** @return string[] each request as `fate METHOD /path`, in their order */
    public function requests(): array
    {
        return array_values(array_filter(explode("\n", $this->program->said()), static function (string $line): bool {
            return preg_match('~^\w+ [A-Z]+ /~', $line) === 1;
        }));
    }

    public function stop(): void
    {
        $this->program->stop();
    }
}
