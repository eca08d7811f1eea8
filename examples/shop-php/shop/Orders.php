<?php

declare(strict_types=1);

namespace Shop;

use Duly\Delivery;
use Duly\Verdict;
use Provider\Provider;

/**
 * Three things happen to an order: it is placed, money comes, time is up. This is the file to copy from.
 *
 * The last two may come at the same moment, late, twice, or while the other is under way. The guard
 * `WHERE status = 'unpaid'` lets exactly one of them through, and the other one tidies up after itself.
 */
final class Orders
{
    private const SELECT = 'SELECT orders.*, products.name,
        (SELECT COUNT(*) FROM refunds WHERE refunds.order_id = orders.id) AS refunds
        FROM orders JOIN products ON products.id = orders.product';

    private Database $db;
    private Provider $provider;
    private Way $way;
    private int $secondsToPay;

    public function __construct(Database $db, Provider $provider, Way $way, int $secondsToPay)
    {
        $this->db = $db;
        $this->provider = $provider;
        $this->way = $way;
        $this->secondsToPay = $secondsToPay;
    }

    /** Places an order and gives its number, or null if there is not enough in stock. */
    public function place(string $product, int $quantity): ?int
    {
        $found = $this->product($product);
        if ($found === null) {
            return null;
        }
        $total = $quantity * $found['price_cents'];
        try {
            return $this->db->transaction(function () use ($product, $quantity, $total): int {
                $this->db->change(
                    'INSERT INTO orders (product, quantity, total_cents, created_at, pay_before)
                     VALUES (?, ?, ?, UTC_TIMESTAMP(3), UTC_TIMESTAMP(3) + INTERVAL ? SECOND)',
                    [$product, $quantity, $total, $this->secondsToPay]
                );
                $order = $this->find($this->db->lastId());

                // Before the commit: a deadline without an order hurts nobody, an order without one is
                // never cancelled. And before the stock is touched: nobody else has to wait meanwhile.
                $this->way->placed($order, $this->db);

                $guard = 'UPDATE products SET stock = stock - ? WHERE id = ? AND stock >= ?';
                if ($this->db->change($guard, [$quantity, $product, $quantity]) === 0) {
                    throw new SoldOut();
                }
                return $order->id;
            });
        } catch (SoldOut $soldOut) {
            return null;
        }
    }

    /** Money has come, says the provider. Called again with the same payment it does nothing more. */
    public function paymentCame(int $order, string $payment): string
    {
        $guard = "UPDATE orders SET status = 'paid', payment = ?, closed_at = UTC_TIMESTAMP(3)
                  WHERE id = ? AND status = 'unpaid'";
        if ($this->db->change($guard, [$payment, $order]) === 1) {
            $this->way->paid($order);
            return 'paid';
        }
        $found = $this->find($order);
        if ($found !== null && $found->payment === $payment) {
            return 'paid before';
        }
        // Cancelled first, or paid twice. The provider gives a payment back once, however often it is asked.
        $this->provider->refund($payment);
        $this->db->change('INSERT IGNORE INTO refunds VALUES (?, ?, UTC_TIMESTAMP(3))', [$payment, $order]);
        return 'refunded';
    }

    /** Time is up, says Duly. Called again for the same delivery it does nothing more. */
    public function timeIsUp(Delivery $delivery): Verdict
    {
        $order = (int) $delivery->key;
        if (!$this->provider->end($order)) {
            return Verdict::superseded();   // paid at this very moment: the payment handler does the rest
        }
        return $this->db->transaction(function () use ($order, $delivery): Verdict {
            $guard = "UPDATE orders SET status = 'cancelled', cancelled_by = ?, closed_at = UTC_TIMESTAMP(3)
                      WHERE id = ? AND status = 'unpaid'";
            if ($this->db->change($guard, [$delivery->id, $order]) === 1) {
                $this->db->change(
                    'UPDATE products JOIN orders ON orders.product = products.id
                     SET products.stock = products.stock + orders.quantity WHERE orders.id = ?',
                    [$order]
                );
                return Verdict::done();
            }
            // Paid; or cancelled by an attempt of this delivery whose answer was lost.
            $mine = 'SELECT 1 FROM orders WHERE id = ? AND cancelled_by = ?';
            return $this->db->row($mine, [$order, $delivery->id]) ? Verdict::done() : Verdict::superseded();
        });
    }

    /** Where the customer can pay; null once it is too late for that. */
    public function paymentPage(int $order): ?string
    {
        $found = $this->find($order);
        return $found !== null && $found->isUnpaid() ? $this->provider->begin($found->id, $found->totalCents) : null;
    }

    public function find(int $order): ?Order
    {
        $row = $this->db->row(self::SELECT . ' WHERE orders.id = ?', [$order]);
        return $row === null ? null : new Order($row);
    }

    /** @return Order[] the latest first */
    public function latest(int $count): array
    {
        $rows = $this->db->rows(self::SELECT . ' ORDER BY orders.id DESC LIMIT ?', [$count]);
        return array_map(static fn (array $row): Order => new Order($row), $rows);
    }

    /** @return array<string, int> orders by status, and payments given back */
    public function counts(): array
    {
        $counted = $this->db->rows('SELECT status, COUNT(*) AS orders FROM orders GROUP BY status
            UNION ALL SELECT "refunded", COUNT(*) FROM refunds');
        return array_column($counted, 'orders', 'status') + ['unpaid' => 0, 'paid' => 0, 'cancelled' => 0];
    }

    /** @return array<string, mixed>|null `id`, `name`, `price_cents`, `stock` */
    public function product(string $product): ?array
    {
        return $this->db->row('SELECT * FROM products WHERE id = ?', [$product]);
    }
}
