<?php

declare(strict_types=1);

namespace Duly;

/**
 * The calls of a Duly server.
 *
 * A duration is `'30m'`, seconds, or a DateInterval; an instant is a DateTimeInterface, RFC 3339, or milliseconds
 * since 1970. A call is repeated within its budget of time whenever that cannot do more than the call
 * alone would; `clients/php/README.md` says for each what the server answers the second time.
 */
final class Client
{
    public const URL = 'http://127.0.0.1:7830';

    /** Refusals that are answers. All others are thrown. */
    private const ANSWERS = [
        'settle' => ['too_late', 'settled_otherwise', 'unknown_deadline', 'other_generation'],
        'extend' => ['too_late', 'already_settled', 'unknown_deadline'],
        'freeze' => ['too_late', 'already_settled', 'unknown_deadline'],
        'revive' => ['not_dead', 'unknown_deadline'],
        'erase' => ['unknown_deadline'],
        'get' => ['unknown_deadline'],
        'verdict' => ['lease_lost', 'unknown_delivery'],
        'touch' => ['lease_lost', 'unknown_delivery'],
    ];

    /** @var Http */
    private $http;

    /**
     * @param array<string, mixed> $how in seconds: `connect` (1), `answer` (5) for one attempt, `budget` (8) for
     *        a call with all its attempts and pauses; `headers` for every request
     */
    public function __construct(string $url = self::URL, array $how = [])
    {
        $this->http = new Http($url, $how);
    }

    /**
     * Promises something by a time.
     *
     * @param string|int $key
     * @param array<string, mixed> $how `after` or `due`, `payload`, `priority`, `if_exists` (`keep`, `replace`,
     *        `renew`, `fail`), `allow_past`
     */
    public function schedule(string $queue, $key, array $how = []): Answer
    {
        return $this->on('schedule', 'PUT', $queue, $key, '', $how);
    }

    /**
     * It happened. The answer says who won: look at `settled`, `tooLate`, `settledOtherwise`.
     *
     * @param string|int $key
     * @param array<string, mixed> $how `remember`, `generation`
     */
    public function settle(string $queue, $key, string $outcome, array $how = []): Answer
    {
        return $this->on('settle', 'POST', $queue, $key, '/settle', ['outcome' => $outcome] + $how);
    }

    /**
     * More time.
     *
     * @param string|int $key
     * @param mixed $more a duration, or the new due time as a DateTimeInterface
     * @param array<string, mixed> $how `if_due`: only if it is due then, which makes a lost answer harmless
     */
    public function extend(string $queue, $key, $more, array $how = []): Answer
    {
        $more = [$more instanceof \DateTimeInterface ? 'due' : 'by' => $more];
        return $this->on('extend', 'POST', $queue, $key, '/extend', $more + $how);
    }

    /**
     * Holds the lapse back for a while; `0s` ends that.
     *
     * @param string|int $key
     * @param mixed $for a duration
     */
    public function freeze(string $queue, $key, $for): Answer
    {
        return $this->on('freeze', 'POST', $queue, $key, '/freeze', ['for' => $for]);
    }

    /**
     * The deadline, or null if there is none.
     *
     * @param string|int $key
     */
    public function get(string $queue, $key): ?Deadline
    {
        return $this->on('get', 'GET', $queue, $key, '', [])->deadline;
    }

    /**
     * Tries a dead delivery again, now.
     *
     * @param string|int $key
     */
    public function revive(string $queue, $key): Answer
    {
        return $this->on('revive', 'POST', $queue, $key, '/revive', []);
    }

    /**
     * Forgets a final or dead deadline for ever; says whether there was one.
     *
     * @param string|int $key
     */
    public function erase(string $queue, $key): bool
    {
        $answer = $this->on('erase', 'DELETE', $queue, $key, '', []);
        return $answer->ok || $answer->repeated;
    }

    /**
     * Many operations with one disk sync. Each is `op`, `queue`, `key` and the fields of the single call.
     *
     * @param array<int, array<string, mixed>> $operations
     * @return Answer[] in their order; a refused line has `refused` and does not throw
     */
    public function batch(array $operations): array
    {
        $lines = '';
        $repeatable = true;
        foreach ($operations as $operation) {
            if (isset($operation['key'])) {
                $operation['key'] = (string) $operation['key'];
            }
            $repeatable = $repeatable && self::repeatable((string) ($operation['op'] ?? ''), $operation);
            $lines .= Written::json($operation) . "\n";
        }
        $reply = $this->http->ask('POST', '/v1/batch', $lines, $repeatable);
        if ($reply['status'] !== 200) {
            throw self::failure('POST /v1/batch', $reply);
        }
        $answers = [];
        foreach (explode("\n", trim($reply['body'])) as $number => $line) {
            $op = (string) ($operations[$number]['op'] ?? '');
            $body = self::decoded('POST /v1/batch', $line, $reply['repeated']);
            $refused = isset($body['code']) ? new Refused("line $number: $op", $body) : null;
            $answers[] = new Answer($op, $body, $reply['repeated'], $refused);
        }
        return $answers;
    }

    /**
     * Deliveries of a `pull` queue for this worker; empty when none came in time.
     *
     * @param array<string, mixed> $how `max` (1), `wait` (0), `lease` (`30s`)
     * @return Delivery[]
     */
    public function lease(string $queue, array $how = []): array
    {
        $wait = isset($how['wait']) ? Written::seconds($how['wait']) ?? 60.0 : 0.0;
        // A lease whose answer was lost runs out, and its deliveries come again: nobody has acted on them.
        $body = $this->call('POST', '/v1/queues/' . rawurlencode($queue) . '/lease', $how, true, $wait);
        return array_map(static function (array $delivery): Delivery {
            return new Delivery($delivery);
        }, $body['deliveries']);
    }

    /** Says how an attempt ended. `leaseLost`: too late to say, somebody else has it now. */
    public function verdict(Delivery $delivery, Verdict $verdict): Answer
    {
        $path = '/v1/deliveries/' . rawurlencode($delivery->id) . '/verdict';
        return $this->operation('verdict', 'POST', $path, ['token' => $delivery->token] + $verdict->fields);
    }

    /**
     * Keeps a lease for another while, from now on. False: it is lost, stop.
     *
     * @param mixed $lease a duration
     */
    public function touch(Delivery $delivery, $lease = '30s'): bool
    {
        $path = '/v1/deliveries/' . rawurlencode($delivery->id) . '/touch';
        return $this->operation('touch', 'POST', $path, ['token' => $delivery->token, 'lease' => $lease])->ok;
    }

    /**
     * Deadlines in the order of their due times, page by page as they are asked for.
     *
     * @param array<string, mixed> $filter `state`, `delivery`, `due_from`, `due_to`, `key_prefix`
     * @return \Generator<Deadline>
     */
    public function deadlines(string $queue, array $filter = []): \Generator
    {
        $filter = json_decode(Written::json($filter), true);
        do {
            $query = http_build_query($filter, '', '&', PHP_QUERY_RFC3986);
            $page = $this->call('GET', '/v1/queues/' . rawurlencode($queue) . "/deadlines?$query", [], true);
            foreach ($page['deadlines'] as $deadline) {
                yield Deadline::read($deadline);
            }
            $filter['cursor'] = $page['next_cursor'];
        } while ($filter['cursor'] !== null);
    }

    /**
     * Creates a queue or changes its policy; what is left out is as the defaults have it.
     *
     * @param array<string, mixed> $policy
     * @return array<string, mixed> the queue
     */
    public function setQueue(string $queue, array $policy): array
    {
        return $this->call('PUT', '/v1/queues/' . rawurlencode($queue), $policy, true)['queue'];
    }

    /** @return array<string, mixed> the queue with its policy and counts */
    public function queue(string $queue): array
    {
        return $this->call('GET', '/v1/queues/' . rawurlencode($queue), [], true)['queue'];
    }

    /** @return array<string, mixed> counts of one queue, or of all */
    public function stats(?string $queue = null): array
    {
        $path = $queue === null ? '/v1/stats' : '/v1/queues/' . rawurlencode($queue) . '/stats';
        return $this->call('GET', $path, [], true);
    }

    /**
     * Any other call of the API. Repeat it only if hearing it twice does no more than hearing it once.
     *
     * @param array<string, mixed> $fields
     * @param float $wait how long the server is asked to hold the answer back, in seconds
     * @return array<string, mixed> the body of the answer
     */
    public function call(string $method, string $path, array $fields = [], bool $repeatable = false, float $wait = 0.0): array
    {
        $body = $method === 'GET' || $method === 'DELETE' ? '' : Written::json($fields);
        $reply = $this->http->ask($method, $path, $body, $repeatable, $wait);
        if ($reply['status'] >= 300) {
            throw self::failure("$method $path", $reply);
        }
        return self::decoded("$method $path", $reply['body'], true);
    }

    /**
     * May this be heard twice? Yes, if the second time changes nothing and its answer does not mislead.
     *
     * @param array<string, mixed> $fields
     */
    private static function repeatable(string $operation, array $fields): bool
    {
        switch ($operation) {
            case 'schedule':
                // `replace` and `renew` would begin another generation of what lapsed in between, and it
                // would be acted on twice; `fail` would be told that somebody else was first.
                return ($fields['if_exists'] ?? 'keep') === 'keep';
            case 'extend':
                return isset($fields['due']) || isset($fields['if_due']);
            case 'settle':
            case 'freeze':
            case 'get':
            case 'revive':
            case 'erase':
            case 'verdict':
            case 'touch':
                return true;
            default:
                return false;
        }
    }

    /**
     * @param string|int $key
     * @param array<string, mixed> $fields
     */
    private function on(string $operation, string $method, string $queue, $key, string $verb, array $fields): Answer
    {
        $path = '/v1/queues/' . rawurlencode($queue) . '/deadlines/' . rawurlencode((string) $key) . $verb;
        return $this->operation($operation, $method, $path, $fields);
    }

    /** @param array<string, mixed> $fields */
    private function operation(string $operation, string $method, string $path, array $fields): Answer
    {
        $body = $method === 'GET' || $method === 'DELETE' ? '' : Written::json($fields);
        $reply = $this->http->ask($method, $path, $body, self::repeatable($operation, $fields));
        $repeated = $reply['repeated'];
        if ($reply['status'] < 300) {
            return new Answer($operation, self::decoded("$method $path", $reply['body'], true), $repeated);
        }
        $failure = self::failure("$method $path", $reply);
        if (!$failure instanceof Refused) {
            throw $failure;
        }
        if ($operation === 'extend' && $repeated && self::isExtended($failure, $fields)) {
            return new Answer($operation, ['deadline' => $failure->body['deadline']], true);
        }
        if (!in_array($failure->errorCode, self::ANSWERS[$operation] ?? [], true)) {
            throw $failure;
        }
        return new Answer($operation, $failure->body, $repeated, $failure);
    }

    /**
     * Is `due_changed` the work of an earlier attempt of the same call: due just when it was asked for?
     *
     * @param array<string, mixed> $fields
     */
    private static function isExtended(Refused $refused, array $fields): bool
    {
        $by = Written::seconds($fields['by'] ?? null);
        if ($refused->errorCode !== 'due_changed' || $refused->deadline === null || $by === null) {
            return false;
        }
        $before = $fields['if_due'];
        if (is_string($before)) {
            $before = new \DateTimeImmutable($before);
        }
        $milliseconds = $before instanceof \DateTimeInterface ? (int) $before->format('Uv') : (int) $before;
        return (int) $refused->deadline->due->format('Uv') === $milliseconds + (int) round($by * 1000);
    }

    /** @param array{status: int, headers: array<string, string>, body: string, repeated: bool} $reply */
    private static function failure(string $call, array $reply): Problem
    {
        $body = json_decode($reply['body'], true);
        $unknown = $reply['repeated'] || $reply['status'] >= 500;
        if (is_array($body) && isset($body['code'])) {
            return new Refused($call, $body, $unknown);
        }
        return new NoAnswer("$call: status {$reply['status']} is not from Duly; is it the right URL?", $unknown);
    }

    /** @return array<string, mixed> */
    private static function decoded(string $call, string $json, bool $unknown): array
    {
        $body = json_decode($json, true, 512, JSON_BIGINT_AS_STRING);
        if (!is_array($body)) {
            throw new NoAnswer("$call: the answer is not from Duly; is it the right URL?", $unknown);
        }
        return $body;
    }
}
