<?php

declare(strict_types=1);

namespace Duly\Tests;

use Duly\Client;
use Duly\Duly;
use Duly\Written;
use PHPUnit\Framework\TestCase;

final class WrittenTest extends TestCase
{
    /** @return array<string, array{mixed, string}> */
    public function fields(): array
    {
        $berlin = new \DateTimeImmutable('2026-11-22T13:30:00.5', new \DateTimeZone('Europe/Berlin'));
        $apart = (new \DateTimeImmutable('2026-01-31 00:00:00Z'))->diff(new \DateTimeImmutable('2026-03-02 00:00:01Z'));
        return [
            'nothing is an object' => [[], '{}'],
            'text and numbers are left to the server' => [['after' => '30m', 'priority' => 7], '{"after":"30m","priority":7}'],
            'an interval' => [['after' => new \DateInterval('P1DT2H3M4S')], '{"after":"93784000ms"}'],
            'an interval with a fraction' => [['after' => \DateInterval::createFromDateString('1500 milliseconds')], '{"after":"1500ms"}'],
            'a difference counts all its days' => [['after' => $apart], '{"after":"2592001000ms"}'],
            'an instant keeps its offset' => [['due' => $berlin], '{"due":"2026-11-22T13:30:00.500+01:00"}'],
            'within a list too' => [['retry' => [new \DateInterval('PT5S'), '1m']], '{"retry":["5000ms","1m"]}'],
            'a payload is not touched' => [['payload' => [1 => ['ü/"' => 1.0]]], '{"payload":{"1":{"ü/\"":1.0}}}'],
            'an empty payload' => [['payload' => null], '{"payload":null}'],
        ];
    }

    /**
     * @dataProvider fields
     * @param array<string, mixed> $fields
     */
    public function testPhpsOwnTimesAreWrittenAsTheServerReadsThem(array $fields, string $json): void
    {
        self::assertSame($json, Written::json($fields));
    }

    public function testAMonthIsRefusedAndNotGuessed(): void
    {
        $this->expectException(\InvalidArgumentException::class);
        Written::json(['after' => new \DateInterval('P1M')]);
    }

    public function testADurationIsReadOnlyIfItIsSure(): void
    {
        $known = ['90s' => 90.0, '1h30m' => 5400.0, '1d' => 86400.0, '250ms' => 0.25, '1m1ms' => 60.001];
        foreach ($known as $text => $seconds) {
            self::assertSame($seconds, Written::seconds($text), $text);
        }
        self::assertSame(7.0, Written::seconds(7));
        self::assertSame(60.0, Written::seconds(new \DateInterval('PT1M')));
        foreach (['PT30M', '30', '', '1 h', "1s\n", '-1s', null, 1.5] as $unsure) {
            self::assertNull(Written::seconds($unsure));
        }
    }

    public function testPayloadsThatAreBytesComeBackAsBytes(): void
    {
        self::assertSame("\x00\xff", Written::payload(['payload_base64' => 'AP8=']));
        self::assertSame(['a' => 1], Written::payload(['payload' => ['a' => 1]]));
        self::assertNull(Written::payload(['payload' => null, 'payload_gone' => true]));
    }

    public function testWhatItIsAboutNamesTheKey(): void
    {
        self::assertSame('id=42', Duly::key(['id' => 42]));
        self::assertSame(Duly::key(['id' => '42']), Duly::key(['id' => 42]));
        self::assertSame('id=42&user=7', Duly::key(['user' => 7, 'id' => 42]));
        self::assertSame('a%5Bx%5D=1&a%5By%5D=2', Duly::key(['a' => ['y' => 2, 'x' => 1]]));
        self::assertNotSame(Duly::key(['a' => 'b&c=d']), Duly::key(['a' => 'b', 'c' => 'd']));
        $long = Duly::key(['id' => str_repeat('x', 600)]);
        self::assertMatchesRegularExpression('/^sha256=[0-9a-f]{64}$/', $long);
        self::assertNotSame($long, Duly::key(['id' => str_repeat('x', 601)]));
        $this->expectException(\InvalidArgumentException::class);
        Duly::key([]);
    }

    /** @return array<int, array{string, array<string, mixed>}> */
    public function mistakes(): array
    {
        return [
            ['127.0.0.1:7830', []],
            ['redis://127.0.0.1', []],
            ['', []],
            [Client::URL, ['timeout' => 1]],
            [Client::URL, ['headers' => ['X' => "a\r\nY: b"]]],
        ];
    }

    /**
     * @dataProvider mistakes
     * @param array<string, mixed> $how
     */
    public function testAMistakeInTheAddressOrTheOptionsIsSaidAtOnce(string $url, array $how): void
    {
        $this->expectException(\InvalidArgumentException::class);
        new Client($url, $how);
    }
}
