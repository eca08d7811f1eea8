<?php

declare(strict_types=1);

namespace Duly;

/**
 * A deadline as the server shows it. Fields of another state than its own are null.
 */
final class Deadline
{
    /** @var string */
    public $queue;

    /** @var string */
    public $key;

    /** @var string */
    public $id;

    /** @var int which life under this key it is */
    public $generation;

    /** @var string `pending`, `settled` or `lapsed` */
    public $state;

    /** @var \DateTimeImmutable */
    public $due;

    /** @var \DateTimeImmutable */
    public $createdAt;

    /** @var mixed as it was scheduled; objects are arrays */
    public $payload;

    /** @var string|null */
    public $outcome;

    /** @var \DateTimeImmutable|null */
    public $settledAt;

    /** @var \DateTimeImmutable|null */
    public $lapsedAt;

    /** @var \DateTimeImmutable|null */
    public $frozenUntil;

    /** @var array<string, mixed>|null `id`, `state`, `attempts`, `last_error`, `next_attempt_at` */
    public $delivery;

    /** @var array<int, array<string, mixed>> what happened to it and when */
    public $timeline;

    /** @param array<string, mixed> $body */
    private function __construct(array $body)
    {
        $this->queue = (string) $body['queue'];
        $this->key = (string) $body['key'];
        $this->id = (string) $body['id'];
        $this->generation = (int) $body['generation'];
        $this->state = (string) $body['state'];
        $this->due = new \DateTimeImmutable($body['due']);
        $this->createdAt = new \DateTimeImmutable($body['created_at']);
        $this->payload = Written::payload($body);
        $this->outcome = $body['outcome'] ?? null;
        $this->settledAt = Written::read($body['settled_at'] ?? null);
        $this->lapsedAt = Written::read($body['lapsed_at'] ?? null);
        $this->frozenUntil = Written::read($body['frozen_until'] ?? null);
        $this->delivery = $body['delivery'] ?? null;
        $this->timeline = $body['timeline'] ?? [];
    }

    /** @param array<string, mixed>|null $body */
    public static function read(?array $body): ?self
    {
        return $body === null || $body === [] ? null : new self($body);
    }

    /** Nothing can happen to it any more, unless it is scheduled anew: settled, done or superseded. */
    public function isOver(): bool
    {
        return $this->state === 'settled'
            || in_array($this->delivery['state'] ?? null, ['done', 'superseded'], true);
    }
}
