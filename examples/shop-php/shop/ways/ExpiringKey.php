<?php

declare(strict_types=1);

namespace Shop;

use Redis;
use RedisException;

/**
 * M4: a key that expires. This is the code that shops have for Redis; `connect` is given another port.
 */
final class ExpiringKey implements Way
{
    private int $port;
    private int $secondsToPay;

    public function __construct(int $port, int $secondsToPay)
    {
        $this->port = $port;
        $this->secondsToPay = $secondsToPay;
    }

    public function placed(Order $order, Database $db): void
    {
        $value = json_encode(['total_cents' => $order->totalCents]);
        self::connect($this->port)->setEx("orders:$order->id", $this->secondsToPay, $value);
    }

    public function paid(int $order): void
    {
        try {
            if (self::connect($this->port)->del("orders:$order") === 0) {
                error_log("order $order: its key had expired when it was paid");   // the lapse will find it paid
            }
        } catch (RedisException $error) {
            error_log("order $order: {$error->getMessage()}");
        }
    }

    public static function connect(int $port): Redis
    {
        $redis = new Redis();
        $redis->connect('127.0.0.1', $port, 5.0);
        return $redis;
    }
}
