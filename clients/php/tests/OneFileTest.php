<?php

declare(strict_types=1);

namespace Duly\Tests;

use PHPUnit\Framework\TestCase;

final class OneFileTest extends TestCase
{
    public function testTheOneFileIsAssembledFromItsSources(): void
    {
        $assembled = shell_exec(escapeshellarg(PHP_BINARY) . ' ' . escapeshellarg(dirname(__DIR__) . '/assemble.php'));
        self::assertStringEqualsFile(dirname(__DIR__) . '/duly.php', $assembled, 'php assemble.php > duly.php');
    }

    public function testEveryClassIsWhereAutoloadersLook(): void
    {
        foreach (glob(dirname(__DIR__) . '/src/*.php') as $path) {
            $name = basename($path, '.php');
            self::assertMatchesRegularExpression("/^(abstract |final )?class $name\\b/m", file_get_contents($path));
        }
    }
}
