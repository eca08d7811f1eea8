<?php

declare(strict_types=1);

use Symfony\Component\HttpClient\Retry\GenericRetryStrategy;
use Symfony\Component\HttpClient\RetryableHttpClient;
use Symfony\Contracts\HttpClient\HttpClientInterface;

/**
 * Duly over Symfony's own HTTP client: profiled, mocked and configured like every other request.
 *
 *     # config/packages/framework.yaml
 *     framework: { http_client: { scoped_clients: { duly.client: { base_uri: '%env(DULY_URL)%', timeout: 5 } } } }
 *
 * Name the argument `$dulyClient` in a constructor, and Symfony hands it over.
 */
final class Deadlines
{
    /** Symfony repeats a POST only when it is told that this is harmless. Here it is: PUT with `keep`, settle. */
    private const REPEATED = [0, 500, 502, 503, 504];

    /** @var HttpClientInterface */
    private $client;

    public function __construct(HttpClientInterface $dulyClient)
    {
        $strategy = new GenericRetryStrategy(self::REPEATED, 100, 2.0, 1000);
        $this->client = new RetryableHttpClient($dulyClient, $strategy, 4);
    }

    /** @return array<string, mixed> */
    public function schedule(string $queue, string $key, string $after, array $payload = []): array
    {
        return $this->call('PUT', $queue, $key, '', ['after' => $after, 'payload' => $payload]);
    }

    /** Gives the `result`: `settled`, `already_settled`, `too_late`, `settled_otherwise`, `unknown_deadline`. */
    public function settle(string $queue, string $key, string $outcome): string
    {
        return $this->call('POST', $queue, $key, '/settle', ['outcome' => $outcome])['result'];
    }

    private function call(string $method, string $queue, string $key, string $verb, array $fields): array
    {
        $path = '/v1/queues/' . rawurlencode($queue) . '/deadlines/' . rawurlencode($key) . $verb;
        $body = $this->client->request($method, $path, ['json' => $fields])->toArray(false);
        if (isset($body['code']) && !isset($body['result'])) {
            throw new RuntimeException("Duly: {$body['code']}: {$body['hint']}");
        }
        return $body;
    }
}
