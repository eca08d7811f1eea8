<?php

// A stand-in for your payment provider, so that the recipe can be run: it keeps in the shop's database
// what a real one keeps for you. docs/recipes.md has the same four functions for Stripe and Mollie.

declare(strict_types=1);

function begin_session(PDO $db, int $order): void
{
    change($db, 'INSERT INTO sessions (order_id) VALUES (?)', [$order]);
}

/** Ends the payment session, so that nobody can pay any more. False: somebody has just paid. */
function end_session(PDO $db, int $order): bool
{
    change($db, "UPDATE sessions SET state = 'expired' WHERE order_id = ? AND state = 'open'", [$order]);
    return ask($db, 'SELECT state FROM sessions WHERE order_id = ?', [$order]) !== 'paid';
}

/** The payment's name is the idempotency key: asked twice, it is given back once. */
function refund(PDO $db, int $order, string $payment): void
{
    if (ask($db, 'SELECT 1 FROM refunds WHERE payment = ?', [$payment]) === false) {
        change($db, 'INSERT INTO refunds (payment, order_id) VALUES (?, ?)', [$payment, $order]);
    }
}

/**
 * The money that has come, or null if the request is about something else.
 *
 * @return array{order: int, payment: string}|null
 * @throws Duly\Forged if it is not from the provider
 */
function payment_in(string $body, array $headers): ?array
{
    Duly\Webhook::check($body, $headers, getenv('PROVIDER_SECRET'));
    $said = json_decode($body, true);
    return isset($said['payment']) ? ['order' => (int) $said['order'], 'payment' => (string) $said['payment']] : null;
}
