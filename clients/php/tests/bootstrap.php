<?php

// Loads the client as its users do: the one file, or with DULY_PHP=src class by class as Composer would.

declare(strict_types=1);

if (getenv('DULY_PHP') === 'src') {
    spl_autoload_register(static function (string $class): void {
        if (strncmp($class, 'Duly\\', 5) === 0 && strncmp($class, 'Duly\\Tests\\', 11) !== 0) {
            require dirname(__DIR__) . '/src/' . strtr(substr($class, 5), '\\', '/') . '.php';
        }
    });
} else {
    require dirname(__DIR__) . '/duly.php';
}

spl_autoload_register(static function (string $class): void {
    if (strncmp($class, 'Duly\\Tests\\', 11) === 0) {
        require __DIR__ . '/' . substr($class, 11) . '.php';
    }
});
