#!/usr/bin/env python3
"""The reports of tools/plot in Chromium, at a desktop's and a phone's width, light and dark: nothing is wider than the page, no
column is cut, texts and pictures are there and stand out from the paper, and the console stays empty.
usage: browser.py PROGRAM MPIEXEC RANKS TEST_DATA [FOLDER]   FOLDER: keeps the screenshots there"""
import base64, json, os, select, shutil, subprocess, sys, tempfile, time
from support import DATA, Folder, check, finish, run
try:
    import h5py, matplotlib
except ImportError as error:
    print(f'skipped: {error.name} is missing'); sys.exit(77)
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
if not CHROMIUM: print('skipped: chromium is missing'); sys.exit(77)
PLOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'tools', 'plot')
KEPT = sys.argv[5] if len(sys.argv) > 5 else None

class Browser:
    """Chromium by its debugging protocol on a pair of pipes: JSON messages that end with a zero byte."""
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix='tangram-browser-')
        to, ours = os.pipe(); theirs, out = os.pipe()
        # The protocol is read from descriptor 3 and written to descriptor 4.
        command = [CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--no-first-run',
            f'--user-data-dir={self.profile}', '--remote-debugging-pipe', 'about:blank']
        self.process = subprocess.Popen(['bash', '-c', f'exec "$@" 3<&{to} 4>&{out}', 'bash', *command], pass_fds=(to, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to); os.close(out)
        self.to, self.out, self.buffer, self.count, self.events = ours, theirs, b'', 0, []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'): self.call(domain + '.enable')
    def message(self, seconds):
        end = time.monotonic() + seconds
        while b'\0' not in self.buffer:
            if not select.select([self.out], [], [], max(0, end - time.monotonic()))[0]: raise RuntimeError('Chromium does not answer')
            part = os.read(self.out, 1 << 20)
            if not part: raise RuntimeError('Chromium has ended')
            self.buffer += part
        text, self.buffer = self.buffer.split(b'\0', 1)
        return json.loads(text)
    def call(self, method, **parameters):
        self.count += 1
        request = {'id': self.count, 'method': method, 'params': parameters, **({'sessionId': self.session} if hasattr(self, 'session') else {})}
        os.write(self.to, json.dumps(request).encode() + b'\0')
        while True:
            answer = self.message(60)
            if answer.get('id') == self.count:
                if 'error' in answer: raise RuntimeError(f'{method}: {answer["error"]}')
                return answer['result']
            self.events.append(answer)
    def evaluate(self, script):
        return self.call('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)['result'].get('value')
    def open(self, path, width, scheme):
        self.events = []
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
        self.call('Page.navigate', url='file://' + path)
        self.evaluate('new Promise(done => document.readyState == "complete" ? done() : addEventListener("load", () => done()))')
    def complaints(self):
        """What went to the console, and whatever was fetched but the page itself."""
        said = [e['params'] for e in self.events if e['method'] in ('Runtime.consoleAPICalled', 'Runtime.exceptionThrown', 'Log.entryAdded')]
        asked = [e['params']['request']['url'] for e in self.events if e['method'] == 'Network.requestWillBeSent']
        return said + [url for url in asked if not url.startswith(('data:', 'about:'))][1:]
    def screenshot(self, file):
        size = self.call('Page.getLayoutMetrics')['cssContentSize']
        picture = self.call('Page.captureScreenshot', captureBeyondViewport=True, clip={'x': 0, 'y': 0, 'width': size['width'], 'height': size['height'], 'scale': 1})
        with open(file, 'wb') as f: f.write(base64.b64decode(picture['data']))
    def close(self):
        try: self.call('Browser.close')
        except (RuntimeError, OSError): pass
        try: self.process.wait(20)
        except subprocess.TimeoutExpired: self.process.kill(); self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

# Widths in CSS pixels; contrast as WCAG 2 defines it, 1 to 21.
LOOK = r'''(() => {
  const light = color => { const part = color.match(/[\d.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2]; };
  const contrast = (a, b) => { const [low, high] = [light(a), light(b)].sort((x, y) => x - y); return (high + 0.05) / (low + 0.05); };
  const paper = getComputedStyle(document.body).backgroundColor;
  const box = e => e.getBoundingClientRect();
  const name = e => e.tagName + (e.id ? '#' + e.id : '') + ': ' + e.textContent.trim().slice(0, 40);
  const all = [...document.querySelectorAll('body *:not(svg *)')];
  const texts = all.filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) && !e.closest('details:not([open]) > :not(summary)'));
  // Of rows that stand below each other the cells have the columns' titles.
  const titles = e => e.closest('table').querySelectorAll('td');
  const stacked = e => e.closest('thead') && getComputedStyle(e.closest('thead')).display == 'none' &&
    [...titles(e)].every(cell => getComputedStyle(cell, '::before').content.length > 2);
  return {
    page: [document.documentElement.scrollWidth, innerWidth],
    wide: all.filter(e => box(e).right > innerWidth + 1 && !e.closest('.table, pre')).map(name),
    cut: [...document.querySelectorAll('.table')].filter(e => e.scrollWidth > e.clientWidth + 1).map(name),
    pale: texts.filter(e => contrast(getComputedStyle(e).color, paper) < 4.5).map(name),
    unseen: texts.filter(e => (box(e).width < 1 || box(e).height < 1) && !stacked(e)).map(name),
    small: texts.filter(e => parseFloat(getComputedStyle(e).fontSize) < 12 && !e.closest('sub, sup')).map(name),
    figures: [...document.querySelectorAll('figure svg')].map(e => [e.closest('figure').id, box(e).width, box(e).height, e.querySelectorAll('path, use').length]),
    ink: [...document.querySelectorAll('figure svg')].map(e => contrast(getComputedStyle(e.querySelector('[id*="text_"] g, [id*="text_"] use, [id*="text_"] path')).fill, paper)),
    paper: light(paper), words: document.body.innerText.length };
})()'''

f = Folder()
f.write('study.toml', f.study(data__samples='96', data__test='"test.tsv"', data__test_samples='40', rates__sizes='[24, 48, 72, 96]', rates__repeats='2', rates__neighbours='8', kernel__groups='"kind"', finetune__steps='4'))
def made(*words):
    code, out, err = run(*words)
    if code != 0: print(err)
    return code == 0
check('a study', made('run', f.at('study.toml')) and made('spectrum', f.at('study.toml'), '--groups', 'mlp'))
check('a scale study', all(made('run', f.at('study.toml'), '--set', f'data.samples={n}', '--set', 'kernel.groups=none', '--set', f'output.path=m{n}.h5') for n in (40, 60)) and made('merge', f.at('merged.h5'), f.at('m40.h5'), f.at('m60.h5')))
code, out, err = run('run', os.path.join(DATA, '..', '..', 'jobs', 'studies', 'two_tasks.toml'), '--set', 'kernel.parameters=norm', '--set', 'rates.repeats=1', '--set', f'output.path={f.at("tasks.h5")}')
check('two tasks', code == 0, err[-500:])
reports = {name: f.at(name + '-report') for name in ('one', 'tasks', 'merged', 'several')}
for name, files in (('one', ['out.h5']), ('tasks', ['tasks.h5']), ('merged', ['merged.h5']), ('several', ['m40.h5', 'm60.h5', 'out.h5'])):
    p = subprocess.run([sys.executable, PLOT, *map(f.at, files), '--output', reports[name]], capture_output=True, text=True, timeout=300)
    check(f'{name}: a report', p.returncode == 0, p.stderr)
browser = Browser()
for name, folder in reports.items():
    for width in (1280, 390):
        for scheme in ('light', 'dark'):
            at = f'{name}, {width}, {scheme}'
            browser.open(os.path.join(folder, 'report.html'), width, scheme)
            seen = browser.evaluate(LOOK)
            check(f'{at}: nothing wider than the page', seen['page'][0] <= seen['page'][1] == width and not seen['wide'], (seen['page'], seen['wide'][:5]))
            check(f'{at}: no column is cut', not seen['cut'], seen['cut'])
            check(f'{at}: texts are there and can be read', seen['words'] > 400 and not seen['pale'] and not seen['unseen'] and not seen['small'], [seen[k][:5] for k in ('pale', 'unseen', 'small')])
            check(f'{at}: pictures are there, and so is their ink', seen['figures'] and all(w >= 280 and h >= 90 and count > 5 for _, w, h, count in seen['figures']) and min(seen['ink']) >= 4.5, (seen['figures'], seen['ink']))
            check(f'{at}: its colours', (seen['paper'] > 0.8) == (scheme == 'light'), seen['paper'])
            check(f'{at}: the console is empty, nothing is fetched', not browser.complaints(), browser.complaints()[:3])
            if KEPT: browser.screenshot(os.path.join(KEPT, f'{name}-{width}-{scheme}.png'))
browser.close(); f.remove(); finish()
