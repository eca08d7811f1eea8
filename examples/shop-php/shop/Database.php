<?php

declare(strict_types=1);

namespace Shop;

use PDO;
use PDOStatement;
use Throwable;

/**
 * The shop's database: prepared statements and transactions, nothing else.
 */
final class Database
{
    private PDO $pdo;

    public function __construct(string $dsn, string $user, string $password)
    {
        $this->pdo = new PDO($dsn, $user, $password, [
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC,
            PDO::ATTR_EMULATE_PREPARES => false,
        ]);
    }

    /** Executes one statement; says how many rows it changed. */
    public function change(string $sql, array $values): int
    {
        return $this->run($sql, $values)->rowCount();
    }

    /** The number that the last INSERT gave to its row. */
    public function lastId(): int
    {
        return (int) $this->pdo->lastInsertId();
    }

    /** @return array<string, mixed>|null the first row */
    public function row(string $sql, array $values): ?array
    {
        return $this->rows($sql, $values)[0] ?? null;
    }

    /** @return array<int, array<string, mixed>> */
    public function rows(string $sql, array $values = []): array
    {
        return $this->run($sql, $values)->fetchAll();
    }

    /** Does it all, or nothing of it. */
    public function transaction(callable $work)
    {
        $this->pdo->beginTransaction();
        try {
            $result = $work();
            $this->pdo->commit();
            return $result;
        } catch (Throwable $error) {
            $this->pdo->rollBack();
            throw $error;
        }
    }

    private function run(string $sql, array $values): PDOStatement
    {
        $statement = $this->pdo->prepare($sql);
        $statement->execute($values);
        return $statement;
    }
}
