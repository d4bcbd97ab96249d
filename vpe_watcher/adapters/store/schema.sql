-- The state file, version 4. Everything after the claim is here; nothing else is the truth.
-- Times are ISO 8601 in UTC, sizes bytes, durations seconds, `*_ns` nanoseconds since 1970.

CREATE TABLE daemon (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    daemon_id TEXT NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,
    is_clean INTEGER NOT NULL DEFAULT 1 CHECK (is_clean IN (0, 1)), -- the last daemon stopped well
    -- a daemon has taken up work, and was not told to stop; when the last ones died in this
    is_working INTEGER NOT NULL DEFAULT 0 CHECK (is_working IN (0, 1)),
    deaths TEXT NOT NULL DEFAULT '[]'
) STRICT;

-- Recipes of which nothing is taken before a person says so (`recover --resume`).
CREATE TABLE paused (
    recipe TEXT PRIMARY KEY,
    since TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Folders that bear our marker, by breaker name (`inbox:default`, `outbox`, `archive`, `failed`).
CREATE TABLE roots (
    name TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    marked_at TEXT NOT NULL,
    first_scan_at TEXT,
    mount TEXT NOT NULL DEFAULT ''
) STRICT;

-- What lay in a root at its very first scan and is not wanted (`existing = "ignore"`). A row that
-- was there before that scan, with an empty sight, is what a person asked for: it is wanted.
CREATE TABLE existing (
    root TEXT NOT NULL,
    path TEXT NOT NULL,
    sight TEXT NOT NULL,
    PRIMARY KEY (root, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE cases (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    case_id TEXT NOT NULL UNIQUE,
    case_name TEXT NOT NULL,
    recipe TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN (
        'claiming', 'submitting', 'uploading', 'notifying',
        'waiting', 'fetching', 'delivering', 'archiving',
        'done', 'partial', 'duplicate', 'failed', 'held', 'cancelled')),
    verdict TEXT CHECK (verdict IN ('done', 'partial', 'duplicate', 'failed', 'cancelled')),
    folder TEXT NOT NULL,
    content TEXT NOT NULL DEFAULT '',
    sight TEXT NOT NULL DEFAULT '',
    job TEXT NOT NULL,
    job_json TEXT NOT NULL DEFAULT '[]',
    engine_version TEXT NOT NULL,
    request_key TEXT NOT NULL,
    sizes_key TEXT NOT NULL,
    content_key TEXT,
    job_id TEXT,
    paid INTEGER NOT NULL DEFAULT 0 CHECK (paid IN (0, 1)),
    generation INTEGER NOT NULL DEFAULT 1,
    retries INTEGER NOT NULL DEFAULT 0,
    is_rerun INTEGER NOT NULL DEFAULT 0,
    is_settling INTEGER NOT NULL DEFAULT 0,
    publishing INTEGER NOT NULL DEFAULT 0,
    is_noted INTEGER NOT NULL DEFAULT 0,
    first_submit_at TEXT,
    skipped TEXT NOT NULL DEFAULT '[]',
    doom TEXT,
    hold TEXT,
    hold_retries INTEGER NOT NULL DEFAULT 0,
    split_of TEXT NOT NULL DEFAULT '',
    late_for TEXT NOT NULL DEFAULT '',
    due_step TEXT,
    due_problem TEXT,
    problem TEXT,
    wait_reason TEXT,
    tally TEXT NOT NULL DEFAULT '{}',
    engine_result TEXT,
    result_status TEXT NOT NULL DEFAULT 'complete',
    duplicate_of TEXT,
    outbox TEXT,
    detected TEXT NOT NULL,
    claimed TEXT,
    submitted TEXT,
    uploaded TEXT,
    finished TEXT,
    delivered TEXT,
    updated TEXT NOT NULL,
    -- the paid edge needs a job to be paid for, except where the submit itself is the edge
    CHECK (paid = 0 OR job_id IS NOT NULL
        OR state NOT IN ('claiming', 'uploading', 'notifying', 'waiting', 'fetching')),
    CHECK (job_id IS NOT NULL OR state NOT IN ('uploading', 'notifying', 'waiting', 'fetching')),
    CHECK (verdict IS NOT NULL OR state <> 'archiving'),
    CHECK (problem IS NOT NULL OR state NOT IN ('held', 'failed'))
) STRICT;

CREATE UNIQUE INDEX one_case_a_job ON cases (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX cases_by_state ON cases (state);
CREATE INDEX cases_by_first_submit ON cases (first_submit_at) WHERE first_submit_at IS NOT NULL;
CREATE INDEX cases_with_note ON cases (case_id) WHERE is_noted = 1;
CREATE INDEX cases_by_folder ON cases (split_of) WHERE split_of <> '';
CREATE INDEX cases_by_size ON cases (request_key, sizes_key);
-- Of thousands of one size, those of one content, or not read yet, are found without the others.
CREATE INDEX cases_by_content ON cases (request_key, sizes_key, content_key, state);

-- A folder name belongs to one case, compared without case, in outbox, archive and failed alike.
CREATE TABLE names (
    name_key TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Every job that was ever made, so that no answer of the Engine is forgotten.
CREATE TABLE jobs (
    job_id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    generation INTEGER NOT NULL,
    made_at TEXT NOT NULL,
    may_be_paid INTEGER NOT NULL DEFAULT 0 CHECK (may_be_paid IN (0, 1))
) STRICT;

-- Never pay twice: one job a case that may cost money, unless a person allowed another.
CREATE UNIQUE INDEX one_paid_job ON jobs (case_id, generation) WHERE may_be_paid = 1;

CREATE TABLE moves (
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (case_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE inputs (
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
    modality TEXT NOT NULL,
    name TEXT NOT NULL,
    extension TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    sha256 TEXT,
    download_url TEXT,
    upload_url TEXT,
    notify_url TEXT,
    is_uploaded INTEGER NOT NULL DEFAULT 0,
    notified TEXT NOT NULL DEFAULT 'no' CHECK (notified IN ('no', 'begun', 'done', 'refused')),
    series_uid TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (case_id, modality),
    -- all uploads end before a notification of the same input begins
    CHECK (notified = 'no' OR is_uploaded = 1)
) STRICT, WITHOUT ROWID;

CREATE INDEX inputs_by_series ON inputs (series_uid) WHERE series_uid <> '';

-- The files of an input that is a series, in the order in which they are sent. `owner` is the case
-- that holds the file, '' for this one.
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

-- What lies in a root where nothing is moved, and was seen: sent by a case, or not wanted (''). Its
-- content (an SOP Instance UID, or a digest) is there once somebody had to read the file.
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

-- All uploads of a job end before its first notification begins: that is where paying starts.
CREATE TRIGGER uploads_before_notifications BEFORE UPDATE OF notified ON inputs
WHEN NEW.notified = 'begun' AND EXISTS (
    SELECT 1 FROM inputs
    WHERE case_id = NEW.case_id AND is_uploaded = 0 AND download_url IS NULL)
BEGIN
    SELECT RAISE (ABORT, 'a notification before all uploads have ended');
END;

CREATE TABLE outputs (
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    structures TEXT NOT NULL,
    extension TEXT NOT NULL,
    status TEXT NOT NULL,
    announced_size INTEGER,
    url TEXT,
    file TEXT,
    size INTEGER,
    sha256 TEXT,
    PRIMARY KEY (case_id, position)
) STRICT, WITHOUT ROWID;

-- The trail. A row with a step and no outcome is an attempt under way.
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
    time TEXT NOT NULL,
    event TEXT NOT NULL,
    step TEXT,
    attempt INTEGER,
    outcome TEXT,
    reason TEXT,
    duration_s REAL
) STRICT;

CREATE INDEX events_by_case ON events (case_id, id);
CREATE UNIQUE INDEX one_attempt_a_case ON events (case_id)
    WHERE step IS NOT NULL AND outcome IS NULL;

-- What other processes ask of the daemon: a person's words.
CREATE TABLE words (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    word TEXT NOT NULL CHECK (word IN ('retry', 'cancel', 'take')),
    subject TEXT NOT NULL,
    may_cost INTEGER NOT NULL DEFAULT 0,
    said_at TEXT NOT NULL
) STRICT;

-- What the daemon shows to other processes; it never reads it back.
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body TEXT NOT NULL,
    written_at TEXT NOT NULL
) STRICT;

-- What people are to be told. One that nobody was told yet gives way to a younger one of its key.
-- `facts` are JSON without names of patients, unless the configuration asks for them.
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

-- Who was told, or will not be; a notice goes when all were.
CREATE TABLE notices_told (
    seq INTEGER NOT NULL REFERENCES notices (seq) ON DELETE CASCADE,
    target TEXT NOT NULL,
    PRIMARY KEY (seq, target)
) STRICT, WITHOUT ROWID;

-- What of the daemon itself people were told last: open breakers, the day of the last digest.
CREATE TABLE told (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
