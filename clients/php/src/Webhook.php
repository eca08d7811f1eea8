<?php

declare(strict_types=1);

namespace Duly;

/**
 * The receiving end of a webhook, signed as Standard Webhooks 1.0.0 has it.
 */
final class Webhook
{
    /** How far the sender's clock may be off, either way, in seconds. */
    public const TOLERANCE = 300;

    /**
     * A whole receiver: verifies the request of this page, lets `$act` decide each delivery, answers.
     *
     * @param string|string[] $secrets `whsec_…`; several while one is being replaced
     * @param callable(Delivery): Verdict $act
     */
    public static function receive($secrets, callable $act): void
    {
        // A warning in front of the JSON would make the answer unreadable, and the delivery come again.
        ob_start();
        try {
            $event = self::verify((string) file_get_contents('php://input'), $_SERVER, $secrets);
            $answer = $event->each($act);
            $status = 200;
        } catch (Forged $forged) {
            error_log('Duly: ' . $forged->getMessage());
            $answer = '{"error":"not signed by Duly"}';
            $status = 401;
        } finally {
            ob_end_clean();
        }
        http_response_code($status);
        header('Content-Type: application/json');
        echo $answer;
    }

    /**
     * The event of a request that is really from your Duly. Everybody else's is refused.
     *
     * @param string $body as it came, byte for byte
     * @param array<string, mixed> $headers `$_SERVER`, `getallheaders()`, or `$request->getHeaders()`
     * @param string|string[] $secrets
     * @throws Forged
     */
    public static function verify(string $body, array $headers, $secrets): Event
    {
        return new Event(self::check($body, $headers, $secrets), $body);
    }

    /**
     * Verifies the signature alone, also of another sender that signs by Standard Webhooks, and gives
     * the `webhook-id`.
     *
     * @param array<string, mixed> $headers
     * @param string|string[] $secrets
     * @param int|null $now seconds since 1970, for tests
     * @throws Forged
     */
    public static function check(
        string $body,
        array $headers,
        $secrets,
        int $tolerance = self::TOLERANCE,
        ?int $now = null
    ): string {
        $secrets = (array) $secrets;
        if ($secrets === []) {
            throw new \InvalidArgumentException('without a secret nothing can be verified');
        }
        $named = self::named($headers);
        $id = $named['webhook-id'] ?? '';
        $timestamp = $named['webhook-timestamp'] ?? '';
        if ($id === '' || preg_match('/^[0-9]{1,15}$/D', $timestamp) !== 1) {
            throw new Forged('the request is not signed');
        }
        if (abs(($now ?? time()) - (int) $timestamp) > $tolerance) {
            throw new Forged("the request was signed at $timestamp, which is too long ago or yet to come");
        }
        $given = explode(' ', $named['webhook-signature'] ?? '');
        foreach ($secrets as $secret) {
            $right = self::sign($body, $id, (int) $timestamp, $secret);
            foreach ($given as $signature) {
                if (hash_equals($right, $signature)) {
                    return $id;
                }
            }
        }
        throw new Forged('no signature of the request is by a secret that is known here');
    }

    /** The signature of a request; also for tests of your own receiver. */
    public static function sign(string $body, string $id, int $timestamp, string $secret): string
    {
        return 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", self::key($secret), true));
    }

    /** The bytes of a secret. Its text is never repeated in a message. */
    private static function key(string $secret): string
    {
        $key = base64_decode(strncmp($secret, 'whsec_', 6) === 0 ? substr($secret, 6) : $secret, true);
        if ($key === false || $key === '') {
            throw new \InvalidArgumentException('a webhook secret is "whsec_" and base64');
        }
        return $key;
    }

    /**
     * Headers by lower-case name, from whichever form a framework has them in.
     *
     * @param array<string, mixed> $headers
     * @return array<string, string>
     */
    private static function named(array $headers): array
    {
        $named = [];
        foreach ($headers as $name => $value) {
            $name = preg_replace('/^http-/', '', strtr(strtolower((string) $name), '_', '-'));
            if (strncmp($name, 'webhook-', 8) === 0) {
                $named[$name] = implode(' ', (array) $value);
            }
        }
        return $named;
    }
}
