<?php

declare(strict_types=1);

namespace Duly;

/**
 * Requests over one kept connection, with timeouts that hold, and repeated where that is harmless.
 *
 * It speaks HTTP/1.1 over PHP's own streams, so it needs no extension, and it knows what cURL does not
 * tell: whether a request can have been heard at all. What was surely not heard is always tried again;
 * anything else only if the caller says that hearing it twice does nothing more than hearing it once.
 *
 * The connection is never kept from one page to the next (`pfsockopen`): a page that is cut off in the
 * middle would leave its answer to the next one.
 *
 * @internal
 */
final class Http
{
    private const FIRST_PAUSE = 0.05;
    private const LONGEST_PAUSE = 1.0;
    private const LONGEST_HEAD = 65536;

    /** @var string where to connect */
    private $address;

    /** @var string what stands before every path */
    private $prefix;

    /** @var string headers of every request, each with its end of line */
    private $headers;

    /** @var array<string, float> in seconds: `connect`, `answer`, `budget` */
    private $seconds = ['connect' => 1.0, 'answer' => 5.0, 'budget' => 8.0];

    /** @var resource|null an idle connection */
    private $idle;

    /** @var int the process that opened it: a forked child must not speak on it */
    private $process = 0;

    /** @param array<string, mixed> $how `connect`, `answer`, `budget` in seconds; `headers` */
    public function __construct(string $url, array $how)
    {
        $headers = $how['headers'] ?? [];
        unset($how['headers']);
        $stranger = array_keys(array_diff_key($how, $this->seconds));
        if ($stranger !== []) {
            throw new \InvalidArgumentException('unknown option: ' . implode(', ', $stranger));
        }
        $this->seconds = array_map('floatval', $how + $this->seconds);
        $parts = parse_url($url);
        $scheme = $parts['scheme'] ?? '';
        if (!isset($parts['host']) || !in_array($scheme, ['http', 'https'], true)) {
            throw new \InvalidArgumentException("\"$url\" is not a URL; write http://127.0.0.1:7830");
        }
        $host = $parts['host'] . (isset($parts['port']) ? ":{$parts['port']}" : '');
        $port = $parts['port'] ?? ($scheme === 'https' ? 443 : 80);
        $this->address = ($scheme === 'https' ? 'ssl' : 'tcp') . "://{$parts['host']}:$port";
        $this->prefix = rtrim($parts['path'] ?? '', '/');
        $this->headers = '';
        $headers += ['Host' => $host, 'User-Agent' => 'duly-php', 'Content-Type' => 'application/json'];
        foreach ($headers as $name => $value) {
            if (preg_match('/[\r\n]/', $name . $value) === 1) {
                throw new \InvalidArgumentException("the header $name has more than one line");
            }
            $this->headers .= "$name: $value\r\n";
        }
    }

    /**
     * Asks until there is an answer, or the time is over.
     *
     * @param float $wait how long the server is asked to hold the answer back, in seconds
     * @return array{status: int, headers: array<string, string>, body: string, repeated: bool}
     *         `repeated`: an earlier attempt may have been carried out
     * @throws NoAnswer
     */
    public function ask(string $method, string $path, string $body, bool $repeatable, float $wait = 0.0): array
    {
        $end = self::now() + $this->seconds['budget'] + $wait;
        $pause = self::FIRST_PAUSE;
        $repeated = false;
        while (true) {
            $rest = $pause * random_int(500, 1000) / 1000;
            $pause = min($pause * 2, self::LONGEST_PAUSE);
            try {
                $limit = min($end, self::now() + $this->seconds['answer'] + $wait);
                $reply = $this->exchange($method, $path, $body, $limit) + ['repeated' => $repeated];
                $rest = max($rest, self::retryAfter($reply['headers']['retry-after'] ?? ''));
                if ($reply['status'] < 500 || !$repeatable || self::now() + $rest >= $end) {
                    return $reply;
                }
                $repeated = true;
            } catch (NoAnswer $failure) {
                $mayRepeat = $repeatable || !$failure->unknown;
                $repeated = $repeated || $failure->unknown;
                $failure->unknown = $repeated;
                if (!$mayRepeat || self::now() + $rest >= $end) {
                    throw $failure;
                }
            }
            usleep((int) ($rest * 1e6));
        }
    }

    /** @return array{status: int, headers: array<string, string>, body: string} */
    private function exchange(string $method, string $path, string $body, float $end): array
    {
        $stream = $this->connection($end);
        $request = "$method {$this->prefix}$path HTTP/1.1\r\n{$this->headers}"
            . 'Content-Length: ' . strlen($body) . "\r\n\r\n$body";
        for ($sent = 0; $sent < strlen($request); $sent += $wrote) {
            self::limit($stream, $end);
            $wrote = @fwrite($stream, $sent === 0 ? $request : substr($request, $sent));
            if ($wrote === false || $wrote === 0) {
                // Less than the whole request is no request: it cannot have been carried out.
                throw new NoAnswer("{$this->address} does not take the request", false);
            }
        }
        $buffer = '';
        do {
            while (($length = strpos($buffer, "\r\n\r\n")) === false) {
                $more = strlen($buffer) > self::LONGEST_HEAD ? '' : $this->read($stream, $end);
                if ($more === '') {
                    throw new NoAnswer("{$this->address} closed the connection without an answer", true);
                }
                $buffer .= $more;
            }
            $lines = explode("\r\n", substr($buffer, 0, $length));
            $buffer = substr($buffer, $length + 4);
            if (preg_match('~^HTTP/1\.[01] (\d{3})~', $lines[0], $match) !== 1) {
                throw new NoAnswer("{$this->address} does not speak HTTP", true);
            }
            $status = (int) $match[1];
        } while ($status < 200);
        $headers = [];
        foreach (array_slice($lines, 1) as $line) {
            [$name, $value] = explode(':', $line, 2) + [1 => ''];
            $headers[strtolower($name)] = trim($value);
        }
        [$body, $ended] = $this->body($stream, $buffer, $status, $headers, $end);
        $closes = stripos($headers['connection'] ?? '', 'close') !== false || $lines[0][7] === '0';
        if ($ended && !$closes) {
            [$this->idle, $this->process] = [$stream, (int) getmypid()];
        }
        return ['status' => $status, 'headers' => $headers, 'body' => $body];
    }

    /** @return resource a connection that is taken, so that nobody else speaks on it meanwhile */
    private function connection(float $end)
    {
        [$stream, $this->idle] = [$this->idle, null];
        if ($stream !== null && $this->process === getmypid()) {
            [$readable, $none] = [[$stream], null];
            // Nothing was asked: what can be read now is its end.
            if (@stream_select($readable, $none, $none, 0, 0) === 0) {
                return $stream;
            }
        }
        $context = stream_context_create(['socket' => ['tcp_nodelay' => true]]);
        $patience = max(0.001, min($this->seconds['connect'], $end - self::now()));
        $warning = '';
        set_error_handler(static function (int $level, string $message) use (&$warning): bool {
            // The first says most: of a certificate that is not trusted nothing else does.
            $warning = $warning === '' ? $message : $warning;
            return true;
        });
        try {
            $stream = stream_socket_client($this->address, $number, $why, $patience, STREAM_CLIENT_CONNECT, $context);
        } finally {
            restore_error_handler();
        }
        if ($stream === false) {
            $why = (string) $why === '' ? $warning : $why;
            throw new NoAnswer("{$this->address} cannot be reached: $why", false);
        }
        return $stream;
    }

    /**
     * @param resource $stream
     * @param array<string, string> $headers
     * @return array{0: string, 1: bool} the body, and whether the connection is at the end of the answer
     */
    private function body($stream, string $buffer, int $status, array $headers, float $end): array
    {
        if ($status === 204 || $status === 304) {
            return ['', $buffer === ''];
        }
        if (stripos($headers['transfer-encoding'] ?? '', 'chunked') !== false) {
            return $this->chunks($stream, $buffer, $end);
        }
        $length = isset($headers['content-length']) ? (int) $headers['content-length'] : null;
        while ($length === null || strlen($buffer) < $length) {
            $more = $this->read($stream, $end);
            if ($more === '' && $length === null) {
                return [$buffer, false];
            }
            if ($more === '') {
                throw new NoAnswer("{$this->address} closed the connection in the middle of its answer", true);
            }
            $buffer .= $more;
        }
        return [substr($buffer, 0, $length), strlen($buffer) === $length];
    }

    /**
     * @param resource $stream
     * @return array{0: string, 1: bool}
     */
    private function chunks($stream, string $buffer, float $end): array
    {
        $body = '';
        $need = function (int $bytes) use ($stream, &$buffer, $end): void {
            while (strlen($buffer) < $bytes) {
                $more = $this->read($stream, $end);
                if ($more === '') {
                    throw new NoAnswer("{$this->address} closed the connection in the middle of its answer", true);
                }
                $buffer .= $more;
            }
        };
        while (true) {
            while (($line = strpos($buffer, "\r\n")) === false) {
                $need(strlen($buffer) + 1);
            }
            $size = (int) hexdec(preg_replace('/[^0-9a-f].*/is', '', substr($buffer, 0, $line)));
            $need($line + 2 + $size + 2);
            if ($size === 0) {
                // Trailers would follow; then the connection is not kept.
                return [$body, substr($buffer, $line) === "\r\n\r\n"];
            }
            $body .= substr($buffer, $line + 2, $size);
            $buffer = substr($buffer, $line + 2 + $size + 2);
        }
    }

    /**
     * @param resource $stream
     * @return string what has come; empty at the end of the stream
     */
    private function read($stream, float $end): string
    {
        do {
            self::limit($stream, $end);
            $more = @fread($stream, 65536);
            if (is_string($more) && $more !== '') {
                return $more;
            }
            if (stream_get_meta_data($stream)['timed_out']) {
                throw new NoAnswer("{$this->address} does not answer in time", true);
            }
        } while ($more !== false && !feof($stream));
        return '';
    }

    /**
     * The next step on a stream may take what is left of the time.
     *
     * @param resource $stream
     */
    private static function limit($stream, float $end): void
    {
        $left = max(0.001, $end - self::now());
        stream_set_timeout($stream, (int) $left, (int) (fmod($left, 1) * 1e6));
    }

    /** What `Retry-After` asks for, in seconds; a date is as good as a number. */
    private static function retryAfter(string $header): float
    {
        if ($header === '') {
            return 0.0;
        }
        return (float) (is_numeric($header) ? $header : max(0, (int) strtotime($header) - time()));
    }

    /** Seconds of a clock that nobody sets. */
    private static function now(): float
    {
        return hrtime(true) / 1e9;
    }
}
