<?php

// What a handler answers with: a page, JSON, or "go there"; and the few words that pages share.

declare(strict_types=1);

namespace Shop;

/**
 * Shows `pages/$name.php` inside `pages/frame.php`.
 *
 * @param array<string, mixed> $with what the page may use, by name
 */
function page(string $name, array $with = [], int $status = 200): void
{
    http_response_code($status);
    header('Cache-Control: no-store');
    header("Content-Security-Policy: default-src 'self'; frame-ancestors 'none'");
    extract($with, EXTR_SKIP);
    ob_start();
    require __DIR__ . "/pages/$name.php";
    $inside = ob_get_clean();
    require __DIR__ . '/pages/frame.php';
}

/** @param mixed $value */
function json($value, int $status = 200): void
{
    http_response_code($status);
    header('Cache-Control: no-store');
    header('Content-Type: application/json');
    echo json_encode($value, JSON_THROW_ON_ERROR);
}

/** After a form: the next page is another one, and reloading it sends nothing twice. */
function go(string $where): void
{
    header("Location: $where", true, 303);
}

/** Text for HTML. Everything that comes from outside goes through here. */
function e(string $text): string
{
    return htmlspecialchars($text, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
}

function euros(int $cents): string
{
    return '€' . number_format($cents / 100, 2);
}

/** A duration as a person says it: `3 ms`, `1.2 s`, `4:05`. */
function span(int $ms): string
{
    if ($ms < 1000) {
        return "$ms\u{a0}ms";
    }
    return $ms < 60000 ? sprintf("%.1f\u{a0}s", $ms / 1000) : clock($ms);
}

/** What is left, in whole seconds: `0:29`. */
function clock(int $ms): string
{
    $seconds = intdiv($ms + 999, 1000);
    return sprintf('%d:%02d', intdiv($seconds, 60), $seconds % 60);
}

/** How long somebody has, in words: `30 seconds`, `30 minutes`. */
function within(int $seconds): string
{
    return $seconds % 60 === 0 && $seconds > 60 ? intdiv($seconds, 60) . ' minutes' : "$seconds seconds";
}
