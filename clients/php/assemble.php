<?php

// Writes `duly.php` from `src/`, for those who do without Composer:  php assemble.php > duly.php
// A test says when that was forgotten.

declare(strict_types=1);

// A class stands behind the one it extends.
$first = ['Problem'];
$classes = array_map(static function (string $path): string {
    return basename($path, '.php');
}, glob(__DIR__ . '/src/*.php'));
sort($classes);
$opening = "<?php\n\ndeclare(strict_types=1);\n\nnamespace Duly;\n";

echo <<<'PHP'
<?php

// The PHP client of Duly, whole in one file: require 'duly.php';
// PHP 7.4 or newer, no extension, no Composer. Assembled from src/, where it is changed.
// SPDX-License-Identifier: MIT OR Apache-2.0

declare(strict_types=1);

namespace Duly;

PHP;
foreach (array_unique(array_merge($first, $classes)) as $class) {
    $source = file_get_contents(__DIR__ . "/src/$class.php");
    if (strpos($source, $opening) !== 0) {
        fwrite(STDERR, "src/$class.php opens otherwise than the others\n");
        exit(1);
    }
    echo substr($source, strlen($opening));
}
