<?php

// The process that shops with expiring keys (M4) keep running, to hear which have expired. As with Redis it
// hears nothing while it is away, so it is only told here and decides nothing: `timeIsUp` cancels.

declare(strict_types=1);

namespace Shop;

use Redis;

require __DIR__ . '/start.php';

$redis = ExpiringKey::connect((int) setting('SHOP_REDIS_PORT'));
$redis->setOption(Redis::OPT_READ_TIMEOUT, -1);
$redis->psubscribe(
    ['__keyevent@0__:expired'],
    static function (Redis $redis, string $pattern, string $channel, string $key): void {
        echo "$key has expired\n";
    }
);
