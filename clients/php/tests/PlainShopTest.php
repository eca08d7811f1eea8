<?php

declare(strict_types=1);

namespace Duly\Tests;

use Duly\Webhook;

/**
 * The plain recipe, run: its pages behind PHP's own web server, its database SQLite, its deadlines on a
 * real server that calls it back.
 */
final class PlainShopTest extends Served
{
    private const SECRET = 'whsec_ZHVseSBzcGVha3MgdG8gdGhlIHNob3AsIDMyIGI=';
    private const PROVIDER = 'whsec_dGhlIHByb3ZpZGVyIHRvIHRoZSBzaG9wLCAzMiA=';
    private const STOCK = 1000;

    /** @var Started */
    private static $pages;

    /** @var string */
    private static $url;

    /** @var \PDO */
    private static $db;

    public static function setUpBeforeClass(): void
    {
        parent::setUpBeforeClass();
        $recipe = dirname(__DIR__) . '/recipes/plain';
        $dsn = 'sqlite:' . self::$server->directory . '/shop.db';
        self::$db = new \PDO($dsn);
        self::$db->setAttribute(\PDO::ATTR_ERRMODE, \PDO::ERRMODE_EXCEPTION);
        self::$db->exec('PRAGMA journal_mode = wal');
        self::$db->exec(file_get_contents("$recipe/schema.sql"));
        self::$db->exec("INSERT INTO products VALUES ('mug', " . self::STOCK . "), ('last', 1)");
        $port = Started::freePort();
        self::$url = "http://127.0.0.1:$port";
        self::$pages = new Started([PHP_BINARY, '-S', "127.0.0.1:$port", '-t', $recipe], self::$server->directory . '/pages.log', [
            'SHOP_DSN' => $dsn, 'DULY_URL' => self::$server->url(), 'DULY_WEBHOOK_SECRET' => self::SECRET,
            'PROVIDER_SECRET' => self::PROVIDER, 'PHP_CLI_SERVER_WORKERS' => '4',
        ]);
        Started::until(static function () use ($port): bool {
            $probe = @fsockopen('127.0.0.1', $port);
            return $probe !== false && fclose($probe);
        }, 'the pages are served');
    }

    public static function tearDownAfterClass(): void
    {
        self::$pages->stop();
        parent::tearDownAfterClass();
    }

    private function target(int $batch, int $concurrency = 3): void
    {
        $webhook = ['url' => self::$url . '/lapsed.php', 'secrets' => [self::SECRET], 'batch' => $batch];
        $this->duly->setQueue('orders', ['target' => ['webhook' => $webhook], 'retry' => ['1s'], 'concurrency' => $concurrency]);
    }

    /** @return array{0: int, 1: string} status and body */
    private function post(string $page, string $body, array $headers): array
    {
        $answer = file_get_contents(self::$url . "/$page", false, stream_context_create(['http' => [
            'method' => 'POST', 'content' => $body, 'header' => $headers, 'ignore_errors' => true, 'timeout' => 30,
        ]]));
        return [(int) explode(' ', $http_response_header[0])[1], (string) $answer];
    }

    private function order(string $sku = 'mug', int $quantity = 2): int
    {
        $form = http_build_query(['sku' => $sku, 'quantity' => $quantity]);
        [$status, $body] = $this->post('checkout.php', $form, ['Content-Type: application/x-www-form-urlencoded']);
        self::assertSame(201, $status, $body);
        return json_decode($body, true)['order'];
    }

    private function pay(int $order, string $payment, string $secret = self::PROVIDER): array
    {
        $body = json_encode(['order' => $order, 'payment' => $payment]);
        return $this->post('paid.php', $body, self::signed($body, 'evt_' . bin2hex(random_bytes(6)), $secret));
    }

    /** @return string[] */
    private static function signed(string $body, string $id, string $secret): array
    {
        $now = time();
        $signature = Webhook::sign($body, $id, $now, $secret);
        return ['Content-Type: application/json', "webhook-id: $id", "webhook-timestamp: $now", "webhook-signature: $signature"];
    }

    /** @return mixed the first column of the first row */
    private static function one(string $sql)
    {
        return self::$db->query($sql)->fetchColumn();
    }

    private function deliveryIs(int $order, string $state): void
    {
        Started::until(function () use ($order, $state): bool {
            $delivery = $this->duly->get('orders', $order)->delivery;
            return $delivery !== null && $delivery['state'] === $state;
        }, "delivery of order $order is $state");
    }

    public function testAnOrderPaidInTimeIsKept(): void
    {
        $this->target(1);
        $order = $this->order();
        self::assertSame([200, 'paid'], $this->pay($order, "pay-$order"));
        self::assertSame([200, 'paid before'], $this->pay($order, "pay-$order"), 'the provider repeats itself');
        self::assertSame('paid', $this->duly->get('orders', $order)->outcome);
        self::assertSame([200, 'refunded'], $this->pay($order, "again-$order"), 'paid twice');
        self::assertSame(1, (int) self::one("SELECT count(*) FROM refunds WHERE order_id = $order"));
        self::assertSame(401, $this->pay($order, 'forged', self::SECRET)[0]);
    }

    public function testAnOrderNobodyPaysIsCancelledAndItsStockComesBack(): void
    {
        $this->target(5);
        $order = $this->order('last', 1);
        $form = ['Content-Type: application/x-www-form-urlencoded'];
        self::assertSame(409, $this->post('checkout.php', 'sku=last&quantity=1', $form)[0], 'sold out');
        $this->advance('30m');
        $this->deliveryIs($order, 'done');
        self::assertSame('cancelled', self::one("SELECT status FROM orders WHERE id = $order"));
        self::assertSame(1, (int) self::one("SELECT stock FROM products WHERE sku = 'last'"));
        self::assertSame($this->duly->get('orders', $order)->delivery['id'], self::one("SELECT cancelled_by FROM orders WHERE id = $order"));
        self::assertSame([200, 'refunded'], $this->pay($order, "late-$order"));
        self::assertSame([200, 'refunded'], $this->pay($order, "late-$order"));
        self::assertSame(1, (int) self::one("SELECT count(*) FROM refunds WHERE payment = 'late-$order'"));
        $this->order('last', 1);
    }

    public function testALapseThatFindsTheOrderPaidIsSuperseded(): void
    {
        $this->target(1);
        $row = $this->order();
        self::$db->exec("UPDATE orders SET status = 'paid', payment = 'x' WHERE id = $row");
        $session = $this->order();
        self::$db->exec("UPDATE sessions SET state = 'paid' WHERE order_id = $session");
        $this->advance('30m');
        $this->deliveryIs($row, 'superseded');
        $this->deliveryIs($session, 'superseded');
        self::assertSame('unpaid', self::one("SELECT status FROM orders WHERE id = $session"), 'its money is on the way');
        self::assertSame([200, 'paid'], $this->pay($session, "pay-$session"));
    }

    public function testARequestThatIsNotDulysDoesNothing(): void
    {
        $this->target(1);
        $order = $this->order();
        $body = json_encode(['type' => 'deadline.lapsed', 'data' => [
            'queue' => 'orders', 'key' => (string) $order, 'delivery_id' => 'x', 'due' => '2026-11-22T12:30:00.000Z',
            'lapsed_at' => '2026-11-22T12:30:00.000Z', 'attempt' => 1, 'payload' => null,
        ]]);
        self::assertSame(401, $this->post('lapsed.php', $body, self::signed($body, 'x', self::PROVIDER))[0]);
        self::assertSame(401, $this->post('lapsed.php', $body, ['Content-Type: application/json'])[0]);
        self::assertSame('unpaid', self::one("SELECT status FROM orders WHERE id = $order"));
    }

    public function testMoneyAndTimeAtTheSameMomentWhileTheServerIsKilled(): void
    {
        $this->target(1, 1);
        $orders = [];
        for ($number = 0; $number < 60; $number++) {
            $orders[] = $this->order();
        }
        $this->advance('30m');
        foreach ($orders as $number => $order) {
            if ($number % 20 === 10) {
                self::$server->kill();
            }
            // From the youngest: the lapses come from the oldest, and they meet in the middle.
            [$status, $said] = $this->pay($orders[count($orders) - 1 - $number], "race-$order");
            self::assertSame(200, $status, $said);
        }
        Started::until([self::$server, 'isReady'], 'the server is back');
        foreach ($orders as $order) {
            Started::until(function () use ($order): bool {
                $this->advance('1s');
                return $this->duly->get('orders', $order)->isOver();
            }, "order $order is decided");
        }
        $list = implode(',', $orders);
        $cancelled = (int) self::one("SELECT count(*) FROM orders WHERE id IN ($list) AND status = 'cancelled'");
        $paid = (int) self::one("SELECT count(*) FROM orders WHERE id IN ($list) AND status = 'paid'");
        self::assertGreaterThan(5, min($cancelled, $paid), "$cancelled cancelled and $paid paid: they did not meet");
        self::assertSame(count($orders), $cancelled + $paid, 'every order is paid, or duly cancelled');
        self::assertSame($cancelled, (int) self::one("SELECT count(*) FROM refunds WHERE order_id IN ($list)"), 'and paid back if it was cancelled');
        self::assertSame($cancelled, (int) self::one("SELECT count(*) FROM orders WHERE id IN ($list) AND cancelled_by IS NOT NULL"));
        $held = (int) self::one("SELECT sum(quantity) FROM orders WHERE sku = 'mug' AND status <> 'cancelled'");
        self::assertSame(self::STOCK, $held + (int) self::one("SELECT stock FROM products WHERE sku = 'mug'"), 'stock came back exactly once');
        foreach ($orders as $order) {
            $deadline = $this->duly->get('orders', $order);
            $verdict = self::one("SELECT status FROM orders WHERE id = $order") === 'cancelled' ? 'done' : 'superseded';
            self::assertSame($verdict, $deadline->delivery['state'], 'a cancellation is never told as superseded');
        }
    }
}
