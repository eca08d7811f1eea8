<?php

declare(strict_types=1);

namespace Duly;

/**
 * One lapse that somebody must act on, the same whether it came by webhook or was leased by a worker.
 *
 * It may come more than once, always under the same id: act behind a guard
 * (`UPDATE … WHERE status = 'unpaid'`), and nothing that comes twice can do harm.
 */
final class Delivery
{
    /** @var string unique for ever, the same in every attempt */
    public $id;

    /** @var string */
    public $queue;

    /** @var string */
    public $key;

    /** @var \DateTimeImmutable */
    public $due;

    /** @var \DateTimeImmutable */
    public $lapsedAt;

    /** @var int 1 for the first */
    public $attempt;

    /** @var mixed as it was scheduled; objects are arrays */
    public $payload;

    /** @var string|null of a lease: what a verdict needs */
    public $token;

    /** @var \DateTimeImmutable|null of a lease: when it runs out unless it is touched */
    public $leasedUntil;

    /** @param array<string, mixed> $body of a lease, or of a webhook */
    public function __construct(array $body)
    {
        $this->id = (string) ($body['delivery_id'] ?? $body['id']);
        $this->queue = (string) $body['queue'];
        $this->key = (string) $body['key'];
        $this->due = new \DateTimeImmutable($body['due']);
        $this->lapsedAt = new \DateTimeImmutable($body['lapsed_at']);
        $this->attempt = (int) $body['attempt'];
        $this->payload = Written::payload($body);
        $this->token = isset($body['token']) ? (string) $body['token'] : null;
        $this->leasedUntil = Written::read($body['leased_until'] ?? null);
    }
}
