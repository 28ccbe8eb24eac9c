#!/usr/bin/env python3
"""The sentences of reviews.py, labelled by what they are about (film, food, phone, music): four labels with names.

    python3 tools/data/topics.py tests/data/topics

Writes train.tsv (600 lines) and test.tsv (200), all distinct, as many of each label; every machine makes the same bytes."""
import os, sys
import reviews

NAMES = {'film': 'film', 'restaurant': 'food', 'phone': 'phone', 'concert': 'music'}

def main(folder):
    seen, kinds, everything = set(), sorted(NAMES), dict(reviews.THINGS)
    for name, count in (('train', 600), ('test', 200)):
        lines = []
        while len(lines) < count:
            kind = kinds[len(lines) % len(kinds)]
            reviews.THINGS = {kind: everything[kind]}
            text = reviews.sentence(reviews.draw(2))
            if text not in seen:
                seen.add(text)
                lines.append(f'{text}\t{NAMES[kind]}\n')
        with open(os.path.join(folder, name + '.tsv'), 'w', encoding='utf-8', newline='\n') as f:
            f.write('text\tlabel\n' + ''.join(lines))
if __name__ == '__main__': main(sys.argv[1])
