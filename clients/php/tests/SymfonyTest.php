<?php

declare(strict_types=1);

namespace Duly\Tests;

use Duly\Delivery;
use Duly\Verdict;
use Duly\Webhook;
use Symfony\Component\HttpClient\HttpClient;
use Symfony\Component\HttpFoundation\Request;

require_once '/usr/share/php/Symfony/Component/HttpClient/autoload.php';
require_once '/usr/share/php/Symfony/Component/HttpFoundation/autoload.php';
require_once dirname(__DIR__) . '/recipes/symfony/Deadlines.php';
require_once dirname(__DIR__) . '/recipes/symfony/LapsedController.php';

/**
 * The Symfony recipe, run with the packages of Debian.
 */
final class SymfonyTest extends Served
{
    private function deadlines(string $url): \Deadlines
    {
        return new \Deadlines(HttpClient::createForBaseUri($url, ['timeout' => 1]));
    }

    public function testScheduleAndSettleOverSymfonysClient(): void
    {
        $deadlines = $this->deadlines(self::$server->url());
        self::assertTrue($deadlines->schedule('orders', 'a/42', '30m', ['total' => '19.90'])['created']);
        self::assertSame('settled', $deadlines->settle('orders', 'a/42', 'paid'));
        self::assertSame('already_settled', $deadlines->settle('orders', 'a/42', 'paid'));
        self::assertSame('unknown_deadline', $deadlines->settle('orders', 'not', 'paid'));
        $deadlines->schedule('orders', '43', '30m');
        $this->advance('30m');
        self::assertSame('too_late', $deadlines->settle('orders', '43', 'paid'));
        $this->expectExceptionMessage('bad_duration');
        $deadlines->schedule('orders', '44', '30');
    }

    public function testItRepeatsWhatIsHarmless(): void
    {
        $fates = [];
        foreach (['lost', 'late', 'deaf', 'busy', 'killed', 'silent'] as $bad) {
            array_push($fates, $bad, 'pass');
        }
        $between = new Between(self::$server, array_merge($fates, $fates));
        $deadlines = $this->deadlines($between->url());
        for ($order = 0; $order < 6; $order++) {
            self::assertSame(1, $deadlines->schedule('repeated', (string) $order, '30m')['deadline']['generation']);
        }
        for ($order = 0; $order < 6; $order++) {
            self::assertContains($deadlines->settle('repeated', (string) $order, 'paid'), ['settled', 'already_settled']);
        }
        $between->stop();
        self::assertSame([6, ['paid' => 6]], [$this->total('repeated')['scheduled'], $this->total('repeated')['settled']]);
        self::assertGreaterThanOrEqual(24, count($between->requests()));
    }

    public function testTheControllerVerifiesAndAnswers(): void
    {
        $secret = 'whsec_' . base64_encode(random_bytes(32));
        $controller = new \LapsedController([$secret], static function (Delivery $delivery): Verdict {
            return $delivery->key === '42' ? Verdict::done() : Verdict::superseded();
        });
        $body = json_encode(['type' => 'deadline.lapsed', 'data' => [
            'queue' => 'orders', 'key' => '42', 'delivery_id' => 'x', 'due' => '2026-11-22T12:30:00.000Z',
            'lapsed_at' => '2026-11-22T12:30:00.000Z', 'attempt' => 1, 'payload' => null,
        ]]);
        $now = time();
        $request = static function (string $signature) use ($body, $now): Request {
            return Request::create('/lapsed', 'POST', [], [], [], [
                'HTTP_WEBHOOK_ID' => 'x', 'HTTP_WEBHOOK_TIMESTAMP' => (string) $now, 'HTTP_WEBHOOK_SIGNATURE' => $signature,
            ], $body);
        };
        $answer = $controller($request(Webhook::sign($body, 'x', $now, $secret)));
        self::assertSame([200, '{"verdict":"done"}'], [$answer->getStatusCode(), $answer->getContent()]);
        self::assertSame(401, $controller($request('v1,AAAA'))->getStatusCode());
    }
}
