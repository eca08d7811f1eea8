<?php

declare(strict_types=1);

namespace Duly\Tests;

use Duly\Delivery;
use Duly\Forged;
use Duly\Verdict;
use Duly\Webhook;
use PHPUnit\Framework\TestCase;

final class WebhookTest extends TestCase
{
    /** The example of the specification's reference libraries. */
    private const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
    private const ID = 'msg_p5jXN8AQM9LWM0D4loKWxJek';
    private const AT = 1614265330;
    private const BODY = '{"test": 2432232314}';
    private const SIGNATURE = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=';
    private const OTHER = 'whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=';

    /** @return array<string, string> */
    private static function headers(string $signature = self::SIGNATURE): array
    {
        return ['webhook-id' => self::ID, 'webhook-timestamp' => (string) self::AT, 'webhook-signature' => $signature];
    }

    /** @param string|string[] $secrets */
    private static function check(array $headers, $secrets = self::SECRET, string $body = self::BODY, int $now = self::AT): string
    {
        return Webhook::check($body, $headers, $secrets, Webhook::TOLERANCE, $now);
    }

    public function testTheSignatureIsThatOfTheSpecification(): void
    {
        self::assertSame(self::SIGNATURE, Webhook::sign(self::BODY, self::ID, self::AT, self::SECRET));
        self::assertSame(self::ID, self::check(self::headers()));
        self::assertSame(self::ID, self::check(self::headers(), substr(self::SECRET, 6)), 'the prefix may be missing');
    }

    public function testHeadersAreFoundInEveryFormThatFrameworksHaveThem(): void
    {
        $server = ['SERVER_NAME' => 'x', 'argc' => 1];
        $listed = [];
        foreach (self::headers() as $name => $value) {
            $server['HTTP_' . strtoupper(strtr($name, '-', '_'))] = $value;
            $listed[ucwords($name, '-')] = [$value];
        }
        self::assertSame(self::ID, self::check($server));
        self::assertSame(self::ID, self::check($listed));
        self::assertSame(self::ID, self::check(array_change_key_case(self::headers(), CASE_UPPER)));
    }

    public function testSecretsAreReplacedWithoutAGap(): void
    {
        $both = Webhook::sign(self::BODY, self::ID, self::AT, self::OTHER) . ' v1a,AAAA ' . self::SIGNATURE;
        foreach ([self::SECRET, self::OTHER, [self::OTHER, self::SECRET], [self::SECRET, self::OTHER]] as $secrets) {
            self::assertSame(self::ID, self::check(self::headers($both), $secrets));
            $one = is_array($secrets) ? $secrets : [self::OTHER, $secrets];
            self::assertSame(self::ID, self::check(self::headers(), array_merge($one, [self::SECRET])));
        }
    }

    /** @return array<string, array{array<string, mixed>, 1?: mixed, 2?: string, 3?: int}> */
    public function forgeries(): array
    {
        $good = self::headers();
        return [
            'no headers' => [[]],
            'no id' => [['webhook-id' => ''] + $good],
            'no timestamp' => [array_diff_key($good, ['webhook-timestamp' => 1])],
            'no signature' => [array_diff_key($good, ['webhook-signature' => 1])],
            'another id' => [['webhook-id' => 'msg_other'] + $good],
            'another time' => [['webhook-timestamp' => (string) (self::AT + 1)] + $good],
            'a time that is no number' => [['webhook-timestamp' => self::AT . "\n"] + $good],
            'a time in hexadecimal' => [['webhook-timestamp' => '0x60380000'] + $good],
            'another body' => [$good, self::SECRET, '{"test": 2432232315}'],
            'a longer body' => [$good, self::SECRET, self::BODY . ' '],
            'another secret' => [$good, self::OTHER],
            'another version' => [self::headers('v2' . substr(self::SIGNATURE, 2))],
            'no version' => [self::headers(substr(self::SIGNATURE, 3))],
            'half of it' => [self::headers(substr(self::SIGNATURE, 0, -4))],
            'too long ago' => [$good, self::SECRET, self::BODY, self::AT + 301],
            'yet to come' => [$good, self::SECRET, self::BODY, self::AT - 301],
        ];
    }

    /**
     * @dataProvider forgeries
     * @param mixed[] $headers
     * @param mixed $secrets
     */
    public function testAForgedRequestIsRefused(array $headers, $secrets = self::SECRET, string $body = self::BODY, int $now = self::AT): void
    {
        $this->expectException(Forged::class);
        self::check($headers, $secrets, $body, $now);
    }

    public function testTheClockMayBeOffByTheTolerance(): void
    {
        self::assertSame(self::ID, self::check(self::headers(), self::SECRET, self::BODY, self::AT + 300));
        self::assertSame(self::ID, self::check(self::headers(), self::SECRET, self::BODY, self::AT - 300));
    }

    public function testASecretThatIsNoneIsAMistakeOfTheShopAndNeverVerifies(): void
    {
        foreach ([[], '', 'whsec_', 'whsec_not base64!'] as $secrets) {
            try {
                self::check(self::headers(Webhook::sign(self::BODY, self::ID, self::AT, 'whsec_AA==')), $secrets);
                self::fail('it was verified');
            } catch (\InvalidArgumentException $error) {
                self::assertStringNotContainsString('not base64!', $error->getMessage());
            }
        }
    }

    /** @param mixed $data */
    private static function event(string $type, $data): \Duly\Event
    {
        $body = json_encode(['type' => $type, 'timestamp' => '2026-11-22T12:30:00.004Z', 'data' => $data]);
        $now = time();
        $signature = Webhook::sign($body, 'id-1', $now, self::SECRET);
        $headers = ['webhook-id' => 'id-1', 'webhook-timestamp' => $now, 'webhook-signature' => $signature];
        return Webhook::verify($body, $headers, self::SECRET);
    }

    /** @return array<string, mixed> */
    private static function lapse(string $id): array
    {
        return [
            'queue' => 'orders', 'key' => '42', 'delivery_id' => $id, 'due' => '2026-11-22T12:30:00.000Z', 'late_ms' => 4,
            'lapsed_at' => '2026-11-22T12:30:00.004Z', 'attempt' => 3, 'payload' => ['total' => '19.90'],
        ];
    }

    public function testASingleLapseIsReadAndAnswered(): void
    {
        $event = self::event('deadline.lapsed', self::lapse('f3k-17-1'));
        [$delivery] = $event->deliveries;
        self::assertSame(
            ['f3k-17-1', 'orders', '42', 3, ['total' => '19.90'], '12:30:00.004'],
            [$delivery->id, $delivery->queue, $delivery->key, $delivery->attempt, $delivery->payload, $delivery->lapsedAt->format('H:i:s.v')]
        );
        self::assertSame('{"verdict":"done"}', $event->done());
        self::assertSame('{"verdict":"superseded"}', $event->superseded());
        self::assertSame('{"verdict":"retry","error":"locked"}', $event->answer(['f3k-17-1' => Verdict::retry('locked')]));
        self::assertSame('retry', json_decode($event->answer(['another' => Verdict::done()]), true)['verdict']);
    }

    public function testABatchIsAnsweredByDeliveryId(): void
    {
        $event = self::event('deadline.lapsed.batch', [self::lapse('a'), self::lapse('b'), self::lapse('c')]);
        self::assertSame(['a', 'b', 'c'], array_column($event->deliveries, 'id'));
        self::assertSame(
            '{"results":[{"delivery_id":"a","verdict":"done"},{"delivery_id":"c","verdict":"dead","error":"gone"}]}',
            $event->answer(['c' => Verdict::dead('gone'), 'a' => Verdict::done(), 'x' => Verdict::done()])
        );
        self::assertSame(3, substr_count($event->superseded(), 'superseded'));
        $one = self::event('deadline.lapsed.batch', [self::lapse('a')]);
        self::assertSame('{"results":[{"delivery_id":"a","verdict":"done"}]}', $one->done(), 'a batch of one is a batch');
    }

    public function testAHandlerThatThrowsOrSaysNothingIsARetryAndHurtsNobodyElse(): void
    {
        $event = self::event('deadline.lapsed.batch', [self::lapse('a'), self::lapse('b'), self::lapse('c')]);
        $log = tempnam(sys_get_temp_dir(), 'duly');
        $before = ini_set('error_log', $log);
        $answer = $event->each(static function (Delivery $delivery) {
            if ($delivery->id === 'a') {
                throw new \RuntimeException('the password is wrong');
            }
            return $delivery->id === 'b' ? null : Verdict::done();
        });
        ini_set('error_log', $before);
        self::assertSame(['retry', 'retry', 'done'], array_column(json_decode($answer, true)['results'], 'verdict'));
        self::assertStringNotContainsString('password', $answer);
        self::assertStringContainsString('password', file_get_contents($log));
        self::assertStringContainsString('must return', file_get_contents($log));
        unlink($log);
    }

    public function testSignedButNotAboutALapse(): void
    {
        $this->expectException(Forged::class);
        self::event('invoice.paid', []);
    }
}
