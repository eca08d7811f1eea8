<?php

declare(strict_types=1);

namespace Duly;

/**
 * Durations, instants and payloads between PHP and the server's JSON. What the server can refuse with
 * better words (`"30"`, a due time in seconds) is passed on as it is.
 *
 * @internal
 */
final class Written
{
    private const UNITS = ['d' => 86400, 'h' => 3600, 'm' => 60, 's' => 1, 'ms' => 0.001];

    /**
     * The fields of a request, with PHP's own instants and intervals written as the server reads them.
     *
     * @param array<string, mixed> $fields
     */
    public static function json(array $fields): string
    {
        $payload = array_key_exists('payload', $fields) ? ['payload' => $fields['payload']] : [];
        array_walk_recursive($fields, static function (&$value): void {
            if ($value instanceof \DateTimeInterface) {
                $value = $value->format('Y-m-d\TH:i:s.vP');
            } elseif ($value instanceof \DateInterval) {
                $value = self::duration($value);
            }
        });
        return json_encode(
            (object) ($payload + $fields),
            JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION
        );
    }

    /** An interval in milliseconds; one with months has no length of its own and is not guessed. */
    private static function duration(\DateInterval $interval): string
    {
        // PHP knows the days of an interval that came from diff() only.
        if ($interval->days === false && ($interval->y !== 0 || $interval->m !== 0)) {
            throw new \InvalidArgumentException('an interval with months or years varies in length; use days, or `due`');
        }
        $days = $interval->days === false ? $interval->d : $interval->days;
        $seconds = (($days * 24 + $interval->h) * 60 + $interval->i) * 60 + $interval->s;
        $milliseconds = (int) round(($seconds + $interval->f) * 1000);
        return ($interval->invert === 1 ? '-' : '') . $milliseconds . 'ms';
    }

    /**
     * How long a duration is in seconds, or null if only the server can tell.
     *
     * @param mixed $duration
     */
    public static function seconds($duration): ?float
    {
        if (is_int($duration)) {
            return (float) $duration;
        }
        if ($duration instanceof \DateInterval) {
            $duration = self::duration($duration);
        }
        if (!is_string($duration) || preg_match('/^(\d+(d|h|ms|m|s))+$/D', $duration) !== 1) {
            return null;
        }
        preg_match_all('/(\d+)(d|h|ms|m|s)/', $duration, $parts, PREG_SET_ORDER);
        return (float) array_sum(array_map(static function (array $part): float {
            return $part[1] * self::UNITS[$part[2]];
        }, $parts));
    }

    public static function read(?string $instant): ?\DateTimeImmutable
    {
        return $instant === null ? null : new \DateTimeImmutable($instant);
    }

    /**
     * @param array<string, mixed> $body
     * @return mixed
     */
    public static function payload(array $body)
    {
        return isset($body['payload_base64']) ? base64_decode($body['payload_base64'], true) : $body['payload'] ?? null;
    }
}
