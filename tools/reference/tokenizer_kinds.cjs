// Makes tests/data/text/kinds.json: token ids of tricky texts by Hugging Face's own (Rust) tokenizers, for the kinds of
// tokenizer that real checkpoints have, each with the vocabulary of a small model and the other sections as the family's.
//   npm install @anush008/tokenizers       (in a folder outside the repository: PACKAGES; binds the Rust library)
//   node tools/reference/tokenizer_kinds.cjs PACKAGES tests/data > tests/data/text/kinds.json
//   node tools/reference/tokenizer_kinds.cjs PACKAGES tests/data --lines FILE.json KIND > ids.txt    (many texts, one kind)
// {"<kind>": {"base": folder of tests/data, "patch": JSON merge patch (RFC 7396) of its tokenizer.json, "ids": [[...]]}, "texts": [...]}
const fs = require('fs'), os = require('os'), path = require('path');
const [packages, data, option, file, only] = process.argv.slice(2);
const { Tokenizer } = require(path.resolve(packages, 'node_modules/@anush008/tokenizers'));
const read = (folder) => JSON.parse(fs.readFileSync(path.join(data, folder, 'tokenizer.json'), 'utf8'));
const n = Object.keys(read('neo-mini').model.vocab).length;
const added = (id, content, flags = {}) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...flags });
const byteLevel = (flags = {}) => ({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true, ...flags });
const split = (numbers) => ({ type: 'Sequence', pretokenizers: [{ type: 'Split', behavior: 'Isolated', invert: false, pattern: {
  Regex: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+` } }, byteLevel({ use_regex: false })] });
const start = { SpecialToken: { id: '<|begin_of_text|>', type_id: 0 } }, A = { Sequence: { id: 'A', type_id: 0 } }, B = { Sequence: { id: 'B', type_id: 1 } };
// Gemma's sections around a small vocabulary: its special tokens, bytes, characters, and what merges make of them.
const gemma = () => {
  const merges = [['\u2581', '\u2581'], ['\u2581\u2581', '\u2581\u2581'], ['\n', '\n'], ['h', 'e'], ['l', 'l'], ['he', 'll'], ['hell', 'o'], ['\u2581', 'hello'], ['W', 'or'], ['o', 'r'], ['l', 'd'], ['\u2581', 't'],
    ['i', 't'], ["'", 's'], ['it', "'s"], ['1', '2'], ['3', '4'], ['12', '34'], ['a', 'b'], ['ab', 'c'], ['\u4e2d', '\u6587'], ['e', '\u0301'], ['!', '!'], ['!!', '!'], ['.', '.']];
  const characters = ['\u2581', '\n', '\t', ...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?\'"()-_/=<>|[]#$^', '\u00e9', '\u0301', '\u4e2d', '\u6587', '\u00bd'];
  const tokens = ['<pad>', '<eos>', '<bos>', '<unk>', '<mask>', '<start_of_turn>', ...Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`),
    ...new Set([...characters, ...merges.map((m) => m.join(''))])];
  const id = (token) => tokens.indexOf(token), bos = { SpecialToken: { id: '<bos>', type_id: 0 } };
  return { base: 'text/none', patch: { normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
    pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
    model: { type: 'BPE', dropout: null, unk_token: '<unk>', continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: true, byte_fallback: true, ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, i) => [token, i])), merges },
    post_processor: { type: 'TemplateProcessing', single: [bos, A], pair: [bos, A, { SpecialToken: { id: '<bos>', type_id: 1 } }, B],
      special_tokens: { '<bos>': { id: '<bos>', ids: [2], tokens: ['<bos>'] } } },
    added_tokens: [...tokens.slice(0, 6).map((token, i) => added(i, token)), ...['\n\n', '\u2581\u2581'].map((token) => added(id(token), token, { special: false }))] } };
};
// A charsmap of 20 rules by SentencePiece 0.1.97 (--normalization_rule_tsv): FB01 -> fi, 2026 -> ..., BD -> 1 2044 2,
// FF11 -> 1, FF12 -> 2, 2167 -> VIII, 212B and A 30A -> C5, e 301 -> E9, a 323 -> 1EA1, a 323 307 -> b (which the shorter
// one hides); 3000, A0, 2028, 200D, tab, line feed, carriage return -> blank; 1, AD -> nothing.
const charsmap = [
  'AAQAAAAMAAAAAACAAQ0AAMwwAgABAACAig0AABsAAIDMsAIAow0AAAo1AAAJOQAAIQAAgIcFAAAWAACADSkAAMx4AgCBBQAAHgAAgAkAAICAKA',
  'IAjUEAAAMAAICFoAIAhJACAKt5AACnDQAAEQAAgIAcAgCAYQAAGAAAgIENAAAHAACAoJEAAA8AAICs9AIAIQAAAJHtAAAnAAAAJAAAAJIZAAAq',
  'AAAAKwAAACgAAAApAAAALgAAAK2xAAAsAAAALQAAADIAAACo1QAAvBwCADEAAAA2AAAANwAAADQAAAA1AAAAOgAAADsAAAA4AAAAOQAAAD4AAA',
  'C9vQAAPAAAAKapAABCAAAAQwAAAEE0AgBBAAAARgAAAEcAAABEAAAARQAAAEoAAABLAAAASAAAAEkAAABOAAAATwAAAEwAAABNAAAAUgAAAFMA',
  'AABQAAAAUQAAAFYAAABXAAAAVAAAAFUAAABaAAAAWwAAAFgAAABZAAAAXgAAAF8AAABcAAAAXQAAAGIAAABjAAAAYaQCAGEAAABmAAAAZwAAAG',
  'WUAgBlAAAAagAAAGsAAABoAAAAaQAAAG4AAABvAAAAbAAAAG0AAAByAAAAcwAAAHAAAABxAAAAdgAAAHcAAAB0AAAAdQAAAHoAAAB7AAAAeAAA',
  'AHkAAAB+AAAAfwAAAHwAAAB9AAAAggAAAIMAAACAAAAAgQAAAIYAAACHAAAAhAAAAIUAAACKAAAAiwAAAIgAAACJAAAAjgAAAI8AAACMAAAAjQ',
  'AAAJIAAACTAAAAkAAAAJEAAACWAAAAlwAAAJQAAACVAAAAmgAAAJsAAACYAAAAmQAAAJ4AAACfAAAAnAAAAJ0AAACiAAAAowAAAKAAAAChAAAA',
  'pgAAAKcAAACkAAAApQAAAKoAAACrAAAAqAAAAKkAAACuAAAArwAAAKwAAACtAAAAsgAAALMAAACwAAAAsQAAALYAAAC3AAAAtAAAALUAAAC6AA',
  'AAuwAAALgAAAC5AAAAvgAAAL8AAAC8AAAAvQAAAMIAAADCBAEAwAAAAMEAAADGAAAAxwAAAMQAAADMMAEAygAAAMsAAADIAAAAyQAAAM4AAADP',
  'AAAAzAAAAM0AAADSAAAA0wAAANAAAADRAAAA1gAAANcAAADUAAAA1QAAANoAAADbAAAA2AAAANkAAADeAAAA3wAAANwAAADdAAAA4+wBAOLIAQ',
  'DgAAAA4QAAAOYAAADnAAAA5AAAAOUAAADqAAAA6wAAAOgAAADpAAAA74gBAO8AAADsAAAA7QAAAPIAAADzAAAA8AAAAPEAAAD2AAAA9wAAAPQA',
  'AAD1AAAA+gAAAPsAAAD4AAAA+QAAAP4AAAD/AAAA/AAAAP0AAAAAIAAuLi4AMQAx4oGEMgAyAFZJSUkAYgBmaQDDhQDDqQDhuqEA'].join('');
// XLM-RoBERTa's and CamemBERT's sections around a small vocabulary: scores with ties, characters that it lacks, and
// (bytes) a token for each byte.
const unigram = (special, [bos, eos], preTokenizer, bytes) => {
  const pieces = ['\u2581hello', '\u2581World', '\u2581', '\u2581\u2581', 'he', 'll', 'llo', '\u2581it', "'s", 'it', '..', '...',
    '!!', '!!!', 'xx', 'xxxx', 'xxxxxxx', '12', '123', '234', '4567', '2023', '\u4e2d\u6587', 'na', '\u00efve', 'VI', 'fi',
    'ing', 'abc', 'def', 'ab', 'cd', 'bc', 'http', '://', '\ud83d\ude00', '\u0930\u094d', '\u2581(', '--'];
  const characters = [...'abcdefghijklmnopqrstuvwxyzABDEGHILNORSTVW0123456789.,:;!?\'"()-_/=<>|[]#',
    '\u00e9', '\u00c5', '\u4e2d', '\u1ea1', '\u0301', '\u30ab'];
  const byteTokens = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
  const vocab = [...special, ...pieces.map((piece, i) => [piece, -4 - (i % 7) / 2]),
    ...characters.map((c, i) => [c, -7 - (i % 5) / 4]), ...(bytes ? byteTokens.map((token) => [token, 0]) : []), ['<mask>', 0]];
  const normalizers = [{ type: 'Strip', strip_left: false, strip_right: true },
    { type: 'Replace', pattern: { Regex: ' {2,}' }, content: '\u2581' }];
  if (!bytes) normalizers.unshift({ type: 'Precompiled', precompiled_charsmap: charsmap });
  const around = (token) => ({ SpecialToken: { id: token, type_id: 0 } });
  const ids = (token, id) => ({ [token]: { id: token, ids: [id], tokens: [token] } });
  return { base: 'text/none', patch: { normalizer: { type: 'Sequence', normalizers }, pre_tokenizer: preTokenizer,
    post_processor: { type: 'TemplateProcessing', single: [around('<s>'), A, around('</s>')], pair: [],
      special_tokens: { ...ids('<s>', bos), ...ids('</s>', eos) } },
    model: { type: 'Unigram', unk_id: 3, vocab, byte_fallback: bytes },
    added_tokens: [...special.map(([token], i) => added(i, token)), added(vocab.length - 1, '<mask>', { lstrip: true })] } };
};
const metaspace = { type: 'Metaspace', replacement: '\u2581', prepend_scheme: 'always', split: true };
const words = { type: 'Sequence', pretokenizers: [{ type: 'WhitespaceSplit' }, metaspace] };
const xlmRoberta = [['<s>', 0], ['<pad>', 0], ['</s>', 0], ['<unk>', 0]];
const camembert = [['<s>NOTUSED', 0], ['<pad>', 0], ['</s>NOTUSED', 0], ['<unk>', 0], ['<unk>NOTUSED', -100],
  ['<s>', 0], ['</s>', 0]];
const kinds = {
  bert: { base: 'bert-mini', patch: {} },
  'bert-cased': { base: 'bert-mini', patch: { normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: false } } },
  roberta: { base: 'neo-mini', patch: { normalizer: null, pre_tokenizer: byteLevel(),
    post_processor: { type: 'RobertaProcessing', sep: ['</s>', n + 2], cls: ['<s>', n], trim_offsets: true, add_prefix_space: false },
    added_tokens: [...['<s>', '<pad>', '</s>', '<unk>'].map((t, i) => added(n + i, t, { normalized: true })), added(n + 4, '<mask>', { lstrip: true })] } },
  'gpt-neox': { base: 'neo-mini', patch: { normalizer: { type: 'NFC' }, pre_tokenizer: byteLevel(), post_processor: byteLevel(),
    added_tokens: [added(0, '<|endoftext|>'), added(n, '<|padding|>'), ...Array.from({ length: 23 }, (_, i) => added(n + 1 + i, ' '.repeat(24 - i), { special: false, normalized: true }))] } },
  llama3: { base: 'neo-mini', patch: { model: { ignore_merges: true }, normalizer: null, pre_tokenizer: split('\\p{N}{1,3}'),
    post_processor: { type: 'Sequence', processors: [byteLevel(), { type: 'TemplateProcessing', single: [start, A], pair: [start, A, { SpecialToken: { id: '<|begin_of_text|>', type_id: 1 } }, B],
      special_tokens: { '<|begin_of_text|>': { id: '<|begin_of_text|>', ids: [n], tokens: ['<|begin_of_text|>'] } } }] },
    added_tokens: [added(n, '<|begin_of_text|>'), added(n + 1, '<|end_of_text|>'), added(n + 2, '<|eot_id|>')] } },
  qwen2: { base: 'neo-mini', patch: { normalizer: { type: 'NFC' }, pre_tokenizer: split('\\p{N}'), post_processor: byteLevel(),
    added_tokens: [added(0, '<|endoftext|>'), added(n, '<|im_start|>'), added(n + 1, '<|im_end|>')] } },
  gemma: gemma(),
  'xlm-roberta': unigram(xlmRoberta, [0, 2], words, false),
  camembert: unigram(camembert, [5, 6], metaspace, false),
  'unigram-bytes': unigram(xlmRoberta, [0, 2], words, true),
};
const pieces = ["it's", "IT'S", "don't", "we'LL", " ", "  ", "    ", "\t", "\r\n", "\n", "\n\n", " \n ", "\u00a0", "\u3000", "\u200d", "\u00ad", "\u0301", "e\u0301", "\u00e9", "\u00c9", "\u00df", "\u1e9e", "\u0130",
  "\u03a3", "\u039f\u0394\u039f\u03a3", "\ufb01", "A\u030a", "\u212b", "\ud55c\uad6d\uc5b4", "\u4e2d\u6587", "\u30ab\u30bf", "\ud83d\ude00", "\ud83d\udc69\u200d\ud83d\udc67", "\u00bd", "\u2167", "\uff11\uff12", "1234567", "3.14", "12,345",
  "2023-11-24", "<mask>", " <mask>", "[MASK]", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "abc<|endoftext|>def", "(", "--", "\u2026", "!!!", "$", "^", "a_b", "http://x.y/z?q=1", "x".repeat(110), "\u0001", "\u000b", "\ufffd", "\u2028",
  "hello", "World", "GREAT", "na\u00efve", "\u0e01\u0e33", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0627\u0644\u0639", "a\u0323\u0307", "##ing", "'", "\u2019", "\ud840\udc00"];
let state = 1;
const draw = (bound) => (state = (state * 1103515245 + 12345) % 2147483648, Math.floor(state / 65536) % bound);
const texts = [...pieces];
for (let i = 0; i < 120; ++i) texts.push(Array.from({ length: 1 + draw(8) }, () => pieces[draw(pieces.length)] + ['', ' ', ''][draw(3)]).join(''));

const merge = (target, patch) => { // RFC 7396
  if (patch === null || typeof patch !== 'object' || Array.isArray(patch)) return patch;
  const result = { ...target };
  for (const [key, value] of Object.entries(patch)) if (value === null) delete result[key]; else result[key] = merge(result[key] ?? {}, value);
  return result;
};
const encoder = (kind) => {
  const file = path.join(os.tmpdir(), `tokenizer-${process.pid}.json`), patched = merge(read(kind.base), kind.patch);
  for (const key of ['normalizer', 'pre_tokenizer', 'post_processor', 'decoder']) patched[key] ??= null;
  fs.writeFileSync(file, JSON.stringify(patched));
  const tokenizer = Tokenizer.fromFile(file); fs.unlinkSync(file);
  return async (text) => Array.from((await tokenizer.encode(text, null, { addSpecialTokens: true })).getIds());
};
(async () => {
  if (option === '--lines') {
    const encode = encoder(kinds[only]);
    for (const text of JSON.parse(fs.readFileSync(file, 'utf8'))) console.log((await encode(text)).join(' '));
    return;
  }
  const ascii = (value) => JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
  let out = '{"texts": [\n' + texts.map(ascii).join(',\n') + '\n]';
  for (const [name, kind] of Object.entries(kinds)) {
    const encode = encoder(kind), ids = [];
    for (const text of texts) ids.push(await encode(text));
    out += `,\n"${name}": {"base": "${kind.base}", "patch": ${ascii(kind.patch)}, "ids": [\n` + ids.map((l) => JSON.stringify(l)).join(',\n') + '\n]}';
  }
  process.stdout.write(out + '\n}\n');
})();
