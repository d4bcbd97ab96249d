-- From version 3 to 4: what people are to be told.

CREATE TABLE notices (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    notice_id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    is_urgent INTEGER NOT NULL DEFAULT 0 CHECK (is_urgent IN (0, 1)),
    is_begun INTEGER NOT NULL DEFAULT 0 CHECK (is_begun IN (0, 1)),
    count INTEGER NOT NULL DEFAULT 1,
    time TEXT NOT NULL,
    facts TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX one_notice_a_key ON notices (key) WHERE is_begun = 0;

CREATE TABLE notices_told (
    seq INTEGER NOT NULL REFERENCES notices (seq) ON DELETE CASCADE,
    target TEXT NOT NULL,
    PRIMARY KEY (seq, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE told (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
