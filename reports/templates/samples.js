"use strict";
// The sample browser. A model's text enters through textContent only.
(() => {
  const PAGE = 20, LONGEST_DIFF = 600;
  const data = JSON.parse(document.getElementById("samples-data").textContent);
  const $ = id => document.getElementById(id);
  const at = new Map();   // "setting prompt seed" -> row
  const seeds = [...new Set(data.rows.map(row => row[2]))].sort((a, b) => a - b);
  for (const row of data.rows) at.set(`${row[0]} ${row[1]} ${row[2]}`, row);
  let page = 0;

  const visible = text => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g,
    c => String.fromCodePoint(c === "\u007f" ? 0x2421 : 0x2400 + c.charCodeAt(0)));
  const node = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = visible(String(text));
    return made;
  };
  const option = (value, text) => { const made = node("option", "", text); made.value = value; return made; };
  const clip = (text, n) => text.length > n ? text.slice(0, n) + "…" : text;
  const number = value => value === null ? "–" : value.toFixed(2).replace("-", "−");

  data.settings.forEach((setting, i) => {
    $("left").append(option(i, setting.label));
    $("right").append(option(i, setting.label));
  });
  $("left").value = data.first;
  $("right").value = data.second;
  $("prompt").append(option("", "all"));
  data.prompts.forEach(([split, index, text], i) => $("prompt").append(option(i, `${split} ${index}: ${clip(text, 60)}`)));

  function pairs() {
    const left = $("left").value, right = $("right").value, made = [];
    data.prompts.forEach((prompt, p) => {
      for (const seed of seeds) {
        const a = at.get(`${left} ${p} ${seed}`), b = at.get(`${right} ${p} ${seed}`);
        if (a && b) made.push({prompt, p, seed, a, b, gap: a[4] === null || b[4] === null ? null : b[4] - a[4]});
      }
    });
    return made;
  }

  const OUTCOMES = {
    right: pair => data.sign * pair.gap > 0,
    left: pair => pair.gap !== null && data.sign * pair.gap < 0,
    tie: pair => pair.gap === 0,
    won: pair => pair.b[5] !== null && pair.b[5] > 1.5,
    lost: pair => pair.b[5] !== null && pair.b[5] < 1.5,
  };
  const lowest = gap => gap === null ? -Infinity : gap;
  const SORTS = {
    gain: (x, y) => lowest(y.gap) - lowest(x.gap),
    loss: (x, y) => (x.gap ?? Infinity) - (y.gap ?? Infinity),
    apart: (x, y) => Math.abs(y.gap ?? 0) - Math.abs(x.gap ?? 0),
  };

  function filtered() {
    const wanted = $("search").value.trim().toLowerCase(), prompt = $("prompt").value;
    const outcome = OUTCOMES[$("outcome").value], sort = SORTS[$("sort").value];
    const kept = pairs().filter(pair =>
      (prompt === "" || pair.p === Number(prompt)) &&
      (!outcome || outcome(pair)) &&
      (!wanted || [pair.prompt[2], pair.a[3], pair.b[3]].some(text => text.toLowerCase().includes(wanted))));
    return sort ? kept.sort(sort) : kept;
  }

  // Longest common subsequence of words: true where a word is in the other text too.
  function shared(a, b) {
    const inA = a.map(() => false), inB = b.map(() => false);
    let start = 0, endA = a.length, endB = b.length;
    while (start < endA && start < endB && a[start] === b[start]) { inA[start] = inB[start] = true; start++; }
    while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) { inA[--endA] = inB[--endB] = true; }
    const n = Math.min(endA - start, LONGEST_DIFF), m = Math.min(endB - start, LONGEST_DIFF), w = m + 1;
    const best = new Uint16Array((n + 1) * w);
    for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--)
      best[i * w + j] = a[start + i] === b[start + j] ? best[(i + 1) * w + j + 1] + 1
        : Math.max(best[(i + 1) * w + j], best[i * w + j + 1]);
    for (let i = 0, j = 0; i < n && j < m;) {
      if (a[start + i] === b[start + j]) { inA[start + i++] = inB[start + j++] = true; }
      else if (best[(i + 1) * w + j] >= best[i * w + j + 1]) i++; else j++;
    }
    return [inA, inB];
  }

  function response(text, same) {
    const made = node("bdi", "response");
    made.style.display = "block";
    made.dir = "auto";
    let run = "", marked = false, seen = 0;
    const flush = () => { if (run) made.append(marked ? node("mark", "", run) : document.createTextNode(visible(run))); run = ""; };
    for (const word of text.split(/(\s+)/)) {
      const isWord = /\S/.test(word), differs = isWord ? !same[seen] : marked && same[seen] === false;
      if (isWord) seen++;
      if (differs !== marked) { flush(); marked = differs; }
      run += word;
    }
    flush();
    return made;
  }

  function factsLine(row) {
    const parts = [`${data.metric.replaceAll("_", " ")} ${number(row[4])}`];
    if (row[5] !== null) parts.push(`preference ${number(row[5])} (1 base … 2 this)`);
    parts.push(`${row[6]} tokens` + (row[7] ? `, ended by ${row[7]}` : ""));
    if (row[8] !== null) parts.push(`KL ${number(row[8])}`);
    if (row[9] !== null) parts.push(`value ${number(row[9])}`);
    return node("p", "facts-line", parts.join(" · "));
  }

  function trace(recorded) {
    const box = node("details", "trace");
    box.append(node("summary", "", "How it was decoded"));
    if (recorded.tokens && recorded.changed) {
      const changed = new Set(recorded.changed), line = node("bdi", "response");
      line.style.display = "block";
      recorded.tokens.forEach((token, t) => line.append(changed.has(t) ? node("mark", "", token) : document.createTextNode(visible(token))));
      box.append(node("p", "soft", `Marked: the token guide changed the most likely token (${changed.size} of ${recorded.tokens.length}).`), line);
    }
    for (const chunk of recorded.chunks || []) {
      const list = node("ul");
      for (const hypothesis of chunk.hypotheses || []) {
        const item = node("li", hypothesis.kept ? "" : "dropped",
          `${hypothesis.kept ? "✓ kept" : "– dropped"}, value ${number(hypothesis.value ?? null)}${hypothesis.ended ? ", ended" : ""}: `);
        const text = node("bdi", "", hypothesis.text);
        item.append(text);
        list.append(item);
      }
      box.append(node("p", "soft", `After token ${chunk.step}`), list);
    }
    return box;
  }

  function card(pair) {
    const made = node("article"), columns = node("div", "pair");
    const gap = pair.gap === null ? "" : ` · right minus left ${pair.gap > 0 ? "+" : ""}${number(pair.gap)}`;
    made.append(node("h3", "", `${pair.prompt[0]} prompt ${pair.prompt[1]} · seed ${pair.seed}${gap}`));
    const prompt = node("bdi", "prompt", pair.prompt[2]);
    prompt.style.display = "block";
    made.append(prompt, columns);
    const same = shared(...[pair.a[3], pair.b[3]].map(text => text.split(/\s+/).filter(Boolean)));
    [pair.a, pair.b].forEach((row, side) => {
      const column = node("div");
      column.append(node("h4", "", data.settings[row[0]].label), response(row[3], same[side]), factsLine(row));
      if (row[10]) column.append(trace(row[10]));
      columns.append(column);
    });
    return made;
  }

  function show() {
    const found = filtered(), last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
    page = Math.min(page, last);
    $("samples-list").replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(card));
    $("count").textContent = `${found.length} ${found.length === 1 ? "pair" : "pairs"} of responses`;
    $("where").textContent = `page ${page + 1} of ${last + 1}`;
    $("previous").disabled = page === 0;
    $("next").disabled = page === last;
  }

  for (const id of ["left", "right", "search", "prompt", "outcome", "sort"])
    $(id).addEventListener("input", () => { page = 0; show(); });
  const turn = by => () => { page += by; show(); $("samples").scrollIntoView?.(); };
  $("previous").addEventListener("click", turn(-1));
  $("next").addEventListener("click", turn(1));
  show();
})();
