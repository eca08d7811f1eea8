// The oldest PHP that the client promises to run on, for `tests/php.py`: version 7.4 as WebAssembly.
//
//   node php74.mjs CLIENTS-PHP PHPUNIT-LIBRARY OTHER-FOLDER…
//
// Parses every PHP file of the client and of the other folders with that version's grammar and runs the
// tests of the client that need no network. Writes one JSON object: {version, parsed, ran, faults}.

import { getPHPLoaderModule } from "@php-wasm/node-7-4";
import { PHP, loadPHPRuntime } from "@php-wasm/universal";
import { readdirSync, readFileSync } from "node:fs";

const [client, library, ...others] = process.argv.slice(2);
const php = new PHP(await loadPHPRuntime(await getPHPLoaderModule()));

const copy = (from, to) => {
  php.mkdir(to);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [`${from}/${entry.name}`, `${to}/${entry.name}`];
    if (entry.isDirectory()) {
      if (entry.name !== "Symfony") copy(source, target);
    } else if (entry.isFile()) {
      php.writeFile(target, readFileSync(source));
    }
  }
};
copy(library, "/library");
copy(client, "/client");
others.forEach((other, number) => copy(other, `/client/other-${number}`));

const { text, errors } = await php.run({
  code: `<?php
    ini_set('include_path', '.:/library');
    ini_set('display_errors', 'stderr');
    require 'PHPUnit/Autoload.php';
    require '/client/tests/bootstrap.php';
    $said = ['version' => PHP_VERSION, 'parsed' => 0, 'ran' => 0, 'faults' => []];
    $files = new RecursiveIteratorIterator(new RecursiveDirectoryIterator('/client', FilesystemIterator::SKIP_DOTS));
    foreach ($files as $file) {
        if ($file->getExtension() === 'php') {
            $said['parsed']++;
            try {
                token_get_all(file_get_contents($file), TOKEN_PARSE);
            } catch (ParseError $error) {
                $said['faults'][] = "$file:{$error->getLine()}: {$error->getMessage()}";
            }
        }
    }
    $suite = new PHPUnit\\Framework\\TestSuite();
    $suite->addTestSuite(Duly\\Tests\\WrittenTest::class);
    $suite->addTestSuite(Duly\\Tests\\WebhookTest::class);
    $result = $suite->run();
    $said['ran'] = count($result);
    foreach (array_merge($result->failures(), $result->errors(), $result->warnings()) as $failure) {
        $said['faults'][] = $failure->getTestName() . ': ' . $failure->exceptionMessage();
    }
    echo json_encode($said);
  `,
});
console.error(errors);
console.log(text);
process.exit(0);
