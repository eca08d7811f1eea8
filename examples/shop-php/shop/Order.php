<?php

declare(strict_types=1);

namespace Shop;

use DateTimeImmutable;
use DateTimeZone;

/**
 * An order as its row has it.
 */
final class Order
{
    public int $id;
    public string $name;
    public int $quantity;
    public int $totalCents;
    /** `unpaid`, `paid` or `cancelled` */
    public string $status;
    public DateTimeImmutable $createdAt;
    public DateTimeImmutable $payBefore;
    public ?DateTimeImmutable $closedAt;
    public ?string $payment;
    /** The address that its page watches (M1), or null. */
    public ?string $watch;
    /** Payments that were given back. */
    public int $refunds;

    /** @param array<string, mixed> $row */
    public function __construct(array $row)
    {
        $this->id = (int) $row['id'];
        $this->name = $row['name'];
        $this->quantity = (int) $row['quantity'];
        $this->totalCents = (int) $row['total_cents'];
        $this->status = $row['status'];
        $this->createdAt = self::utc($row['created_at']);
        $this->payBefore = self::utc($row['pay_before']);
        $this->closedAt = $row['closed_at'] === null ? null : self::utc($row['closed_at']);
        $this->payment = $row['payment'];
        $this->watch = $row['watch'];
        $this->refunds = (int) $row['refunds'];
    }

    public function isUnpaid(): bool
    {
        return $this->status === 'unpaid';
    }

    /** How long there is to pay it, by the server's clock. */
    public function remainingMs(): int
    {
        return max(0, self::ms($this->payBefore) - (int) (microtime(true) * 1000));
    }

    /** How long after its time it was closed. */
    public function lateMs(): ?int
    {
        return $this->closedAt === null ? null : self::ms($this->closedAt) - self::ms($this->payBefore);
    }

    private static function utc(string $at): DateTimeImmutable
    {
        return new DateTimeImmutable($at, new DateTimeZone('UTC'));
    }

    private static function ms(DateTimeImmutable $at): int
    {
        return (int) $at->format('Uv');
    }
}
