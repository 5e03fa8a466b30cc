// Shows what /events tells. Everything from the server is text: it is only ever put where text goes.
"use strict";

const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const count = (n) => (n === null || n === undefined ? "–" : whole.format(n));
const percent = (share, digits = 0) => `${(share * 100).toFixed(digits)}%`;

function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let unit = 0;
  let value = n;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return `${minutes} min ${s % 60} s`;
  return `${s} s`;
}

function clock(ms) {
  const at = new Date(ms);
  const time = at.toLocaleTimeString("en-GB");
  const day = at.toLocaleDateString("en-CA");
  return day === new Date().toLocaleDateString("en-CA") ? time : `${day} ${time}`;
}

// Changes a text only where it differs: a selection stays, and nothing is read out again.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(name, text, className) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

let last = null; // The snapshot that is shown.
let offset = 0; // What the server's clock is ahead of this one, in milliseconds.
let isConnected = false;
let chosen = -1; // The range that is looked at.
const FEW = 10; // Failures that are shown before somebody asks for more.

const STATES = {
  starting: ["Starting", "wait"],
  planning: ["Planning", "good"],
  confirming: ["Waiting for an answer on the terminal", "wait"],
  running: ["Running", "good"],
  stopping: ["Stopping", "wait"],
};
const ENDINGS = {
  0: "Everything is done.",
  1: "Done, but some versions failed or were skipped.",
  2: "The command line, the job or the bucket was refused.",
  65: "The checkpoint was refused.",
  70: "A bug of the program: please report it.",
  73: "Another run of this job holds the lock.",
  74: "The local disk or another local resource failed.",
  75: "Interrupted: the same command goes on from here.",
  76: "Something happened that must not: the run ended at once.",
  77: "Credentials or permissions are missing.",
  78: "A budget or the deadline was reached.",
};

function badge(text, tone) {
  say($("state"), text);
  $("state").dataset.tone = tone;
}

function showState(s) {
  if (s.ending) {
    const good = s.ending.exit_code === 0;
    const tone = good ? "good" : s.ending.exit_code === 1 || s.ending.exit_code === 75 || s.ending.exit_code === 78 ? "wait" : "bad";
    badge(`Ended: ${s.ending.word.replaceAll("-", " ")}`, tone);
    $("ending").hidden = false;
    $("ending").dataset.tone = tone;
    say($("ending-title"), ENDINGS[s.ending.exit_code] || "It has ended.");
    say($("ending-text"), `${s.ending.message ? `${s.ending.message}. ` : ""}Exit code ${s.ending.exit_code}.`);
    say($("reason"), "");
    return;
  }
  $("ending").hidden = true;
  const [text, tone] = STATES[s.state] || [s.state, "wait"];
  if (s.is_paused) badge("Paused by an operator", "wait");
  else badge(text, tone);
  const notes = [];
  if (s.reason) notes.push(s.reason);
  if (s.is_paused) notes.push("no request leaves; deadline and budget go on");
  else if (s.listing_waits) notes.push("listing waits for deletions to catch up");
  say($("reason"), notes.join("; "));
}

function showHead(s) {
  const c = s.counts;
  const settled = c.done + c.gone + c.failed + c.skipped;
  const executes = s.about.command !== "plan";
  if (executes && c.planned > 0) {
    say($("headline-figure"), count(settled));
    say($("headline-text"), `of ${count(c.planned)} planned versions settled${s.is_listed ? "" : ", listing goes on"}`);
  } else {
    say($("headline-figure"), count(c.listed));
    say($("headline-text"), `versions listed${s.is_listed ? "" : " so far"}`);
  }
  const share = s.share_done;
  const bar = $("bar");
  bar.classList.toggle("unknown", share === null && !s.ending);
  $("bar-fill").style.width = share === null ? "0" : percent(share, 2);
  if (share === null) {
    bar.removeAttribute("aria-valuenow");
    bar.setAttribute("aria-valuetext", "not known yet");
  } else {
    bar.setAttribute("aria-valuenow", Math.floor(share * 100));
    bar.setAttribute("aria-valuetext", `about ${percent(share)}`);
  }
  const e = s.estimate;
  if (e.kind === "left") {
    say($("estimate"), e.seconds === 0 ? "any moment" : `in about ${span(e.seconds)}`);
    say($("estimate-how"), `judged by ${e.how}`);
  } else {
    say($("estimate"), s.ending ? "–" : "unknown");
    say($("estimate-how"), s.ending ? "" : e.why);
  }
  $("deadline-box").hidden = s.deadline_ms === null;
  if (s.deadline_ms !== null) say($("deadline"), clock(s.deadline_ms - offset));
  const b = s.budget;
  $("budget-box").hidden = b.versions === null && b.bytes === null;
  const left = [];
  const of = [];
  if (b.versions !== null) { left.push(`${count(b.versions)} versions`); of.push(count(b.versions_max)); }
  if (b.bytes !== null) { left.push(bytes(b.bytes)); of.push(bytes(b.bytes_max)); }
  say($("budget"), left.join(", "));
  say($("budget-of"), `of ${of.join(", ")}`);
  const part = share === null ? "" : `${percent(share)} · `;
  const word = s.ending ? "ended · " : s.is_paused ? "paused · " : part;
  document.title = `${word}${s.about.job} · s3sweep`;
}

// Seconds pass between two snapshots.
function showTimes() {
  if (!last) return;
  const now = last.ending || !isConnected ? last.now_ms : Date.now() + offset;
  say($("elapsed"), last.began_ms === null ? "–" : span((now - last.began_ms) / 1000));
  if (last.deadline_ms !== null) say($("deadline-left"), `in ${span((last.deadline_ms - now) / 1000)}`);
}

function pairs(list, rows) {
  rows = rows.filter((row) => row[1] !== null);
  while (list.children.length > rows.length) list.lastChild.remove();
  rows.forEach(([name, value, alarm], at) => {
    let box = list.children[at];
    if (!box) {
      box = make("div");
      box.append(make("dt"), make("dd"));
      list.append(box);
    }
    say(box.children[0], name);
    say(box.children[1], value);
    box.classList.toggle("alarm", Boolean(alarm));
  });
}

function showCounts(s) {
  const c = s.counts;
  const executes = s.about.command !== "plan";
  const when = (holds, text) => (holds ? text : null);
  pairs($("counts"), [
    ["Listed", count(c.listed)],
    ["Kept", count(c.kept)],
    ["Planned", count(c.planned)],
    ["Planned bytes", bytes(c.planned_bytes)],
    ["Done", when(executes, count(c.done))],
    ["Gone already", when(executes, count(c.gone))],
    ["Failed", when(executes, count(c.failed)), c.failed > 0],
    ["Skipped", when(executes, count(c.skipped)), c.skipped > 0],
    ["Pending", when(executes, count(c.pending))],
    ["In flight", when(executes, count(c.in_flight))],
    ["Freed", when(executes, bytes(c.freed_bytes))],
    ["Copied or moved", when(executes && c.moved_bytes > 0, bytes(c.moved_bytes))],
  ]);
}

const SVG = "http://www.w3.org/2000/svg";
function spark(svg, points) {
  const [width, height] = [300, 48];
  const top = Math.max(1, ...points);
  const x = (at) => width - (points.length - 1 - at) * (width / 59);
  const y = (value) => height - 2 - (value / top) * (height - 6);
  let [area, line] = svg.children;
  if (!line) {
    area = document.createElementNS(SVG, "path");
    line = document.createElementNS(SVG, "path");
    area.setAttribute("class", "area");
    line.setAttribute("class", "line");
    svg.append(area, line);
  }
  const path = points.map((value, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  line.setAttribute("d", points.length > 1 ? path : "");
  area.setAttribute("d", points.length > 1 ? `${path}L${width} ${height}L${x(0).toFixed(1)} ${height}Z` : "");
}

function showSpeed(s) {
  say($("rate-listed"), count(s.rates.listed_per_second));
  say($("rate-settled"), count(s.rates.settled_per_second));
  spark($("spark-listed"), s.rates.listed_history);
  spark($("spark-settled"), s.rates.settled_history);
  const minutes = Math.round((s.rates.listed_history.length * s.rates.history_step_seconds) / 6) / 10;
  for (const [id, what, points] of [["spark-listed", "listed", s.rates.listed_history], ["spark-settled", "settled", s.rates.settled_history]]) {
    $(id).setAttribute("aria-label", points.length < 2 ? `Versions ${what} a second: too early to draw`
      : `Versions ${what} a second over the last ${minutes} minutes, at most ${count(Math.max(...points))}`);
  }
  const p = s.pace;
  const executes = s.about.command !== "plan";
  const lowered = p.ceiling_per_second !== p.job_ceiling_per_second;
  const ceiling = p.ceiling_per_second === null ? "none" : `${count(p.ceiling_per_second)}/s`;
  const own = p.job_ceiling_per_second === null ? "none" : `${count(p.job_ceiling_per_second)}/s`;
  // Before the server refuses anything the pace only grows, and says nothing of the server.
  const pace = p.versions_per_second === null ? "not looked for" : p.limit_is_met ? `${count(p.versions_per_second)}/s` : "limit not met";
  pairs($("pace"), s.run_id === null ? [] : [
    ["The server grants", executes ? pace : null],
    ["Pages it grants", p.listings_per_second === null ? null : `${count(p.listings_per_second)}/s`],
    [lowered ? "Ceiling, lowered" : "Ceiling of the job", executes ? ceiling : null],
    ["The job's own ceiling", executes && lowered ? own : null],
    ["Throttled", executes ? count(p.throttled) : null, p.throttled_share > 0.02],
    ["Throttled share", executes ? percent(p.throttled_share, 1) : null, p.throttled_share > 0.02],
  ]);
}

// The width of a range is what is listed of it and what is believed to be left; where nobody knows, the
// range is hatched and its width says nothing.
function showSpace(s) {
  const strip = $("strip");
  const rows = s.ranges;
  while (strip.children.length > rows.length) strip.lastChild.remove();
  while (strip.children.length < rows.length) {
    const cell = make("div", undefined, "cell");
    cell.id = `range-${strip.children.length}`;
    cell.setAttribute("role", "option");
    cell.append(make("i"), make("i"));
    strip.append(cell);
  }
  strip.classList.toggle("dense", rows.length > 60);
  const sizes = rows.map((row) => row.listed + (row.to_list || 0));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const executes = s.about.command !== "plan";
  rows.forEach((row, at) => {
    const cell = strip.children[at];
    const unsized = row.to_list === null;
    const stub = unsized ? Math.max(total, 1) / Math.max(20, rows.length) : 0;
    const size = Math.max(sizes[at] + stub, total / 2000, 1);
    cell.style.flexGrow = String(size);
    cell.className = `cell ${row.state}${unsized ? " unsized" : ""}`;
    const listed = row.state === "done" ? 1 : row.listed / size;
    const settled = executes && row.planned > 0 ? row.settled / row.planned : executes && row.state === "done" ? 1 : 0;
    cell.children[0].style.setProperty("--to", percent(Math.min(1, listed), 2));
    cell.children[1].style.setProperty("--to", percent(Math.min(listed, settled * listed), 2));
    cell.setAttribute("aria-label", describe(row, executes).join(" "));
  });
  say($("first-key"), rows.length ? rows[0].from || "first key" : "");
  say($("last-key"), rows.length ? rows[rows.length - 1].to || "last key" : "");
  const open = rows.filter((row) => row.to_list === null).length;
  const ranges = rows.reduce((sum, row) => sum + row.ranges, 0);
  const parts = [`${count(ranges)} ${ranges === 1 ? "range" : "ranges"}${ranges > rows.length ? `, neighbours drawn together as ${rows.length}` : ""}.`];
  if (rows.length) parts.push(s.is_listed ? "Widths are listed versions." : "Widths are listed versions and an estimate of what is left.");
  if (open) parts.push(`Hatched: ${open === 1 ? "one" : open} of unknown size.`);
  say($("space-note"), rows.length ? parts.join(" ") : "Nothing is listed yet.");
  choose(Math.min(chosen, rows.length - 1));
}

function describe(row, executes) {
  const word = { done: "listed to its end", open: "being listed", waiting: "not begun" }[row.state];
  const parts = [`${row.from === "" ? "From the first key" : `Behind ${row.from}`} ${row.to === null ? "to the last key" : `up to ${row.to}`}:`];
  parts.push(`${word}${row.ranges > 1 ? ` (${row.ranges} ranges)` : ""}, ${count(row.listed)} listed`);
  if (row.state !== "done") parts.push(row.to_list === null ? "(how many are left is unknown)" : `(about ${count(row.to_list)} left)`);
  const settled = executes && row.planned > 0 ? `, ${count(row.settled)} of them settled` : "";
  parts.push(`\u2013 ${row.planned === 0 ? "nothing planned" : `${count(row.planned)} planned${settled}`}.`);
  return parts;
}

function choose(at) {
  const strip = $("strip");
  chosen = at;
  for (const cell of strip.children) cell.setAttribute("aria-selected", "false");
  const cell = strip.children[at];
  const box = $("range");
  if (!cell || !last) {
    strip.removeAttribute("aria-activedescendant");
    if (!box.dataset.empty) { box.replaceChildren("Point at a range, touch it, or go through them with the arrow keys."); box.dataset.empty = "yes"; }
    return;
  }
  delete box.dataset.empty;
  cell.setAttribute("aria-selected", "true");
  strip.setAttribute("aria-activedescendant", cell.id);
  const row = last.ranges[at];
  const [, ...rest] = describe(row, last.about.command !== "plan");
  const nodes = [row.from === "" ? "From the first key " : "Behind ", row.from === "" ? "" : make("code", row.from),
    row.to === null ? " to the last key: " : " up to ", row.to === null ? "" : make("code", row.to), row.to === null ? "" : ": ", rest.join(" ")];
  if (row.at !== null) nodes.push(" Listing is at ", make("code", row.at), ".");
  box.replaceChildren(...nodes.filter((node) => node !== ""));
}

function cells(body, rows) {
  const key = JSON.stringify(rows);
  if (body.dataset.key === key) return;
  body.dataset.key = key;
  body.replaceChildren(...rows.map((row) => {
    const line = make("tr");
    line.setAttribute("role", "row");
    line.append(...row.map(([label, value, kind]) => {
      const cell = make("td");
      cell.setAttribute("role", "cell");
      cell.dataset.label = label;
      for (const name of (kind || "").split(" ").filter(Boolean)) if (name !== "code") cell.classList.add(name);
      cell.append((kind || "").includes("code") ? make("code", value) : value);
      return cell;
    }));
    return line;
  }));
}

function showTables(s) {
  const executes = s.about.command !== "plan";
  cells($("rules"), s.rules.map((rule) => [
    ["Rule", rule.name, "wide"],
    ["Action", rule.action],
    ["Kept", count(rule.kept), "n"],
    ["Planned", count(rule.planned), "n"],
    ["Size", bytes(rule.planned_bytes), "n"],
    ["Done", executes ? count(rule.done) : "–", "n"],
    ["Gone", executes ? count(rule.gone) : "–", "n"],
    ["Failed", executes ? count(rule.failed) : "–", rule.failed > 0 ? "n alarm" : "n"],
    ["Skipped", executes ? count(rule.skipped) : "–", "n"],
  ]));
  $("errors-table").hidden = s.errors.length === 0;
  $("no-errors").hidden = s.errors.length > 0;
  cells($("errors"), s.errors.map((error) => [["Code", error.code, "code"], ["Failed requests", count(error.attempts), "n"], ["Versions failed", count(error.failed), error.failed > 0 ? "n alarm" : "n"]]));
  $("failures-table").hidden = s.failures.length === 0;
  $("no-failures").hidden = s.failures.length > 0;
  const more = $("more");
  more.hidden = s.failures.length <= FEW;
  const all = more.getAttribute("aria-expanded") === "true";
  say(more, all ? `Show the latest ${FEW}` : `Show all ${s.failures.length} that are kept`);
  const plain = (text) => text.replace(/[^A-Za-z0-9]/g, "").toLowerCase();
  const why = (failure) => (failure.message === "" || plain(failure.message) === plain(failure.code) ? failure.code : `${failure.code}: ${failure.message}`);
  cells($("failures"), s.failures.slice(0, all ? undefined : FEW).map((failure) => [
    ["At", clock(failure.at_ms - offset)],
    ["Key", failure.key, "wide code"],
    ["Version id", failure.version_id, "wide code"],
    ["Rule", failure.rule],
    ["Code", why(failure), "wide"],
  ]));
}

function showAbout(s) {
  say($("job"), s.about.job);
  say($("where"), `${s.about.command} on bucket ${s.about.bucket}, ${s.about.endpoint === "aws" ? "AWS" : s.about.endpoint}`);
  pairs($("about"), [
    ["Run", s.run_id],
    ["Began", s.began_ms === null ? null : clock(s.began_ms - offset)],
    ["Listing", s.is_listed ? "is complete" : s.run_id === null ? "has not begun" : "goes on"],
    ["Waiting for their key's end", s.run_id === null ? null : count(s.counts.undecided)],
    ["Checkpoint", s.run_id === null ? null : `${bytes(s.checkpoint_bytes[0])}, log ${bytes(s.checkpoint_bytes[1])}`],
  ]);
  say($("program"), `s3sweep ${s.about.version}`);
}

function show(s) {
  last = s;
  if (s.now_ms > 0) offset = s.now_ms - Date.now();
  showAbout(s);
  showState(s);
  showHead(s);
  showTimes();
  showSpace(s);
  showCounts(s);
  showSpeed(s);
  showTables(s);
  showSteer(s);
}

// Listening.
let source = null;
let again = 0;
function lost(text) {
  isConnected = false;
  if (last && last.ending) return;
  badge(text, "quiet");
  $("steer").hidden = true;
  say($("reason"), last ? `figures are of ${clock(last.now_ms - offset)}; where the run has ended, s3sweep status ${last.about.job} tells how` : "");
  say($("link"), "not connected");
}
function listen() {
  source = new EventSource("/events");
  source.addEventListener("snapshot", (event) => { isConnected = true; say($("link"), "live"); show(JSON.parse(event.data)); });
  source.addEventListener("end", (event) => {
    source.close();
    show(JSON.parse(event.data));
    say($("link"), "the run has ended; these are its last figures");
    lockUp("");
  });
  source.onerror = () => {
    lost("Connection lost");
    if (source.readyState === EventSource.CLOSED) {
      clearTimeout(again);
      again = setTimeout(listen, 5000);
    }
  };
}

// Steering. The token lives in this variable only.
let token = null;
function showSteer(s) {
  $("steer").hidden = !s.about.has_control || !["planning", "confirming", "running"].includes(s.state);
  const pause = $("pause");
  say(pause, s.is_paused ? "Resume" : "Pause");
  pause.dataset.action = s.is_paused ? "resume" : "pause";
  const own = s.pace.job_ceiling_per_second;
  if (own !== null) $("ceiling").max = own;
  $("restore").disabled = s.pace.ceiling_per_second === own;
}
function lockUp(text) {
  token = null;
  $("unlock").hidden = false;
  $("controls").hidden = true;
  say($("steer-said"), text);
}
async function order(body) {
  let answer;
  try {
    answer = await fetch("/control", {
      method: "POST",
      headers: { "Authorization": `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
    });
  } catch {
    say($("steer-said"), "The program does not answer.");
    return;
  }
  if (answer.status === 401) {
    lockUp("That is not the token.");
    $("token").focus();
    return;
  }
  const text = await answer.text();
  if (!answer.ok) {
    say($("steer-said"), text.trim());
    return;
  }
  const now = JSON.parse(text);
  const ceiling = now.ceiling_per_second === null ? "no ceiling" : `at most ${count(now.ceiling_per_second)} versions a second`;
  say($("steer-said"), `${now.is_paused ? "Paused" : "Not paused"}, ${ceiling}.`);
}
$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  $("token").value = "";
  $("unlock").hidden = true;
  $("controls").hidden = false;
  say($("steer-said"), "The token is looked at with the first order.");
  $("pause").focus();
});
$("pause").addEventListener("click", () => order({ action: $("pause").dataset.action || "pause" }));
$("pace-form").addEventListener("submit", (event) => {
  event.preventDefault();
  order({ action: "pace", versions_per_second: Number($("ceiling").value) });
});
$("restore").addEventListener("click", () => order({ action: "pace" }));
$("lock").addEventListener("click", () => { lockUp("The token is forgotten."); $("token").focus(); });

$("more").addEventListener("click", () => {
  $("more").setAttribute("aria-expanded", String($("more").getAttribute("aria-expanded") !== "true"));
  if (last) showTables(last);
});

// The strip: pointing, and arrow keys.
$("strip").addEventListener("pointermove", (event) => {
  const cell = event.target.closest(".cell");
  if (cell) choose([...$("strip").children].indexOf(cell));
});
$("strip").addEventListener("focus", () => { if (chosen < 0) choose(0); });
$("strip").addEventListener("keydown", (event) => {
  const end = $("strip").children.length - 1;
  const to = { ArrowRight: chosen + 1, ArrowLeft: chosen - 1, ArrowDown: chosen + 1, ArrowUp: chosen - 1, Home: 0, End: end, PageDown: chosen + 10, PageUp: chosen - 10 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  choose(Math.max(0, Math.min(end, to)));
});

setInterval(showTimes, 1000);
choose(-1);
listen();
