<?php

declare(strict_types=1);

namespace Duly;

/**
 * The shortest way: say what shall happen, when, and what about.
 *
 *     Duly::after('30m', 'cancel_order', ['id' => 42]);
 *     Duly::settle('cancel_order', ['id' => 42], 'paid');
 *
 * What shall happen is the queue, what it is about is the payload, and the key is made from that. So the
 * same words always mean the same deadline, and nothing has to be kept to settle it.
 */
final class Duly
{
    private const LONGEST_KEY = 512;

    /** @var Client|null */
    private static $client;

    /** Speaks to this server; without it to `DULY_URL`, else to 127.0.0.1:7830. */
    public static function using(?Client $client): void
    {
        self::$client = $client;
    }

    public static function client(): Client
    {
        return self::$client = self::$client ?? new Client(getenv('DULY_URL') ?: Client::URL);
    }

    /**
     * Unless settled before, `$what` shall happen about `$about` this long from now. Said again while that
     * is pending it changes nothing, not even the due time; said again when it is over it begins anew.
     *
     * @param mixed $delay a duration: `'30m'`, seconds, or a DateInterval
     * @param array<string, mixed> $about small, and the same every time it is said: an id, not a total
     */
    public static function after($delay, string $what, array $about): Answer
    {
        $schedule = ['after' => $delay, 'payload' => $about];
        $answer = self::client()->schedule($what, self::key($about), $schedule);
        if ($answer->created || $answer->deadline === null || !$answer->deadline->isOver()) {
            return $answer;
        }
        if ($answer->repeated) {
            // Over already: an old one, or this very one, born by the attempt whose answer was lost?
            throw new NoAnswer("$what: nobody knows whether it was scheduled; an answer was lost", true);
        }
        return self::client()->schedule($what, self::key($about), ['if_exists' => 'renew'] + $schedule);
    }

    /**
     * It need not happen any more.
     *
     * @param array<string, mixed> $about
     */
    public static function settle(string $what, array $about, string $outcome): Answer
    {
        return self::client()->settle($what, self::key($about), $outcome);
    }

    /**
     * Makes it happen: works on the queue until told to stop.
     *
     * @param callable(Delivery): Verdict $act
     */
    public static function work(string $what, callable $act): void
    {
        (new Worker(self::client(), $what, $act))->run();
    }

    /**
     * The key of what it is about: `id=42`, with several fields `id=42&user=7` in the order of their names.
     * The number 42 and the text "42" are the same; one that would be too long is hashed.
     *
     * @param array<string, mixed> $about
     */
    public static function key(array $about): string
    {
        self::sort($about);
        $key = http_build_query($about, '', '&', PHP_QUERY_RFC3986);
        if ($key === '') {
            throw new \InvalidArgumentException('what it is about has no field that could name it');
        }
        return strlen($key) <= self::LONGEST_KEY ? $key : 'sha256=' . hash('sha256', $key);
    }

    /** @param array<int|string, mixed> $fields */
    private static function sort(array &$fields): void
    {
        ksort($fields, SORT_STRING);
        foreach ($fields as &$field) {
            if (is_array($field)) {
                self::sort($field);
            }
        }
    }
}
