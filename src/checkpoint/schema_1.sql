-- One row: what the run is and where it stands.
CREATE TABLE run (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  run_id TEXT NOT NULL,
  job_name TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  semantic_json TEXT NOT NULL,
  bucket TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  region TEXT NOT NULL,
  owner TEXT,
  rule_names TEXT NOT NULL,             -- JSON array
  mode TEXT NOT NULL CHECK (mode IN ('plan', 'stream')),
  began_ms INTEGER NOT NULL,
  audit_file TEXT,
  tool_version TEXT NOT NULL,
  versioning TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('planning', 'planned', 'running', 'stopped', 'done', 'abandoned')),
  reason TEXT,
  exit_code INTEGER,
  state_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,          -- the last page or settlement
  epoch INTEGER NOT NULL,               -- grows with each opening for writing
  clean INTEGER NOT NULL,               -- 1 where the last writer closed the file
  audit_bytes INTEGER NOT NULL          -- the audit is valid up to here
);

-- A part of the key space and how far it is listed.
CREATE TABLE range (
  id INTEGER PRIMARY KEY,
  prefix BLOB NOT NULL,
  lo BLOB,                              -- exclusive
  hi BLOB,                              -- inclusive
  cursor_key BLOB,
  cursor_version TEXT,
  state BLOB,                           -- recent version ids, the open key, the held item
  held INTEGER NOT NULL DEFAULT 0,      -- items held back: 0 or 1
  held_bytes INTEGER NOT NULL DEFAULT 0,
  next_seq INTEGER NOT NULL DEFAULT 0,
  key_seq INTEGER,
  done INTEGER NOT NULL DEFAULT 0,
  listed INTEGER NOT NULL DEFAULT 0,
  kept INTEGER NOT NULL DEFAULT 0,
  planned INTEGER NOT NULL DEFAULT 0,
  undecided INTEGER NOT NULL DEFAULT 0,
  pages INTEGER NOT NULL DEFAULT 0
);

-- Batches that are not full yet.
CREATE TABLE tail (
  range_id INTEGER NOT NULL REFERENCES range (id),
  place INTEGER NOT NULL,
  phase INTEGER NOT NULL,
  action INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  after_seq INTEGER,
  n INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  payload BLOB NOT NULL,
  PRIMARY KEY (range_id, place)
);

-- Batches without their items, so that looking for one reads little.
CREATE TABLE batch (
  id INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
  range_id INTEGER NOT NULL REFERENCES range (id),
  phase INTEGER NOT NULL,               -- 0 elders, 1 latest
  action INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  after_seq INTEGER,
  n INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  state INTEGER NOT NULL,               -- 0 ready, 1 handed out, 2 waits for its elders
  attempts INTEGER NOT NULL DEFAULT 0,
  not_before_ms INTEGER,                -- null before the first retry
  first_attempt_ms INTEGER,
  granted INTEGER NOT NULL DEFAULT 0,   -- of the first items, those that may have been sent
  epoch INTEGER NOT NULL                -- of the last change
);
CREATE INDEX batch_fresh ON batch (range_id, id) WHERE state = 0 AND not_before_ms IS NULL;
CREATE INDEX batch_due ON batch (not_before_ms, id) WHERE state = 0 AND not_before_ms IS NOT NULL;
CREATE INDEX batch_claimed ON batch (id) WHERE state = 1;
CREATE INDEX batch_blocked ON batch (range_id, after_seq) WHERE state = 2;
CREATE INDEX batch_elders ON batch (range_id, seq) WHERE phase = 0;

-- The items of the batches.
CREATE TABLE payload (
  batch_id INTEGER PRIMARY KEY REFERENCES batch (id),
  data BLOB NOT NULL
);

-- Items that failed or were skipped.
CREATE TABLE failure (
  id INTEGER PRIMARY KEY,
  range_id INTEGER NOT NULL,
  key BLOB NOT NULL,
  version_id TEXT NOT NULL,
  marker INTEGER NOT NULL,
  latest INTEGER NOT NULL,
  size INTEGER NOT NULL,
  last_modified_ms INTEGER NOT NULL,
  rule INTEGER NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('failed', 'skipped')),
  code TEXT NOT NULL,                   -- the failure's code, or the reason it was skipped for
  message TEXT NOT NULL,
  request_id TEXT,
  attempt INTEGER NOT NULL,
  at_ms INTEGER NOT NULL
);
CREATE INDEX failure_key ON failure (range_id, key);

-- What was counted. Rule is -1 where none had a say; reason is empty where there is none.
CREATE TABLE total (
  name TEXT NOT NULL,
  rule INTEGER NOT NULL,
  reason TEXT NOT NULL,
  versions INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  keys INTEGER NOT NULL,
  PRIMARY KEY (name, rule, reason)
) WITHOUT ROWID;

-- Named counters, such as requests by operation.
CREATE TABLE counter (
  name TEXT PRIMARY KEY,
  n INTEGER NOT NULL
) WITHOUT ROWID;

-- Examples of what each rule selected.
CREATE TABLE sample (
  id INTEGER PRIMARY KEY,
  rule INTEGER NOT NULL,
  key BLOB NOT NULL,
  version_id TEXT NOT NULL,
  marker INTEGER NOT NULL,
  size INTEGER NOT NULL,
  last_modified_ms INTEGER NOT NULL
);

-- Small texts of the engine.
CREATE TABLE note (
  name TEXT PRIMARY KEY,
  text TEXT NOT NULL
) WITHOUT ROWID;
