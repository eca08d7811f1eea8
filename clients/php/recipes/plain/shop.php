<?php

// A checkout whose unpaid orders are cancelled in time, with PDO and nothing else.
//
// Three things happen to an order: it is placed, money comes, time is up. The last two may come at the
// same moment, late, twice, or while the other is under way; the guard `WHERE status = 'unpaid'` lets
// exactly one of them through, and the other one tidies up after itself.

declare(strict_types=1);

require_once __DIR__ . '/../../duly.php';
require_once __DIR__ . '/provider.php';

function shop(): PDO
{
    $db = new PDO(getenv('SHOP_DSN'), getenv('SHOP_USER') ?: null, getenv('SHOP_PASSWORD') ?: null);
    $db->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
    return $db;
}

function duly(): Duly\Client
{
    return new Duly\Client(getenv('DULY_URL') ?: Duly\Client::URL);
}

/** Does it all, or nothing of it. */
function in_transaction(PDO $db, callable $work)
{
    $db->beginTransaction();
    try {
        $result = $work();
        $db->commit();
        return $result;
    } catch (Throwable $error) {
        $db->rollBack();
        throw $error;
    }
}

/** Executes one statement; says how many rows it changed. */
function change(PDO $db, string $sql, array $values): int
{
    $statement = $db->prepare($sql);
    $statement->execute($values);
    return $statement->rowCount();
}

/** The first column of the first row, or false; nothing stays open behind it. */
function ask(PDO $db, string $sql, array $values)
{
    $statement = $db->prepare($sql);
    $statement->execute($values);
    $value = $statement->fetchColumn();
    $statement->closeCursor();
    return $value;
}

/** Places an order and gives its number, or null if there is not enough in stock. */
function place_order(PDO $db, string $sku, int $quantity): ?int
{
    return in_transaction($db, static function () use ($db, $sku, $quantity): ?int {
        $taken = change($db, 'UPDATE products SET stock = stock - ? WHERE sku = ? AND stock >= ?', [$quantity, $sku, $quantity]);
        if ($taken === 0) {
            return null;
        }
        change($db, 'INSERT INTO orders (sku, quantity) VALUES (?, ?)', [$sku, $quantity]);
        $order = (int) $db->lastInsertId();
        begin_session($db, $order);
        // Before the commit: a deadline without an order hurts nobody, an order without one is never cancelled.
        duly()->schedule('orders', $order, ['after' => getenv('PAY_WITHIN') ?: '30m']);
        return $order;
    });
}

/** Money has come, says the provider. Called again with the same payment it does nothing more. */
function payment_came(PDO $db, int $order, string $payment): string
{
    $guard = "UPDATE orders SET status = 'paid', payment = ? WHERE id = ? AND status = 'unpaid'";
    if (change($db, $guard, [$payment, $order]) === 1) {
        try {
            duly()->settle('orders', $order, 'paid');
        } catch (Duly\Problem $problem) {
            error_log((string) $problem);   // nothing is lost: the lapse will find the order paid
        }
        return 'paid';
    }
    if (ask($db, 'SELECT payment FROM orders WHERE id = ?', [$order]) === $payment) {
        return 'paid before';
    }
    refund($db, $order, $payment);   // cancelled first, or paid twice
    return 'refunded';
}

/** Time is up, says Duly. Called again for the same delivery it does nothing more. */
function time_is_up(PDO $db, Duly\Delivery $delivery): Duly\Verdict
{
    $order = (int) $delivery->key;
    if (!end_session($db, $order)) {
        return Duly\Verdict::superseded();   // paid at this very moment: the payment handler does the rest
    }
    return in_transaction($db, static function () use ($db, $order, $delivery): Duly\Verdict {
        $guard = "UPDATE orders SET status = 'cancelled', cancelled_by = ? WHERE id = ? AND status = 'unpaid'";
        if (change($db, $guard, [$delivery->id, $order]) === 1) {
            $back = 'UPDATE products SET stock = stock + (SELECT quantity FROM orders WHERE id = ?)'
                . ' WHERE sku = (SELECT sku FROM orders WHERE id = ?)';
            change($db, $back, [$order, $order]);
            return Duly\Verdict::done();
        }
        // Paid; or cancelled by an attempt of this delivery whose answer was lost.
        $before = ask($db, 'SELECT 1 FROM orders WHERE id = ? AND cancelled_by = ?', [$order, $delivery->id]);
        return $before ? Duly\Verdict::done() : Duly\Verdict::superseded();
    });
}
