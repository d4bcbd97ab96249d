-- From version 2 to 3: how the last daemon stopped, and what a person must resume.

ALTER TABLE daemon ADD COLUMN is_clean INTEGER NOT NULL DEFAULT 1 CHECK (is_clean IN (0, 1));

CREATE TABLE paused (
    recipe TEXT PRIMARY KEY,
    since TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX cases_by_content ON cases (request_key, sizes_key, content_key, state);

ALTER TABLE daemon ADD COLUMN is_working INTEGER NOT NULL DEFAULT 0 CHECK (is_working IN (0, 1));
ALTER TABLE daemon ADD COLUMN deaths TEXT NOT NULL DEFAULT '[]';
ALTER TABLE cases ADD COLUMN due_step TEXT;
ALTER TABLE cases ADD COLUMN due_problem TEXT;
