<?php

// A bad line between a client and a server:  php bad-line.php SERVER-PORT PID-FILE FATE…
//
// Takes one request after the other, each on a connection of its own, and does with the n-th what the
// n-th fate says; when they are used up all requests pass. It waits for what it has asked for, never
// for a length of time.
//
//   pass     the server answers
//   lost     the server has answered, nobody hears it
//   cut      half of the server's answer comes
//   late     the server has answered; something in front says 503
//   silent   the server has answered; nothing comes, until the client gives up
//   killed   the server has answered and is killed; nobody hears the answer
//   stabbed  the server is killed while it has the request
//   deaf     nobody heard the request, and nobody says so
//   busy     nobody heard the request, says a 503 of Duly's own form
//   weary    the same, with a Retry-After of an hour
//   page     nobody heard the request, says a page of something in front
//   login, missing, stranger   a page with status 200, one with 404, and no HTTP at all
//   chunked, endless, hinted, kept   the server's answer in chunks, without a length, behind an early hint,
//            and as if the connection were kept

declare(strict_types=1);

[, $server, $pidFile] = $argv;
$fates = array_slice($argv, 3);
const STOPPING = '{"type":"/docs/errors#stopping","title":"t","status":503,"code":"stopping","hint":"h"}';

/** A whole message: head and as much as its Content-Length says. */
function message($stream): string
{
    $text = '';
    do {
        $more = (string) fread($stream, 65536);
        $text .= $more;
        $head = strpos($text, "\r\n\r\n");
        $length = preg_match('/^content-length: *(\d+)/mi', $text, $match) === 1 ? (int) $match[1] : 0;
    } while ($more !== '' && ($head === false || strlen($text) < $head + 4 + $length));
    return $text;
}

function answer(int $status, string $body, string $more = ''): string
{
    return "HTTP/1.1 $status Unavailable\r\n{$more}Connection: close\r\nContent-Length: " . strlen($body) . "\r\n\r\n$body";
}

$listener = stream_socket_server('tcp://127.0.0.1:0');
echo 'port ', parse_url('tcp://' . stream_socket_get_name($listener, false), PHP_URL_PORT), "\n";
while ($client = stream_socket_accept($listener, -1)) {
    $request = message($client);
    $fate = array_shift($fates) ?? 'pass';
    echo "$fate ", strtok($request, "\r\n"), "\n";
    $said = '';
    if (!in_array($fate, ['deaf', 'busy', 'weary', 'page', 'login', 'missing', 'stranger'], true)) {
        $upstream = @stream_socket_client("tcp://127.0.0.1:$server");
        if ($upstream !== false) {
            fwrite($upstream, $request);
            $said = $fate === 'stabbed' ? '' : message($upstream);
            fclose($upstream);
        }
    }
    switch ($fate) {
        case 'pass':
            fwrite($client, str_replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n", $said));
            break;
        case 'cut':
            fwrite($client, substr($said, 0, intdiv(strlen($said), 2)));
            break;
        case 'silent':
            fread($client, 1);
            break;
        case 'killed':
        case 'stabbed':
            exec('kill -9 ' . (int) file_get_contents($pidFile));
            break;
        case 'late':
        case 'busy':
            fwrite($client, answer(503, STOPPING));
            break;
        case 'weary':
            fwrite($client, answer(503, STOPPING, "Retry-After: 3600\r\n"));
            break;
        case 'page':
            fwrite($client, answer(502, '<html><h1>Bad Gateway</h1></html>'));
            break;
        case 'login':
            fwrite($client, answer(200, '<html><h1>Please log in</h1></html>'));
            break;
        case 'missing':
            fwrite($client, answer(404, '<html><h1>Not found</h1></html>'));
            break;
        case 'stranger':
            fwrite($client, "SSH-2.0-stranger\r\n\r\n");
            break;
        case 'chunked':
            $chunks = '';
            foreach (str_split(explode("\r\n\r\n", $said, 2)[1], 1000) as $number => $chunk) {
                $chunks .= ($number % 2 ? dechex(strlen($chunk)) : strtoupper(dechex(strlen($chunk))) . ';more=1') . "\r\n$chunk\r\n";
            }
            fwrite($client, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{$chunks}0\r\n\r\n");
            break;
        case 'endless':
            fwrite($client, "HTTP/1.1 200 OK\r\n\r\n" . explode("\r\n\r\n", $said, 2)[1]);
            break;
        case 'hinted':
            fwrite($client, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n$said");
            break;
        case 'kept':
            fwrite($client, $said);
            break;
    }
    fclose($client);
}
