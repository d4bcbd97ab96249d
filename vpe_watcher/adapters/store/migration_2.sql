-- From version 1 to 2: series of slices, cases split from one folder, and what is left in place.

ALTER TABLE cases ADD COLUMN hold TEXT;
ALTER TABLE cases ADD COLUMN hold_retries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cases ADD COLUMN split_of TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN late_for TEXT NOT NULL DEFAULT '';
CREATE INDEX cases_by_folder ON cases (split_of) WHERE split_of <> '';
ALTER TABLE roots ADD COLUMN mount TEXT NOT NULL DEFAULT '';
ALTER TABLE inputs ADD COLUMN series_uid TEXT NOT NULL DEFAULT '';

CREATE INDEX inputs_by_series ON inputs (series_uid) WHERE series_uid <> '';

CREATE TABLE slices (
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    sha256 TEXT,
    owner TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (case_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE remembered (
    root TEXT NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    case_id TEXT NOT NULL DEFAULT '',
    content TEXT,
    PRIMARY KEY (root, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX remembered_by_content ON remembered (root, content) WHERE content IS NOT NULL;
CREATE INDEX remembered_unread ON remembered (root, size) WHERE content IS NULL;
CREATE INDEX remembered_by_case ON remembered (case_id) WHERE case_id <> '';
