<?php

declare(strict_types=1);

namespace Provider;

use Duly\Webhook;
use Shop\Database;

/**
 * A pretend payment provider: one payment session for each order. Put yours in its place; the shop needs
 * three calls of it (`docs/recipes.md` has them for Stripe and Mollie), the rest is its own page's.
 *
 * open ─► paid            by card, at once
 * open ─► ended           by the shop, whose time is over: nobody can pay here any more
 * open ─► under_way ─► paid   by a bank transfer that nobody can call back
 */
final class Provider
{
    private Database $db;

    public function __construct(Database $db)
    {
        $this->db = $db;
    }

    // What the shop calls.

    /** Opens the order's session, or finds it open; says where the customer pays. */
    public function begin(int $order, int $amountCents): string
    {
        $session = bin2hex(random_bytes(12));
        $this->db->change(
            'INSERT IGNORE INTO provider_sessions (id, order_id, amount_cents) VALUES (?, ?, ?)',
            [$session, $order, $amountCents]
        );
        $row = $this->db->row('SELECT id FROM provider_sessions WHERE order_id = ?', [$order]);
        return "/provider/{$row['id']}";
    }

    /** Ends the order's session, so that nobody can pay any more. False: somebody has just paid. */
    public function end(int $order): bool
    {
        $this->db->change("UPDATE provider_sessions SET state = 'ended' WHERE order_id = ? AND state = 'open'", [$order]);
        $row = $this->db->row('SELECT state FROM provider_sessions WHERE order_id = ?', [$order]);
        return $row === null || $row['state'] !== 'paid';
    }

    /** Gives a payment back: once, however often it is asked. */
    public function refund(string $payment): void
    {
        $this->db->change('UPDATE provider_sessions SET refunds = 1 WHERE id = ?', [self::sessionOf($payment)]);
    }

    // What its own page calls.

    /** @return array<string, mixed>|null `id`, `order_id`, `amount_cents`, `state`, `told`, `refunds`, `is_awaited` */
    public function session(string $session): ?array
    {
        return $this->db->row(
            'SELECT provider_sessions.*, orders.status = "unpaid" AS is_awaited
             FROM provider_sessions JOIN orders ON orders.id = order_id WHERE provider_sessions.id = ?',
            [$session]
        );
    }

    /** The customer sends a bank transfer: the money comes later, whatever happens meanwhile. */
    public function send(string $session): void
    {
        $this->db->change("UPDATE provider_sessions SET state = 'under_way' WHERE id = ? AND state = 'open'", [$session]);
    }

    /** Money comes: by card from an open session, by transfer from one under way. */
    public function pay(string $session, string $from): void
    {
        $this->db->change("UPDATE provider_sessions SET state = 'paid' WHERE id = ? AND state = ?", [$session, $from]);
    }

    /** Tells the shop of the payment until it has heard of it; true once it has. */
    public function tell(string $session, string $shop, string $secret): bool
    {
        $row = $this->session($session);
        if ($row['told']) {
            return true;
        }
        $body = json_encode(['order' => (int) $row['order_id'], 'payment' => "pay_$session"]);
        [$id, $now] = ["evt_$session", time()];
        $answer = @file_get_contents("$shop/paid", false, stream_context_create(['http' => [
            'method' => 'POST',
            'header' => [
                'Content-Type: application/json',
                "webhook-id: $id",
                "webhook-timestamp: $now",
                'webhook-signature: ' . Webhook::sign($body, $id, $now, $secret),
            ],
            'content' => $body,
            'timeout' => 5,
        ]]));
        if ($answer === false) {
            return false;
        }
        $this->db->change('UPDATE provider_sessions SET told = TRUE WHERE id = ?', [$session]);
        return true;
    }

    private static function sessionOf(string $payment): string
    {
        return substr($payment, strlen('pay_'));
    }
}
