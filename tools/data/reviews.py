#!/usr/bin/env python3
"""Made-up reviews from a small grammar, as labelled texts (0 negative, 1 positive): the data of the embedded default.

    python3 tools/data/reviews.py tests/data/reviews

Writes train.tsv (4000 lines) and test.tsv (1000), all distinct, half of each label; the seed is fixed, so every machine
makes the same bytes. Negation, contrast and mixed sentences keep the label from following single words alone."""
import os, sys

STATE = 20260101
def draw(n):                                            # Knuth's MMIX generator: the same on every Python
    global STATE
    STATE = (STATE * 6364136223846793005 + 1442695040888963407) % 2**64
    return (STATE >> 33) % n
def pick(words): return words[draw(len(words))]

THINGS = {'film': (['the plot', 'the acting', 'the ending', 'the music', 'the dialogue', 'the camera work', 'the pacing', 'the cast'], ['watch', 'see']),
    'novel': (['the plot', 'the ending', 'the prose', 'the main character', 'the first chapter', 'the dialogue', 'the pacing'], ['read', 'finish']),
    'restaurant': (['the soup', 'the service', 'the bread', 'the menu', 'the wine', 'the dessert', 'the kitchen'], ['visit', 'try']),
    'hotel': (['the room', 'the bed', 'the breakfast', 'the view', 'the staff', 'the bathroom', 'the quiet garden'], ['visit', 'book']),
    'phone': (['the screen', 'the battery', 'the camera', 'the sound', 'the keyboard', 'the charger'], ['buy', 'use']),
    'concert': (['the singer', 'the sound', 'the hall', 'the drummer', 'the last song', 'the lighting'], ['hear', 'attend'])}
GOOD = ['great', 'wonderful', 'excellent', 'charming', 'superb', 'delightful', 'brilliant', 'lovely', 'impressive', 'warm and clever', 'a real pleasure', 'better than expected']
BAD = ['terrible', 'awful', 'boring', 'disappointing', 'dreadful', 'dull', 'clumsy', 'a mess', 'poor', 'tired and empty', 'a waste of time', 'worse than expected']
VERY = ['', '', 'really ', 'truly ', 'simply ', 'quite ']
def good(): w = pick(GOOD); return w if w[:2] == 'a ' or w.startswith('better') else pick(VERY) + w
def bad(): w = pick(BAD); return w if w[:2] == 'a ' or w.startswith('worse') else pick(VERY) + w

def sentence(label):
    kind = pick(sorted(THINGS)); parts, verbs = THINGS[kind]; a = pick(parts); b = pick([p for p in parts if p != a])
    mine, other = (good, bad) if label else (bad, good)
    adjective = pick([w for w in (GOOD if label else BAD) if ' ' not in w])
    forms = [
        lambda: f'{a} was {mine()} and {b} was {mine()}.',
        lambda: f'{a} of this {kind} was {mine()}.',
        lambda: f'{a} was {other()}, but {b} was {mine()}, and that is what counts.',
        lambda: f'i did not find {a} {pick([w for w in (BAD if label else GOOD) if " " not in w])} at all; {b} was {mine()}.',
        lambda: f'what {"an" if adjective[0] in "aeiou" else "a"} {adjective} {kind}!',
        lambda: (f'i would {pick(verbs)} this {kind} again, {a} alone is worth it.' if label else f'i would never {pick(verbs)} this {kind} again, {a} ruined it.'),
        lambda: f'although {a} was {other()}, the {kind} as a whole was {mine()}.',
        lambda: f'{pick(["my friends", "my parents", "the critics", "most people"])} called it {other()}; i say {a} was {mine()}.',
        lambda: (f'nothing about {a} was {bad()}, and {b} was {good()}.' if label else f'nothing about {a} was {good()}, and {b} was {bad()}.')]
    return pick(forms)()

def main(folder):
    seen = set()
    for name, count in (('train', 4000), ('test', 1000)):
        lines = []
        while len(lines) < count:
            label = len(lines) % 2
            text = sentence(label)
            if text not in seen:
                seen.add(text)
                lines.append(f'{text}\t{label}\n')
        with open(os.path.join(folder, name + '.tsv'), 'w', encoding='utf-8', newline='\n') as f:
            f.write('text\tlabel\n' + ''.join(lines))
if __name__ == '__main__': main(sys.argv[1])
