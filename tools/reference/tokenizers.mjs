// Token ids by the npm package @huggingface/tokenizers, for comparison with tangram's tokenizers.
//   npm install @huggingface/tokenizers        (in a folder outside the repository: PACKAGES)
//   node tools/reference/tokenizers.mjs PACKAGES MODEL TEXTS [--json]
// MODEL is a Hugging Face folder. TEXTS is a file of one text per line, or a .json with the list "texts"; an earlier
// fixture will do:
//   node tools/reference/tokenizers.mjs PACKAGES tests/data/neo-mini tests/data/text/neo-mini.json --json > new.json
// Prints one line of ids per text, or with --json the fixture that tests/unit/text/tokenizers.cpp reads:
// {"texts": [...], "ids": [[...], ...]}. Version 0.2.0 made the ones that are committed. It splits by JavaScript's \s,
// which holds U+FEFF and not U+0085; Hugging Face's own library has it the other way round, so the texts avoid both.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, model, file, format] = process.argv.slice(2);
const entry = path.join(path.resolve(packages), 'node_modules/@huggingface/tokenizers/dist/tokenizers.mjs');
const { Tokenizer } = await import(pathToFileURL(entry));
const read = (name) => JSON.parse(fs.readFileSync(path.join(model, name), 'utf8'));
const tokenizer = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));

const content = fs.readFileSync(file, 'utf8');
const texts = file.endsWith('.json') ? JSON.parse(content).texts : content.replace(/\n$/, '').split('\n');
const ids = texts.map((text) => Array.from(tokenizer.encode(text).ids, Number));
if (format === '--json') {
  // Everything beyond ASCII as escapes: the fixture stays readable where fonts and editors would change it.
  const ascii = (text) => JSON.stringify(text).replace(/[\u007f-\uffff]/g,
    (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
  process.stdout.write('{"texts": [\n' + texts.map(ascii).join(',\n') + '\n],\n"ids": [\n' +
    ids.map((l) => JSON.stringify(l)).join(',\n') + '\n]}\n');
} else {
  process.stdout.write(ids.map((l) => l.join(' ')).join('\n') + '\n');
}
