<?php

declare(strict_types=1);

namespace Duly;

/**
 * How an attempt at a delivery ended.
 */
final class Verdict
{
    /** @var array<string, mixed> as the server reads it */
    public $fields;

    /** @param array<string, mixed> $fields */
    private function __construct(array $fields)
    {
        $this->fields = $fields;
    }

    /** You acted. */
    public static function done(): self
    {
        return new self(['verdict' => 'done']);
    }

    /** It was no longer needed: already paid. */
    public static function superseded(): self
    {
        return new self(['verdict' => 'superseded']);
    }

    /** It failed and shall be tried again. */
    public static function retry(string $error): self
    {
        return new self(['verdict' => 'retry', 'error' => self::text($error)]);
    }

    /** It failed for good; it stays until somebody revives or erases it. */
    public static function dead(string $error): self
    {
        return new self(['verdict' => 'dead', 'error' => self::text($error)]);
    }

    /** An error can be any bytes; no worker shall end because of them. */
    private static function text(string $error): string
    {
        return json_decode((string) json_encode($error, JSON_INVALID_UTF8_SUBSTITUTE));
    }

    /**
     * What a handler says about a delivery. One that throws, or says nothing, is a retry: silence is
     * not taken for success. Only the kind of the error leaves the shop; its words go to the log.
     *
     * @param callable(Delivery): Verdict $act
     * @internal
     */
    public static function by(callable $act, Delivery $delivery): self
    {
        try {
            $said = $act($delivery);
            if (!$said instanceof self) {
                throw new \UnexpectedValueException('the handler must return a Duly\Verdict');
            }
            return $said;
        } catch (\Throwable $error) {
            error_log("Duly: delivery {$delivery->id} ({$delivery->queue}/{$delivery->key}) failed: $error");
            return self::retry(get_class($error) . '; see the log of the shop');
        }
    }
}
