-- What the destination held before the first copy of a chain was made.
CREATE TABLE chain (
  batch_id INTEGER NOT NULL REFERENCES batch (id),
  key BLOB NOT NULL,                    -- destination key
  entries INTEGER,                      -- null where the key is reserved and not looked at yet
  newest TEXT,                          -- version id
  PRIMARY KEY (batch_id, key)
) WITHOUT ROWID;
CREATE INDEX chain_key ON chain (key);

-- How far a version is on its way to the destination.
CREATE TABLE step (
  batch_id INTEGER NOT NULL REFERENCES batch (id),
  key BLOB NOT NULL,                    -- source key
  version_id TEXT NOT NULL,
  copied_version_id TEXT,               -- null while it is uploaded
  copied_etag TEXT,
  upload_id TEXT,
  part_bytes INTEGER,
  PRIMARY KEY (batch_id, key, version_id)
) WITHOUT ROWID;
