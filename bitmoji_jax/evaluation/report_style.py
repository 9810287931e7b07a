"""The report's style sheet: system fonts, rules instead of boxes, light and dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fff; --ink: #1a1a1a; --quiet: #595959; --rule: #1a1a1a; --hair: #d4d4d4; --mark: #f1efe8; --link: #0b57a4;
  --c0: #0072b2; --c1: #c65300; --c2: #007a58; --c3: #a3497f; --c4: #7d6100; --c5: #4a4a4a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171a; --ink: #e4e4e2; --quiet: #a9adb2; --rule: #b9bcc0; --hair: #3b3f44; --mark: #262a2e;
    --link: #86bdf5;
    --c0: #56b4e9; --c1: #f28e4b; --c2: #3cc79c; --c3: #e09ac4; --c4: #e3d34d; --c5: #cfcfcf;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1rem 4rem; max-width: calc(1080px + 2rem);
  background: var(--page); color: var(--ink);
  font: 1rem/1.5 Charter, "Iowan Old Style", "Palatino Linotype", "Liberation Serif", Georgia, serif;
  overflow-wrap: break-word;
}
h1, h2, h3, h4, h5 { line-height: 1.25; text-wrap: balance; break-after: avoid; }
h1 { margin: 0 0 .5rem; font-size: 1.9rem; }
h2 { margin: 3.5rem 0 .5rem; font-size: 1.4rem; }
h3 { margin: 2.5rem 0 .5rem; font-size: 1.15rem; }
h4 { margin: 2rem 0 .25rem; font-size: 1rem; }
h5 { margin: 1.5rem 0 .25rem; font-size: 1rem; font-style: italic; font-weight: normal; }
p, dl, figcaption { max-width: 44rem; }
p { margin: .5rem 0; }
a { color: var(--link); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.quiet, small { color: var(--quiet); }
small, .quiet { font-size: .85rem; font-weight: normal; }
.notice { padding-left: .75rem; border-left: 3px solid var(--rule); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0; padding: 0; list-style: none; }
table, nav, dl, .strip, .legend, svg text, small { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
code { font: .85em ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 1rem 0; font-size: .9rem; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }

.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
table { border-top: 2px solid var(--rule); border-bottom: 2px solid var(--rule); }
caption span { display: block; max-width: min(44rem, 100vw - 2rem); }
caption { padding: 0 0 .4rem; text-align: left; font-size: .9rem; font-weight: 600; }
th, td { padding: .4rem .9rem .4rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; }
thead th { border-bottom: 1px solid var(--rule); vertical-align: bottom; }
th { overflow-wrap: normal; }
th.name { min-width: 8rem; max-width: 16rem; overflow-wrap: anywhere; }
tbody tr + tr > * { border-top: 1px solid var(--hair); }
td { white-space: nowrap; }
td small, th small { display: block; white-space: normal; }
td small { max-width: 13rem; }
.scores tbody th { min-width: 13rem; max-width: 25rem; }
td:last-child, th:last-child { padding-right: .25rem; }
.best { font-weight: 700; }
td .tag { margin-left: .35rem; }
.tag {
  padding: 0 .35rem; border: 1px solid currentColor; border-radius: .2rem;
  font-size: .72rem; font-weight: 600; white-space: nowrap;
}
.tag.plain { color: var(--quiet); font-weight: normal; }
.tables { display: flex; flex-wrap: wrap; gap: 0 3.5rem; align-items: flex-start; }
.tables > .scroll { max-width: 100%; }

figure { margin: 1rem 0 1.5rem; break-inside: avoid; }
figcaption { margin-bottom: .4rem; }
img { display: block; max-width: none; background: var(--mark); }
img.pixels { image-rendering: pixelated; }
.strip { display: flex; flex-wrap: wrap; gap: .6rem 8px; margin: 0; padding: 0; list-style: none; }
.strip { font-size: .8rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.strip li { break-inside: avoid; }
.strip small { float: right; font-size: inherit; }
.rows { overflow-x: auto; }
.rows .strip { flex-wrap: nowrap; width: max-content; }
.rows p { position: sticky; left: 0; margin: .5rem 0 .2rem; max-width: min(44rem, 100%); font-size: .9rem; }
.thirds { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 0 1.5rem; }
.thirds .strip { max-width: 280px; }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 2rem; }
.charts figure { max-width: 34rem; }
.charts figcaption { font-weight: 600; }
.charts fig.charts svg { display: block; width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: 0; padding: 0; list-style: none; font-size: .85rem; }
.legend svg { display: inline-block; width: 2rem; height: .6rem; margin-right: .35rem; vertical-align: middle; }
svg text { fill: var(--quiet); font-size: 12px; }
.grid { stroke: var(--hair); }
.axis { stroke: var(--quiet); }
.line { fill: none; stroke-width: 1.75; stroke-linejoin: round; stroke-linecap: round; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); }
.c3 { stroke: var(--c3); } .c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); }

@media (max-width: 480px) {
  body { padding-top: 1.25rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .4rem; }
  .scores tbody th { min-width: 9rem; max-width: 9rem; overflow-wrap: anywhere; }
  svg text { font-size: 15px; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .scroll, .rows { overflow: visible; }
  .rows img { width: 76px; height: 76px; }
  table { font-size: 8pt; }
  table small, table .quiet, .tag { font-size: 7pt; }
  td { white-space: normal; }
  th.name, .scores tbody th { min-width: 0; }
  tr { break-inside: avoid; }
  img, .line { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
